"""A truth that is read wrongly is told from a map that answers wrongly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_ros.evaluation import RunContext, summarize
from hfnet_ros.evaluation.truth_reading import find_truth_reading
from hfnet_ros.geometry import Rigid3

BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
NEW_FROM_MAP = Rigid3.from_rotvec([0.2, 0.1, 2.0], [10.0, 5.0, 2.0])


@pytest.fixture
def answered(run_results):
    """The run, on a path that also sways: 112 answers within centimetres, two of them false."""

    def sway(pose, number):
        return Rigid3.from_rotvec([0.3 * np.sin(number), 0.0, 0.0], [0.0, 0.0, np.sin(0.3 * number)]) @ pose

    def swayed(result, number):
        localization = result.localization
        if localization.estimate is not None:
            pose = sway(localization.estimate.map_from_camera, number)
            localization = replace(
                localization, estimate=replace(localization.estimate, map_from_camera=pose)
            )
        return replace(result, localization=localization, groundtruth=sway(result.groundtruth, number))

    return [swayed(result, number) for number, result in enumerate(run_results)]


def w_first(pose):
    x, y, z, w = pose.quat_xyzw
    return Rigid3(Rotation.from_quat([w, x, y, z]).as_matrix(), pose.translation)


def found(results, change):
    """What is found once the truth is written in another way."""
    changed = [replace(result, groundtruth=change(result.groundtruth)) for result in results]
    truth = [(result.stamp_ns, result.groundtruth) for result in changed]
    return find_truth_reading(changed, RunContext(groundtruth=truth))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (w_first, "quaternion's w first"),
        (Rigid3.inverse, "inverted (camera_from_map)"),
        (lambda pose: w_first(pose.inverse()), "as COLMAP writes them"),
        (
            lambda pose: Rigid3(pose.rotation @ BODY_FROM_OPTICAL.T, pose.translation),
            "x forward, y left, z up",
        ),
        (
            lambda pose: pose @ Rigid3(BODY_FROM_OPTICAL, np.array([0.4, 0.1, 0.9])).inverse(),
            "of a point beside the camera",
        ),
        (lambda pose: Rigid3(pose.rotation @ np.diag([1.0, -1.0, -1.0]), pose.translation), "OpenGL"),
        (lambda pose: Rigid3(pose.rotation, 1e3 * pose.translation), "in millimetres"),
        (lambda pose: Rigid3(pose.rotation, pose.translation[[1, 0, 2]]), "write positions as (y, x, z)"),
        (lambda pose: (NEW_FROM_MAP @ pose).inverse(), "inverted (camera_from_map) and in another frame"),
    ],
)
def test_another_reading_is_named_and_the_truth_is_at_fault(answered, change, words):
    reading = found(answered, change)
    assert words in reading.describe()
    assert reading.is_fault_of_truth
    assert reading.num_answers == 112
    assert reading.num_as_given < 56
    assert reading.num_read_so >= 108


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pose: NEW_FROM_MAP @ pose, "in another frame than the map's"),
        (lambda pose: Rigid3(pose.rotation, 1.5 * pose.translation), "1.5 times as large as the map"),
    ],
)
def test_what_the_map_itself_may_be_off_by_is_a_warning(answered, change, words):
    reading = found(answered, change)
    assert words in reading.describe()
    assert not reading.is_fault_of_truth


def sharper(result, factor=0.1):
    """The same answer with smaller errors, of which its covariance knows."""
    estimate, truth = result.localization.estimate, result.groundtruth
    off = truth.inverse() @ estimate.map_from_camera
    pose = truth @ Rigid3.from_rotvec(factor * off.rotvec, factor * off.translation)
    estimate = replace(estimate, map_from_camera=pose, covariance=factor**2 * estimate.covariance)
    return replace(result, localization=replace(result.localization, estimate=estimate))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pose: Rigid3(np.eye(3), [0.08, 0.0, 0.0]) @ pose, "in another frame than the map's"),
        (lambda pose: Rigid3(pose.rotation, pose.translation / 1.02), "0.9804 times as large as the map"),
        (
            lambda pose: Rigid3(pose.rotation, pose.translation * [1.03, 1.0, 1.0]),
            "stretched, 1.03, 1, 1 times",
        ),
        (lambda pose: pose @ Rigid3(np.eye(3), [0.08, 0.0, 0.0]), None),
        (lambda pose: pose, None),
    ],
    ids=["frame", "scale", "stretch", "mounting", "as given"],
)
def test_what_covariances_leave_open_is_named_where_it_is_small(answered, change, words):
    """Frame and scale had been called a mounting, or nothing."""
    results = [sharper(result) for result in answered if result.localization.estimate is not None]
    reading = found(results, change)
    if words is None:
        assert reading is None
        return
    assert words in reading.describe()
    assert reading.error_left < 0.25
    assert not reading.is_fault_of_truth


@pytest.fixture
def hardly_turned(answered):
    """Answers within centimetres of a camera that walked a metre and turned by 20 deg to each side."""
    rng = np.random.default_rng(3)

    def moved(result, number):
        truth = Rigid3.from_rotvec(
            np.radians([4.0 * np.sin(0.7 * number), 20.0 * np.sin(0.2 * number), 2.0 * np.cos(0.5 * number)]),
            [0.5 * np.cos(0.2 * number), 0.2 * np.sin(0.3 * number), 0.4 * np.sin(0.23 * number)],
        )
        off = Rigid3.from_rotvec(rng.normal(0.0, 0.01, 3), rng.normal(0.0, 0.02, 3))
        estimate = replace(result.localization.estimate, map_from_camera=truth @ off)
        return replace(
            result, groundtruth=truth, localization=replace(result.localization, estimate=estimate)
        )

    some = [result for result in answered if result.localization.estimate is not None][:40]
    return [moved(result, number) for number, result in enumerate(some)]


def test_a_truth_of_another_point_is_no_other_frame_nor_scale(hardly_turned):
    """One had been stretched into another frame, the other was 2.4 times as large, by 36 of 40."""
    assert found(hardly_turned, lambda pose: pose @ Rigid3(np.eye(3), [0.0, -0.2, -0.3])) is None
    body_from_camera = Rigid3(BODY_FROM_OPTICAL, np.array([0.3, 0.0, 0.5]))
    reading = found(hardly_turned, lambda pose: pose @ body_from_camera.inverse())
    assert "of a point beside the camera" in reading.describe()
    assert reading.num_read_so == 40


@pytest.mark.parametrize("rows", [2, -5])
def test_shifted_rows_are_counted(answered, rows):
    truth = [result.groundtruth for result in answered]
    shifted = [truth[min(max(row - rows, 0), len(truth) - 1)] for row in range(len(truth))]
    pairs = zip(answered, shifted, strict=True)
    results = [replace(result, groundtruth=pose) for result, pose in pairs]
    context = RunContext(groundtruth=[(result.stamp_ns, result.groundtruth) for result in results])
    reading = find_truth_reading(results, context)
    assert f"shifted by {abs(rows)} rows" in reading.describe()
    assert ("later" if rows > 0 else "earlier") in reading.describe()


def test_answers_that_are_wrong_in_many_ways_are_the_maps_fault(answered):
    rng = np.random.default_rng(0)

    def scatter(pose):
        return pose @ Rigid3.from_rotvec(rng.normal(0.0, 0.5, 3), rng.normal(0.0, 2.0, 3))

    assert found(answered, scatter) is None
    assert found(answered, lambda pose: pose) is None


def test_a_misread_truth_measures_neither_clock_nor_mounting(answered):
    inverted = [replace(result, groundtruth=result.groundtruth.inverse()) for result in answered]
    summary = summarize(inverted)
    assert len(summary["warnings"]) == 1
    assert "inverted (camera_from_map)" in summary["warnings"][0]
    assert summary["extrinsic_offset"] is None
