"""Whether the poses of a new session are in the frame of the map that it is added to.

Nothing within a session tells: its images fit its poses. But the map finds them, and where it finds most of them moved
alike, their poses are of another frame or in another unit. Put in like that, each place would be in the map twice.
Moved by little, both can be used, but answers are then of the one or the other, or between them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.alignment import (
    MIN_AGREEING,
    TOLERANCE_RAD,
    Locate,
    Similarity,
    agree_on_motion,
    agreeing_with,
    agreement_tolerance_m,
    deviations,
    locate_keyframes,
)

_logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

MOVE_OR_LOCALIZE = "move them, or leave the poses out and the images are localized"
_MAY_BE_REFINED = (
    "its poses were refined, which may have moved them (compare a map built with --refine-poses off)"
)
_AS_GIVEN = Similarity(1.0, np.eye(3), np.zeros(3))
_MIN_SHARE = 0.5  # of the keyframes found
_MORE_BY_SCALE = 1.1  # times as many must agree for a scale to be believed
_SAME_SCALE = 0.05
_LOOK_ALIKE_SHARE = 0.75  # of the distance to what is seen: two places that look alike may be that far apart
# What a motion common to all must be, of what is tolerated, and times what it leaves, to be told from noise: 3 px of
# the reference camera, and of the noise that single poses have.
_TOLD_SHARE = 0.1
_TIMES_LEFT = 3.0


def check_session_frame(
    visual_map: VisualMap, session: VisualMap, locate: Locate, remedy: str = MOVE_OR_LOCALIZE
) -> FloatArray:
    """Refuse a session that the map finds elsewhere than its poses say, all of it moved alike.

    Where that is so far away that it may be another place that looks alike, a warning says so, and where it is little.

    Args:
        visual_map: gives the frame.
        session: with poses that are meant to be in that frame.
        locate: returns the pose in the map of a camera that saw these features, or None.
        remedy: what messages say is to be done.

    Returns:
        Covariance [6, 6] of (translation, rotation), m and rad, that answers have because map and session are in
        frames that differ by little; zero where they do not.

    Raises:
        MappingError: the poses are in another frame or unit; says by which motion.
    """
    num_asked, pairs = locate_keyframes(session, locate)
    tolerance_m = agreement_tolerance_m(visual_map)
    as_given = agreeing_with(pairs, _AS_GIVEN, tolerance_m)
    num_as_given = int(as_given.sum())
    if len(pairs) < MIN_AGREEING:
        # One that is found elsewhere may be a false fix.
        if len(pairs) > 1 and num_as_given < _MIN_SHARE * len(pairs):
            _doubt(num_asked, pairs, as_given)
        return np.zeros((6, 6))
    if num_as_given >= _MIN_SHARE * len(pairs):
        agreeing = [pair for pair, agrees in zip(pairs, as_given, strict=True) if agrees]
        if session.given is not None:
            remedy = f"{_MAY_BE_REFINED}; if not, {remedy}"
        return _told_disagreement(agreeing, tolerance_m, remedy)
    motion, count = _agreed(pairs, tolerance_m)
    found = (
        f"of {num_asked} new images the map finds {len(pairs)}: {num_as_given} where their poses say, {count} where "
        f"these are moved by map_from_poses = {_described(motion)}"
    )
    if count < max(MIN_AGREEING, _MIN_SHARE * len(pairs), 2 * num_as_given):
        _doubt(num_asked, pairs, as_given)
        return np.zeros((6, 6))
    moved_m = float(np.median([first.translation_to(second) for first, second in pairs]))
    seen_m = float(np.median(visual_map.landmark_distance_ranges[:, 1]))
    if motion.scale == 1.0 and moved_m > _LOOK_ALIKE_SHARE * seen_m:
        _logger.warning(
            "%s: if they show no other place that looks alike, their poses are of another frame; %s",
            found,
            remedy,
        )
        return np.zeros((6, 6))
    raise MappingError(f"the poses are in another frame than the map: {found}; {remedy}")


def _doubt(num_asked: int, pairs: Sequence[tuple[Rigid3, Rigid3]], as_given: NDArray[np.bool_]) -> None:
    off = np.median(np.array(deviations(pairs, _AS_GIVEN))[:, ~as_given], axis=1)
    _logger.warning(
        "of %d new images the map finds %d, only %d of them where their poses say, the others %.2f m and %.1f deg from "
        "there at the median: are these poses right?",
        num_asked,
        len(pairs),
        int(as_given.sum()),
        *(off * [1.0, np.degrees(1.0)]).tolist(),
    )


def _told_disagreement(pairs: Sequence[tuple[Rigid3, Rigid3]], tolerance_m: float, remedy: str) -> FloatArray:
    """Return the covariance [6, 6] of a motion that all poses are off by, and tell of it; zero where it is noise."""
    motion = agree_on_motion(pairs, tolerance_m, with_scale=False)
    before, after = (np.median(deviations(pairs, each), axis=1) for each in (_AS_GIVEN, motion))
    is_told = (before > _TIMES_LEFT * after) & (before > _TOLD_SHARE * np.array([tolerance_m, TOLERANCE_RAD]))
    if not is_told.any():
        return np.zeros((6, 6))
    moved = [(motion.move_pose(given), given) for _, given in pairs]
    squares = np.mean(np.square(deviations(moved, _AS_GIVEN)), axis=1)
    _logger.warning(
        "%d new images that the map finds are %.3f m and %.2f deg from where their poses say, all alike: these are "
        "moved by map_from_poses = %s; answers will be off by as much, and say so; %s",
        len(pairs),
        *(before * [1.0, np.degrees(1.0)]).tolist(),
        _described(motion),
        remedy,
    )
    # In which direction depends on where a camera looks, and a query may look elsewhere than those found.
    return np.diag(np.repeat(squares / 3.0, 3))


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
