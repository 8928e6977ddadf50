"""Refine calibrations against the structure, with the keyframes' poses held fixed.

A calibration that is a little wrong bends every landmark, and hard queries, which rely on few
and distant ones, fail first. The given poses tie the scale down, so that focal lengths and
distortion can be estimated. Whether that is an improvement is asked of keyframes that took no
part in the estimation.

Reference: Triggs et al., Bundle Adjustment - A Modern Synthesis, 1999.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import MappingConfig
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.mapping.calibration_adjustment import adjust_intrinsics, moves_distortion
from hfnet_ros.mapping.colmap_convention import has_colmap_equal
from hfnet_ros.mapping.options import RefinementMode
from hfnet_ros.mapping.triangulation import reprojection_errors
from hfnet_ros.mapping.views import Structure, View, focal_scale

# Noise in the poses shortens every focal length it helps to estimate, as noise in the abscissa
# flattens a line, and held-out keyframes agree, because their poses are as noisy.
MAX_FOCAL_CHANGE = 0.05
# Observations this many times worse than a finished map allows take part: dropping what the
# given calibration cannot explain would prove it right.
CALIBRATION_TOLERANCE = 3.0
# Of the diagonal: a wide lens given without its distortion is corrected by 0.1. Coefficients of
# high order run away outside of what keyframes see, and held-out keyframes see no more.
_MAX_BORDER_SHIFT = 0.2

FloatArray = NDArray[np.float64]

_logger = logging.getLogger(__name__)

_MIN_OBSERVATIONS = 500
_MIN_HELD_OUT = 400
_BLOCK_VIEWS = 3
# A test needs fewer landmarks than the estimate: on RedKitchen 5000 of 35000 moved it by 3 px.
_MAX_TESTED_LANDMARKS = 5000
_MAX_FITTED_LANDMARKS = 20000
_DISTORTION_HELD = "distortion held as given, since COLMAP cannot refine k1 k2 p1 p2 beside fixed k3 to k6"


@dataclass(frozen=True)
class IntrinsicsReport:
    """What refinement found for one camera.

    Attributes:
        kept: whether the refined calibration is used.
        reason: why, or why not.
        error_given_px: mean reprojection error of the held-out keyframes with the given
            calibration; NaN where it was not measured.
        error_refined_px: the same with the refined calibration.
    """

    kept: bool
    reason: str
    error_given_px: float = float("nan")
    error_refined_px: float = float("nan")

    @property
    def gain(self) -> float:
        """Part by which refinement lowers the held-out error; NaN where it was not measured."""
        return 1.0 - self.error_refined_px / self.error_given_px


def refine_intrinsics(
    structure: Structure,
    views: Sequence[View],
    cameras: Sequence[Camera],
    mode: RefinementMode,
    config: MappingConfig,
) -> tuple[list[Camera], list[IntrinsicsReport]]:
    """Return the calibrations to build with, and why, for each camera.

    `structure` is best triangulated with `CALIBRATION_TOLERANCE`.

    In mode "auto" a camera's refined calibration is kept only if it lowers the error of
    held-out keyframes by `min_intrinsics_gain` and stays near the given one; in mode "on"
    whenever it is a usable camera; in mode "off" never.
    """
    if mode == "off":
        return list(cameras), [IntrinsicsReport(False, "refinement is off") for _ in cameras]
    unknown = sorted({camera.model.value for camera in cameras if not has_colmap_equal(camera)})
    if unknown:
        reason = f"COLMAP, which refines, has no equal of {', '.join(unknown)}"
        return list(cameras), [IntrinsicsReport(False, reason) for _ in cameras]
    counts = _observation_counts(structure, views, len(cameras))
    free = [idx for idx in range(len(cameras)) if counts[idx] >= _MIN_OBSERVATIONS]
    held_out = _cross_validate(
        _longest_tracks(structure, _MAX_TESTED_LANDMARKS), views, cameras, free, config
    )
    reports = [
        _judge(held_out[idx], mode, config)
        if idx in held_out
        else IntrinsicsReport(False, f"fewer than {_MIN_OBSERVATIONS} observations")
        for idx in range(len(cameras))
    ]
    accepted = [idx for idx in free if reports[idx].kept]
    refined = list(cameras)
    if accepted:
        fitted = _longest_tracks(structure, _MAX_FITTED_LANDMARKS)
        refined = adjust_intrinsics(fitted, views, cameras, accepted, _robust_scale(config)).cameras
    for idx in accepted:
        objection = _object_to(refined[idx], cameras[idx], mode)
        if objection:
            refined[idx] = cameras[idx]
            reports[idx] = replace(reports[idx], kept=False, reason=f"{reports[idx].reason}, but {objection}")
    if not moves_distortion(cameras):
        for idx in free:
            reports[idx] = replace(reports[idx], reason=f"{reports[idx].reason}; {_DISTORTION_HELD}")
    for idx, report in enumerate(reports):
        _logger.info("camera %d: %s", idx, describe_change(cameras[idx], refined[idx], report))
    return refined, reports


def describe_change(given: Camera, refined: Camera, report: IntrinsicsReport) -> str:
    """Return one line: what was given, what was found, and why it is used or not."""
    numbers = f"focal {_focal_text(given)} -> {_focal_text(refined)}, distortion {_distortion_text(refined)}"
    return f"{numbers if report.kept else 'calibration as given'}; {report.reason}"


def _cross_validate(
    structure: Structure,
    views: Sequence[View],
    cameras: Sequence[Camera],
    free: Sequence[int],
    config: MappingConfig,
) -> dict[int, FloatArray]:
    """Return for each free camera its errors, px, on keyframes that took no part: [n, 2], given and refined.

    Keyframes, not landmarks, are held out: errors of the given poses are common to all
    landmarks of a keyframe, and calibrations that merely absorb them would pass. A camera is
    given back its old calibration while the others keep their new one, because cameras share
    landmarks and a right one would profit from the correction of a wrong one.
    """
    folds = _folds(len(views))
    errors = {idx: [np.empty((0, 2))] for idx in free}
    for fold in (0, 1):
        trained, tested = (_seen_from(structure, chosen) for chosen in (folds != fold, folds == fold))
        if trained.num_landmarks == 0:
            continue
        fitted = adjust_intrinsics(trained, views, cameras, free, _robust_scale(config)).cameras
        for idx in free:
            concerned = _landmarks_of(tested, views, idx)
            own = _camera_idxs(concerned, views) == idx
            if not own.any():
                continue
            without = [cameras[idx] if other == idx else fitted[other] for other in range(len(cameras))]
            pair = [_held_out_errors(concerned, views, used, config)[own] for used in (without, fitted)]
            errors[idx].append(np.column_stack(pair))
    return {idx: np.concatenate(parts) for idx, parts in errors.items()}


def _judge(held_out: FloatArray, mode: RefinementMode, config: MappingConfig) -> IntrinsicsReport:
    if len(held_out) < _MIN_HELD_OUT:
        kept = mode == "on"
        return IntrinsicsReport(
            kept, "refined as asked, not tested" if kept else "too few keyframes to test it"
        )
    before, after = held_out.mean(axis=0).tolist()
    gain = 1.0 - after / before
    reason = (
        f"held-out error {before:.2f} -> {after:.2f} px, gain {100 * gain:.1f} %, "
        f"needed {100 * config.min_intrinsics_gain:.1f} %"
    )
    return IntrinsicsReport(gain >= config.min_intrinsics_gain or mode == "on", reason, before, after)


def _object_to(refined: Camera, given: Camera, mode: RefinementMode) -> str:
    """Return what speaks against a refined calibration, or ""."""
    if not _covers_image(refined, given):
        return "the refined distortion folds inside the image"
    shift = _border_shift(refined, given)
    if shift > _MAX_BORDER_SHIFT:
        return f"the border would move by {100 * shift:.0f} % of the image, of which keyframes see too little"
    change = float(np.abs(refined.focal / given.focal - 1.0).max())
    if mode == "auto" and change > MAX_FOCAL_CHANGE:
        return f"the focal length would change by {100 * change:.0f} %: rather the poses are inaccurate"
    return ""


def _held_out_errors(
    structure: Structure, views: Sequence[View], cameras: list[Camera], config: MappingConfig
) -> FloatArray:
    """Return the error of each observation, px, with landmarks at their best for these cameras.

    Clipped where triangulation stops looking, so that wrong matches count but do not decide.
    """
    adjusted = adjust_intrinsics(structure, views, cameras, [], _robust_scale(config))
    scales = np.array([focal_scale(camera) for camera in cameras])[_camera_idxs(structure, views)]
    limits = CALIBRATION_TOLERANCE * config.max_reprojection_error_px * scales
    return np.minimum(reprojection_errors(adjusted.structure, views, cameras), limits)


def _folds(count: int) -> NDArray[np.int64]:
    """Return fold 0 or 1 for each keyframe, in turns by short blocks of neighbours.

    Neighbours share tracks, so that a fold alone still has a structure; long blocks would be
    judged by the drift of their own poses.
    """
    folds: NDArray[np.int64] = np.arange(count) // _BLOCK_VIEWS % 2
    return folds


def _seen_from(structure: Structure, allowed: NDArray[np.bool_]) -> Structure:
    return structure.keep_observations(allowed[structure.view_idx], min_track_length=2)


def _longest_tracks(structure: Structure, count: int) -> Structure:
    """Return the best-observed landmarks: more of them would only take longer."""
    order = np.argsort(-structure.track_lengths, kind="stable")[:count]
    chosen = np.zeros(structure.num_landmarks, np.bool_)
    chosen[order] = True
    return structure.keep_observations(chosen[structure.landmark_idx], min_track_length=2)


def _landmarks_of(structure: Structure, views: Sequence[View], camera_idx: int) -> Structure:
    """Return the landmarks that a camera sees, with all their observers."""
    seen = np.zeros(structure.num_landmarks, np.bool_)
    seen[structure.landmark_idx[_camera_idxs(structure, views) == camera_idx]] = True
    return structure.keep_observations(seen[structure.landmark_idx], min_track_length=2)


def _camera_idxs(structure: Structure, views: Sequence[View]) -> NDArray[np.int64]:
    return np.array([view.camera_idx for view in views], np.int64)[structure.view_idx]


def _observation_counts(structure: Structure, views: Sequence[View], num_cameras: int) -> NDArray[np.int64]:
    return np.bincount(_camera_idxs(structure, views), minlength=num_cameras).astype(np.int64)


def _robust_scale(config: MappingConfig) -> float:
    return 0.5 * config.max_reprojection_error_px


def _covers_image(refined: Camera, given: Camera) -> bool:
    """Tell whether every border pixel that had a ray still has one."""
    border = _border(given)
    before, after = (np.isfinite(camera.undistort(border)).all(axis=1) for camera in (given, refined))
    return bool((after | ~before).all())


def _border_shift(refined: Camera, given: Camera) -> float:
    """Return how far the border pixel that moves most does, in diagonals of the image."""
    border = _border(given)
    rays = given.undistort(border)
    shifts = np.linalg.norm(refined.project(np.column_stack([rays, np.ones(len(rays))])) - border, axis=1)
    return float(np.nan_to_num(shifts).max() / np.hypot(*given.size_wh))


def _border(camera: Camera) -> FloatArray:
    """Return pixels [N, 2] along the border of the image."""
    width, height = camera.size_wh
    x, y = np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9)
    return np.array([(u, v) for u in x for v in y if u in (x[0], x[-1]) or v in (y[0], y[-1])])


def _focal_text(camera: Camera) -> str:
    return f"({camera.focal[0]:.1f}, {camera.focal[1]:.1f})"


def _distortion_text(camera: Camera) -> str:
    return "[" + ", ".join(f"{value:.4f}" for value in camera.distortion) + "]"
