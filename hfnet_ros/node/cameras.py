"""The cameras of the robot: their messages in, images of one time out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hfnet_ros.config import Config
from hfnet_ros.errors import HfnetRosError
from hfnet_ros.files.camera_mask import masks_of
from hfnet_ros.geometry import Rigid3
from hfnet_ros.messages.diagnostics import ImageHealth
from hfnet_ros.messages.topics import Topic
from hfnet_ros.node.camera_input import CameraInput
from hfnet_ros.node.health_recorder import HealthRecorder
from hfnet_ros.node.mounting import CameraMounting
from hfnet_ros.node.transport import Transport
from hfnet_ros.tracking.image_groups import ImageGroup, ImageGroups
from hfnet_ros.tracking.mailbox import CameraImage, ImageJob
from hfnet_ros.types import Frame, ImageArray


@dataclass(frozen=True, slots=True, eq=False)
class _Received:
    """Stamp of an image, ns, its optical frame, and its message."""

    stamp_ns: int
    frame_id: str
    message: Any


class Cameras:
    """Groups the images of all cameras by their stamps; one camera's are groups of their own.

    Methods may be called from any thread.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        decode: Callable[[Any], ImageArray],
        recorder: HealthRecorder,
        take: Callable[[Sequence[ImageJob], int | None], None],
    ) -> None:
        """Take the parameters and the middleware.

        Args:
            config: the parameters.
            transport: the middleware.
            decode: how it decodes images.
            recorder: hears of every image.
            take: called when an image has come, with the images of one time that are together now, of several groups
                the oldest first, and with its stamp, ns; with None where images have waited long enough.

        Raises:
            ConfigError: a mounting or a mask cannot be read.
        """
        self._recorder, self._take = recorder, take
        each, sync = config.cameras.each, config.cameras
        masks = masks_of(sync, [camera.name for camera in each])
        self._inputs = [
            CameraInput(config, transport, decode, camera, masks.get(camera.name)) for camera in each
        ]
        self._last: dict[int, _Received] = {}
        self._lock = threading.Lock()  # of the groups
        self._groups = ImageGroups[_Received](len(each), sync.sync_tolerance_s, sync.sync_wait_s)

    def subscriptions(self) -> list[tuple[Topic, Callable[[Any], None]]]:
        """Return the topics to listen to, with what takes their messages."""
        wanted: list[tuple[Topic, Callable[[Any], None]]] = []
        for index, each in enumerate(self._inputs):
            wanted.append((each.topics.image, partial(self._on_image, index)))
            wanted += [(topic, each.take_camera_info) for topic in each.topics.camera_infos]
        return wanted

    def losses(self) -> dict[Topic, Callable[[int], None]]:
        """Return the topics whose lost messages are counted, with what takes how many more were lost."""
        note = self._recorder.note_lost
        return {each.topics.image: partial(note, camera=each.camera.name) for each in self._inputs}

    def clear(self) -> None:
        """Forget all calibrations."""
        for each in self._inputs:
            each.clear()

    def begin(self) -> None:
        """Forget all images, and that mountings changed."""
        for each in self._inputs:
            each.mounting.begin()
        with self._lock:
            self._groups.clear()
            self._last.clear()

    def mountings(self, config: Config, transport: Transport) -> list[CameraMounting]:
        """Return mountings by other parameters.

        Raises:
            ConfigError: one cannot be read.
        """
        return [CameraMounting(config, transport, each.camera) for each in self._inputs]

    def use_mountings(self, mountings: Sequence[CameraMounting]) -> None:
        """Look mountings up by these from now on."""
        for each, mounting in zip(self._inputs, mountings, strict=True):
            each.mounting = mounting

    def note_mountings(self) -> None:
        """Look mountings up for images that are not localized, so that diagnostics say what else is missing."""
        for index, received in list(self._last.items()):
            self._inputs[index].mounting.look_up(received.frame_id, received.stamp_ns, can_wait=False)

    def health(self, config: Config) -> tuple[ImageHealth, ...]:
        """Return how the images of each camera come, and what is missing beside them."""
        with self._lock:
            timings = [self._groups.timing(index) for index in range(len(self._inputs))]
        return tuple(
            each.health(config, self._recorder, timing if each.camera.name else None)
            for each, timing in zip(self._inputs, timings, strict=True)
        )

    def silence(self, config: Config) -> str:
        """Return where images are expected of cameras that send none, and who publishes there; empty if all send."""
        return "; ".join(each.silence for each in self.health(config) if each.is_silent)

    @property
    def due_s(self) -> float | None:
        """Return when images have waited long enough for others; None where none wait. Monotonic clock."""
        with self._lock:
            return self._groups.due_s

    def take_due(self) -> None:
        """Hand on the images that have waited long enough."""
        with self._lock:
            groups = self._groups.take_due(time.monotonic())
        self._hand_on(groups, None)

    def _on_image(self, index: int, message: Any) -> None:
        """Take a sensor_msgs/Image or CompressedImage."""
        arrived_s, each = time.monotonic(), self._inputs[index]
        received = _Received(*each.header(message), message)
        self._recorder.note_image(received.frame_id, each.camera.name)
        self._last[index] = replace(received, message=None)
        with self._lock:
            groups = self._groups.add(index, received.stamp_ns, arrived_s, received)
        self._hand_on(groups, received.stamp_ns)

    def _hand_on(self, groups: Sequence[ImageGroup[_Received]], image_ns: int | None) -> None:
        self._take([self._job(group) for group in groups], image_ns)

    def _job(self, group: ImageGroup[_Received]) -> ImageJob:
        images = tuple(map(self._image, self._inputs, group.images))
        return ImageJob(group.stamp_ns, group.arrived_s, images)

    @staticmethod
    def _image(each: CameraInput, received: _Received | None) -> CameraImage:
        if received is None:
            return CameraImage(None, lambda: None, each.camera.name)
        message, stamp_ns, frame_id = received.message, received.stamp_ns, received.frame_id

        def look_up(*, can_wait: bool = True) -> Rigid3 | None:
            return each.mounting.look_up(frame_id, stamp_ns, can_wait=can_wait)

        def read() -> Frame:
            try:
                return each.frame(message, stamp_ns, frame_id)
            except HfnetRosError:
                look_up(can_wait=False)  # so that diagnostics say what else is missing
                raise

        return CameraImage(read, look_up, each.camera.name)
