"""The acceptance test of every reported covariance: draw noise 3000 times and compare."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_ros.geometry.covariance import change_child_covariance
from hfnet_ros.pose.refinement import refine_on_inliers

NUM_DRAWS = 3000
NOISE_PX = 0.7
TOLERANCE = 0.1
LEVER_ARM_M = np.array([0.3, -0.2, 0.5])  # base origin in the camera frame
NUM_STANDARD_ERRORS = 3.3

GEOMETRIES = {
    "box of points": ("plumb_bob", 40, (2.0, 6.0)),
    "shallow scene": ("rational_polynomial", 40, (4.0, 4.3)),
    "few points": ("equidistant", 9, (1.5, 5.0)),
}


@dataclass
class Draws:
    """Errors [N, 6] (tau, phi), reported covariances [N, 6, 6] and the true pose of one geometry."""

    errors: np.ndarray
    covariances: np.ndarray
    estimates: list
    truth: object
    num_points: int


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name == "few points" else pytest.mark.slow) for name in GEOMETRIES
    ],
)
def draws(request, draw_poses):
    return draw_poses(*GEOMETRIES[request.param])


@pytest.fixture(scope="module")
def draw_poses(make_matches):
    def draw(camera, count, depth_m):
        maker = make_matches(seed=11, camera=camera)
        points = maker.scatter(count, depth_m)
        observed = maker.project(points) + NOISE_PX * maker.rng.normal(size=(NUM_DRAWS, count, 2))
        template = maker.problem(observed[0], points)
        pinhole = _undistort_all(maker.camera, observed)
        usable = np.ones(count, np.bool_)
        estimates, covariances = [], []
        for pixels, undistorted in zip(observed, pinhole, strict=True):
            matches = replace(template.correspondences, points2d=pixels)
            problem = replace(template, correspondences=matches, pinhole=undistorted)
            fit = refine_on_inliers(problem, maker.map_from_camera, usable, radius_px=50.0)
            estimates.append(fit.map_from_camera)
            covariances.append(fit.covariance)
        truth = maker.map_from_camera
        return Draws(_errors(estimates, truth), np.array(covariances), estimates, truth, count)

    return draw


def _undistort_all(camera, observed):
    """As `make_problem` does it, for all draws at once: Newton's method is quick on many points."""
    slopes = camera.undistort(observed.reshape(-1, 2))
    return (slopes * camera.focal.mean()).reshape(observed.shape)


def _errors(estimates, truth):
    rotations = np.array([estimate.rotation for estimate in estimates])
    tau = np.array([estimate.translation for estimate in estimates]) - truth.translation
    phi = Rotation.from_matrix(rotations @ truth.rotation.T).as_rotvec()
    return np.hstack([tau, phi])


def _assert_honest(errors, covariances):
    sampled, reported = errors.T @ errors / len(errors), covariances.mean(axis=0)
    sigma = np.sqrt(np.diag(reported))
    assert np.abs((sampled - reported) / np.outer(sigma, sigma)).max() < TOLERANCE
    # Strongly correlated errors hide in their sigmas: compare along the principal axes as well.
    whiten = np.linalg.inv(np.linalg.cholesky(reported))
    assert np.abs(whiten @ sampled @ whiten.T - np.eye(6)).max() < TOLERANCE


def test_batch_undistortion_is_that_of_a_problem(make_matches):
    maker = make_matches(camera="rational_polynomial")
    points = maker.scatter(20)
    pixels = maker.project(points, NOISE_PX)
    problem = maker.problem(pixels, points)
    np.testing.assert_allclose(_undistort_all(maker.camera, pixels[None])[0], problem.pinhole, atol=1e-9)


def test_reported_covariance_is_the_sampled_one(draws):
    _assert_honest(draws.errors, draws.covariances)


def test_it_stays_right_at_a_base_with_a_lever_arm(draws):
    moved = [
        change_child_covariance(covariance, estimate, LEVER_ARM_M)
        for covariance, estimate in zip(draws.covariances, draws.estimates, strict=True)
    ]
    base = np.array([estimate @ LEVER_ARM_M for estimate in draws.estimates]) - draws.truth @ LEVER_ARM_M
    _assert_honest(np.hstack([base, draws.errors[:, 3:]]), np.array(moved))


def test_normalised_errors_are_in_their_band(draws):
    """With the noise estimated from the same inliers, e^T C^-1 e / 6 follows F(6, 2M - 6)."""
    solved = np.linalg.solve(draws.covariances, draws.errors[:, :, None])[:, :, 0]
    nees = np.einsum("ni,ni->n", draws.errors, solved) / 6.0
    freedom = 2 * draws.num_points - 6
    mean = freedom / (freedom - 2)
    variance = mean**2 * 2 * (6 + freedom - 2) / (6 * (freedom - 4))
    assert nees.mean() == pytest.approx(mean, abs=NUM_STANDARD_ERRORS * np.sqrt(variance / NUM_DRAWS))


def test_estimates_are_unbiased(draws):
    standard_error = np.sqrt(np.diag(draws.covariances.mean(axis=0)) / NUM_DRAWS)
    assert (np.abs(draws.errors.mean(axis=0)) < 4.0 * standard_error + 0.02 * draws.errors.std(axis=0)).all()
