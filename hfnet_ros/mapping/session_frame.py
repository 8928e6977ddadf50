"""Whether the poses of a new session are in the frame of the map that it is added to.

Nothing within a session tells: its images fit its poses. But the map finds them, and where it finds most of them moved
alike, their poses are of another frame or in another unit. Put in like that, each place would be in the map twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.alignment import (
    MIN_AGREEING,
    Locate,
    Similarity,
    agree_on_motion,
    agreeing_with,
    agreement_tolerance_m,
    locate_keyframes,
)

_logger = logging.getLogger(__name__)

_AS_GIVEN = Similarity(1.0, np.eye(3), np.zeros(3))
_MIN_SHARE = 0.5  # of the keyframes found
_MORE_BY_SCALE = 1.1  # times as many must agree for a scale to be believed
_SAME_SCALE = 0.05
_LOOK_ALIKE_SHARE = 0.75  # of the distance to what is seen: two places that look alike may be that far apart


def check_session_frame(visual_map: VisualMap, session: VisualMap, locate: Locate) -> None:
    """Refuse a session that the map finds elsewhere than its poses say, all of it moved alike.

    Where that is so far away that it may be another place that looks alike, a warning says so.

    Args:
        visual_map: gives the frame.
        session: with poses that are meant to be in that frame.
        locate: returns the pose in the map of a camera that saw these features, or None.

    Raises:
        MappingError: the poses are in another frame or unit; says by which motion.
    """
    num_asked, pairs = locate_keyframes(session, locate)
    tolerance_m = agreement_tolerance_m(visual_map)
    if len(pairs) < MIN_AGREEING:
        return
    num_as_given = int(agreeing_with(pairs, _AS_GIVEN, tolerance_m).sum())
    if num_as_given >= _MIN_SHARE * len(pairs):
        return
    motion, count = _agreed(pairs, tolerance_m)
    found = (
        f"of {num_asked} new images the map finds {len(pairs)}: {num_as_given} where their poses say, {count} where "
        f"these are moved by map_from_poses = {_described(motion)}"
    )
    if count < max(MIN_AGREEING, _MIN_SHARE * len(pairs), 2 * num_as_given):
        _logger.warning(
            "of %d new images the map finds %d, only %d of them where their poses say: are these poses right?",
            num_asked,
            len(pairs),
            num_as_given,
        )
        return
    moved_m = float(np.median([first.translation_to(second) for first, second in pairs]))
    seen_m = float(np.median(visual_map.landmark_distance_ranges[:, 1]))
    if motion.scale == 1.0 and moved_m > _LOOK_ALIKE_SHARE * seen_m:
        _logger.warning(
            "%s: if they show no other place that looks alike, their poses are of another frame; move them, or leave "
            "the poses out and the images are localized",
            found,
        )
        return
    raise MappingError(
        f"the poses are in another frame than the map: {found}; move them, or leave the poses out and the images are "
        "localized"
    )


def _agreed(pairs: Sequence[tuple[Rigid3, Rigid3]], tolerance_m: float) -> tuple[Similarity, int]:
    """Return the motion that most pairs agree on, with a scale only where that explains more, and how many do."""
    motion = agree_on_motion(pairs, tolerance_m, with_scale=False)
    count = int(agreeing_with(pairs, motion, tolerance_m).sum())
    if not any(pairs[0][1].translation_to(second) > tolerance_m for _, second in pairs[1:]):
        return motion, count
    scaled = agree_on_motion(pairs, tolerance_m, with_scale=True)
    num_scaled = int(agreeing_with(pairs, scaled, tolerance_m).sum())
    if abs(scaled.scale - 1.0) > _SAME_SCALE and num_scaled >= _MORE_BY_SCALE * count:
        return scaled, num_scaled
    return motion, count


def _described(motion: Similarity) -> str:
    def numbers(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
        return f"({', '.join(f'{value:.3f}' for value in values.tolist())})"

    quat_xyzw = numbers(Rigid3(motion.rotation, motion.translation).quat_xyzw)
    scale = "" if motion.scale == 1.0 else f"positions times {motion.scale:.4g}, "
    return f"{scale}translation {numbers(motion.translation)} m, quaternion x y z w {quat_xyzw}"
