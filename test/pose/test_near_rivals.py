"""What poses near by, for which matches of their own speak, add to covariances."""

from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.config import PoseConfig, VerificationConfig
from hfnet_ros.geometry.covariance import is_valid_covariance
from hfnet_ros.pose.near_rivals import widen_by_near_rivals
from hfnet_ros.pose.problem import ErrorModel
from hfnet_ros.pose.solver import PoseSolver

SCALE_PX, NOISE_PX = 4.0, 0.5
ASIDE_M = np.array([0.12, 0.0, 0.0])  # in the map: a twentieth of the depth, some ten radii in the image


def two_groups(maker, num_moved, num_still, aside_m=ASIDE_M):
    """Matches on things that were moved since the map was made, and on those that were not, which have the truth."""
    moved, still = maker.scatter(num_moved, (2.0, 3.0)), maker.scatter(num_still, (2.0, 3.0))
    pixels = np.concatenate([maker.project(moved + aside_m, NOISE_PX), maker.project(still, NOISE_PX)])
    order = maker.rng.permutation(len(pixels))
    return maker.problem(pixels[order], np.concatenate([moved, still])[order])


def sigma_along(covariance, offset):
    direction = np.zeros(6)
    direction[:3] = offset / np.linalg.norm(offset)
    return float(np.sqrt(direction @ covariance @ direction))


def test_the_lesser_group_of_matches_widens_the_covariance_to_its_pose(make_matches):
    """The solver's own answer: the moved things are the more, the pose is theirs, and the truth a rival near by."""
    maker = make_matches(2)
    problem = two_groups(maker, 120, 90)
    limits = VerificationConfig(max_false_probability=1.0)
    solver = PoseSolver(PoseConfig(), limits, ErrorModel(1.0))
    answer = solver.solve_problem(problem)
    assert answer.estimate is not None, answer.evidence.reason
    offset = answer.estimate.map_from_camera.translation - maker.map_from_camera.translation
    assert np.linalg.norm(offset) == pytest.approx(0.12, abs=0.02)
    assert is_valid_covariance(answer.estimate.covariance)
    # 90 of the 210 matches that only one of both explains are for the truth: sqrt(90 / 210) of 12 cm.
    assert sigma_along(answer.estimate.covariance, offset) == pytest.approx(0.079, abs=0.01)


@pytest.mark.parametrize(
    "problem_of",
    [
        pytest.param(lambda maker: maker.mixed_problem(120, 0), id="all fit"),
        pytest.param(lambda maker: maker.mixed_problem(120, 120), id="others are wrong"),
        pytest.param(lambda maker: two_groups(maker, 120, 4), id="few fit another"),
        pytest.param(lambda maker: two_groups(maker, 120, 90, 8.0 * ASIDE_M), id="others are far"),
    ],
)
def test_without_a_rival_near_by_the_covariance_stays(make_matches, judge, problem_of):
    problem = problem_of(make_matches(3))
    hypotheses, fit, covariance, _ = judge(problem)
    widened = widen_by_near_rivals(problem, fit, hypotheses, SCALE_PX)
    np.testing.assert_allclose(widened.covariance, covariance)


def test_a_rival_within_what_is_reported_adds_nothing(make_matches, judge):
    problem = two_groups(make_matches(4), 120, 90)
    hypotheses, fit, _, _ = judge(problem)
    unsure = replace(fit, covariance=np.diag([0.2**2] * 3 + [0.1**2] * 3))
    np.testing.assert_array_equal(
        widen_by_near_rivals(problem, unsure, hypotheses, SCALE_PX).covariance, unsure.covariance
    )


def test_two_rivals_at_one_place_count_once(make_matches, judge):
    problem = two_groups(make_matches(5), 120, 90)
    hypotheses, fit, _, _ = judge(problem)
    once = widen_by_near_rivals(problem, fit, hypotheses, SCALE_PX).covariance
    twice = widen_by_near_rivals(problem, fit, [*hypotheses, *hypotheses], SCALE_PX).covariance
    assert np.trace(fit.covariance) < np.trace(once)
    np.testing.assert_allclose(twice, once, rtol=0.05)
