"""Is it the calibration that poses and images disagree about? Ask whether another focal length makes them agree.

A camera that crops, zooms or was calibrated in another mode of the same image size turns, by its images, more or less
than it did. Beside right poses that looks like slips, wrong keyframes or another mounting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import PoseFaultError
from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX, Camera
from hfnet_ros.geometry.pose_readings import Poses
from hfnet_ros.mapping.intrinsics import MAX_FOCAL_CHANGE
from hfnet_ros.mapping.pose_conventions import best_reading
from hfnet_ros.mapping.pose_evidence import (
    SOUND,
    PairEvidence,
    agreement,
    seen_by,
    signed_errors,
    wanted_share,
)
from hfnet_ros.mapping.pose_systematics import estimate_mounting_offset, estimate_time_offset
from hfnet_ros.mapping.turned_cameras import camera_name

FloatArray = NDArray[np.float64]

_MIN_PAIRS = 5
_MAX_RATIO = 2.0  # up or down
_STEPS, _FINE_STEPS = 32, 16  # 4 %, then half a per cent


def refuse_calibration(
    evidence: PairEvidence,
    given: Poses,
    camera_idxs: Sequence[int],
    cameras: Sequence[Camera],
    stamps_ns: NDArray[np.int64],
    names: Sequence[str],
    max_error_px: float,
) -> None:
    """Refuse a calibration that is farther off than refinement takes, where nothing about the poses explains as much.

    Args:
        evidence: of pairs of keyframes.
        given: poses as they are.
        camera_idxs: of the keyframes.
        cameras: calibrations.
        stamps_ns: [F] of the keyframes.
        names: of the images.
        max_error_px: of an explained match, at the reference focal length.

    Raises:
        PoseFaultError: names the cameras and their focal lengths.
    """
    before = float(agreement(evidence, given, max_error_px).mean()) if evidence.num_pairs else 1.0
    if before >= SOUND:
        return
    ratios = _focal_ratios(evidence, given, camera_idxs, cameras, max_error_px)
    wrong = np.flatnonzero(np.abs(ratios - 1.0) > MAX_FOCAL_CHANGE).tolist()
    if not wrong:
        return
    zoomed = _zoomed(evidence, camera_idxs, cameras, ratios)
    # Pixels of a longer focal length are smaller angles.
    after = float(agreement(zoomed, given, max_error_px / max(1.0, *ratios.tolist())).mean())
    if after < wanted_share(before):
        return
    few = evidence.thinned(max_pairs=80, max_matches=40)
    others = (
        best_reading(few, given, max_error_px),
        estimate_time_offset(few, given, stamps_ns, max_error_px),
        estimate_mounting_offset(evidence, given, max_error_px),
    )
    if after <= max(other.agreement for other in others if other is not None):
        return
    told = " and ".join(
        f"of {camera_name(names[list(camera_idxs).index(row)], row)} about {_focal(cameras[row], ratios[row])} "
        f"instead of {_focal(cameras[row])}"
        for row in wrong
    )
    raise PoseFaultError(
        f"the calibration is not that of the images: {100 * before:.0f} % of the matches of {evidence.num_pairs} pairs "
        f"of images fit the poses with it, {100 * after:.0f} % with a focal length {told}; calibrate the camera as it "
        "took the images: at that resolution, crop and zoom",
        "calibration",
        amount=float(ratios[wrong[0]]),
    )


def _focal(camera: Camera, ratio: float = 1.0) -> str:
    return f"({ratio * camera.focal[0]:.1f}, {ratio * camera.focal[1]:.1f}) px"


def _focal_ratios(
    evidence: PairEvidence,
    given: Poses,
    camera_idxs: Sequence[int],
    cameras: Sequence[Camera],
    max_error_px: float,
) -> FloatArray:
    """Return by which factor [C] each camera's focal length fits pairs of its own images best; 1 without enough."""
    of_keyframes, ratios = np.array(camera_idxs), np.ones(len(cameras))
    widest = np.log(_MAX_RATIO)
    coarse, fine = np.linspace(-widest, widest, _STEPS + 1), np.linspace(-1.0, 1.0, _FINE_STEPS + 1)
    for row in range(len(cameras)):
        own = evidence.of_pairs(np.flatnonzero((of_keyframes[evidence.pairs] == row).all(axis=1)))
        if own.num_pairs < _MIN_PAIRS:
            continue
        few = own.thinned(max_pairs=80, max_matches=40)
        best = 0.0
        for logs in (coarse, (coarse[1] - coarse[0]) * fine):
            tried = best + logs
            costs = [
                _cost(
                    _zoomed(few, camera_idxs, cameras, np.full(len(cameras), ratio)),
                    given,
                    max_error_px,
                    ratio,
                )
                for ratio in np.exp(tried).tolist()
            ]
            best = float(tried[int(np.argmin(costs))])
        ratios[row] = np.exp(best)
    return ratios


def _cost(evidence: PairEvidence, given: Poses, max_error_px: float, ratio: float) -> float:
    """Return the mean distance to epipolar lines, truncated, px of a focal length that is so many times as long."""
    limit = max_error_px / REFERENCE_FOCAL_PX
    errors = ratio * np.abs(signed_errors(evidence, *given.between(evidence.pairs)))
    return float(np.minimum(np.nan_to_num(errors, nan=limit), limit).mean())


def _zoomed(
    evidence: PairEvidence, camera_idxs: Sequence[int], cameras: Sequence[Camera], ratios: FloatArray
) -> PairEvidence:
    """Return the same pixels as rays of cameras whose focal lengths are so many times [C] as long."""
    own = np.array(camera_idxs)
    zoomed = [
        replace(camera, focal=ratio * camera.focal) for camera, ratio in zip(cameras, ratios, strict=True)
    ]
    return seen_by(evidence, own, own + len(cameras), [*cameras, *zoomed])
