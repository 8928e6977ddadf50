"""Take landmarks out of a map."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MappingError
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.persistence import count_sightings, is_gone, is_seen_through

_logger = logging.getLogger(__name__)

_MIN_SEEN = 30  # landmarks of a keyframe; where fewer are, hardly an image has evidence for a pose


def drop_landmarks(visual_map: VisualMap, dropped: NDArray[np.bool_]) -> VisualMap:
    """Return the map without some landmarks [L] and their observations; keyframes stay.

    A warning says where hardly a landmark is left.

    Raises:
        MappingError: none would be left.
    """
    if dropped.all():
        raise MappingError(f"all {len(dropped)} landmarks would be dropped, and a map without any is none")
    kept, described = ~dropped, visual_map.observation_descriptors
    new_row = np.cumsum(kept) - 1
    observed = kept[visual_map.observation_landmark_idx]
    counts = np.bincount(visual_map.observation_keyframe_idx[observed], minlength=visual_map.num_keyframes)
    _tell_emptied(visual_map, counts)
    return dataclasses.replace(
        visual_map,
        observation_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        observation_landmark_idx=new_row[visual_map.observation_landmark_idx[observed]].astype(np.int32),
        observation_xy=visual_map.observation_xy.chosen(observed),
        observation_descriptors=None if described is None else described.chosen(observed),
        search=None,
        landmark_xyz=visual_map.landmark_xyz[kept],
        landmark_descriptors=visual_map.landmark_descriptors.chosen(kept),
        landmark_view_directions=visual_map.landmark_view_directions[kept],
        landmark_distance_ranges=visual_map.landmark_distance_ranges[kept],
        landmark_colors=visual_map.landmark_colors[kept],
    )


def _tell_emptied(visual_map: VisualMap, counts: NDArray[np.int64]) -> None:
    """Warn of keyframes that see too few landmarks, [F] each, and did not before."""
    emptied = np.flatnonzero((counts < _MIN_SEEN) & (np.diff(visual_map.observation_offsets) >= _MIN_SEEN))
    if len(emptied):
        worst = emptied[counts[emptied].argmin()]
        _logger.warning(
            "%d of %d keyframes see fewer than %d landmarks now, as %s, which sees %d: images there will hardly be "
            "localized, whatever the self-test of the map said before",
            len(emptied),
            visual_map.num_keyframes,
            _MIN_SEEN,
            visual_map.keyframe_names[worst],
            counts[worst],
        )


def drop_moved(visual_map: VisualMap) -> VisualMap:
    """Return the map without the landmarks that more keyframes see through than see."""
    moved = is_seen_through(count_sightings(visual_map))
    if moved.all():
        return visual_map
    kept = drop_landmarks(visual_map, moved)
    return with_build_info(kept, {"landmarks_seen_through": int(moved.sum())})


def prune_map(visual_map: VisualMap, min_observations: int) -> tuple[VisualMap, dict[str, int]]:
    """Return the map without landmarks of little use, and how many were dropped for which reason.

    Args:
        visual_map: any map.
        min_observations: keyframes that must see a landmark.

    Raises:
        MappingError: nothing would be left, or the number makes no sense.
    """
    if min_observations < 1:
        raise MappingError(f"at least {min_observations} observations were asked for, expected 1 or more")
    sightings = count_sightings(visual_map)
    rare = sightings.observed < min_observations
    passed = ~rare & is_seen_through(sightings)
    reasons = {"too few observations": int(rare.sum()), "seen through": int(passed.sum())}
    pruned = drop_landmarks(visual_map, rare | passed)
    return with_build_info(pruned, {"pruned": reasons, "min_observations": min_observations}), reasons


def prune_unconfirmed(
    visual_map: VisualMap, new_keyframes: range, num_old_landmarks: int
) -> tuple[VisualMap, dict[str, int]]:
    """Drop old landmarks, the first ones, that the new keyframes show to be gone.

    Returns:
        The map and how many were dropped for which reason.
    """
    sightings = count_sightings(visual_map, new_keyframes)
    old = np.arange(visual_map.num_landmarks) < num_old_landmarks
    passed = old & is_seen_through(sightings)
    gone = old & is_gone(sightings, old)
    gone &= ~passed
    reasons = {"seen through": int(passed.sum()), "never seen again": int(gone.sum())}
    return drop_landmarks(visual_map, passed | gone), reasons


def with_build_info(visual_map: VisualMap, added: Mapping[str, Any]) -> VisualMap:
    """Return the map with more to say about its making."""
    return dataclasses.replace(visual_map, build_info={**visual_map.build_info, **added})
