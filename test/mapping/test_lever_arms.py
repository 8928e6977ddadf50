"""Where given poses put a camera seen from where images show it: found, or left at zero."""

import numpy as np
import pytest

from hfnet_ros.geometry import Rigid3
from hfnet_ros.mapping.lever_arms import estimate_lever_arms
from hfnet_ros.mapping.views import View

ARM = np.array([0.03, -0.02, 0.05])


def walk(count, turn_rad, seed=0, camera_idx=0):
    """Refined keyframes that wander and turn about all axes."""
    rng = np.random.default_rng(seed)
    centers = np.cumsum(0.1 * rng.normal(size=(count, 3)), axis=0)
    turns = np.cumsum(turn_rad * rng.normal(size=(count, 3)), axis=0)
    return [
        View(None, camera_idx, Rigid3.from_rotvec(turn, center))
        for turn, center in zip(turns, centers, strict=True)
    ]


def given_with(views, arm, sigma_m, seed=1):
    rng = np.random.default_rng(seed)
    return [
        View(
            None,
            view.camera_idx,
            view.map_from_camera @ Rigid3.from_rotvec(np.zeros(3), arm + sigma_m * rng.normal(size=3)),
        )
        for view in views
    ]


def test_a_camera_beside_the_one_of_the_poses_is_found():
    refined = walk(80, 0.3)
    arms = estimate_lever_arms(given_with(refined, ARM, 0.003), refined, 1)
    np.testing.assert_allclose(arms, [ARM], atol=0.004)


def test_it_is_found_beside_keyframes_that_are_plainly_wrong():
    refined = walk(80, 0.3)
    given = given_with(refined, ARM, 0.003)
    for row in range(0, 80, 10):
        given[row] = View(None, 0, Rigid3.from_rotvec(np.zeros(3), np.ones(3)) @ given[row].map_from_camera)
    np.testing.assert_allclose(estimate_lever_arms(given, refined, 1), [ARM], atol=0.006)


def test_noise_alone_moves_no_camera_far():
    refined = walk(80, 0.3)
    arms = estimate_lever_arms(given_with(refined, np.zeros(3), 0.01), refined, 1)
    assert np.abs(arms).max() < 0.006


def test_a_camera_that_never_turns_has_none():
    """What it is off by cannot be told from where the map's origin is."""
    refined = walk(80, 0.0)
    arms = estimate_lever_arms(given_with(refined, ARM, 0.003), refined, 1)
    assert np.abs(arms).max() < 0.5 * np.abs(ARM).max()
    offset = refined[0].map_from_camera.rotation @ arms[0]
    assert np.isfinite(offset).all()


@pytest.mark.parametrize("count", [0, 19])
def test_few_keyframes_say_nothing(count):
    refined = walk(count, 0.3)
    np.testing.assert_array_equal(
        estimate_lever_arms(given_with(refined, ARM, 0.0), refined, 1), np.zeros((1, 3))
    )


def test_each_camera_has_its_own():
    first, second = walk(60, 0.3), walk(60, 0.3, seed=3, camera_idx=1)
    given = given_with(first, ARM, 0.002) + given_with(second, -ARM, 0.002)
    arms = estimate_lever_arms(given, first + second, 2)
    np.testing.assert_allclose(arms, [ARM, -ARM], atol=0.005)
