"""Non-linear refinement of a camera pose and its covariance."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.covariance import rotate_covariance
from hfnet_ros.geometry.rigid3 import Rigid3, skew
from hfnet_ros.pose.image_errors import image_errors, weigh_by_depths
from hfnet_ros.pose.jackknife import spread_of_parts, widen_beyond
from hfnet_ros.pose.problem import ErrorModel, PoseProblem
from hfnet_ros.types import PoseEstimate

FloatArray = NDArray[np.float64]

# m and rad: the step after one of this length is a hundredth of it or less, and that a hundredth of a pixel.
_STEP_TOLERANCE = 3e-4
_ROBUST_STEP_TOLERANCE = 2e-4  # scores of poses so close are the same; who needs the pose itself refines on
_MIN_DEPTH = 1e-6
_ACTIVE_SCALES = 6.0
_MIN_SIGMA_PX = 0.1
# One after the other where points are weighed by their depths, and how many steps at each.
_DEPTH_SCALES_PX = ((8.0, 1), (5.0, 1), (3.0, 1), (2.0, 5))
_MIN_FREEDOM = 20.0  # of a view, to know its noise
# Chance takes the spread of six parts so many times beyond what is reported, and beyond what is usual of white noise.
_PARTS_BEYOND, _PARTS_BEYOND_NOISE = 2.0, 5.0
_RELATIVE_DAMPING, _DAMPING = 1e-6 * np.eye(6), 1e-9 * np.eye(6)


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
    near = problem.residuals_of(starts) < _ACTIVE_SCALES * scale_px
    active = np.flatnonzero(near.any(axis=0))
    if max_matches is not None:
        active = active[:: -(-max(len(active), 1) // max_matches)]
    mountings = None
    if not problem.is_one_camera:
        active = active[np.argsort(problem.view_idxs[active], kind="stable")]
        mountings = _mountings_of_runs(problem, active)
    points3d, observed = np.ascontiguousarray(problem.points3d[active].T), problem.pinhole[active].T
    rotations = np.stack([start.rotation for start in starts])
    translations = np.stack([start.translation for start in starts])
    jacobian = np.zeros((len(starts), 6, 2, len(active)))
    for _ in range(iterations):
        points = _points_in_cameras(points3d, rotations, translations, mountings)
        residual = _weigh(points, observed, problem.focal, scale_px, jacobian)
        step = _solve_normal(*_normal_equations(jacobian, residual, mountings))
        rotations, translations = _apply_steps(rotations, translations, step)
        if np.abs(step).max() < _ROBUST_STEP_TOLERANCE:
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
    weighs = problem.cones is not None and problem.cones.depth_sigmas is not None
    estimate = start
    for scale_px, most in ((None, iterations), *(_DEPTH_SCALES_PX if weighs else ())):
        for _ in range(most):
            stepped = _stepped(problem, estimate, usable, radius_px, scale_px)
            if stepped is None:
                return None
            estimate, length = stepped
            if length < _STEP_TOLERANCE:
                break
    residual, jacobian, inlier = image_errors(problem, estimate, usable, radius_px)
    count = residual.shape[1]
    if count < 4:
        return None
    rmse_px, noise = float(np.sqrt(np.sum(residual**2) / count)), residual
    if weighs:
        residual, jacobian, weights = weigh_by_depths(
            problem, estimate, residual, jacobian, inlier, _DEPTH_SCALES_PX[-1][0]
        )
        # Those that weigh little say little of the noise, too.
        noise = residual * np.sqrt(count / weights.sum())
    rows = jacobian.reshape(6, -1)
    try:
        unit_covariance = np.linalg.inv(rows @ rows.T)
    except np.linalg.LinAlgError:
        return None
    if len(problem.cameras) == 1:
        # Few matches, or a made-up image, may fit exactly; no keypoint is that sure.
        covariance = unit_covariance * max(float(np.sum(noise**2)) / (2 * count - 6), _MIN_SIGMA_PX**2)
    else:
        covariance = _covariance_of_views(problem.view_idxs[inlier], noise, jacobian, unit_covariance)
    if errors is not None:
        covariance = errors.reprojection_scale * covariance + _map_error(problem, inlier, errors)
    # Matches on a line and the like determine no pose; verification refuses what comes of them.
    with contextlib.suppress(np.linalg.LinAlgError):
        spread, of_noise = spread_of_parts(problem, inlier, residual, jacobian)
        variance = float(np.sum(residual**2)) / max(2 * count - 6, 1)
        expected = _PARTS_BEYOND * covariance + _PARTS_BEYOND_NOISE * variance * of_noise
        covariance = widen_beyond(covariance, spread, expected)
    return PoseEstimate(estimate, rotate_to_map(covariance, estimate), inlier, rmse_px)


def _stepped(
    problem: PoseProblem,
    estimate: Rigid3,
    usable: NDArray[np.bool_],
    radius_px: float,
    scale_px: float | None,
) -> tuple[Rigid3, float] | None:
    """Return a pose after a step of least squares, and its length, m and rad; None of fewer than four inliers.

    Args:
        problem: as what follows, see `refine_on_inliers`.
        estimate: map_from_rig.
        usable: [M] bool.
        radius_px: of inliers.
        scale_px: of the weights by depth; None weighs all alike.
    """
    residual, jacobian, inlier = image_errors(problem, estimate, usable, radius_px)
    if residual.shape[1] < 4:
        return None
    if scale_px is not None:
        residual, jacobian, _ = weigh_by_depths(problem, estimate, residual, jacobian, inlier, scale_px)
    step = _solve_normal(*_normal_equations(jacobian[None], residual[None], None))
    rotations, translations = _apply_steps(estimate.rotation[None], estimate.translation[None], step)
    return Rigid3(rotations[0], translations[0]), float(np.abs(step).max())


def _covariance_of_views(
    view_idxs: NDArray[np.int64], residual: FloatArray, jacobian: FloatArray, unit_covariance: FloatArray
) -> FloatArray:
    """Return the covariance [6, 6] of a least-squares pose where each view has a noise of its own.

    All errors weigh the same, but a pixel is not the same angle in each lens, nor is each image as sharp. What a view
    takes of the six degrees of freedom is the trace of its part of the hat matrix.

    Args:
        view_idxs: [K] of the inliers.
        residual: [2, K] px of the problem.
        jacobian: [6, 2, K].
        unit_covariance: [6, 6] for a noise of one pixel.
    """
    pooled = float(np.sum(residual**2)) / (2 * len(view_idxs) - 6)
    scattered = np.zeros((6, 6))
    for view_idx in np.unique(view_idxs):
        of_view = view_idxs == view_idx
        rows = jacobian[:, :, of_view].reshape(6, -1)
        information = rows @ rows.T
        freedom = rows.shape[1] - float(np.sum(unit_covariance * information))
        variance = pooled
        if freedom >= _MIN_FREEDOM:
            variance = float(np.sum(residual[:, of_view] ** 2)) / freedom
        scattered += max(variance, _MIN_SIGMA_PX**2) * information
    return np.asarray(unit_covariance @ scattered @ unit_covariance)


def _map_error(problem: PoseProblem, inlier: NDArray[np.bool_], errors: ErrorModel) -> FloatArray:
    """Return the covariance [6, 6] that the map adds, said of a camera, in the axes of the rig.

    The error is common to what is near: views do not average it away, each brings its own by its share of inliers.
    With x_rig = R x + t, a motion (delta, omega) of a camera's frame is (R delta + t x R omega, R omega) of the rig's.
    """
    if problem.is_one_camera:
        return errors.pose_covariance
    nums = np.bincount(problem.view_idxs[inlier], minlength=len(problem.cameras))
    total = np.zeros((6, 6))
    for view, share in zip(problem.cameras, nums / nums.sum(), strict=True):
        rotation = view.rig_from_camera.rotation
        turning = skew(view.rig_from_camera.translation) @ rotation
        moved = np.block([[rotation, turning], [np.zeros((3, 3)), rotation]])
        total += share * moved @ errors.pose_covariance @ moved.T
    return total


@dataclass(frozen=True, eq=False)
class _Mounting:
    """Where a camera sits, and which matches are its.

    Attributes:
        run: the matches.
        camera_from_rig: [3, 3] rotation.
        center: [3, 1] of the camera in the rig's frame, m.
        motion: [6, 6] the motion (delta, omega) of points in the camera's frame, x' = x + delta + omega x x, by that in
            the rig's.
    """

    run: slice
    camera_from_rig: FloatArray
    center: FloatArray
    motion: FloatArray


def _mountings_of_runs(problem: PoseProblem, rows: NDArray[np.int64]) -> list[_Mounting]:
    """Return where the matches of each view lie among some that are in the order of their views, and its mounting.

    With x_camera = R' (x_rig - c), a motion (delta, omega) of the rig's points is (R' (delta - c x omega), R' omega) of
    the camera's.
    """
    ends = np.cumsum(np.bincount(problem.view_idxs[rows], minlength=len(problem.cameras))).tolist()
    mountings = []
    for start, end, view in zip([0, *ends[:-1]], ends, problem.cameras, strict=True):
        if start == end:
            continue
        back, center = view.rig_from_camera.rotation.T, view.rig_from_camera.translation
        motion = np.zeros((6, 6))
        motion[:3, :3] = motion[3:, 3:] = back
        motion[:3, 3:] = -back @ skew(center)
        mountings.append(_Mounting(slice(start, end), back, center[:, None], motion))
    return mountings


def _points_in_cameras(
    points3d: FloatArray,
    rotations: FloatArray,
    translations: FloatArray,
    mountings: Sequence[_Mounting] | None,
) -> FloatArray:
    """Return points [3, M] as the cameras of S poses of the rig have them [S, 3, M]; None is a camera at its origin."""
    turned = rotations.transpose(0, 2, 1)
    shifts = turned @ translations[:, :, None]
    if mountings is None:
        points: FloatArray = turned @ points3d
        points -= shifts
        return points
    points = np.empty((len(rotations), *points3d.shape))
    for each in mountings:
        seen = points[:, :, each.run]
        np.matmul(each.camera_from_rig @ turned, points3d[:, each.run], out=seen)
        seen -= each.camera_from_rig @ (shifts + each.center)
    return points


def _weigh(
    points: FloatArray, observed: FloatArray, focal: float, scale_px: float, jacobian: FloatArray
) -> FloatArray:
    """Return residuals [S, 2, M] times the root of their robust weight, and write their derivative, likewise weighted.

    It is that by a motion x' = x + delta + omega x x of points in the frame of their camera. Matches come last, so that
    every step is one pass over memory.

    Args:
        points: [S, 3, M] in the frame of the camera of each.
        observed: [2, M] px.
        focal: px.
        scale_px: of the robust cost.
        jacobian: [S, 6, 2, M], of zeros or written by this before.
    """
    depth = points[:, 2]
    valid = depth > _MIN_DEPTH
    are_valid = valid.all()
    inverse = 1.0 / (depth if are_valid else np.where(valid, depth, 1.0))
    slopes = points[:, :2] * inverse[:, None]
    residual = focal * slopes
    residual -= observed
    # The root of 1 / (1 + e^2 / c^2)^2, and of what is behind a camera nothing.
    weight = scale_px**2 / (scale_px**2 + np.einsum("sim,sim->sm", residual, residual))
    if not are_valid:
        weight *= valid
    residual *= weight[:, None]
    weight *= focal
    near = inverse * weight
    jacobian[:, 0, 0] = jacobian[:, 1, 1] = near
    np.multiply(slopes, -near[:, None], out=jacobian[:, 2])
    outward = slopes * weight[:, None]
    x, y = slopes[:, 0], slopes[:, 1]
    across = outward[:, 0] * y
    jacobian[:, 4, 1] = across
    np.negative(across, out=jacobian[:, 3, 0])
    np.add(weight, outward[:, 0] * x, out=jacobian[:, 4, 0])
    np.subtract(-weight, outward[:, 1] * y, out=jacobian[:, 3, 1])
    np.negative(outward[:, 1], out=jacobian[:, 5, 0])
    jacobian[:, 5, 1] = outward[:, 0]
    return residual


def _normal_equations(
    jacobian: FloatArray, residual: FloatArray, mountings: Sequence[_Mounting] | None
) -> tuple[FloatArray, FloatArray]:
    """Return the hessians [S, 6, 6] and gradients [S, 6, 1] by motions of the rig.

    Args:
        jacobian: [S, 6, 2, M] by motions in the cameras' frames.
        residual: [S, 2, M].
        mountings: of the cameras; None of one at the rig's origin.
    """
    starts = len(jacobian)
    if mountings is None:
        rows = jacobian.reshape(starts, 6, -1)
        return rows @ rows.transpose(0, 2, 1), rows @ residual.reshape(starts, -1, 1)
    hessian, gradient = np.zeros((starts, 6, 6)), np.zeros((starts, 6, 1))
    for each in mountings:
        rows = jacobian[..., each.run].reshape(starts, 6, -1)
        off = residual[..., each.run].reshape(starts, -1, 1)
        hessian += each.motion.T @ (rows @ rows.transpose(0, 2, 1)) @ each.motion
        gradient += each.motion.T @ (rows @ off)
    return hessian, gradient


def _solve_normal(hessian: FloatArray, gradient: FloatArray) -> FloatArray:
    """Return the Gauss-Newton steps [S, 6] of S problems; zero where a problem determines none.

    Args:
        hessian: [S, 6, 6], damped here.
        gradient: [S, 6, 1].
    """
    hessian += _RELATIVE_DAMPING * hessian + _DAMPING
    try:
        step = -np.linalg.solve(hessian, gradient)[:, :, 0]
    except np.linalg.LinAlgError:
        return np.zeros((len(hessian), 6))
    return np.asarray(np.where(np.isfinite(step).all(axis=1, keepdims=True), step, 0.0), np.float64)


def _apply_steps(
    rotations: FloatArray, translations: FloatArray, steps: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Move poses map_from_camera by steps of camera_from_map: x' = exp(omega) x + delta."""
    turns = np.array([cv2.Rodrigues(turn)[0] for turn in steps[:, 3:]])
    turned = rotations @ turns.transpose(0, 2, 1)
    return turned, translations - (turned @ steps[:, :3, None])[:, :, 0]


def rotate_to_map(camera_covariance: FloatArray, map_from_camera: Rigid3) -> FloatArray:
    """Express a covariance [6, 6] given in camera axes in the axes of the map.

    With R_est = R exp(-omega) and c_est = c - R delta (first order) the errors in the map are
    tau = -R delta and phi = -R omega: both signs cancel.
    """
    return rotate_covariance(camera_covariance, map_from_camera)
