"""Views of a rig that contradict each other: who is believed, who is left out, and that it is said."""

import dataclasses

import numpy as np
import pytest
from rig_matches import THREE, TRUTH, matches_of

from hfnet_ros.config import PoseConfig, VerificationConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.answers import join_matches
from hfnet_ros.pose import solver, view_poses
from hfnet_ros.pose.problem import ErrorModel
from hfnet_ros.pose.solver import PoseSolver
from hfnet_ros.types import Outcome, RigCamera

pytestmark = pytest.mark.usefixtures("solver_library")

SOLVER = PoseSolver(PoseConfig(), VerificationConfig(max_false_probability=1.0), ErrorModel(1.0))
KNOCKED = Rigid3.from_rotvec([0.0, np.deg2rad(10.0), 0.0], [0.0, 0.0, 0.0])


def knocked(view_idx, rig=THREE):
    """The rig as it is after a camera was knocked, which its calibration does not know."""
    moved = RigCamera(rig[view_idx].camera, rig[view_idx].rig_from_camera @ KNOCKED)
    return (*rig[:view_idx], moved, *rig[view_idx + 1 :])


def off_by(answer):
    pose = answer.estimate.map_from_camera
    return pose.translation_to(TRUTH), np.rad2deg(pose.rotation_to(TRUTH))


def test_views_that_agree_are_all_used():
    answer = SOLVER.solve(matches_of(np.random.default_rng(0), (60, 50, 40), rig=THREE, wrong=30), THREE)
    assert answer.is_valid
    assert not any(share.contradicts or share.problem for share in answer.views)
    assert [share.num_matches for share in answer.views] == [60, 50, 40]
    assert sum(share.num_inliers for share in answer.views) == answer.estimate.num_inliers > 110


def test_one_view_of_three_is_heard_as_if_it_were_asked_alone():
    """Of one view a quarter is right: three matches drawn from all views would be right once in 1700 times."""
    matches = matches_of(np.random.default_rng(11), (300, 0, 0), rig=THREE, wrong=225)
    nothing_right = matches_of(np.random.default_rng(12), (0, 300, 300), rig=THREE, wrong=600)
    problem = SOLVER.problem(join_matches(matches, nothing_right), THREE, None)
    best = SOLVER.first_poses(problem).best
    assert best is not None
    assert best.map_from_camera.translation_to(TRUTH) < 0.1


def test_what_views_have_said_of_their_matches_is_not_asked_again(monkeypatch):
    problem = SOLVER.problem(matches_of(np.random.default_rng(0), (60, 50, 40), rig=THREE), THREE, None)
    first = SOLVER.first_poses(problem)
    monkeypatch.setattr(
        view_poses, "absolute_pose_method", lambda _: lambda *_: pytest.fail("was asked again")
    )
    again = SOLVER.first_poses(problem, first.of_others([]))
    assert again.of_views == first.of_views
    assert again.best.score == first.best.score


@pytest.mark.parametrize("view_idx", [0, 1, 2])
def test_a_camera_that_was_knocked_is_left_out_and_named_even_if_it_sees_most(view_idx):
    counts = [50, 50, 50]
    counts[view_idx] = 90
    matches = matches_of(np.random.default_rng(1), counts, rig=knocked(view_idx))
    answer = SOLVER.solve(matches, THREE)
    assert answer.is_valid, answer.evidence.reason
    distance, angle = off_by(answer)
    assert distance < 0.03
    assert angle < 0.3
    assert [share.contradicts for share in answer.views] == [other == view_idx for other in range(3)]
    left_out = answer.views[view_idx]
    assert (left_out.num_matches, left_out.num_inliers) == (90, 0)
    assert left_out.problem.startswith("contradicts the other views")


def test_leaving_out_is_charged_to_the_evidence():
    matches = matches_of(np.random.default_rng(2), (50, 50, 50), rig=knocked(2))
    chosen = SOLVER.solve(matches, THREE).evidence.scores["evidence"]
    others = matches.chosen(matches.view_idxs != 2)
    assert SOLVER.solve(others, THREE).evidence.scores["evidence"] - chosen == pytest.approx(np.log10(3))


def test_of_two_that_contradict_each_other_nobody_knows_which_is_right():
    answer = SOLVER.solve(matches_of(np.random.default_rng(3), (60, 200, 0), rig=knocked(1)), THREE)
    assert answer.outcome is Outcome.ILL_CONDITIONED
    assert answer.evidence.reason.startswith("the views 0 and 1 contradict each other")
    assert [share.contradicts for share in answer.views] == [True, True, False]


def test_what_little_a_third_one_sees_decides():
    """Seven matches are no pose, but they are not there by chance."""
    answer = SOLVER.solve(matches_of(np.random.default_rng(4), (60, 200, 7), rig=knocked(1)), THREE)
    assert answer.is_valid, answer.evidence.reason
    assert off_by(answer)[1] < 0.5
    assert [share.contradicts for share in answer.views] == [False, True, False]


def test_a_doubted_view_loses_against_another():
    matches = matches_of(np.random.default_rng(5), (60, 200, 0), rig=knocked(1))
    answer = SOLVER.solve(matches, THREE, doubted=frozenset({1}))
    assert answer.is_valid, answer.evidence.reason
    assert off_by(answer)[1] < 0.5
    assert answer.views[1].contradicts


def test_matches_of_chance_do_not_contradict():
    """A dark view, or one that looks where there is no map, takes nothing from the others."""
    rng = np.random.default_rng(7)
    matches = matches_of(rng, (60, 60, 150), rig=THREE)
    lost = matches.view_idxs == 2
    points = matches.points3d.copy()
    points[lost] = TRUTH.translation + rng.uniform(-6.0, 6.0, (150, 3))
    answer = SOLVER.solve(dataclasses.replace(matches, points3d=points), THREE)
    assert answer.is_valid, answer.evidence.reason
    assert not answer.views[2].contradicts
    without = SOLVER.solve(matches.chosen(~lost), THREE)
    for score in ("inlier_ratio", "coverage"):
        assert answer.evidence.scores[score] == pytest.approx(without.evidence.scores[score], rel=0.02)
    assert answer.evidence.scores["evidence"] > 0.8 * without.evidence.scores["evidence"]
    assert answer.evidence.scores["uncalibrated_ratio"] < 1.1


def test_what_chance_explains_is_refused_before_it_is_refined(monkeypatch):
    monkeypatch.setattr(solver, "refine_on_inliers", lambda *_: pytest.fail("was refined"))
    matches = matches_of(np.random.default_rng(13), (200, 200, 200), rig=THREE, wrong=600)
    answer = SOLVER.solve(matches, THREE)
    assert answer.outcome is Outcome.TOO_FEW_INLIERS
    assert answer.evidence.reason.startswith("chance explains the ")
    assert sum(share.num_inliers for share in answer.views) == answer.evidence.num_inliers < 30
    assert [share.num_matches for share in answer.views] == [200, 200, 200]


def test_one_view_is_asked_nothing(monkeypatch):
    """Byte for byte the answer of one camera, whatever is doubted of it."""
    trivial = (RigCamera(THREE[0].camera),)
    matches = matches_of(np.random.default_rng(8), (80,), rig=trivial, wrong=20)
    usual = SOLVER.solve(matches, trivial)
    monkeypatch.setattr(PoseSolver, "_ask_views", lambda *_: pytest.fail("a single view was asked"))
    again = SOLVER.solve(dataclasses.replace(matches, view_idxs=None), trivial)
    assert again.estimate.map_from_camera.matrix.tobytes() == usual.estimate.map_from_camera.matrix.tobytes()
    assert again.estimate.covariance.tobytes() == usual.estimate.covariance.tobytes()
    assert again.evidence == usual.evidence
