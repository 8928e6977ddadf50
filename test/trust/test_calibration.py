"""Calibrating the covariance: known noise is recovered, and held-out errors become honest."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.errors import DatasetError
from hfnet_ros.evaluation import QueryResult
from hfnet_ros.geometry import Rigid3
from hfnet_ros.geometry.covariance import rotate_covariance
from hfnet_ros.map.visual_map import CovarianceCalibration, MapConsistency, VisualMap
from hfnet_ros.trust.calibration import (
    MIN_QUERIES,
    calibrate,
    calibrated_covariances,
    fit_calibration,
    measure_honesty,
    observe_errors,
)
from hfnet_ros.types import Evidence, Localization, Outcome, PoseEstimate

SELF_TEST = np.diag([1e-4] * 3 + [4e-6] * 3)


def make_map(self_test=SELF_TEST):
    """A map of nothing but its self-test; calibration looks at nothing else."""
    covariance = () if self_test is None else tuple(self_test.ravel().tolist())
    empty, no_rows = np.empty(0), np.empty((0, 1))
    arrays = {
        field.name: no_rows if field.name.endswith(("descriptors", "_xy")) else empty
        for field in dataclasses.fields(VisualMap)
        if field.name.startswith(("keyframe_", "observation_", "landmark_", "global_"))
    }
    return VisualMap(
        frame_id="map",
        extractor_id="fake-1",
        cameras=(),
        consistency=MapConsistency(2.0, 0.01, 0.002, 20, covariance),
        **arrays,
    )


def reprojection_of(rng):
    """A covariance [6, 6] of the size reprojection errors give, camera axes."""
    spread = rng.normal(size=(6, 8)) * np.array([3e-3] * 3 + [1e-3] * 3)[:, None]
    return rng.uniform(0.3, 3.0) * spread @ spread.T / 8.0


def make_results(count, scale, floor, seed=0, self_test=SELF_TEST):
    """Queries whose errors follow scale * J + floor, reported as J + the self-test."""
    rng = np.random.default_rng(seed)
    results = []
    for row in range(count):
        truth = Rigid3.from_rotvec(rng.normal(size=3), 5.0 * rng.normal(size=3))
        reprojection = reprojection_of(rng)
        error = rng.multivariate_normal(np.zeros(6), scale * reprojection + floor)
        # Right multiplication: an error in camera axes.
        pose = truth @ Rigid3.from_rotvec(error[3:], error[:3])
        added = np.zeros((6, 6)) if self_test is None else self_test
        covariance = rotate_covariance(reprojection + added, pose)
        estimate = PoseEstimate(pose, covariance, np.ones(30, np.bool_), 1.0)
        answer = Localization(row, Outcome.LOCALIZED, estimate, None, Evidence(), {})
        results.append(QueryResult(f"{row}", None, row, answer, truth))
    return results


FLOOR = np.diag([0.02**2] * 3 + [0.008**2] * 3)


def test_known_noise_is_recovered():
    observed = observe_errors(make_results(600, 20.0, FLOOR), make_map())
    calibration = fit_calibration(observed)
    sigmas = np.sqrt(np.array(calibration.pose_covariance).reshape(6, 6).diagonal())
    assert calibration.num_queries == 600
    assert calibration.reprojection_scale == pytest.approx(20.0, rel=0.25)
    np.testing.assert_allclose(sigmas, [0.02] * 3 + [0.008] * 3, rtol=0.1)


def test_reprojection_covariance_is_found_behind_the_self_test():
    results = make_results(30, 1.0, FLOOR)
    observed = observe_errors(results, make_map())
    rng = np.random.default_rng(0)
    rng.normal(size=3), rng.normal(size=3)
    np.testing.assert_allclose(observed.reprojection[0], reprojection_of(rng), rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(
        observed.reported - observed.reprojection, np.tile(SELF_TEST, (30, 1, 1)), atol=1e-9
    )


@pytest.mark.parametrize("self_test", [SELF_TEST, None])
@pytest.mark.parametrize("take", ["even", "odd", "all"])
def test_held_out_queries_become_honest(take, self_test):
    results = make_results(240, 15.0, FLOOR, seed=3, self_test=self_test)
    report = calibrate(results, make_map(self_test), take)
    assert report.before.anees > 3.0
    assert 0.8 < report.after.anees < 1.25
    assert report.helps
    assert report.calibration.num_queries == (240 if take == "all" else 120)
    assert report.after.num_queries == (240 if take == "all" else 120)
    for one, two, three in report.after.coverage:
        assert 0.55 < one < 0.8
        assert 0.82 < two <= 1.0
        assert three > 0.97


def test_a_wait_counts_as_one_query():
    results = make_results(120, 15.0, FLOOR, seed=3)
    # The robot waits where it happens to be right to a millimetre; its truth jitters.
    at, rng = results[60], np.random.default_rng(5)
    waiting = []
    for _ in range(400):
        truth = at.groundtruth @ Rigid3.from_rotvec(0.002 * rng.normal(size=3), 0.002 * rng.normal(size=3))
        waiting.append(dataclasses.replace(at, groundtruth=truth))
    waited = calibrate([*results[:61], *waiting, *results[61:]], make_map())
    alone = calibrate(results, make_map())
    assert (waited.num_standing, alone.num_standing) == (400, 0)
    assert waited.calibration == alone.calibration
    assert waited.after == alone.after


def test_a_robot_that_only_waits_calibrates_nothing():
    with pytest.raises(DatasetError, match=f"1 queries were localized .* at least {MIN_QUERIES}"):
        calibrate(make_results(1, 15.0, FLOOR) * 100, make_map(), "even")


def test_a_pessimistic_self_test_is_corrected_too():
    small = np.diag([1e-8] * 3 + [1e-8] * 3)
    results = make_results(200, 1.0, small, seed=4)
    report = calibrate(results, make_map())
    assert report.before.anees < 0.3
    assert 0.75 < report.after.anees < 1.3


def test_honest_covariances_are_hardly_changed():
    results = make_results(400, 1.0, SELF_TEST, seed=5)
    report = calibrate(results, make_map())
    assert report.before.anees == pytest.approx(1.0, abs=0.15)
    assert report.calibration.reprojection_scale == pytest.approx(1.0, rel=0.5)


def test_a_few_gross_errors_do_not_decide():
    clean = make_results(300, 10.0, FLOOR, seed=6)
    spoiled = list(clean)
    for row in range(0, 300, 25):
        estimate = clean[row].localization.estimate
        off = estimate.map_from_camera @ Rigid3.from_rotvec([0.0, 0.1, 0.0], [0.3, 0.0, 0.0])
        answer = dataclasses.replace(
            clean[row].localization, estimate=dataclasses.replace(estimate, map_from_camera=off)
        )
        spoiled[row] = dataclasses.replace(clean[row], localization=answer)
    fits = [fit_calibration(observe_errors(results, make_map())) for results in (clean, spoiled)]
    sigmas = [np.sqrt(np.trace(np.array(fit.pose_covariance).reshape(6, 6)[:3, :3])) for fit in fits]
    assert sigmas[1] < 1.6 * sigmas[0]


def test_wrong_places_are_counted_and_left_out():
    results = make_results(60, 5.0, FLOOR, seed=7)
    estimate = results[4].localization.estimate
    elsewhere = Rigid3(np.eye(3), np.array([3.0, 0.0, 0.0])) @ estimate.map_from_camera
    answer = dataclasses.replace(
        results[4].localization, estimate=dataclasses.replace(estimate, map_from_camera=elsewhere)
    )
    results[4] = dataclasses.replace(results[4], localization=answer)
    report = calibrate(results, make_map())
    assert (report.num_false_fixes, report.num_localized) == (1, 59)
    assert report.calibration.num_queries == 59


def test_a_second_calibration_starts_from_the_reprojection_errors_again():
    """Calibrating a calibrated map gives the same numbers, not the remainder."""
    results = make_results(100, 8.0, FLOOR, seed=8)
    first = calibrate(results, make_map()).calibration
    again = []
    for result in results:
        estimate = result.localization.estimate
        turn = Rigid3(estimate.map_from_camera.rotation, np.zeros(3))
        in_camera = rotate_covariance(estimate.covariance, turn.inverse()) - SELF_TEST
        covariance = first.reprojection_scale * in_camera + np.array(first.pose_covariance).reshape(6, 6)
        answer = dataclasses.replace(
            result.localization,
            estimate=dataclasses.replace(estimate, covariance=rotate_covariance(covariance, turn)),
        )
        again.append(dataclasses.replace(result, localization=answer))
    second = calibrate(again, dataclasses.replace(make_map(), calibration=first)).calibration
    assert second.reprojection_scale == pytest.approx(first.reprojection_scale, rel=1e-2)
    np.testing.assert_allclose(second.pose_covariance, first.pose_covariance, rtol=1e-2, atol=1e-8)


def test_too_few_queries_are_refused():
    results = make_results(2 * MIN_QUERIES - 1, 5.0, FLOOR)
    with pytest.raises(
        DatasetError, match=f"{MIN_QUERIES - 1} queries were localized .* at least {MIN_QUERIES}"
    ):
        calibrate(results, make_map(), "odd")
    assert calibrate(results, make_map(), "even").calibration.num_queries == MIN_QUERIES


def test_queries_without_ground_truth_say_nothing():
    results = [dataclasses.replace(result, groundtruth=None) for result in make_results(50, 5.0, FLOOR)]
    with pytest.raises(DatasetError, match="0 queries were localized"):
        calibrate(results, make_map())


def test_honesty_counted_by_hand():
    errors = np.array([[1.0, 0, 0, 0, 0, 0], [3.0, 0, 0, 0, 0, 0.5]])
    covariances = np.stack([np.diag([1.0, 1, 1, 1, 1, 0.25])] * 2)
    honesty = measure_honesty(errors, covariances)
    assert honesty.anees == pytest.approx((1.0 + 9.0 + 1.0) / 12.0)
    assert honesty.coverage[0] == (0.5, 0.5, 1.0)
    assert honesty.coverage[5] == (1.0, 1.0, 1.0)


def test_the_calibration_is_applied_as_the_map_says():
    observed = observe_errors(make_results(30, 5.0, FLOOR), make_map())
    calibration = CovarianceCalibration(2.0, tuple(np.eye(6).ravel().tolist()), 30)
    applied = calibrated_covariances(observed, calibration)
    np.testing.assert_allclose(applied[0], 2.0 * observed.reprojection[0] + np.eye(6))
    scale, added = dataclasses.replace(make_map(), calibration=calibration).covariance_model
    assert scale == 2.0
    np.testing.assert_array_equal(added, np.eye(6))


def test_provenance_is_kept_with_the_calibration():
    report = calibrate(make_results(100, 5.0, FLOOR), make_map(), "even", {"images": "query"})
    source = report.calibration.source
    assert (source["take"], source["images"], source["held_out_queries"]) == ("even", "query", 50)
    assert source["anees_after"] == pytest.approx(report.after.anees, abs=1e-3)
