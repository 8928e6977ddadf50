"""Where the camera sits on the robot, by the transforms of a bag."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hfnet_ros.bags import BagReader, PoseSamples, read_transform
from hfnet_ros.config import CameraConfig, Config
from hfnet_ros.errors import BagError, ConfigError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.headers import plain_frame_id
from hfnet_ros.node.mounting import given_mounting, parse_mounting

_ROUNDED = 1e-4  # m, and of the elements of a rotation


class BagMounting:
    """`frame_from_camera` over time: fixed, or as the bag has it for a camera that is moved."""

    def __init__(self, fixed: Rigid3 | None = None, moving: PoseSamples | None = None) -> None:
        """Take one of the two; a fixed one is valid at all times, none at no time."""
        self._fixed, self._moving = fixed, moving
        self._cameras: dict[str, BagMounting] = {}
        self._find: Callable[[str], BagMounting] | None = None

    def with_others(self, camera_frame: str, find: Callable[[str], BagMounting]) -> BagMounting:
        """Return the mounting of one camera of several whose images share a topic.

        Args:
            camera_frame: of this one.
            find: looks up that of another one.
        """
        shared = BagMounting(self._fixed, self._moving)
        shared._cameras, shared._find = {camera_frame: self}, find
        return shared

    def at(self, stamp_ns: int, camera_frame: str | None = None) -> Rigid3 | None:
        """Return `frame_from_camera` at a time; None where it is not known.

        Args:
            stamp_ns: the time.
            camera_frame: optical frame of the image; None for that of the first one.
        """
        if camera_frame is not None and self._find is not None:
            if camera_frame not in self._cameras:
                self._cameras[camera_frame] = self._find(camera_frame)
            return self._cameras[camera_frame].at(stamp_ns)
        return self._fixed if self._moving is None else self._moving.at(stamp_ns)


def find_mounting(
    bag: BagReader,
    frame: str,
    camera_frame: str,
    config: Config,
    given: str = "",
    camera: CameraConfig | None = None,
) -> BagMounting:
    """Return how the cameras are mounted on a frame, of which the one that is named must be known.

    For the base frame that is what is `given` ('x y z qx qy qz qw'), else the bag's transforms, else
    `frames.base_from_camera`, of one of several cameras (`camera`) `cameras.base_from_camera`; for other frames the
    bag's transforms.

    Raises:
        BagError: nobody knows.
        ConfigError: `given` or the parameter is no mounting.
    """

    def find_other(other_frame: str) -> BagMounting:
        """Look up another camera while the bag is being read, which a second reader does not disturb."""
        try:
            with BagReader(bag.path) as again:
                return _find_one(again, frame, other_frame, config, given, camera)
        except BagError as error:
            bag.note(str(error).partition("\n")[0])
            return BagMounting()

    first = _find_one(bag, frame, camera_frame, config, given, camera)
    return first.with_others(camera_frame, find_other)


def _find_one(
    bag: BagReader, frame: str, camera_frame: str, config: Config, given: str, camera: CameraConfig | None
) -> BagMounting:
    frame = plain_frame_id(frame)
    if frame in ("", camera_frame):
        return BagMounting(Rigid3.identity())
    is_base = frame == config.frames.base_frame
    by_option = parse_mounting_option(given) if is_base else None
    if by_option is not None:
        return BagMounting(by_option)
    parameter, by_parameter = given_mounting(config, camera or CameraConfig())
    by_parameter = by_parameter if is_base else None
    try:
        samples = read_transform(bag, frame, camera_frame)
    except BagError as error:
        if by_parameter is not None:
            return BagMounting(by_parameter)
        first, *table = str(error).splitlines()
        raise BagError(
            "\n".join([f"the mounting of '{camera_frame}' on '{frame}' is unknown: {first}; give it by "
                       f"{parameter if camera is not None and camera.name else '--base-from-camera'}, or another "
                       "frame by --base-frame", *table])
        ) from error  # fmt: skip
    # Static transforms of ROS 1 come on /tf, and as seldom as once a second.
    if (
        np.ptp(samples.translations, axis=0).max() <= _ROUNDED
        and np.ptp(samples.rotations, axis=0).max() <= _ROUNDED
    ):
        return BagMounting(samples.pose(0))
    return BagMounting(moving=samples)


def parse_mounting_option(text: str) -> Rigid3 | None:
    """Read the value of --base-from-camera; None for an empty one.

    Raises:
        ConfigError: it is no mounting.
    """
    try:
        return parse_mounting(text)
    except ConfigError as error:
        raise ConfigError(str(error).replace("frames.base_from_camera", "--base-from-camera")) from None
