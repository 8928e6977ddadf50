"""The way from refined poses back to given ones, by hand."""

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.rotations import rotations_from_rotvecs
from hfnet_ros.map.given_frame import GivenFrame, mean_pose, scatter_of_few


def rows(*poses):
    return np.array([[*pose.translation, *pose.quat_xyzw] for pose in poses])


def test_a_keyframe_leads_back_to_its_own_given_pose():
    """refined -> given, its lever arm taken out: the camera lands where the given pose says, less the arm."""
    given = Rigid3.from_rotvec(np.array([0.1, -0.2, 0.3]), np.array([1.0, 2.0, 3.0]))
    refined = Rigid3.from_rotvec(np.array([0.11, -0.2, 0.28]), np.array([1.02, 1.97, 3.01]))
    arm = np.array([0.0, 0.0, 0.04])
    frame = GivenFrame(rows(given), arm[None])
    turns, shifts = frame.given_from_refined([0], (refined.rotation[None], refined.translation[None]), [0])
    back = Rigid3(turns[0], shifts[0]) @ refined @ Rigid3(np.eye(3), arm)
    np.testing.assert_allclose(back.matrix, given.matrix, atol=1e-12)


def test_the_mean_of_two_poses_and_their_scatter():
    """Two keyframes 2 cm apart in x, of weights 3 and 1: mean at a quarter, moment w1 w2 d^2, doubled for two."""
    positions = np.array([[0.0, 0.0, 0.0], [0.02, 0.0, 0.0]])
    mean, scatter = mean_pose(np.stack([np.eye(3)] * 2), positions, np.array([3.0, 1.0]))
    np.testing.assert_allclose(mean.translation, [0.005, 0.0, 0.0], atol=1e-15)
    assert scatter[0, 0] == pytest.approx(2.0 * 0.75 * 0.25 * 0.02**2)
    assert np.count_nonzero(scatter) == 1


def test_turns_are_averaged_about_the_axes_of_the_map():
    turns = rotations_from_rotvecs(np.array([[0.0, 0.0, 0.02], [0.0, 0.0, -0.02]]))
    mean, scatter = mean_pose(turns, np.zeros((2, 3)), np.ones(2))
    np.testing.assert_allclose(mean.rotation, np.eye(3), atol=1e-12)
    assert scatter[5, 5] == pytest.approx(2.0 * 0.02**2, rel=1e-3)


def test_one_keyframe_has_no_scatter():
    _, scatter = mean_pose(np.eye(3)[None], np.zeros((1, 3)), np.ones(1))
    np.testing.assert_array_equal(scatter, np.zeros((6, 6)))


def test_few_keyframes_scatter_along_all_axes():
    """Two alike in weight, 2 cm apart in x: of 4 cm2 / 2 in one direction a seventh stays there, the rest is even."""
    _, scatter = mean_pose(np.stack([np.eye(3)] * 2), np.array([[0.0, 0, 0], [0.02, 0, 0]]), np.ones(2))
    told = np.diag(scatter_of_few(scatter, np.ones(2)))
    np.testing.assert_allclose(told[:3], 0.02**2 / 2.0 * np.array([3.0, 2.0, 2.0]) / 7.0)
    np.testing.assert_array_equal(told[3:], 0.0)


def test_the_scatter_of_few_is_that_of_the_poses_on_the_average():
    """Whatever their weights; that of `mean_pose` is half of it where two of eight have most of the weight."""
    rng, weights = np.random.default_rng(4), np.array([10.0, 8.0, 1.0, 1.0, 0.5, 0.5, 0.1, 0.1])
    sigmas = np.array([0.01, 0.01, 0.01, 0.005, 0.005, 0.005])
    found = np.zeros((6, 6))
    for _ in range(400):
        errors = sigmas * rng.normal(size=(len(weights), 6))
        _, scatter = mean_pose(rotations_from_rotvecs(errors[:, 3:]), errors[:, :3], weights)
        found += scatter_of_few(scatter, weights) / 400
    np.testing.assert_allclose(found / np.outer(sigmas, sigmas), np.eye(6), atol=0.15)


def test_few_that_agree_about_everything_have_no_scatter():
    for count in (1, 3):
        weights = np.ones(count)
        _, scatter = mean_pose(np.stack([np.eye(3)] * count), np.zeros((count, 3)), weights)
        np.testing.assert_array_equal(scatter_of_few(scatter, weights), np.zeros((6, 6)))
