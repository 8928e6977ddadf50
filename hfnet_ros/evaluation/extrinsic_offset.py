"""A constant offset on the camera's side between estimated and true poses.

It is what a wrong mounting (hand-eye) calibration of the ground truth's marker or of
`base_link` to the camera looks like: `true_camera_from_camera` is the same motion at every pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hfnet_ros.evaluation.robust_series import median_with_sigma
from hfnet_ros.evaluation.trajectory import MAX_GAP_S, Trajectory, associate, rotation_vectors

_LEAST_POSES = 10
_SIGNIFICANT_SIGMAS = 4.0
# Below this no robot cares, however well it is known.
_LEAST_OFFSET_M, _LEAST_OFFSET_DEG = 0.01, 0.25
_LEAST_TURN_DEG = 30.0


@dataclass(frozen=True, slots=True)
class ExtrinsicOffset:
    """Median of inverse(true) @ estimated, in camera axes (x right, y down, z forward).

    Attributes:
        poses: poses compared.
        translation_m: median by axis.
        translation_sigma_m: standard error by axis; neighbouring poses count as correlated.
        rotation_deg: median rotation vector by axis.
        rotation_sigma_deg: standard error by axis.
        turned_deg: how far the camera turned, 90th percentile about its mean direction. A camera that
            hardly turns cannot tell this offset from one of the map's frame.
        significant: an axis is off by more than 4 standard errors, and by more than 1 cm or 0.25 deg.
    """

    poses: int
    translation_m: tuple[float, ...]
    translation_sigma_m: tuple[float, ...]
    rotation_deg: tuple[float, ...]
    rotation_sigma_deg: tuple[float, ...]
    turned_deg: float
    significant: bool

    def describe(self) -> str:
        """Return the warning a person should read."""
        # Adding zero turns the -0.0 of rounding into 0.0.
        metres = ", ".join(f"{round(value, 3) + 0.0:+.3f}" for value in self.translation_m)
        degrees = ", ".join(f"{round(value, 2) + 0.0:+.2f}" for value in self.rotation_deg)
        text = (
            f"Estimates are off from the ground truth by a constant ({metres}) m and ({degrees}) deg in camera "
            "axes (x right, y down, z forward); check the mounting (hand-eye) calibration behind the ground truth"
        )
        if self.turned_deg < _LEAST_TURN_DEG:
            text += (
                f" or the frame of the map: the camera turned by {self.turned_deg:.0f} deg only, "
                "too little to tell the two apart"
            )
        return f"{text}."


def measure_extrinsic_offset(
    estimated: Trajectory, groundtruth: Trajectory, max_gap_s: float = MAX_GAP_S
) -> ExtrinsicOffset | None:
    """Measure the constant offset on the camera's side; None of fewer than 10 poses.

    False fixes do not move it as long as they are the minority.

    Args:
        estimated: map_from_camera as localized.
        groundtruth: true map_from_camera.
        max_gap_s: the truth is interpolated over gaps up to this, s.
    """
    estimated, groundtruth = associate(estimated, groundtruth, max_gap_s)
    if len(estimated) < _LEAST_POSES:
        return None
    back = np.swapaxes(groundtruth.rotations, 1, 2)
    offsets = np.einsum("nij,nj->ni", back, estimated.positions - groundtruth.positions)
    turns = np.degrees(rotation_vectors(back @ estimated.rotations))
    translation, translation_sigma = zip(*(median_with_sigma(column) for column in offsets.T), strict=True)
    rotation, rotation_sigma = zip(*(median_with_sigma(column) for column in turns.T), strict=True)
    is_significant = _is_off(translation, translation_sigma, _LEAST_OFFSET_M) or _is_off(
        rotation, rotation_sigma, _LEAST_OFFSET_DEG
    )
    return ExtrinsicOffset(
        len(estimated),
        translation,
        translation_sigma,
        rotation,
        rotation_sigma,
        _turned_deg(groundtruth),
        is_significant,
    )


def _is_off(values: tuple[float, ...], sigmas: tuple[float, ...], least: float) -> bool:
    return any(
        abs(value) > least and abs(value) > _SIGNIFICANT_SIGMAS * sigma
        for value, sigma in zip(values, sigmas, strict=True)
    )


def _turned_deg(trajectory: Trajectory) -> float:
    left, _, right = np.linalg.svd(trajectory.rotations.mean(axis=0))
    mean = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    angles = np.linalg.norm(rotation_vectors(mean.T @ trajectory.rotations), axis=1)
    return float(np.degrees(np.percentile(angles, 90.0)))
