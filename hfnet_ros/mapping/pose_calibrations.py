"""Is it the calibration that poses and images disagree about? Ask whether another one makes them agree.

Another focal length, or the other name for its coefficients: k1 k2 p1 p2 of plumb_bob and k1 k2 k3 k4 of equidistant.

A camera that crops, zooms or was calibrated in another mode of the same image size turns, by its images, more or less
than it did. Beside right poses that looks like slips, wrong keyframes or another mounting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import PoseFaultError
from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX, Camera, DistortionModel
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
_OTHER_NAME = {
    DistortionModel.PLUMB_BOB: DistortionModel.EQUIDISTANT,
    DistortionModel.EQUIDISTANT: DistortionModel.PLUMB_BOB,
}


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
    found = max(
        _renamed(evidence, given, camera_idxs, cameras, names, max_error_px),
        _refocused(evidence, given, camera_idxs, cameras, names, max_error_px),
        key=lambda entry: entry.agreement,
    )
    if found.agreement < wanted_share(before):
        return
    few = evidence.thinned(max_pairs=80, max_matches=40)
    others = (
        best_reading(few, given, max_error_px),
        estimate_time_offset(few, given, stamps_ns, max_error_px),
        estimate_mounting_offset(evidence, given, max_error_px),
    )
    if found.agreement <= max(other.agreement for other in others if other is not None):
        return
    raise PoseFaultError(
        f"the calibration is not that of the images: {100 * before:.0f} % of the matches of {evidence.num_pairs} pairs "
        f"of images fit the poses with it, {100 * found.agreement:.0f} % with {found.told}",
        "calibration",
        amount=found.ratio,
    )


@dataclass(frozen=True, slots=True)
class _Calibration:
    """Another calibration; none has an agreement of 0.

    Attributes:
        agreement: mean share of matches explained with it.
        told: what it is, and what to do.
        ratio: of its focal length to the given one.
    """

    agreement: float = 0.0
    told: str = ""
    ratio: float = 1.0


def _refocused(
    evidence: PairEvidence,
    given: Poses,
    camera_idxs: Sequence[int],
    cameras: Sequence[Camera],
    names: Sequence[str],
    max_error_px: float,
) -> _Calibration:
    """Return what the best focal lengths explain, if any is farther off than refinement takes."""
    ratios = _focal_ratios(evidence, given, camera_idxs, cameras, max_error_px)
    wrong = np.flatnonzero(np.abs(ratios - 1.0) > MAX_FOCAL_CHANGE).tolist()
    if not wrong:
        return _Calibration()
    zoomed = _zoomed(evidence, camera_idxs, cameras, ratios)
    # Pixels of a longer focal length are smaller angles.
    after = float(agreement(zoomed, given, max_error_px / max(1.0, *ratios.tolist())).mean())
    told = " and ".join(
        f"of {_name_of(row, camera_idxs, names)} about {_focal(cameras[row], ratios[row])} "
        f"instead of {_focal(cameras[row])}"
        for row in wrong
    )
    advice = "calibrate the camera as it took the images: at that resolution, crop and zoom"
    return _Calibration(after, f"a focal length {told}; {advice}", float(ratios[wrong[0]]))


def _renamed(
    evidence: PairEvidence,
    given: Poses,
    camera_idxs: Sequence[int],
    cameras: Sequence[Camera],
    names: Sequence[str],
    max_error_px: float,
) -> _Calibration:
    """Return what the same coefficients explain under the other name, of cameras whose own images fit them better."""
    own, read, wrong = np.array(camera_idxs), np.array(camera_idxs), list[int]()
    every = [*cameras, *(_under_other_name(camera) for camera in cameras)]
    for row in range(len(cameras)):
        pairs = evidence.of_pairs(np.flatnonzero((own[evidence.pairs] == row).all(axis=1)))
        if pairs.num_pairs < _MIN_PAIRS or every[row].model == every[row + len(cameras)].model:
            continue
        other = np.where(own == row, row + len(cameras), own)
        before, after = (
            float(agreement(rays, given, max_error_px).mean())
            for rays in (pairs, seen_by(pairs, own, other, every))
        )
        if after >= wanted_share(before):
            read = np.where(own == row, other, read)
            wrong.append(row)
    if not wrong:
        return _Calibration()
    told = " and ".join(
        f"of {_name_of(row, camera_idxs, names)} read as {every[row + len(cameras)].model.value}"
        for row in wrong
    )
    share = float(agreement(seen_by(evidence, own, read, every), given, max_error_px).mean())
    return _Calibration(
        share, f"the coefficients {told}; name the distortion model that they were estimated for"
    )


def _under_other_name(camera: Camera) -> Camera:
    """Return a camera with the same coefficients, taken for those of the other of two models of four; or as it is."""
    other = _OTHER_NAME.get(camera.model)
    if other is None or np.any(camera.distortion[4:]):
        return camera
    return replace(camera, model=other, distortion=camera.distortion[:4])


def _name_of(camera_idx: int, camera_idxs: Sequence[int], names: Sequence[str]) -> str:
    return camera_name(names[list(camera_idxs).index(camera_idx)], camera_idx)


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
