"""The calibrations of one camera_info topic, as they come: which of them holds for an image."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from typing import Any

from hfnet_ros.errors import CalibrationError, MessageError
from hfnet_ros.geometry.calibration import Calibration
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.messages.camera_info import calibration_from_message
from hfnet_ros.messages.headers import plain_frame_id, stamp_from_message
from hfnet_ros.types import Frame, ImageArray

_RECTIFIED = {"rect", "rectified", "undistorted"}
_MOST_LAPSED = 60  # calibrations of a frame that are remembered: of images that wait while a camera zooms
# A calibration that comes back so often within so many messages takes turns with another one.
_RETURNS, _WITHIN = 3, 60


class TopicCalibrations:
    """Takes CameraInfo; gives each image the last usable one of its own optical frame, of its time where that changes.

    Two drivers may share a topic and tell their cameras apart by `header.frame_id`. Where no calibration
    names the frame of any image, the newest one stands in, as drivers disagree about names. A message that
    cannot be used leaves the one before in force.

    Attributes:
        topic: of the calibrations.
        problem: why the last message could not be used; empty if it could, or none has come.
    """

    def __init__(self, topic: str, image_topic: str) -> None:
        """Take the names of both topics; that of the images says whether they are rectified."""
        self.topic = topic
        self._image_topic = image_topic
        self._stated: dict[str, Calibration] = {}
        self._problems: dict[str, str] = {}
        self._cameras: dict[str, Camera] = {}
        self._newest: Camera | None = None
        self._names_agree = False
        self._former: dict[str, Camera] = {}
        # Of each frame, since which stamp which one is stated, ns.
        self._since: defaultdict[str, deque[tuple[int, Camera]]] = defaultdict(
            lambda: deque(maxlen=_MOST_LAPSED)
        )
        self._num_taken: defaultdict[str, int] = defaultdict(int)
        self._returned: defaultdict[str, deque[int]] = defaultdict(lambda: deque(maxlen=_RETURNS))
        self.problem = ""

    def take(self, message: Any) -> bool:
        """Take a sensor_msgs/CameraInfo; tell whether it replaced another calibration of its frame.

        Raises:
            CalibrationError: it cannot be used, which `problem` then says, too.
        """
        stated, frame_id = calibration_from_message(message), plain_frame_id(message.header.frame_id)
        before = self._stated.get(frame_id)
        self._num_taken[frame_id] += 1
        # Thirty a second say the same; what they say is checked once.
        is_new = before is None or not before.is_same_as(stated)
        replaced = is_new and self._check(frame_id, stated, _stamp_ns(message))
        self.problem = self._problems.get(frame_id, "")
        if self.problem:
            raise CalibrationError(self.problem)
        self._newest = self._cameras[frame_id]
        return replaced

    def _check(self, frame_id: str, stated: Calibration, stamp_ns: int) -> bool:
        """Take what is stated of a frame, or why it cannot be used; tell whether it replaced another calibration."""
        self._stated[frame_id] = stated
        try:
            camera = stated.camera(rectified=is_rectified(self._image_topic))
        except CalibrationError as error:
            self._problems[frame_id] = f"{self.topic}: {error}"
            return False
        self._problems.pop(frame_id, None)
        known = self._cameras.get(frame_id)
        # Records that are told apart by identity stay the same while the calibration does.
        if known is not None and known.is_same_as(camera):
            return False
        self._since[frame_id].append((stamp_ns, camera))
        self._cameras[frame_id] = camera
        if known is None:
            return False
        former, self._former[frame_id] = self._former.get(frame_id), known
        if former is not None and former.is_same_as(camera):
            self._returned[frame_id].append(self._num_taken[frame_id])
        return True

    def camera_of(self, frame_id: str, stamp_ns: int | None = None) -> Camera:
        """Return the calibration of the images of an optical frame.

        Args:
            frame_id: optical frame of the image.
            stamp_ns: time of the image. One that is stated since later is not meant, unless all are, as by another
                clock. None for the newest.

        Raises:
            CalibrationError: there is none yet, with the reason.
        """
        camera = self._cameras.get(frame_id)
        if camera is not None:
            self._names_agree = True
            return camera if stamp_ns is None else self._camera_at(frame_id, stamp_ns, camera)
        if self._newest is None:
            raise CalibrationError(self.problem or f"{self.topic}: no camera_info has come")
        if self._names_agree:
            raise CalibrationError(
                self._problems.get(frame_id)
                or f"{self.topic}: no camera_info of '{frame_id}' yet, only of {', '.join(map(repr, self._cameras))}; "
                "images and their camera_info have to name the same optical frame"
            )
        return self._newest

    def _camera_at(self, frame_id: str, stamp_ns: int, newest: Camera) -> Camera:
        stated = reversed(tuple(self._since[frame_id]))
        return next((camera for since_ns, camera in stated if since_ns <= stamp_ns), newest)

    def frame(self, stamp_ns: int, image: ImageArray, frame_id: str) -> Frame:
        """Return an image with its calibration.

        Raises:
            CalibrationError: as `camera_of`.
            ImageError: it is not of the calibration's size.
        """
        camera = self.camera_of(frame_id, stamp_ns)
        camera.check_size(image.shape, self._image_topic)
        return Frame(stamp_ns, image, camera, frame_id)

    @property
    def refused(self) -> tuple[str, ...]:
        """Why the last message of each frame could not be used, of those that could not."""
        return tuple(self._problems.values())

    @property
    def contested(self) -> tuple[str, ...]:
        """Tell of each frame of which two calibrations take turns."""
        return tuple(
            f"{self.topic}: calibrations of '{frame_id}' take turns, with focal lengths of "
            f"{' and '.join(sorted(map(_focal, (self._former[frame_id], self._cameras[frame_id]))))} px, as where two "
            f"nodes publish them; keep one (`ros2 topic info -v {self.topic}` names them)"
            for frame_id, returned in list(self._returned.items())
            if len(returned) == _RETURNS and self._num_taken[frame_id] - returned[0] <= _WITHIN
        )

    @property
    def is_known(self) -> bool:
        """Tell whether there is a usable calibration."""
        return self._newest is not None


def _focal(camera: Camera) -> str:
    return f"({camera.focal[0]:.1f}, {camera.focal[1]:.1f})"


def _stamp_ns(message: Any) -> int:
    """Return the stamp of a message; 0, since ever, where it cannot be used."""
    try:
        return stamp_from_message(message.header.stamp)
    except MessageError:
        return 0


def is_rectified(image_topic: str) -> bool:
    """Tell by the name of an image topic whether its images are rectified, as by image_proc or a stereo driver."""
    return not _RECTIFIED.isdisjoint(re.split("[^a-z]+", image_topic.lower()))
