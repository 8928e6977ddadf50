"""Reduce Python values to what JSON can say."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath

import numpy as np


def plain_json(value: object) -> object:
    """Return dict, list, str, int, float, bool or None for a nested value.

    NaN and infinity become None, because JSON has no word for them and many readers refuse
    what Python writes instead. Enums become their value, dataclasses and mappings dicts, paths
    and anything unknown their text.
    """
    if isinstance(value, Enum):
        return plain_json(value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (np.generic, np.ndarray)):
        return plain_json(value.tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain_json(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(plain_json(key)): plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain_json(item) for item in value]
    return value.as_posix() if isinstance(value, PurePath) else str(value)


def flat_texts(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Return nested values as text, keys joined by dots; a dash for nothing."""
    texts: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            texts |= flat_texts(value, f"{prefix}{key}.")
        elif isinstance(value, float):
            texts[f"{prefix}{key}"] = f"{value:.6g}"
        else:
            texts[f"{prefix}{key}"] = "–" if value is None or value == "" else str(value)
    return texts
