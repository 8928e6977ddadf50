"""A calibration that is off by what a single image does not tell."""

import numpy as np
import pytest

from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.lens_check import LensCheck
from hfnet_ros.types import Evidence, LensRest, Localization, Outcome, PoseEstimate

CAMERA = Camera(DistortionModel.NONE, (640, 480), [500.0, 500.0], [319.5, 239.5], [])
SOUND = (0.0, 0.0, 0.0, 0.0)
SHORT = (0.03, 0.0, 0.0, 0.0)
TAKEN = np.eye(6)[:, [2, 3, 4, 0]]  # a longer focal length moves the camera along z, and so on
SIGMAS = np.array([0.01, 0.008, 0.008, 0.015])  # of one image


def answers(off, count=40, step_m=0.3, noise=1.0, seed=0, shifted=0.0, **changes):
    """Answers along a straight way, 2 m from what is seen, of images that are off by this and their noise.

    `shifted` is by how much each is shifted somewhere, over the focal length.
    """
    rng = np.random.default_rng(seed)
    for number in range(count):
        normal = np.diag(SIGMAS**-2.0) * rng.uniform(0.5, 2.0)
        told = np.array(off) + noise * rng.multivariate_normal(np.zeros(4), np.linalg.inv(normal))
        if shifted:
            told[1:3] += rng.normal(0.0, shifted, 2)
        pose = Rigid3(np.eye(3), np.array([step_m * number, 0.0, 0.0]))
        yield Localization(
            number + 1,
            Outcome.LOCALIZED,
            PoseEstimate(pose, np.eye(6), np.ones(30, bool), 1.0),
            None,
            Evidence(),
            {},
            lens=LensRest(normal, normal @ told, TAKEN, 2.0),
            **changes,
        )


def watched(off, **options):
    check = LensCheck()
    said = []
    for answer in answers(off, **options):
        check.note(CAMERA, answer)
        said.append(check.text)
    return check, said


@pytest.mark.parametrize(
    "off",
    [
        (0.008, 0.0, 0.0, 0.0),
        *(
            pytest.param(off, marks=pytest.mark.slow)
            for off in (SOUND, (0.0, 0.008, 0.0, 0.0), (0.0, 0.0, 0.0, 0.02))
        ),
    ],
)
def test_a_calibration_as_good_as_they_are_is_not_doubted(off):
    for seed in range(20):
        _, said = watched(off, seed=seed)
        assert set(said) == {""}


@pytest.mark.parametrize(
    ("off", "said"),
    [
        (SHORT, "a focal length 1.03"),
        ((-0.05, 0.0, 0.0, 0.0), "a focal length 0.9"),
        ((0.0, 0.04, 0.0, 0.0), "a centre (2"),
        ((0.0, 0.0, 0.0, -0.2), "a k1 -0.2"),
    ],
)
def test_what_is_off_is_told_with_its_numbers(off, said):
    check, before = watched(off)
    assert said in check.text
    assert before[8] == ""  # of nine images it is chance


def test_a_few_wrong_answers_are_outvoted():
    check = LensCheck()
    wrong = answers((0.3, 0.2, -0.2, 0.5), noise=3.0, seed=1)
    for number, (right, other) in enumerate(zip(answers(SOUND), wrong, strict=True)):
        check.note(CAMERA, other if number % 8 == 3 else right)
        assert check.text == ""


def test_a_robot_that_stands_proves_nothing():
    assert set(watched(SHORT, step_m=0.002)[1]) == {""}


def test_another_calibration_begins_anew_and_the_same_one_does_not():
    check, _ = watched(SHORT)
    again = Camera(DistortionModel.NONE, (640, 480), [500.0, 500.0], [319.5, 239.5], [])
    check.note(again, next(answers(SHORT)))
    assert check.text
    check.note(
        Camera(DistortionModel.NONE, (640, 480), [515.0, 515.0], [319.5, 239.5], []), next(answers(SOUND))
    )
    assert check.text == ""


def test_what_networks_say_of_pixels_proves_nothing():
    assert set(watched(SHORT, matched_by="scene")[1]) == {""}


def test_covariances_hold_what_is_off_once_it_is_told():
    """Sigmas of millimetres had stayed beside poses that were off by centimetres."""
    check, _ = watched(SOUND)
    turned = Rigid3.from_rotvec([0.0, np.pi / 2, 0.0], [1.0, 2.0, 3.0])  # its z is the map's x
    common = np.diag([4e-6] * 6)
    estimate = PoseEstimate(turned, np.diag([1e-6] * 6), np.ones(30, bool), 1.0, common)
    assert check.widened(estimate) is estimate
    check, _ = watched(SHORT)
    wider = check.widened(estimate)
    sigmas = np.sqrt(np.diag(wider.covariance))
    assert sigmas[0] == pytest.approx(0.03, abs=0.01)
    assert sigmas[[1, 2, 3, 4, 5]].max() < 0.015
    np.testing.assert_allclose(wider.common - common, wider.covariance - estimate.covariance, atol=1e-12)


def test_images_that_are_shifted_each_by_itself_are_told_and_widened_each_by_itself():
    """Of images that a camera stabilizes NEES/6 was 24, without a word."""
    check, said = watched(SOUND, shifted=0.06)
    assert said[8] == ""
    assert check.text.startswith("each image fits another centre than the calibration's, by (")
    estimate = PoseEstimate(
        Rigid3(np.eye(3), np.zeros(3)), np.diag([1e-6] * 6), np.ones(30, bool), 1.0, np.diag([4e-6] * 6)
    )
    wider = check.widened(estimate)
    np.testing.assert_allclose(np.sqrt(np.diag(wider.covariance))[[3, 4]], 0.06, atol=0.02)
    np.testing.assert_array_equal(wider.common, estimate.common)
    assert set(watched(SOUND, shifted=0.01)[1]) == {""}
