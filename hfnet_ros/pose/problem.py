"""The matches of one query in the form pose estimation works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX, Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import Correspondences

FloatArray = NDArray[np.float64]

_FAR_AWAY_PX = 1e6


def robust_score(residuals: FloatArray, scale_px: float) -> float:
    """Return the sum of `robust_scores`."""
    return float(np.sum(robust_scores(residuals, scale_px)))


def robust_scores(residuals: FloatArray, scale_px: float) -> FloatArray:
    """Return 1 / (1 + e^2 / c^2)^2 of each match [M]: one for a perfect match, none far away."""
    return np.asarray(1.0 / (1.0 + (residuals / scale_px) ** 2) ** 2)


@dataclass(frozen=True, eq=False)
class PoseProblem:
    """2D-3D matches of one image, with the lens taken out and what is known of each landmark.

    Attributes:
        correspondences: the matches, most similar first.
        camera: calibration of the image.
        pinhole: [M, 2] undistorted pixels relative to the principal point, at `focal`.
        focal: px, mean of both focal lengths.
        view_directions: [M, 3] unit vectors from mapping observers to the landmark.
        distance_ranges: [M, 2] m, nearest and farthest mapping observer.
        max_view_change_rad: a landmark is not recognised from further around.
        max_scale_change: nor from this many times nearer or farther.
    """

    correspondences: Correspondences
    camera: Camera
    pinhole: FloatArray
    focal: float
    view_directions: FloatArray
    distance_ranges: FloatArray
    max_view_change_rad: float
    max_scale_change: float

    @property
    def points3d(self) -> FloatArray:
        """[M, 3] landmarks, m."""
        return self.correspondences.points3d

    def pixels(self, at_reference_focal: float) -> float:
        """Scale a pixel parameter from the reference focal length to this camera's."""
        return at_reference_focal * self.focal / REFERENCE_FOCAL_PX

    def residuals(self, map_from_camera: Rigid3) -> FloatArray:
        """Return [M] reprojection distances in pinhole pixels; behind the camera is very far away."""
        points = (self.points3d - map_from_camera.translation) @ map_from_camera.rotation
        in_front = points[:, 2] > 1e-6
        depth = np.where(in_front, points[:, 2], 1.0)
        difference = self.focal * points[:, :2] / depth[:, None] - self.pinhole
        return np.where(in_front, np.hypot(difference[:, 0], difference[:, 1]), _FAR_AWAY_PX)

    def recognizable(self, map_from_camera: Rigid3) -> NDArray[np.bool_]:
        """Tell which landmarks [M] a camera there could recognise, given who observed them.

        A wrong pose often explains matches by looking at a wall's back, or from far outside.
        """
        toward = self.points3d - map_from_camera.translation
        distance = np.maximum(np.linalg.norm(toward, axis=1), 1e-9)
        cosine = np.einsum("ij,ij->i", toward, self.view_directions) / distance
        nearest, farthest = self.distance_ranges.T
        return (
            (cosine > np.cos(self.max_view_change_rad))
            & (distance < farthest * self.max_scale_change)
            & (distance > nearest / self.max_scale_change)
        )


def make_problem(
    correspondences: Correspondences,
    camera: Camera,
    view_directions: NDArray[np.floating],
    distance_ranges: NDArray[np.floating],
    max_view_change_rad: float,
    max_scale_change: float,
) -> PoseProblem:
    """Undistort the matched pixels once; matches that no ray leads to are dropped."""
    normalized = camera.undistort(correspondences.points2d)
    valid = np.isfinite(normalized).all(axis=1)
    if not valid.all():
        normalized = normalized[valid]
        view_directions, distance_ranges = view_directions[valid], distance_ranges[valid]
        correspondences = Correspondences(
            correspondences.points2d[valid],
            correspondences.points3d[valid],
            correspondences.keypoint_idxs[valid],
            correspondences.landmark_idxs[valid],
            correspondences.similarity[valid],
        )
    focal = float(camera.focal.mean())
    return PoseProblem(
        correspondences,
        camera,
        normalized * focal,
        focal,
        np.asarray(view_directions, np.float64),
        np.asarray(distance_ranges, np.float64),
        max_view_change_rad,
        max_scale_change,
    )
