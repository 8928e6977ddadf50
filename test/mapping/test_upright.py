"""Keyframes of a camera that rolls are described upright."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.config import MappingConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.upright import turns_upright
from hfnet_ros.scene import look_at


@dataclasses.dataclass
class Named:
    extractor_id: str = "upright-1"


def rolled(yaw, roll_deg):
    ahead = look_at(np.zeros(3), np.array([np.cos(yaw), np.sin(yaw), 0.0]))
    return ahead @ Rigid3.from_rotvec([0.0, 0.0, np.deg2rad(roll_deg)], np.zeros(3))


def test_only_those_that_rolled_further_than_an_extractor_stands_are_turned():
    poses = [
        rolled(0.3 * row, roll) for row, roll in enumerate([0.0, 10.0, -20.0, 90.0, -45.0, 0.0, 0.0, 5.0])
    ]
    turns = turns_upright(poses, Named(), MappingConfig())
    np.testing.assert_allclose(np.rad2deg(turns), [0.0, 0.0, 0.0, 90.0, -45.0, 0.0, 0.0, 0.0], atol=10.0)
    assert [turn == 0.0 for turn in turns] == [True, True, True, False, False, True, True, True]


def test_cameras_that_roll_anyhow_end_at_one_roll():
    rolls = np.random.default_rng(3).uniform(-180.0, 180.0, 30)
    turns = turns_upright(
        [rolled(0.2 * row, roll) for row, roll in enumerate(rolls)], Named(), MappingConfig()
    )
    left = np.deg2rad(rolls) - turns
    mean = np.angle(np.mean(np.exp(1j * left)))
    assert np.abs(np.angle(np.exp(1j * (left - mean)))).max() < np.deg2rad(46.0)


@pytest.mark.parametrize(
    ("extractor_id", "config"),
    [("rootsift-1", MappingConfig()), ("upright-1", MappingConfig(turn_keyframes=False))],
)
def test_sift_and_whoever_does_not_want_it_get_none(extractor_id, config):
    assert turns_upright([rolled(0.0, 0.0), rolled(0.1, 90.0)], Named(extractor_id), config) is None


def test_a_map_says_what_is_up_for_images_that_are_added():
    turns = turns_upright(
        [rolled(0.1, 180.0)], Named(), MappingConfig(), [rolled(0.0, 0.0), rolled(0.2, 0.0)]
    )
    assert abs(np.rad2deg(turns[0])) == pytest.approx(180.0)
