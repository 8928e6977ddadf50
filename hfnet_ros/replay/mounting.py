"""Where the camera sits on the robot, by the transforms of a bag."""

from __future__ import annotations

from hfnet_ros.bags import BagReader, PoseSamples, read_transform
from hfnet_ros.config import Config
from hfnet_ros.errors import BagError, ConfigError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.headers import plain_frame_id
from hfnet_ros.node.mounting import parse_mounting


class BagMounting:
    """`frame_from_camera` over time: fixed, or as the bag has it for a camera that is moved."""

    def __init__(self, fixed: Rigid3 | None = None, moving: PoseSamples | None = None) -> None:
        """Take one of the two; a fixed one is valid at all times."""
        self._fixed, self._moving = fixed, moving

    def at(self, stamp_ns: int) -> Rigid3 | None:
        """Return `frame_from_camera` at a time; None where it is not known."""
        return self._fixed if self._moving is None else self._moving.at(stamp_ns)


def find_mounting(
    bag: BagReader, frame: str, camera_frame: str, config: Config, given: str = ""
) -> BagMounting:
    """Return how the camera is mounted on a frame.

    For the base frame that is what is `given` ('x y z qx qy qz qw'), else the bag's transforms, else
    `frames.base_from_camera`; for other frames the bag's transforms.

    Raises:
        BagError: nobody knows.
        ConfigError: `given` or the parameter is no mounting.
    """
    frame = plain_frame_id(frame)
    if frame in ("", camera_frame):
        return BagMounting(Rigid3.identity())
    is_base = frame == plain_frame_id(config.frames.base_frame)
    by_option = parse_mounting_option(given) if is_base else None
    if by_option is not None:
        return BagMounting(by_option)
    by_parameter = parse_mounting(config.frames.base_from_camera) if is_base else None
    try:
        samples = read_transform(bag, frame, camera_frame)
    except BagError as error:
        if by_parameter is not None:
            return BagMounting(by_parameter)
        first, *table = str(error).splitlines()
        raise BagError(
            "\n".join([f"the mounting of '{camera_frame}' on '{frame}' is unknown: {first}; give it by "
                       "--base-from-camera, or another frame by --base-frame", *table])
        ) from error  # fmt: skip
    if len(samples) == 1:
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
