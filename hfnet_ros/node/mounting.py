"""Where the camera sits on the robot."""

from __future__ import annotations

import logging
import math
import time

from hfnet_ros.config import CameraConfig, Config
from hfnet_ros.errors import ConfigError, TransformError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.node.transport import Transport

PARAMETER, OF_SEVERAL = "frames.base_from_camera", "cameras.base_from_camera"
_POLL_S = 0.005
_SAME_M, _SAME_RAD = 0.005, math.radians(0.5)  # as far as a mounting is given by hand
_ROUNDED_M, _ROUNDED_RAD = 1e-3, math.radians(0.05)  # by which one may be written otherwise

_logger = logging.getLogger(__name__)

_LONGEST_DELAY_S = 1.0  # a mounting whose transforms end earlier than this before the image has stopped


class CameraMounting:
    """Looks up base_from_camera: TF first, then the parameter, and never a guess.

    A camera that is turned by joints is where TF has it at the image's stamp. TF may tell that a little
    later than the image comes, and the parameter cannot stand in for it.
    """

    def __init__(self, config: Config, transport: Transport, camera: CameraConfig | None = None) -> None:
        """Take the parameters, where to look transforms up, and which of several cameras it is.

        Raises:
            ConfigError: what is given as a mounting is none.
        """
        self._base_frame = config.frames.base_frame
        self._parameter, self._given = given_mounting(config, camera or CameraConfig())
        self._wait_s = config.odometry.wait_s
        self._transport = transport
        self._is_compared = self._given is None
        self._problem = "not looked up yet, which the next image does"
        self.begin()

    def begin(self) -> None:
        """Forget where it was, and that it changed."""
        self._last: dict[str, Rigid3] = {}
        self._num_changes, self._doubt = 0, ""

    @property
    def doubt(self) -> str:
        """Return that a mounting which TF says is fixed has changed since the begin; empty if it has not."""
        return self._doubt

    @property
    def problem(self) -> str:
        """Return why the mounting is not known; empty if it is."""
        return self._problem

    def look_up(self, camera_frame: str, stamp_ns: int, *, can_wait: bool = True) -> Rigid3 | None:
        """Return base_from_camera at a time, None where nobody knows it.

        Args:
            camera_frame: optical frame of the image.
            stamp_ns: time of the image.
            can_wait: wait a little for transforms that are on their way; if not, that is no problem.
        """
        if self._base_frame in ("", camera_frame):
            self._problem = ""
            return Rigid3.identity()  # the camera's own pose is what is asked for
        if not camera_frame and self._given is None:
            self._problem = "images have an empty frame_id; let the driver name the optical frame"
            return None
        try:
            base_from_camera = self._wait_for_transform(
                camera_frame, stamp_ns, self._wait_s if can_wait else 0.0
            )
        except TransformError as error:
            if error.ahead_s is not None:
                self._problem = "" if not can_wait and _is_on_its_way(error) else str(error)
                return None
            self._problem = ""
            if self._given is None:
                self._problem = (
                    f"{error} (frames.base_frame and the frame_id of images say which frames); publish it or set "
                    f"{self._parameter}"
                )
            return self._given
        self._problem = ""
        self._compare(base_from_camera, camera_frame)
        self._note_change(base_from_camera, camera_frame)
        return base_from_camera

    def _note_change(self, base_from_camera: Rigid3, camera_frame: str) -> None:
        """Take note of another mounting where all transforms to it are static; joints may turn a camera."""
        last = self._last.setdefault(camera_frame, base_from_camera)
        off_m, off_rad = last.translation_to(base_from_camera), last.rotation_to(base_from_camera)
        if off_m <= _ROUNDED_M and off_rad <= _ROUNDED_RAD:
            return
        self._last[camera_frame] = base_from_camera
        try:
            newest_ns, _ = self._transport.look_up_transform(self._base_frame, camera_frame, None)
        except TransformError:
            return
        if newest_ns != 0:
            return
        self._num_changes += 1
        times = "once" if self._num_changes == 1 else f"{self._num_changes} times"
        self._doubt = (
            f"the static transform of '{camera_frame}' in '{self._base_frame}' changed {times} since activation, last "
            f"by {off_m:.3f} m and {math.degrees(off_rad):.1f} deg, and poses with it: do two nodes publish it? If it "
            "was corrected, activate the node anew"
        )

    def _compare(self, base_from_camera: Rigid3, camera_frame: str) -> None:
        """Say once if the parameter says something else than TF, which goes before it."""
        if self._is_compared or self._given is None:
            return
        self._is_compared = True
        off_m = self._given.translation_to(base_from_camera)
        off_rad = self._given.rotation_to(base_from_camera)
        if off_m > _SAME_M or off_rad > _SAME_RAD:
            _logger.warning(
                "%s is not used: TF has '%s' in '%s', %.3f m and %.1f deg away from it; correct TF, or publish "
                "nothing there",
                *(self._parameter, camera_frame, self._base_frame, off_m, math.degrees(off_rad)),
            )

    def _wait_for_transform(self, camera_frame: str, stamp_ns: int, wait_s: float) -> Rigid3:
        deadline_s = time.monotonic() + wait_s
        while True:
            try:
                return self._transport.look_up_transform(self._base_frame, camera_frame, stamp_ns)[1]
            except TransformError as error:
                if not _is_on_its_way(error) or time.monotonic() >= deadline_s:
                    raise
            time.sleep(_POLL_S)


def _is_on_its_way(error: TransformError) -> bool:
    return error.ahead_s is not None and error.ahead_s <= _LONGEST_DELAY_S


def given_mounting(config: Config, camera: CameraConfig) -> tuple[str, Rigid3 | None]:
    """Return the name of the parameter that may hold the mounting of a camera, and what it holds.

    Raises:
        ConfigError: that is no mounting.
    """
    if not camera.name:
        return PARAMETER, parse_mounting(config.frames.base_from_camera)
    return OF_SEVERAL, parse_mounting(camera.base_from_camera, f"{OF_SEVERAL} of '{camera.name}'")


def parse_mounting(text: str, parameter: str = PARAMETER) -> Rigid3 | None:
    """Read 'x y z qx qy qz qw' (m, unit quaternion); None for an empty text.

    Raises:
        ConfigError: these are not seven numbers with a quaternion of unit length; names the parameter.
    """
    if not text.strip():
        return None
    try:
        x, y, z, *quat_xyzw = (float(word) for word in text.replace(",", " ").split())
        norm = sum(value * value for value in quat_xyzw) ** 0.5
        if len(quat_xyzw) != 4 or abs(norm - 1.0) > 1e-2:
            raise ValueError
        return Rigid3.from_quat(quat_xyzw, [x, y, z])
    except ValueError:
        raise ConfigError(
            f"{parameter} is '{text}', expected seven numbers 'x y z qx qy qz qw' with a "
            "quaternion of length 1"
        ) from None
