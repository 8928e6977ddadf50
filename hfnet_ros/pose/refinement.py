"""Non-linear refinement of a camera pose and its covariance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.covariance import rotate_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.rotations import rotations_from_rotvecs
from hfnet_ros.pose.problem import ErrorModel, PoseProblem
from hfnet_ros.types import PoseEstimate

FloatArray = NDArray[np.float64]

_STEP_TOLERANCE = 1e-5  # m and rad: a hundredth of a pixel
_MIN_DEPTH = 1e-6
_ACTIVE_SCALES = 6.0
_MIN_SIGMA_PX = 0.1


def refine_robustly(
    problem: PoseProblem,
    starts: Sequence[Rigid3],
    scale_px: float,
    iterations: int = 10,
    max_matches: int | None = None,
) -> list[Rigid3]:
    """Minimise the Geman-McClure cost of all matches from several starts (iteratively reweighted).

    The cost rho = e^2 / (1 + e^2 / c^2) flattens beyond the scale c, so that matches which
    disagree with the pose stop pulling on it. The starts advance side by side in one batch.

    Args:
        problem: matches; pinhole pixels are used.
        starts: map_from_rig of each start.
        scale_px: c, px.
        iterations: at the most.
        max_matches: matches used at the most, spread evenly over their similarity.

    Reference: Zhang, "Parameter estimation techniques: a tutorial with application to conic
        fitting", IVC 1997, section 9.
    """
    if not starts:
        return []
    # Matches far beyond the scale weigh nothing and will not come back within a few steps.
    near = [problem.residuals(start) < _ACTIVE_SCALES * scale_px for start in starts]
    active = np.flatnonzero(np.any(near, axis=0))
    if max_matches is not None:
        active = active[:: -(-max(len(active), 1) // max_matches)]
    points3d, observed = problem.points3d[active], problem.pinhole[active]
    mountings = None if problem.is_one_camera else problem.mountings(active)
    rotations = np.stack([start.rotation for start in starts])
    translations = np.stack([start.translation for start in starts])
    for _ in range(iterations):
        points = (points3d - translations[:, None]) @ rotations
        residual, jacobian, valid = _pinhole_jacobian(points, observed, problem.focal, mountings)
        squared = np.einsum("smi,smi->sm", residual, residual)
        weight = np.where(valid, 1.0 / (1.0 + squared / scale_px**2) ** 2, 0.0)
        step = _solve_steps(jacobian, residual, weight)
        rotations, translations = _apply_steps(rotations, translations, step)
        if np.abs(step).max() < _STEP_TOLERANCE:
            break
    return [
        Rigid3(rotation, translation) for rotation, translation in zip(rotations, translations, strict=True)
    ]


def refine_on_inliers(
    problem: PoseProblem,
    start: Rigid3,
    usable: NDArray[np.bool_],
    radius_px: float,
    errors: ErrorModel | None = None,
    iterations: int = 8,
) -> PoseEstimate | None:
    """Minimise the squared reprojection error of the matches within a radius, chosen anew each step.

    Errors are those in the real, distorted images, at the problem's focal length.

    Args:
        problem: matches.
        start: map_from_rig.
        usable: [M] bool, matches that may become inliers.
        radius_px: largest error of an inlier.
        errors: what else the covariance has to tell of; None takes the points for exact.
        iterations: at the most.

    Returns:
        None when fewer than four inliers remain or they do not determine a pose.
    """
    estimate = start
    for _ in range(iterations):
        residual, jacobian, inlier = _distorted_jacobian(problem, estimate, usable, radius_px)
        if np.count_nonzero(inlier) < 4:
            return None
        step = _solve_steps(jacobian[None], residual[None], inlier[None].astype(np.float64))
        rotations, translations = _apply_steps(estimate.rotation[None], estimate.translation[None], step)
        estimate = Rigid3(rotations[0], translations[0])
        if np.abs(step).max() < _STEP_TOLERANCE:
            break
    residual, jacobian, inlier = _distorted_jacobian(problem, estimate, usable, radius_px)
    count = int(np.count_nonzero(inlier))
    if count < 4:
        return None
    squared = float(np.einsum("ij,ij->", residual[inlier], residual[inlier]))
    rows = jacobian[inlier].reshape(-1, 6)
    try:
        unit_covariance = np.linalg.inv(rows.T @ rows)
    except np.linalg.LinAlgError:
        return None
    # Few matches, or a made-up image, may fit exactly; no keypoint is that sure.
    variance = max(squared / (2 * count - 6), _MIN_SIGMA_PX**2)
    covariance = unit_covariance * variance
    if errors is not None:
        covariance = errors.reprojection_scale * covariance + errors.pose_covariance
    return PoseEstimate(
        estimate, rotate_to_map(covariance, estimate), inlier, float(np.sqrt(squared / count))
    )


def _pinhole_jacobian(
    points: FloatArray,
    observed: FloatArray,
    focal: float,
    mountings: tuple[FloatArray, FloatArray] | None,
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Residual [S, M, 2] and its derivative [S, M, 2, 6] for x' = x + delta + omega x x in the rig's frame.

    Args:
        points: [S, M, 3] in the rig's frame.
        observed: [M, 2] px.
        focal: px.
        mountings: rotation [M, 3, 3] and translation [M, 3] of rig_from_camera; None where they are identity.
    """
    seen = points if mountings is None else np.einsum("smi,mij->smj", points - mountings[1], mountings[0])
    valid = seen[..., 2] > _MIN_DEPTH
    inverse = 1.0 / np.where(valid, seen[..., 2], 1.0)
    x, y = seen[..., 0] * inverse, seen[..., 1] * inverse
    residual = focal * np.stack([x, y], axis=-1) - observed
    jacobian = np.zeros((*points.shape[:2], 2, 6))
    jacobian[..., 0, 0] = jacobian[..., 1, 1] = inverse
    jacobian[..., 0, 2], jacobian[..., 1, 2] = -x * inverse, -y * inverse
    if mountings is None:
        jacobian[..., 0, 3], jacobian[..., 0, 4], jacobian[..., 0, 5] = -x * y, 1.0 + x * x, -y
        jacobian[..., 1, 3], jacobian[..., 1, 4], jacobian[..., 1, 5] = -1.0 - y * y, x * y, x
    else:
        moved = np.einsum("smpj,mij->smpi", jacobian[..., :3], mountings[0])
        jacobian[..., :3] = moved
        jacobian[..., 3:] = np.cross(points[:, :, None, :], moved, axis=3)
    jacobian *= focal
    return residual, jacobian, valid


def _distorted_jacobian(
    problem: PoseProblem, estimate: Rigid3, usable: NDArray[np.bool_], radius_px: float
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    points = (problem.points3d - estimate.translation) @ estimate.rotation
    residual, by_point = _project_in_views(problem, points)
    with np.errstate(invalid="ignore"):
        near = np.hypot(residual[:, 0], residual[:, 1]) < radius_px
    # The radius in the undistorted image too: outside the lens's valid range a polynomial may
    # fold a point that is far away back into the picture.
    inlier = usable & near & (problem.residuals(estimate) < 4.0 * radius_px)
    jacobian = np.zeros((len(points), 2, 6))
    moved = by_point[inlier]
    jacobian[inlier, :, :3] = moved
    jacobian[inlier, :, 3:] = np.cross(points[inlier, None, :], moved, axis=2)
    residual = np.where(inlier[:, None], residual, 0.0)
    return residual, jacobian, inlier


def _project_in_views(problem: PoseProblem, points_rig: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return errors [M, 2] in distorted pixels, and their derivative by the point in the rig's frame [M, 2, 3]."""
    observed = problem.correspondences.points2d
    if problem.is_one_camera:
        pixels, by_point = problem.cameras[0].camera.project_with_jacobian(points_rig)
        return pixels - observed, by_point
    points, view_idxs = problem.in_cameras(points_rig), problem.view_idxs
    residual, by_rig = np.empty((len(points), 2)), np.empty((len(points), 2, 3))
    for view_idx, view in enumerate(problem.cameras):
        of_view = view_idxs == view_idx
        pixels, by_point = view.camera.project_with_jacobian(points[of_view])
        scale = problem.view_scale(view_idx)
        residual[of_view] = (pixels - observed[of_view]) / scale
        by_rig[of_view] = by_point @ view.rig_from_camera.rotation.T / scale
    return residual, by_rig


def _solve_steps(jacobian: FloatArray, residual: FloatArray, weight: FloatArray) -> FloatArray:
    """Return the Gauss-Newton steps [S, 6] of S problems; zero where a problem determines none."""
    starts, count = weight.shape
    rows = jacobian.reshape(starts, 2 * count, 6)
    weighted = (jacobian * weight[:, :, None, None]).reshape(starts, 2 * count, 6).transpose(0, 2, 1)
    hessian = weighted @ rows
    gradient = weighted @ residual.reshape(starts, 2 * count, 1)
    hessian += np.eye(6) * (1e-6 * hessian + 1e-9)
    try:
        step: FloatArray = -np.linalg.solve(hessian, gradient)[:, :, 0]
    except np.linalg.LinAlgError:
        return np.zeros((starts, 6))
    return np.where(np.isfinite(step).all(axis=1, keepdims=True), step, 0.0)


def _apply_steps(
    rotations: FloatArray, translations: FloatArray, steps: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Move poses map_from_camera by steps of camera_from_map: x' = exp(omega) x + delta."""
    turns = rotations_from_rotvecs(steps[:, 3:])
    turned = rotations @ turns.transpose(0, 2, 1)
    return turned, translations - np.einsum("sij,sj->si", turned, steps[:, :3])


def rotate_to_map(camera_covariance: FloatArray, map_from_camera: Rigid3) -> FloatArray:
    """Express a covariance [6, 6] given in camera axes in the axes of the map.

    With R_est = R exp(-omega) and c_est = c - R delta (first order) the errors in the map are
    tau = -R delta and phi = -R omega: both signs cancel.
    """
    return rotate_covariance(camera_covariance, map_from_camera)
