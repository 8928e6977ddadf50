"""Every way in which a pose can fail, and one in which it does not."""

from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.config import VerificationConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.verification import verify_pose
from hfnet_ros.types import Outcome

pytestmark = pytest.mark.usefixtures("solver_library")

TWIN_OFFSET_M = np.array([7.0, 0.0, 0.0])


def twin_problem(maker, num_here, num_there):
    """Matches with two places that look alike, each landmark mapped from its own place."""
    here, there = maker.scatter(num_here), maker.scatter(num_there)
    observer = maker.map_from_camera.translation
    observers = np.concatenate(
        [np.tile(observer, (num_here, 1)), np.tile(observer + TWIN_OFFSET_M, (num_there, 1))]
    )
    pixels = maker.project(np.concatenate([here, there]), 0.5)
    return maker.problem(pixels, np.concatenate([here, there + TWIN_OFFSET_M]), observers)


def plane_problem(maker, tilt_deg, distance_m, noise_px=1.0, half_size_m=0.7):
    camera_from_plane = Rigid3.from_rotvec([np.deg2rad(tilt_deg), 0.0, 0.0], [0.0, 0.0, distance_m])
    on_plane = np.column_stack([maker.rng.uniform(-half_size_m, half_size_m, (80, 2)), np.zeros(80)])
    points = maker.map_from_camera @ (camera_from_plane @ on_plane)
    return maker.problem(maker.project(points, noise_px), points)


def test_a_good_pose_is_believed(make_matches, judge):
    maker = make_matches()
    _, fit, covariance, verdict = judge(maker.mixed_problem(80, 80))
    assert verdict.outcome is Outcome.LOCALIZED
    assert fit.map_from_camera.translation_to(maker.map_from_camera) < 0.02
    assert verdict.scores["inliers"] == np.count_nonzero(fit.inlier_mask)
    assert verdict.scores["inlier_ratio"] == pytest.approx(0.5, abs=0.02)
    assert verdict.scores["coverage"] == pytest.approx(0.8, abs=0.15)
    worst = np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])
    assert verdict.scores["sigma_translation_m"] == pytest.approx(worst)
    assert verdict.scores["rival_ratio"] < 0.3


def test_few_inliers(make_matches, judge):
    verdict = judge(make_matches(1).mixed_problem(11, 0))[3]
    assert verdict.outcome is Outcome.TOO_FEW_INLIERS
    assert verdict.reason == "11 inliers, 12 needed"
    assert judge(make_matches(1).mixed_problem(11, 0), min_inliers=11)[3].outcome is Outcome.LOCALIZED


def test_inliers_in_one_corner_may_be_chance(make_matches, judge):
    maker = make_matches(2)
    slopes = maker.camera.undistort(maker.rng.uniform([300, 220], [338, 238], (60, 2)))
    depth = maker.rng.uniform(2.0, 6.0, (60, 1))
    points = maker.map_from_camera @ (np.column_stack([slopes, np.ones(60)]) * depth)
    verdict = judge(maker.problem(maker.project(points, 0.3), points))[3]
    assert verdict.scores["inliers"] == 60
    assert verdict.outcome is Outcome.TOO_FEW_INLIERS
    assert "evidence against chance" in verdict.reason


def test_a_thin_strip_of_points_leaves_a_rotation_open(make_matches, judge):
    maker = make_matches(3)
    start, end = maker.map_from_camera @ np.array([[-1.5, -0.8, 4.0], [1.8, 1.0, 5.0]])
    points = start + np.linspace(0, 1, 60)[:, None] * (end - start) + maker.rng.normal(0, 2e-3, (60, 3))
    verdict = judge(maker.problem(maker.project(points, 0.5), points))[3]
    assert verdict.outcome is Outcome.ILL_CONDITIONED
    assert verdict.reason.startswith("position is sure to")


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("max_translation_sigma_m", "position is sure to"),
        ("max_rotation_sigma_deg", "orientation is sure to"),
    ],
)
def test_limits_of_the_covariance(make_matches, judge, limit, reason):
    problem = make_matches(4).mixed_problem(60, 0)
    verdict = judge(problem, **{limit: 1e-5})[3]
    assert verdict.outcome is Outcome.ILL_CONDITIONED
    assert verdict.reason.startswith(reason)


@pytest.mark.parametrize(
    "damage", [np.zeros((6, 6)), np.full((6, 6), np.nan), np.diag([1, 1, 1, 1, 1, -1e-9])]
)
def test_an_invalid_covariance_is_never_published(make_matches, judge, damage):
    problem = make_matches(5).mixed_problem(60, 0)
    hypotheses, fit, _, _ = judge(problem)
    damaged = replace(fit, covariance=damage)
    verdict = verify_pose(problem, hypotheses, damaged, 4.0, 1000, VerificationConfig())
    assert verdict.outcome is Outcome.ILL_CONDITIONED
    assert "degrees of freedom" in verdict.reason


def test_the_other_pose_of_a_plane_is_a_rival(make_matches, judge):
    verdicts = [
        judge(plane_problem(make_matches(seed), 8.0, 10.0), max_translation_sigma_m=10.0, min_evidence=-10.0)[
            3
        ]
        for seed in range(10)
    ]
    rivals = [verdict for verdict in verdicts if verdict.reason.startswith("another pose explains")]
    assert len(rivals) >= 3
    assert all(verdict.outcome is Outcome.ILL_CONDITIONED for verdict in rivals)
    assert all(verdict.scores["rival_ratio"] > 0.97 for verdict in rivals)


def test_a_lead_that_chance_may_have_made_is_not_believed(make_matches, judge):
    lenient = {"max_translation_sigma_m": 10.0, "min_evidence": -10.0, "max_rival_ratio": 1.0}
    led = []
    for seed in range(20):
        maker = make_matches(seed)
        _, fit, _, verdict = judge(plane_problem(maker, 8.0, 8.0), **lenient)
        if verdict.reason.startswith("leads over another pose"):
            assert verdict.outcome is Outcome.ILL_CONDITIONED
            led.append(verdict.scores["lead_over_rival"])
            believed = judge(plane_problem(make_matches(seed), 8.0, 8.0), **lenient, min_lead_over_rival=0.0)[
                3
            ]
            assert believed.outcome is Outcome.LOCALIZED
        elif verdict.outcome is Outcome.LOCALIZED:
            turned = fit.map_from_camera.rotation_to(maker.map_from_camera)
            assert np.rad2deg(turned) < 8.0
    assert len(led) >= 3
    assert max(led) < 1.645


def test_a_near_plane_has_one_pose_only(make_matches, judge):
    for seed in range(10):
        verdict = judge(plane_problem(make_matches(seed), 8.0, 3.0))[3]
        assert verdict.outcome is Outcome.LOCALIZED
        assert verdict.scores["rival_ratio"] < 0.5
        assert verdict.scores["lead_over_rival"] > 3.0


def test_believed_poses_of_a_far_plane_are_within_their_covariance(make_matches, judge):
    believed = wrong = 0
    for seed in range(40):
        maker = make_matches(seed)
        problem = plane_problem(maker, tilt_deg=float(maker.rng.uniform(0, 12)), distance_m=7.0)
        _, fit, covariance, verdict = judge(problem)
        if verdict.outcome is Outcome.LOCALIZED:
            error = fit.map_from_camera.translation - maker.map_from_camera.translation
            believed += 1
            wrong += error @ np.linalg.solve(covariance[:3, :3], error) > 25.0
    assert believed > 20
    assert wrong <= 0.05 * believed


def test_another_place_that_explains_what_is_left_is_a_twin(make_matches, judge):
    verdict = judge(twin_problem(make_matches(6), 60, 60))[3]
    assert verdict.outcome is Outcome.ILL_CONDITIONED
    assert verdict.scores["twin_ratio"] == pytest.approx(1.0, abs=0.12)


def test_a_pose_that_explains_a_clear_majority_is_not_doubted_for_the_rest(make_matches, judge):
    assert judge(twin_problem(make_matches(6), 60, 25))[3].outcome is Outcome.LOCALIZED


def test_a_clear_minority_twin_is_refused_as_twin(make_matches, judge):
    verdict = judge(twin_problem(make_matches(7), 60, 48))[3]
    assert verdict.outcome is Outcome.ILL_CONDITIONED
    assert verdict.reason.startswith("another place explains")


def test_limits_are_inclusive_of_their_neighbourhood(make_matches, judge):
    """The same pose passes or fails only by the limit that is moved."""
    problem = make_matches(8).mixed_problem(60, 60)
    hypotheses, fit, _, verdict = judge(problem)
    for limits, outcome in (
        ({"min_evidence": verdict.scores["evidence"] - 0.01}, Outcome.LOCALIZED),
        ({"min_evidence": verdict.scores["evidence"] + 0.01}, Outcome.TOO_FEW_INLIERS),
        ({"max_rotation_sigma_deg": 0.99 * verdict.scores["sigma_rotation_deg"]}, Outcome.ILL_CONDITIONED),
        ({"max_rotation_sigma_deg": 1.01 * verdict.scores["sigma_rotation_deg"]}, Outcome.LOCALIZED),
    ):
        config = replace(VerificationConfig(), **limits)
        assert verify_pose(problem, hypotheses, fit, 4.0, 1000, config).outcome is outcome


def test_random_matches_are_never_believed(make_matches, judge):
    for seed in range(40):
        verdict = judge(make_matches(seed).mixed_problem(0, 40 if seed % 2 else 300))[3]
        assert verdict is None or verdict.outcome is not Outcome.LOCALIZED
