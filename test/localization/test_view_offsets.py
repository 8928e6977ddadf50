"""Where a rig is by the matches of one of its views."""

import dataclasses

import numpy as np
import pytest
from rig_matches import RIG, THREE, TRUTH, matches_of

from hfnet_ros.config import PoseConfig, VerificationConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.view_offsets import with_offsets
from hfnet_ros.pose.problem import ErrorModel
from hfnet_ros.pose.solver import PoseSolver
from hfnet_ros.types import RigCamera

SOLVER = PoseSolver(PoseConfig(), VerificationConfig(), ErrorModel(1.0))


def offsets(seed, turn_deg=0.0, shift_m=0.0, num=(120, 120), wrong=0):
    """Solve what a rig sees whose second camera is said to be turned and shifted in its own axes; return the shares."""
    error = Rigid3.from_rotvec([0.0, np.deg2rad(turn_deg), 0.0], [shift_m, 0.0, 0.0])
    said = (RIG[0], RigCamera(RIG[1].camera, RIG[1].rig_from_camera @ error))
    matches = matches_of(np.random.default_rng(seed), num, wrong=wrong)
    answer = SOLVER.solve(matches, said)
    assert answer.is_valid, answer.evidence.reason
    return [share.offset for share in with_offsets(answer, matches, said, PoseConfig()).views], said


@pytest.mark.parametrize(("turn_deg", "shift_m"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.05)])
def test_views_differ_by_what_the_mounting_is_off(turn_deg, shift_m):
    (first, second), said = offsets(1, turn_deg, shift_m, wrong=60)
    # By a camera that sees right the rig seems to be where the mounting that is said puts it.
    expected = RIG[1].rig_from_camera @ said[1].rig_from_camera.inverse()
    difference = second.vector - first.vector - np.concatenate([expected.translation, expected.rotvec])
    sigmas = np.sqrt(np.diag(first.covariance + second.covariance))
    assert sigmas[3:].max() < np.deg2rad(0.5)
    assert np.abs(difference / sigmas).max() < 4.5


@pytest.mark.parametrize("turn_deg", [3.0, 10.0])
def test_a_view_that_is_left_out_says_by_how_much_it_is_off(turn_deg):
    error = Rigid3.from_rotvec([0.0, np.deg2rad(turn_deg), 0.0], np.zeros(3))
    said = (*THREE[:2], RigCamera(THREE[2].camera, THREE[2].rig_from_camera @ error))
    matches = matches_of(np.random.default_rng(5), (120, 120, 120), rig=THREE, wrong=60)
    answer = SOLVER.solve(matches, said)
    assert [share.contradicts for share in answer.views] == [False, False, True]
    offset = with_offsets(answer, matches, said, PoseConfig()).views[2].offset
    assert np.rad2deg(np.linalg.norm(offset.vector[3:])) == pytest.approx(turn_deg, abs=0.3)


@pytest.mark.slow
def test_differences_scatter_as_their_covariance_says():
    distances = []
    for seed in range(60):
        (first, second), _ = offsets(seed)
        difference = second.vector - first.vector
        distances.append(difference @ np.linalg.solve(first.covariance + second.covariance, difference))
    # Squared, of six numbers; the mean of 60 has a standard deviation of 0.45.
    assert np.mean(distances) == pytest.approx(6.0, abs=1.5)


def test_who_sees_too_little_or_alone_says_nothing():
    (_, few), _ = offsets(2, num=(120, 15))
    assert few is None
    matches = matches_of(np.random.default_rng(3), (120, 0))
    answer = SOLVER.solve(matches, RIG)
    assert all(share.offset is None for share in with_offsets(answer, matches, RIG, PoseConfig()).views)


def test_the_answer_is_not_touched():
    matches = matches_of(np.random.default_rng(4), (120, 120))
    answer = SOLVER.solve(matches, RIG)
    found = with_offsets(answer, matches, RIG, PoseConfig())
    assert found.estimate is answer.estimate
    assert found.estimate.map_from_camera.translation_to(TRUTH) < 0.02
    assert [dataclasses.replace(share, offset=None) for share in found.views] == list(answer.views)
