"""The images of a bag with the calibration that held when they were taken, as a stream."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hfnet_ros.bags.reader import BagMessage, BagReader
from hfnet_ros.bags.topics import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, BagTopic
from hfnet_ros.errors import CalibrationError, MessageError
from hfnet_ros.files.camera_mask import CameraMask
from hfnet_ros.files.tum import format_stamp
from hfnet_ros.geometry.calibration import Calibration
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.messages.calibrations import TopicCalibrations, is_rectified
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.headers import plain_frame_id, stamp_from_message
from hfnet_ros.messages.images import image_from_compressed, image_from_message
from hfnet_ros.messages.topics import camera_info_topic
from hfnet_ros.types import Frame, ImageArray

_COMPRESSED_SUFFIX = "/compressed"
_OTHER_TRANSPORTS = ("/compressedDepth", "/theora", "/ffmpeg")
_HELD_FRAMES = 4
_CDR_STAMP_END = 12
_CDR_STRING_BEGIN = 4  # behind its length


@dataclass(frozen=True, slots=True, eq=False)
class BagFrame:
    """One image of a bag; its pixels are decoded when they are asked for.

    Attributes:
        stamp_ns: time of exposure by its header; of receipt where that is zero.
        receipt_ns: when the recorder received it.
        camera: calibration that held.
        camera_frame_id: name of the optical frame.
        message: sensor_msgs Image or CompressedImage.
        is_compressed: which of the two.
        topic: of the image.
        mask: of what its camera carries with it, if it has one.
    """

    stamp_ns: int
    receipt_ns: int
    camera: Camera
    camera_frame_id: str
    message: Any
    is_compressed: bool
    topic: str
    mask: CameraMask | None = None

    @property
    def name(self) -> str:
        """Return what a person calls the image: its time in seconds."""
        return format_stamp(self.stamp_ns)

    def image(self) -> ImageArray:
        """Return the pixels, [H, W] gray or [H, W, 3] BGR uint8; may be a read-only view.

        Raises:
            ImageError: they cannot be decoded, or are not of the calibration's size or the mask's form.
        """
        image = (
            image_from_compressed(self.message) if self.is_compressed else image_from_message(self.message)
        )
        self.camera.check_size(image.shape, self.topic)
        return image if self.mask is None else self.mask.hide(image)

    def frame(self) -> Frame:
        """Return the image as the pipeline takes it.

        Raises:
            ImageError: as `image`.
        """
        return Frame(self.stamp_ns, self.image(), self.camera, self.camera_frame_id)


class CameraFrames:
    """Iterates over the frames of one camera in the order of their header stamps.

    An image that was received up to four images late is put in its place. One that comes later
    still, or has the stamp of another, is left out; the bag's notes say how many.

    Attributes:
        topic: of the images.
        camera_info: topic of the calibrations; None where the camera was given.
    """

    def __init__(
        self,
        bag: BagReader,
        image_topic: str = "",
        camera_info: str = "",
        camera: Camera | Calibration | None = None,
        mask: CameraMask | None = None,
    ) -> None:
        """Choose the topics.

        Args:
            bag: open.
            image_topic: raw or compressed, or the name without /compressed; "" takes the only camera.
            camera_info: "" takes the sibling of the image topic, then the only one there is.
            camera: calibration to use instead of those in the bag; a `Calibration` says that of rectified images, too.
            mask: of what is not scene in the images.

        Raises:
            BagError: a topic is not there or cannot be chosen; with the table of topics.
            CalibrationError: no calibration can be used.
        """
        self._bag, self._mask = bag, mask
        self.topic: BagTopic = choose_image_topic(bag, image_topic)
        self._is_compressed = self.topic.type_name == COMPRESSED_IMAGE
        base = self.topic.name.removesuffix(_COMPRESSED_SUFFIX)
        self._image_topic = base
        self.camera_info: BagTopic | None = None
        if camera is None:
            self.camera_info = _choose_camera_info(bag, base, camera_info)
            self._first: BagMessage | Camera = self._first_usable(self.camera_info)
        elif isinstance(camera, Calibration):
            self._first = camera.camera(rectified=is_rectified(base))
        else:
            self._first = camera

    def __len__(self) -> int:
        """Return the number of image messages in the bag, usable or not."""
        return self.topic.count

    def __iter__(self) -> Iterator[BagFrame]:
        """Yield the frames, sorted."""
        return self._read(self._bag)

    def apart(self) -> Iterator[BagFrame]:
        """Yield the same by a reader of their own, so that several cameras can be read side by side."""
        with BagReader(self._bag.path) as again:
            yield from self._read(again)
            for sentence in again.report():
                self._bag.note(sentence)

    def _read(self, bag: BagReader) -> Iterator[BagFrame]:
        last_ns, num_late, num_double = -1, 0, 0
        for frame in _sorted_closely(self._received(bag)):
            num_double += frame.stamp_ns == last_ns
            num_late += frame.stamp_ns < last_ns
            if frame.stamp_ns > last_ns:
                last_ns = frame.stamp_ns
                yield frame
        if num_late:
            self._bag.note(f"{self.topic.name}: {num_late} images with stamps far behind were left out")
        if num_double:
            self._bag.note(f"{self.topic.name}: {num_double} images with the stamp of another were left out")

    def _received(self, bag: BagReader) -> Iterator[BagFrame]:
        """Yield the frames as they were received."""
        topics = [self.topic] if self.camera_info is None else [self.topic, self.camera_info]
        calibrations = _Calibrations(self._first, self._image_topic)
        num_undated = num_unusable = num_uncalibrated = 0
        for message in bag.messages(topics, raw=[CAMERA_INFO]):
            if message.type_name == CAMERA_INFO:
                problem = calibrations.take(message)
                if problem:
                    self._bag.note(f"a calibration was left out: {problem}")
                continue
            header = message.data.header
            frame_id = plain_frame_id(header.frame_id)
            try:
                stamp_ns = stamp_from_message(header.stamp)
                camera = calibrations.camera_of(frame_id, stamp_ns)
            except MessageError:
                num_unusable += 1
                continue
            except CalibrationError:
                num_uncalibrated += 1
                continue
            num_undated += stamp_ns == 0 and message.stamp_ns != 0
            yield BagFrame(
                stamp_ns or message.stamp_ns,
                message.stamp_ns,
                camera,
                frame_id,
                message.data,
                self._is_compressed,
                self.topic.name,
                self._mask,
            )
        if num_uncalibrated:
            self._bag.note(
                f"{self.topic.name}: {num_uncalibrated} images before the first calibration of their frame were left "
                "out"
            )
        if num_undated:
            self._bag.note(
                f"{self.topic.name}: {num_undated} images without a stamp; their time of receipt stands in"
            )
        if num_unusable:
            self._bag.note(f"{self.topic.name}: {num_unusable} images with an impossible stamp were left out")

    def _first_usable(self, topic: BagTopic) -> BagMessage:
        """Return the first calibration that can be used, as a message."""
        calibrations = TopicCalibrations(topic.name, self._image_topic)
        for message in self._bag.messages([topic], raw=True):
            problem = _take(calibrations, message)
            if not problem:
                return message
            self._bag.note(f"a calibration was left out: {problem}")
        raise CalibrationError(f"{calibrations.problem}; or give the calibration by --camera")


class _Calibrations:
    """The calibrations of a pass over the bag, the first usable one from its beginning; or one for all."""

    def __init__(self, first: BagMessage | Camera, image_topic: str) -> None:
        self._given = first if isinstance(first, Camera) else None
        self._known: dict[str, bytes] = {}
        if isinstance(first, BagMessage):
            self._calibrations = TopicCalibrations(first.topic, image_topic)
            self.take(first)

    def take(self, message: BagMessage) -> str:
        """Take a message of raw bytes; return why it cannot be used, empty if it can."""
        # Decoding each of thirty a second would be waste: behind encapsulation and stamp, the bytes
        # tell whether anything has changed.
        content = message.data[_CDR_STAMP_END:]
        if content in self._known.values():
            return ""
        problem = _take(self._calibrations, message)
        frame_id = content[_CDR_STRING_BEGIN : content.find(b"\0", _CDR_STRING_BEGIN)].decode(
            errors="replace"
        )
        self._known[frame_id] = content
        return problem

    def camera_of(self, frame_id: str, stamp_ns: int) -> Camera:
        return self._given or self._calibrations.camera_of(frame_id, stamp_ns)


def _take(calibrations: TopicCalibrations, message: BagMessage) -> str:
    """Take a message of raw bytes; return why it cannot be used, empty if it can."""
    try:
        calibrations.take(RosbagsMessages().deserialize(message.data, CAMERA_INFO))
    except CalibrationError as error:
        return str(error)
    # A parser that reads damaged bytes may fail in any way.
    except Exception as error:
        return f"{message.topic}: it cannot be decoded: {error}"
    return ""


def choose_image_topic(bag: BagReader, asked: str = "") -> BagTopic:
    """Return the topic of images asked for, or that of the only camera, raw rather than compressed.

    Raises:
        BagError: there is none or there are several; with the table of topics.
    """
    topics = [
        topic
        for topic in bag.topics
        if topic.type_name in (IMAGE, COMPRESSED_IMAGE) and not topic.name.endswith(_OTHER_TRANSPORTS)
    ]
    names = {topic.name for topic in topics if topic.type_name == IMAGE and topic.count}
    if asked and asked not in {topic.name for topic in bag.topics}:
        compressed = [topic for topic in topics if topic.name == asked + _COMPRESSED_SUFFIX]
        if compressed:
            return compressed[0]
    if not asked:
        single = [
            topic
            for topic in topics
            if topic.name.removesuffix(_COMPRESSED_SUFFIX) not in names - {topic.name}
        ]
        filled = [topic for topic in single if topic.count]
        if len(filled) == 1:
            return filled[0]
    return bag.choose([IMAGE, COMPRESSED_IMAGE], asked, purpose="images", option="--image-topic")


def _sorted_closely(frames: Iterator[BagFrame]) -> Iterator[BagFrame]:
    """Yield frames by stamp, holding a few of them back."""
    held: list[tuple[int, int, BagFrame]] = []
    for order, frame in enumerate(frames):
        heapq.heappush(held, (frame.stamp_ns, order, frame))
        if len(held) > _HELD_FRAMES:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]


def _choose_camera_info(bag: BagReader, image_base: str, asked: str) -> BagTopic:
    sibling = camera_info_topic(image_base)
    named = [topic for topic in bag.topics if topic.type_name == CAMERA_INFO]
    has_messages = any(topic.count for topic in named)
    if not asked and has_messages and any(topic.name == sibling for topic in named):
        asked = sibling
    return bag.choose(
        [CAMERA_INFO],
        asked,
        purpose=f"the calibration of {image_base}",
        option="--camera-info-topic or --camera",
        instead="give it by --camera",
    )
