from types import SimpleNamespace

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.scene import demo_camera
from hfnet_ros.types import Frame


@pytest.fixture(scope="session")
def factory():
    return RosbagsMessages()


@pytest.fixture
def random_rigid():
    rng = np.random.default_rng(7)

    def make() -> Rigid3:
        axis = rng.normal(size=3)
        angle = rng.uniform(-3.1, 3.1)
        return Rigid3.from_rotvec(axis / np.linalg.norm(axis) * angle, rng.normal(size=3) * 5.0)

    return make


@pytest.fixture
def image_message():
    """Make a sensor_msgs/Image as a plain object, as any library's messages have these fields."""

    def make(data, width, height, encoding, step=None, is_bigendian=0):
        return SimpleNamespace(
            data=data,
            width=width,
            height=height,
            encoding=encoding,
            step=len(data) // height if step is None else step,
            is_bigendian=is_bigendian,
        )

    return make


@pytest.fixture
def frame_at():
    """Make an image of a time, ns."""
    return lambda stamp_ns: Frame(stamp_ns, np.zeros((4, 4), np.uint8), demo_camera((320, 240)))
