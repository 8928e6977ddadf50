"""Localize in some named areas of a map only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.types import Localization


def asked_areas(visual_map: VisualMap, config: Config) -> tuple[str, ...]:
    """Return the areas that `map.areas` names; none where it names none.

    Raises:
        ConfigError: the map has no area of a name; lists those it has.
    """
    asked, known = tuple(dict.fromkeys(config.map.areas.split())), visual_map.area_names
    for name in asked:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none: `hfnet-ros map area` names some"
            raise ConfigError(f"map.areas (--area) names '{name}', which is no area of the map; {has}")
    return asked


def keyframes_asked(
    visual_map: VisualMap, areas: Sequence[str], usable: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    """Return which keyframes [F] may be found; None where all may.

    Args:
        visual_map: the map.
        areas: as `asked_areas` returns them.
        usable: [F] those that can be asked at all; None where all can.
    """
    if not areas:
        return usable
    chosen = visual_map.keyframes_in(areas)
    return chosen if usable is None else chosen & usable


def within_areas(answer: Localization, visual_map: VisualMap, areas: Sequence[str]) -> Localization:
    """Refuse a valid answer that is outside of the areas that were asked for."""
    assert answer.estimate is not None
    position = answer.estimate.map_from_camera.translation
    if not areas or visual_map.is_in(areas, position):
        return answer
    where = ", ".join(f"{value:.2f}" for value in position)
    reason = f"the pose found, at ({where}) m, is outside of {' and '.join(areas)} (map.areas)"
    return answer.refused(reason)
