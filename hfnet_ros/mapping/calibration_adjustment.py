"""Bundle adjustment of calibrations and landmarks under fixed camera poses.

The unknowns are few numbers per camera and three per landmark. Landmarks are eliminated one by
one (Schur complement), which leaves a system as small as the calibrations.

Reference: Triggs et al., Bundle Adjustment - A Modern Synthesis, 1999, section 6.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import bsr_matrix, csr_matrix

from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.mapping.views import Structure, View, focal_scale

FloatArray = NDArray[np.float64]

_MAX_STEPS = 25
_MIN_RELATIVE_DECREASE = 1e-5
_MAX_DAMPING = 1e8
# What a calibration may be off by; holds a number that the observations do not determine.
_PRIOR_FOCAL_PART = 0.2
_PRIOR_COEFFICIENT = 1.0
_FREE_COEFFICIENTS = 4  # k1 k2 p1 p2, or the fisheye's k1 to k4
_FREE_PARAMS = 2 + _FREE_COEFFICIENTS


@dataclass(frozen=True, eq=False)
class Adjusted:
    """Calibrations and landmarks after adjustment.

    Attributes:
        cameras: all cameras, the free ones changed.
        structure: the same observations, landmarks moved.
    """

    cameras: list[Camera]
    structure: Structure


def adjust_intrinsics(
    structure: Structure,
    views: Sequence[View],
    cameras: Sequence[Camera],
    free_camera_idxs: Sequence[int],
    robust_scale_px: float,
) -> Adjusted:
    """Minimise the robust reprojection error over landmarks and free calibrations.

    Levenberg-Marquardt on a Cauchy cost. Focal lengths and the first four distortion
    coefficients of the free cameras move; principal points stay, since they hardly differ from
    a turn of the camera. With no free camera only the landmarks move.

    Args:
        structure: landmarks and observations.
        views: keypoints and fixed poses.
        cameras: calibrations to start from, by the views' `camera_idx`.
        free_camera_idxs: cameras to refine.
        robust_scale_px: scale of the Cauchy cost at the reference focal length.
    """
    problem = _Problem(structure, views, cameras, list(free_camera_idxs), robust_scale_px)
    params, xyz = problem.start, structure.xyz.copy()
    cost, damping = problem.cost(params, xyz), 1e-3
    for _ in range(_MAX_STEPS):
        system = problem.linearize(params, xyz)
        while damping < _MAX_DAMPING:
            step_params, step_xyz = system.solve(damping)
            new_cost = problem.cost(params + step_params, xyz + step_xyz)
            if new_cost < cost:
                break
            damping *= 10.0
        else:
            break
        decrease = (cost - new_cost) / cost
        params, xyz, cost, damping = params + step_params, xyz + step_xyz, new_cost, max(damping * 0.1, 1e-9)
        if decrease < _MIN_RELATIVE_DECREASE:
            break
    moved = Structure(xyz, structure.landmark_idx, structure.view_idx, structure.keypoint_idx)
    return Adjusted(problem.cameras_at(params), moved)


@dataclass(frozen=True, eq=False)
class _LinearSystem:
    """Normal equations: parameters [P], landmarks [L] with their [3, 3] blocks, and the coupling."""

    param_hessian: FloatArray  # [P, P]
    param_gradient: FloatArray  # [P]
    point_hessians: FloatArray  # [L, 3, 3]
    point_gradients: FloatArray  # [L, 3]
    coupling: csr_matrix  # [3 L, P]

    def solve(self, damping: float) -> tuple[FloatArray, FloatArray]:
        """Return the damped step of the parameters [P] and landmarks [L, 3]."""
        points = self.point_hessians.copy()
        diagonal = np.einsum("lii->li", points)
        # A landmark without parallax has a direction that nothing determines.
        diagonal += damping * diagonal + 1e-9 * diagonal.sum(axis=1, keepdims=True) + 1e-12
        inverses = np.linalg.inv(points)
        count = len(inverses)
        inverse = bsr_matrix((inverses, np.arange(count), np.arange(count + 1)))
        eliminated = inverse @ self.coupling
        reduced = self.param_hessian - np.asarray((self.coupling.T @ eliminated).todense())
        reduced += damping * np.diag(np.diag(self.param_hessian))
        flat_gradients = self.point_gradients.reshape(-1)
        right = self.param_gradient - eliminated.T @ flat_gradients
        step_params = -np.linalg.solve(reduced, right) if len(right) else np.zeros(0)
        step_points = -(inverse @ flat_gradients) - eliminated @ step_params
        return step_params, np.asarray(step_points).reshape(-1, 3)


class _Problem:
    """Residuals and derivatives; parameters are fx fy and four coefficients per free camera."""

    def __init__(
        self,
        structure: Structure,
        views: Sequence[View],
        cameras: Sequence[Camera],
        free: list[int],
        robust_scale_px: float,
    ) -> None:
        self._cameras = [
            _with_free_distortion(camera) if idx in free else camera for idx, camera in enumerate(cameras)
        ]
        self._free = free
        self._landmark_idx = structure.landmark_idx
        self._num_landmarks = structure.num_landmarks
        camera_from_map = [view.map_from_camera.inverse() for view in views]
        rotations = np.array([motion.rotation for motion in camera_from_map]).reshape(-1, 3, 3)
        translations = np.array([motion.translation for motion in camera_from_map]).reshape(-1, 3)
        self._rotations = rotations[structure.view_idx]
        self._translations = translations[structure.view_idx]
        self._pixels = np.empty((len(structure.view_idx), 2))
        for view_idx, view in enumerate(views):
            rows = np.flatnonzero(structure.view_idx == view_idx)
            self._pixels[rows] = view.keypoints[structure.keypoint_idx[rows]]
        camera_idx = np.array([view.camera_idx for view in views], np.int64)[structure.view_idx]
        self._rows = [np.flatnonzero(camera_idx == idx) for idx in range(len(cameras))]
        scales = np.array([focal_scale(camera) for camera in cameras])
        self._inverse_scale = 1.0 / (robust_scale_px * scales[camera_idx])
        self.start = np.concatenate([_params_of(self._cameras[idx]) for idx in free]) if free else np.zeros(0)
        self._prior_weight = self._prior_weights()

    def cameras_at(self, params: FloatArray) -> list[Camera]:
        """Return all cameras, the free ones with their parameters."""
        cameras = list(self._cameras)
        for position, idx in enumerate(self._free):
            cameras[idx] = _with_params(cameras[idx], params[position * _FREE_PARAMS :][:_FREE_PARAMS])
        return cameras

    def cost(self, params: FloatArray, xyz: FloatArray) -> float:
        """Return the Cauchy cost plus the prior's; infinite where a camera is impossible."""
        if (params.reshape(-1, _FREE_PARAMS)[:, :2] <= 0.0).any():
            return float("inf")
        points = self._points_in_cameras(xyz)
        total = 0.0
        for rows, camera in zip(self._rows, self.cameras_at(params), strict=True):
            residuals = (camera.project(points[rows]) - self._pixels[rows]) * self._inverse_scale[rows, None]
            squared = np.nan_to_num(np.sum(residuals**2, axis=1), nan=1e12)
            total += 0.5 * float(np.log1p(squared).sum())
        return total + 0.5 * float(np.sum(self._prior_weight * (params - self.start) ** 2))

    def linearize(self, params: FloatArray, xyz: FloatArray) -> _LinearSystem:
        """Return the normal equations of the cost, reweighted at the present residuals."""
        points = self._points_in_cameras(xyz)
        count, num_params = len(points), len(params)
        residuals = np.zeros((count, 2))
        by_point = np.zeros((count, 2, 3))
        by_params = np.zeros((count, 2, _FREE_PARAMS))
        offsets = np.zeros(count, np.int64)
        cameras = self.cameras_at(params)
        for idx, rows in enumerate(self._rows):
            pixels, jacobian = cameras[idx].project_with_jacobian(points[rows])
            residuals[rows] = pixels - self._pixels[rows]
            by_point[rows] = jacobian @ self._rotations[rows]
            if idx in self._free:
                by_params[rows] = _parameter_jacobian(cameras[idx], points[rows])
                offsets[rows] = self._free.index(idx) * _FREE_PARAMS
        usable = np.isfinite(residuals).all(axis=1)
        squared = np.sum(residuals**2, axis=1) * self._inverse_scale**2
        # Square root of the Cauchy weight; points behind a camera say nothing about direction.
        weight = np.where(usable, self._inverse_scale / np.sqrt(1.0 + squared), 0.0)
        residuals, by_point, by_params = (
            np.nan_to_num(array) * weight.reshape(-1, *[1] * (array.ndim - 1))
            for array in (residuals, by_point, by_params)
        )
        return self._normal_equations(residuals, by_point, by_params, offsets, params, num_params)

    def _normal_equations(
        self,
        residuals: FloatArray,
        by_point: FloatArray,
        by_params: FloatArray,
        offsets: NDArray[np.int64],
        params: FloatArray,
        num_params: int,
    ) -> _LinearSystem:
        count = len(residuals)
        row_starts = np.arange(2 * count + 1)
        if num_params:
            columns = np.repeat(offsets, 2)[:, None] + np.arange(_FREE_PARAMS)
            wide = csr_matrix(
                (by_params.reshape(-1), columns.reshape(-1), row_starts * _FREE_PARAMS),
                shape=(2 * count, num_params),
            )
        else:
            wide = csr_matrix((2 * count, 0))
        columns = np.repeat(self._landmark_idx * 3, 2)[:, None] + np.arange(3)
        tall = csr_matrix(
            (by_point.reshape(-1), columns.reshape(-1), row_starts * 3),
            shape=(2 * count, 3 * self._num_landmarks),
        )
        starts = np.searchsorted(self._landmark_idx, np.arange(self._num_landmarks))
        blocks = np.add.reduceat(np.einsum("nij,nik->njk", by_point, by_point), starts, axis=0)
        flat = residuals.reshape(-1)
        prior = self._prior_weight
        return _LinearSystem(
            np.asarray((wide.T @ wide).todense()) + np.diag(prior),
            wide.T @ flat + prior * (params - self.start),
            blocks,
            np.asarray(tall.T @ flat).reshape(-1, 3),
            csr_matrix(tall.T @ wide),
        )

    def _points_in_cameras(self, xyz: FloatArray) -> FloatArray:
        points: FloatArray = np.einsum("nij,nj->ni", self._rotations, xyz[self._landmark_idx])
        return points + self._translations

    def _prior_weights(self) -> FloatArray:
        sigmas = [
            np.concatenate(
                [_PRIOR_FOCAL_PART * self._cameras[idx].focal, [_PRIOR_COEFFICIENT] * _FREE_COEFFICIENTS]
            )
            for idx in self._free
        ]
        return 1.0 / np.concatenate(sigmas) ** 2 if sigmas else np.zeros(0)


def _with_free_distortion(camera: Camera) -> Camera:
    """Return the same projection in a model whose coefficients can move."""
    if camera.model is not DistortionModel.NONE:
        return camera
    return Camera(DistortionModel.PLUMB_BOB, camera.size_wh, camera.focal, camera.center, np.zeros(5))


def _params_of(camera: Camera) -> FloatArray:
    return np.concatenate([camera.focal, camera.distortion[:_FREE_COEFFICIENTS]])


def _with_params(camera: Camera, params: FloatArray) -> Camera:
    distortion = np.concatenate([params[2:], camera.distortion[_FREE_COEFFICIENTS:]])
    return Camera(camera.model, camera.size_wh, params[:2], camera.center, distortion)


def _parameter_jacobian(camera: Camera, points: FloatArray) -> FloatArray:
    """Return d pixel / d parameter [N, 2, 6]; pixels are linear in every parameter but fisheye's too.

    Central differences are exact up to rounding for a linear dependence, whatever the step;
    only the denominator of the rational model, which stays fixed, is not linear.
    """
    params = _params_of(camera)
    steps = np.concatenate([1e-3 * params[:2], np.full(_FREE_COEFFICIENTS, 1e-3)])
    jacobian = np.empty((len(points), 2, _FREE_PARAMS))
    for column, step in enumerate(steps):
        offset = np.zeros(_FREE_PARAMS)
        offset[column] = step
        ahead, behind = _with_params(camera, params + offset), _with_params(camera, params - offset)
        jacobian[:, :, column] = (ahead.project(points) - behind.project(points)) / (2.0 * step)
    return jacobian
