"""The cameras of the robot that walks through generated scenes, where it has several."""

from __future__ import annotations

import numpy as np

from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.scene.dataset import demo_camera
from hfnet_ros.types import RigCamera


def demo_rig(count: int) -> dict[str, RigCamera]:
    """Return front, left, right and rear camera, the first `count` of them; the front camera is the rig.

    Their lenses differ: usual, fisheye, narrow and usual; so do their sizes.
    """
    fisheye = Camera(
        DistortionModel.EQUIDISTANT,
        (480, 360),
        np.array([210.0, 210.0]),
        np.array([238.5, 181.0]),
        np.array([0.02, -0.01, 0.003, -0.001]),
    )
    narrow = Camera(
        DistortionModel.PLUMB_BOB,
        (480, 360),
        np.array([420.0, 421.0]),
        np.array([241.0, 178.0]),
        np.array([-0.08, 0.02, 0.0, 0.0, 0.0]),
    )
    rig = {
        "front": RigCamera(demo_camera(), Rigid3.identity()),
        "left": RigCamera(fisheye, _mounted(-75.0, [-0.14, 0.02, -0.09])),
        "right": RigCamera(narrow, _mounted(80.0, [0.15, -0.01, -0.1])),
        "rear": RigCamera(demo_camera((480, 360)), _mounted(175.0, [0.0, 0.0, -0.25])),
    }
    return dict(list(rig.items())[:count])


def _mounted(right_deg: float, xyz_m: list[float]) -> Rigid3:
    """Return a camera turned to the right about the vertical axis of the front camera's optical frame."""
    return Rigid3.from_rotvec([0.0, np.deg2rad(right_deg), 0.0], xyz_m)
