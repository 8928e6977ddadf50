"""What a map of several sessions says of how far these disagree; a part of all its covariances."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.map.visual_map import CovarianceCalibration, MapConsistency, VisualMap

FloatArray = NDArray[np.float64]

# In `build_info`: variances along x y z rx ry rz that covariances were widened by, as sessions disagree.
_KEY = "sessions_disagree"


def disagreement_of(visual_map: VisualMap) -> FloatArray:
    """Return the variances [6], m^2 and rad^2, that covariances of a map hold because its sessions disagree."""
    return np.array(visual_map.build_info.get(_KEY, [0.0] * 6), np.float64)


def with_disagreement(visual_map: VisualMap, disagreement: FloatArray) -> VisualMap:
    """Return a map of several sessions whose answers say that these disagree.

    An answer is of one of them or between, so it is off by what the worst one is, not by the sum of all.

    Args:
        visual_map: with the newest session.
        disagreement: of that one, [6, 6] as `check_session_frame` found it: diagonal.
    """
    most = np.maximum(disagreement_of(visual_map), np.diag(disagreement))
    tested = consistency_without_disagreement(visual_map)
    return dataclasses.replace(
        visual_map,
        consistency=consistency_with_disagreement(tested, most, has_given=visual_map.given is not None),
        calibration=calibration_with_disagreement(visual_map, most),
        build_info=info_with_disagreement(visual_map, most),
    )


def consistency_without_disagreement(visual_map: VisualMap) -> MapConsistency:
    """Return a map's test of itself as it was before sessions that disagree came in."""
    tested, said = visual_map.consistency, disagreement_of(visual_map)
    return consistency_with_disagreement(tested, -said, has_given=bool(tested.refined_pose_covariance))


def consistency_with_disagreement(
    tested: MapConsistency, variances: FloatArray, *, has_given: bool
) -> MapConsistency:
    """Return a test of a map of sessions that disagree.

    Args:
        tested: as if they agreed.
        variances: [6] that the worst one is off by.
        has_given: the map has given poses beside refined ones.
    """
    if not variances.any():
        return tested
    refined = _sum(tested.refined_pose_covariance, variances) if has_given else ()
    covariance = _sum(tested.pose_covariance, variances)
    return dataclasses.replace(tested, pose_covariance=covariance, refined_pose_covariance=refined)


def calibration_with_disagreement(visual_map: VisualMap, most: FloatArray) -> CovarianceCalibration | None:
    """Return a map's calibration, which holds what the map said already, for the worst session; None without any."""
    calibration = visual_map.calibration
    if calibration is None:
        return None
    added = most - disagreement_of(visual_map)
    return dataclasses.replace(calibration, pose_covariance=_sum(calibration.pose_covariance, added))


def info_with_disagreement(visual_map: VisualMap, most: FloatArray) -> dict[str, Any]:
    """Return a map's `build_info` with the variances [6] that the worst session is off by, if there are any."""
    return {**visual_map.build_info, **({_KEY: most.tolist()} if most.any() else {})}


def _sum(numbers: tuple[float, ...], variances: FloatArray) -> tuple[float, ...]:
    """Return a covariance [36] with variances [6] added; none where nothing is left."""
    if not variances.any():
        return numbers
    own = np.array(numbers).reshape(6, 6) if numbers else np.zeros((6, 6))
    found = own + np.diag(variances)
    return tuple(found.ravel().tolist()) if found.any() else ()
