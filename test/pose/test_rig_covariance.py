"""The acceptance test of covariances of rigs: draw noise 3000 times and compare, in axes of the map."""

from dataclasses import replace

import numpy as np
import pytest
from rig_matches import RIG, THREE, TRUTH, matches_of
from scipy.spatial.transform import Rotation

from hfnet_ros.pose.problem import make_problem
from hfnet_ros.pose.refinement import refine_on_inliers

pytestmark = pytest.mark.slow

NUM_DRAWS = 3000
NOISE_PX = 0.7
TOLERANCE = 0.1
# Each image has noise in its own pixels, which are other angles in each lens; one of the rigs sees more on one side.
RIGS = {"pinhole and fisheye": (RIG, (40, 40)), "three lenses": (THREE, (40, 15, 40))}


@pytest.fixture(scope="module", params=RIGS)
def draws(request):
    """Errors [N, 6] (tau, phi) and reported covariances [N, 6, 6]."""
    cameras, counts = RIGS[request.param]
    rng = np.random.default_rng(4)
    exact = make_problem(matches_of(rng, counts, 0.0, rig=cameras), cameras)
    matches, usable = exact.correspondences, np.ones(sum(counts), np.bool_)
    noisy = matches.points2d + NOISE_PX * rng.normal(size=(NUM_DRAWS, *matches.points2d.shape))
    pinhole = np.empty_like(noisy)
    for view_idx, view in enumerate(cameras):
        of_view = matches.views == view_idx
        slopes = view.camera.undistort(noisy[:, of_view].reshape(-1, 2))
        pinhole[:, of_view] = exact.focal * slopes.reshape(NUM_DRAWS, -1, 2)
    fits = []
    for points2d, undistorted in zip(noisy, pinhole, strict=True):
        problem = replace(exact, correspondences=replace(matches, points2d=points2d), pinhole=undistorted)
        fits.append(refine_on_inliers(problem, TRUTH, usable, radius_px=50.0))
    rotations = np.array([fit.map_from_camera.rotation for fit in fits])
    tau = np.array([fit.map_from_camera.translation for fit in fits]) - TRUTH.translation
    phi = Rotation.from_matrix(rotations @ TRUTH.rotation.T).as_rotvec()
    return np.hstack([tau, phi]), np.array([fit.covariance for fit in fits])


def test_reported_covariance_is_the_sampled_one(draws):
    errors, covariances = draws
    sampled, reported = errors.T @ errors / len(errors), covariances.mean(axis=0)
    sigma = np.sqrt(np.diag(reported))
    assert np.abs((sampled - reported) / np.outer(sigma, sigma)).max() < TOLERANCE
    whiten = np.linalg.inv(np.linalg.cholesky(reported))
    assert np.abs(whiten @ sampled @ whiten.T - np.eye(6)).max() < TOLERANCE


def test_estimates_are_unbiased(draws):
    errors, covariances = draws
    standard_error = np.sqrt(np.diag(covariances.mean(axis=0)) / NUM_DRAWS)
    assert (np.abs(errors.mean(axis=0)) < 4.0 * standard_error + 0.02 * errors.std(axis=0)).all()
