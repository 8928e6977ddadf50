"""What comes from a camera: images, their calibration, and what is wrong with either."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

from hfnet_ros.config import CameraConfig, Config
from hfnet_ros.errors import CalibrationError, ImageError, MessageError
from hfnet_ros.files.camera_mask import CameraMask
from hfnet_ros.messages import topics
from hfnet_ros.messages.calibrations import TopicCalibrations
from hfnet_ros.messages.diagnostics import ImageHealth
from hfnet_ros.messages.headers import plain_frame_id, stamp_from_message
from hfnet_ros.messages.images import image_from_compressed
from hfnet_ros.node.health_recorder import HealthRecorder
from hfnet_ros.node.image_clock import ImageClock
from hfnet_ros.node.mounting import CameraMounting
from hfnet_ros.node.silence import Silence, UnheardTransforms
from hfnet_ros.node.transport import Transport
from hfnet_ros.tracking.image_groups import CameraTiming
from hfnet_ros.types import Frame, ImageArray

_logger = logging.getLogger(__name__)


class CameraInput:
    """Makes frames of a camera's image messages, with the calibration of their frame that came last.

    Attributes:
        camera: what is said of it; of the only one its name is empty.
        topics: where its images and calibrations are expected.
        mounting: where it is on the robot.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        decode: Callable[[Any], ImageArray],
        camera: CameraConfig | None = None,
        mask: CameraMask | None = None,
    ) -> None:
        """Take the parameters, the middleware, what decodes a sensor_msgs/Image, which camera it is, and its mask.

        Raises:
            ConfigError: its mounting cannot be read.
        """
        self.camera = camera or CameraConfig()
        self.topics = topics.camera_topics(self.camera, config)
        self.mounting = CameraMounting(config, transport, self.camera)
        compressed = self.topics.image.type_name == topics.COMPRESSED_IMAGE.type_name
        self._decode = image_from_compressed if compressed else decode
        self._mask = mask
        self._transport = transport
        self._clock = ImageClock(transport)
        self._image_silence = Silence(self.topics.image, transport)
        self._camera_silence = Silence(self.topics.camera_infos[0], transport)
        self._unheard = UnheardTransforms(transport)
        self.clear()

    def clear(self) -> None:
        """Forget all calibrations."""
        resolved = self._transport.resolved
        self._calibrations = TopicCalibrations(
            resolved(self.topics.camera_infos[0]), resolved(self.topics.image)
        )
        self._said = set[str]()

    def take_camera_info(self, message: Any) -> None:
        """Take a calibration; one that cannot be used leaves the one before, and without any says why."""
        try:
            changed = self._calibrations.take(message)
        except CalibrationError as error:
            # Two drivers may share the topic, one of them without a calibration.
            self._say_once(str(error))
            return
        contested = self._calibrations.contested if changed else ()
        if changed and not contested:
            _logger.warning("camera_info changed; images are localized with the new calibration")
        if contested:
            self._say_once(*contested)

    def header(self, message: Any) -> tuple[int, str]:
        """Return the stamp of an image that has just come, ns, and its frame; 0 where no stamp can be used."""
        try:
            stamp_ns = stamp_from_message(message.header.stamp)
        except MessageError:
            stamp_ns = 0
        self._clock.check(stamp_ns)
        return stamp_ns, self.camera.frame or plain_frame_id(message.header.frame_id)

    def frame(self, message: Any, stamp_ns: int, frame_id: str) -> Frame:
        """Return an image with its calibration.

        Raises:
            ImageError: it cannot be decoded, has no stamp, or is not of the calibration's size or the mask's form.
            CalibrationError: there is no calibration of its frame; says who publishes one.
        """
        if stamp_ns == 0:
            raise ImageError(
                "the image has no usable stamp, so that it fits no odometry; let the driver set it"
            )
        if not self._calibrations.is_known:
            raise CalibrationError(self._camera_error())
        frame = self._calibrations.frame(stamp_ns, self._decode(message), frame_id)
        return frame if self._mask is None else dataclasses.replace(frame, image=self._mask.hide(frame.image))

    def health(
        self, config: Config, recorder: HealthRecorder, timing: CameraTiming | None = None
    ) -> ImageHealth:
        """Return how images come, how they fit those of other cameras, and what is missing beside them."""
        health = recorder.image_health(
            config,
            self._transport.resolved(self.topics.image),
            self.camera.name,
            camera_info_error=self._camera_error(),
            extrinsic_error=self._unheard.beside(self.mounting.problem),
            clock_error=self._clock.problem,
            timing=timing,
        )
        if health.is_silent:
            health = dataclasses.replace(health, silence=self._image_silence.explain())
        doubts = [*health.doubts, self.mounting.doubt] if self.mounting.doubt else [*health.doubts]
        if self._calibrations.is_known:
            refused = [
                f"{problem}; the calibration before it stays" for problem in self._calibrations.refused
            ]
            doubts += [*refused, *self._calibrations.contested]
        return dataclasses.replace(health, doubts=tuple(doubts))

    def _say_once(self, *sentences: str) -> None:
        for sentence in sentences:
            if sentence not in self._said:
                self._said.add(sentence)
                _logger.warning("%s", sentence)

    def _camera_error(self) -> str:
        if self._calibrations.is_known:
            return ""
        return self._calibrations.problem or f"no camera_info has come on {self._camera_silence.explain()}"
