"""Refine calibrations against the structure, with the keyframes' poses held fixed.

A calibration that is a little wrong bends every landmark, and hard queries, which rely on few
and distant ones, fail first. The given poses tie the scale down, so that focal lengths and
distortion can be estimated. Whether that is an improvement is asked of keyframes that took no
part in the estimation.

Reference: Triggs et al., Bundle Adjustment - A Modern Synthesis, 1999, section 6.1 (reduced
system).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import MappingConfig
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.mapping.calibration_adjustment import adjust_intrinsics
from hfnet_ros.mapping.options import IntrinsicsMode
from hfnet_ros.mapping.triangulation import reprojection_errors
from hfnet_ros.mapping.views import Structure, View, focal_scale

# Observations this many times worse than a finished map allows take part: dropping what the
# given calibration cannot explain would prove it right.
CALIBRATION_TOLERANCE = 3.0

_logger = logging.getLogger(__name__)

_MIN_OBSERVATIONS = 500
_MIN_HELD_OUT = 400
_BLOCK_VIEWS = 3
_MAX_LANDMARKS = 5000


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
    mode: IntrinsicsMode,
    config: MappingConfig,
) -> tuple[list[Camera], list[IntrinsicsReport]]:
    """Return the calibrations to build with, and why, for each camera.

    `structure` is best triangulated with `CALIBRATION_TOLERANCE`.

    In mode "auto" a camera's refined calibration is kept only if it lowers the error of
    held-out keyframes by `min_intrinsics_gain`; in mode "on" whenever it is a usable camera;
    in mode "off" never.
    """
    if mode == "off":
        return list(cameras), [IntrinsicsReport(False, "refinement is off") for _ in cameras]
    structure = _longest_tracks(structure)
    counts = _observation_counts(structure, views, len(cameras))
    free = [idx for idx in range(len(cameras)) if counts[idx] >= _MIN_OBSERVATIONS]
    reports = _cross_validate(structure, views, cameras, free, mode, config)
    accepted = [idx for idx in free if reports[idx].kept]
    refined = list(cameras)
    if accepted:
        refined = adjust_intrinsics(structure, views, cameras, accepted, _robust_scale(config)).cameras
    for idx in accepted:
        if not _covers_image(refined[idx], cameras[idx]):
            refined[idx] = cameras[idx]
            reports[idx] = IntrinsicsReport(False, "the refined distortion folds inside the image")
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
    free: list[int],
    mode: IntrinsicsMode,
    config: MappingConfig,
) -> list[IntrinsicsReport]:
    """Decide for each camera whether refinement helps keyframes it was not fitted to.

    Keyframes, not landmarks, are held out: errors of the given poses are common to all
    landmarks of a keyframe, and calibrations that merely absorb them would pass.
    """
    folds = _folds(len(views))
    given, refined, owner = [np.empty(0)], [np.empty(0)], [np.empty(0, np.int64)]
    for fold in (0, 1):
        trained, tested = (_seen_from(structure, chosen) for chosen in (folds != fold, folds == fold))
        if trained.num_landmarks and tested.num_landmarks:
            fitted = adjust_intrinsics(trained, views, cameras, free, _robust_scale(config)).cameras
            given.append(_held_out_errors(tested, views, list(cameras), config))
            refined.append(_held_out_errors(tested, views, fitted, config))
            owner.append(_camera_idxs(tested, views))
    owners, before, after = np.concatenate(owner), np.concatenate(given), np.concatenate(refined)
    return [
        _judge(idx in free, before[owners == idx], after[owners == idx], mode, config)
        for idx in range(len(cameras))
    ]


def _judge(
    is_free: bool,
    given: NDArray[np.float64],
    refined: NDArray[np.float64],
    mode: IntrinsicsMode,
    config: MappingConfig,
) -> IntrinsicsReport:
    if not is_free:
        return IntrinsicsReport(False, f"fewer than {_MIN_OBSERVATIONS} observations")
    if len(given) < _MIN_HELD_OUT:
        kept = mode == "on"
        return IntrinsicsReport(
            kept, "refined as asked, not tested" if kept else "too few keyframes to test it"
        )
    before, after = float(np.mean(given)), float(np.mean(refined))
    enough = 1.0 - after / before >= config.min_intrinsics_gain
    reason = (
        f"held-out error {before:.2f} -> {after:.2f} px, gain {100 * (1 - after / before):.1f} %, "
        f"needed {100 * config.min_intrinsics_gain:.1f} %"
    )
    return IntrinsicsReport(enough or mode == "on", reason, before, after)


def _held_out_errors(
    structure: Structure, views: Sequence[View], cameras: list[Camera], config: MappingConfig
) -> NDArray[np.float64]:
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


def _longest_tracks(structure: Structure) -> Structure:
    """Return the best-observed landmarks: more of them would only take longer."""
    order = np.argsort(-structure.track_lengths, kind="stable")[:_MAX_LANDMARKS]
    chosen = np.zeros(structure.num_landmarks, np.bool_)
    chosen[order] = True
    return structure.keep_observations(chosen[structure.landmark_idx], min_track_length=2)


def _camera_idxs(structure: Structure, views: Sequence[View]) -> NDArray[np.int64]:
    return np.array([view.camera_idx for view in views], np.int64)[structure.view_idx]


def _observation_counts(structure: Structure, views: Sequence[View], num_cameras: int) -> NDArray[np.int64]:
    return np.bincount(_camera_idxs(structure, views), minlength=num_cameras).astype(np.int64)


def _robust_scale(config: MappingConfig) -> float:
    return 0.5 * config.max_reprojection_error_px


def _covers_image(refined: Camera, given: Camera) -> bool:
    """Tell whether every border pixel that had a ray still has one."""
    width, height = refined.size_wh
    x, y = np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9)
    border = [(u, v) for u in x for v in y if u in (x[0], x[-1]) or v in (y[0], y[-1])]
    before, after = (
        np.isfinite(camera.undistort(np.array(border))).all(axis=1) for camera in (given, refined)
    )
    return bool((after | ~before).all())


def _focal_text(camera: Camera) -> str:
    return f"({camera.focal[0]:.1f}, {camera.focal[1]:.1f})"


def _distortion_text(camera: Camera) -> str:
    return "[" + ", ".join(f"{value:.4f}" for value in camera.distortion) + "]"
