"""What an evaluation run hands to the scoring: one result per query, and what produced them."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import Localization

_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True, eq=False)
class QueryResult:
    """One image, what localization answered, and where the camera really was.

    Attributes:
        name: what a person calls the query, usually its file name; need not be unique.
        image_path: file of the image for the report's thumbnails; None for frames of a bag.
        stamp_ns: time of exposure, nanoseconds.
        localization: the answer.
        groundtruth: map_from_camera as measured by something better; None where unknown.
    """

    name: str
    image_path: Path | None
    stamp_ns: int
    localization: Localization
    groundtruth: Rigid3 | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RunIdentity:
    """What produced the results: without it a number cannot be repeated.

    Attributes:
        map: facts about the map (path, keyframes, landmarks, digest).
        extractor_id: network and digest of its weights.
        backend: what ran the network.
        config: every parameter of the run, nested by section.
        version: version of this package.
        commit: git commit, or "" outside a checkout.
        machine: see `describe_machine`.
    """

    map: Mapping[str, object] = field(default_factory=dict)
    extractor_id: str = ""
    backend: str = ""
    config: Mapping[str, object] = field(default_factory=dict)
    version: str = ""
    commit: str = ""
    machine: Mapping[str, object] = field(default_factory=dict)


def describe_machine() -> dict[str, object]:
    """Return processor, usable cores, system and Python of the machine this runs on."""
    return {
        "processor": _processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _processor_name() -> str:
    # platform.processor() is empty on most Linux distributions.
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or platform.machine()
