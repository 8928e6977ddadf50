"""A map of images alone whose unit and axes are known to the test only."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.bags.make import LOOKING_AHEAD
from hfnet_ros.config import OdometryConfig
from hfnet_ros.errors import BagError, MappingError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.replay.map_scale import LocalizedImage, rotation_to_z, scale_by_odometry, scale_by_rig

TURN = Rigid3.from_rotvec([1.0, -0.7, 0.3], [4.0, 5.0, 6.0])
UNIT_M = 0.25
TENTHS, EVERY_20_MS = list(range(0, 3000, 100)), list(range(-100, 3200, 20))


def in_map(robot, stamps_ns, mounting, camera="camera_optical"):
    """What localizing in such a map finds."""
    poses = [TURN @ robot.map_from_base(stamp_ns) @ mounting for stamp_ns in stamps_ns]
    return [
        LocalizedImage(stamp_ns, camera, Rigid3(pose.rotation, pose.translation / UNIT_M))
        for stamp_ns, pose in zip(stamps_ns, poses, strict=True)
    ]


def test_odometry_tells_the_unit_and_the_upward_axis(robot, tmp_path):
    path = robot.write(tmp_path / "a", TENTHS, EVERY_20_MS)
    images = in_map(robot, [robot.at(ms) for ms in TENTHS], LOOKING_AHEAD)
    with robot.sources(path) as sources:
        scale, up = scale_by_odometry(sources, images)
        assert scale.metres_per_unit == pytest.approx(UNIT_M, rel=1e-9)
        np.testing.assert_allclose(up, TURN.rotation[:, 2], atol=1e-9)
        np.testing.assert_allclose(rotation_to_z(up) @ up, [0.0, 0.0, 1.0], atol=1e-12)
        with pytest.raises(MappingError, match=r"3 images were found in the map, .* drive farther"):
            scale_by_odometry(sources, images[:3])
    without = dataclasses.replace(robot.CONFIG, odometry=OdometryConfig(source="none"))
    with robot.sources(path, without) as sources, pytest.raises(BagError, match="holds no odometry"):
        scale_by_odometry(sources, images)


def test_a_rig_tells_the_unit_without_odometry(robot, tmp_path):
    right = Rigid3(np.eye(3), np.array([0.0, -0.12, 0.0])) @ LOOKING_AHEAD
    stamps_ns = [robot.at(ms) for ms in TENTHS]
    left_bag = robot.write(tmp_path / "left", TENTHS)
    right_bag = robot.write(tmp_path / "right", TENTHS, cameras=(("right", right),))
    beside = [
        dataclasses.replace(image, stamp_ns=image.stamp_ns + 1_000_000)
        for image in in_map(robot, stamps_ns, right, "right")
    ]
    with robot.sources(left_bag) as first, robot.sources(right_bag) as second:
        scale = scale_by_rig(first, in_map(robot, stamps_ns, LOOKING_AHEAD), second, beside)
        assert scale.metres_per_unit == pytest.approx(UNIT_M, rel=1e-9)
        assert scale.num_motions == len(TENTHS)
        late = [dataclasses.replace(image, stamp_ns=image.stamp_ns + 40_000_000) for image in beside]
        with pytest.raises(MappingError, match="0 motions or baselines"):
            scale_by_rig(first, in_map(robot, stamps_ns, LOOKING_AHEAD), second, late)


@pytest.mark.parametrize("up", [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.6, 0.0, -0.8]])
def test_the_rotation_to_z_is_a_rotation(up):
    rotation = rotation_to_z(np.array(up))
    np.testing.assert_allclose(rotation @ up, [0.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
