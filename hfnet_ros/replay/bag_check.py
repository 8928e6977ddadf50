"""What a recording says would keep a robot from localizing in a map, or make it wrong, before it drives.

The rules are those of the live node and of replay: calibrations, mounting, clocks and scale are judged by the same
code, on images taken evenly from the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from hfnet_ros.bags import BagReader, BagTopic, CameraFrames
from hfnet_ros.bags.camera_frames import choose_image_topic
from hfnet_ros.bags.topics import COMPRESSED_IMAGE, IMAGE
from hfnet_ros.config import CameraConfig, Config
from hfnet_ros.errors import (
    BagError,
    CalibrationError,
    ConfigError,
    ImageError,
    MappingError,
    TransformError,
)
from hfnet_ros.evaluation.reasons import Reasons, reason_of
from hfnet_ros.files.tum import format_stamp
from hfnet_ros.mapping.carried_mask import draw_mask, step_between
from hfnet_ros.messages.calibrations import TopicCalibrations
from hfnet_ros.messages.headers import stamp_from_message
from hfnet_ros.messages.status import share_of
from hfnet_ros.node.image_clock import clock_disagreement
from hfnet_ros.node.served_map import ServedMap
from hfnet_ros.replay.driver import Replay
from hfnet_ros.replay.sources import BagChoices, BagSources, open_camera, open_sources, topics_in_bag
from hfnet_ros.types import Verdict

_MOST_IMAGES = 100
_RATE_HZ = 3.0  # closer images show the same
_MANY = 0.5  # share of images from which on something is no accident
_MUCH_CARRIED = 0.02  # of the image
_CALIBRATION_NOTE = "a calibration was left out"
_CLOCK = "rosgraph_msgs/msg/Clock"


@dataclass(frozen=True, slots=True)
class BagFinding:
    """One thing that was looked at.

    Attributes:
        subject: what it is about.
        text: what was found; where that is no good, what was expected and what to do.
        is_good: nothing to do.
        is_fatal: the robot would not localize, or wrongly.
    """

    subject: str
    text: str
    is_good: bool = False
    is_fatal: bool = False


@dataclass(slots=True)
class _Seen:
    """What the images of the recording said."""

    num_images: int = 0
    num_answers: int = 0
    num_accepted: int = 0
    num_undated: int = 0
    clocks: Reasons = field(default_factory=Reasons)
    unused: Reasons = field(default_factory=Reasons)
    doubts: Reasons = field(default_factory=Reasons)
    oddities: Reasons = field(default_factory=Reasons)
    notes: set[str] = field(default_factory=set)
    views: dict[str, Reasons] = field(default_factory=dict)  # by camera, why it did not help


def check_bag(bag: BagReader, served: ServedMap, choices: BagChoices, config: Config) -> Iterator[BagFinding]:
    """Yield what there is to say of a recording and a map, in the order in which a node needs it.

    Args:
        bag: open.
        served: the map.
        choices: what a person says about the bag.
        config: parameters of the node.
    """
    cameras = (CameraConfig(),) if choices.image_topic else config.cameras.each
    usable = []
    for camera in cameras:
        found = list(_of_camera(bag, camera, choices, config))
        usable += [camera.name] if not any(one.is_fatal for one in found) else []
        yield from (replace(one, subject=f"{camera.name} {one.subject}".strip()) for one in found)
    if any(camera.name for camera in cameras):
        if not usable:
            return
        config = replace(config, cameras=config.cameras.chosen(usable))
    try:
        sources = open_camera(bag, choices, config)
    except (BagError, CalibrationError, ConfigError) as error:
        if usable:
            yield BagFinding("images", _first_line(error), is_fatal=True)
        return
    try:
        sources = open_sources(bag, choices, config)
    except (BagError, ConfigError, TransformError) as error:
        yield BagFinding("mounting, odometry", _first_line(error), is_fatal=True)
    else:
        yield from _of_mountings(sources)
        yield from _of_carried(sources)
        yield _of_odometry(sources)
    try:
        localizer, close = served.opener(sources.config)(lambda _: None)
    except ConfigError as error:
        yield BagFinding("map", _first_line(error), is_fatal=True)
        return
    try:
        seen = _localize(Replay(sources, localizer), sources)
    finally:
        close()
    yield from _of_stamps(seen, has_clock=any(found.type_name == _CLOCK for found in bag.topics))
    yield from _of_answers(seen, served)
    for note in bag.report():
        if not note.startswith(_CALIBRATION_NOTE):  # said above, with how many there were
            yield BagFinding("recording", note)


def _of_camera(
    bag: BagReader, camera: CameraConfig, choices: BagChoices, config: Config
) -> Iterator[BagFinding]:
    """Yield what there is to say of the images and calibrations of one camera."""
    asked, info = choices.image_topic, choices.camera_info_topic
    if camera.name:
        asked, info = topics_in_bag(camera)
    try:
        topic = choose_image_topic(bag, asked)
    except BagError as error:
        option = "cameras.image_topics" if camera.name else "--image-topic"
        yield BagFinding(
            "images", f"{_first_line(error)}; record a camera, or name it by {option}", is_fatal=True
        )
        return
    yield _of_transport(bag, topic, camera.transport or config.node.image_transport)
    try:
        frames = CameraFrames(bag, asked, info, choices.camera)
    except (BagError, CalibrationError) as error:
        yield BagFinding("calibration", _first_line(error), is_fatal=True)
        return
    if frames.camera_info is not None:
        yield from _of_camera_info(bag, frames.camera_info, topic)


def _of_mountings(sources: BagSources) -> Iterator[BagFinding]:
    """Tell of cameras among several that nobody knows the mounting of."""
    for camera in sources.cameras:
        first = next(iter(camera.frames), None)
        if camera.name and first is not None and camera.base_from_camera(first) is None:
            text = "the mounting is unknown; publish it in TF, or set cameras.base_from_camera"
            yield BagFinding(f"{camera.name} mounting", text, is_fatal=True)


def _of_carried(sources: BagSources) -> Iterator[BagFinding]:
    """Tell of cameras whose images show the robot itself, which a mask would hide."""
    for camera in sources.cameras:
        read = islice(camera.frames, 0, None, step_between(len(camera.frames)))
        try:
            share = draw_mask(frame.image() for frame in read).hidden_share
        except (ImageError, MappingError):  # a robot that waits, or images that others tell of
            continue
        if share >= _MUCH_CARRIED:
            yield BagFinding(
                f"{camera.name} view".strip(),
                f"{100 * share:.0f} % of the image stays in place, as the robot's own body or a caption: its keypoints "
                f"take places of those of the map; hide it (`hfnet-ros mask --image-topic {camera.frames.topic.name}`)",
            )


def _of_transport(bag: BagReader, topic: BagTopic, wanted: str) -> BagFinding:
    """Compare the kind of images with the one that the node is to listen to."""
    found = "compressed" if topic.type_name == COMPRESSED_IMAGE else "raw"
    base = topic.name.removesuffix("/compressed")
    other = base if wanted == "raw" else f"{base}/compressed"
    kind = IMAGE if wanted == "raw" else COMPRESSED_IMAGE
    is_there = any(one.name == other and one.type_name == kind and one.count for one in bag.topics)
    text = f"{topic.name}: {topic.count} messages, {topic.rate_hz:.1f} Hz"
    if found == wanted or is_there:
        return BagFinding("images", text, is_good=True)
    return BagFinding(
        "images",
        f"{text}, but none on {other}, which the node listens to; set node.image_transport to {found}",
        is_fatal=True,
    )


def _of_camera_info(bag: BagReader, topic: BagTopic, images: BagTopic) -> Iterator[BagFinding]:
    """Tell of calibrations that cannot be used, and of one that is sent once."""
    calibrations, refused, count = TopicCalibrations(topic.name, images.name), Reasons(), 0
    for message in bag.messages([topic]):
        count += 1
        try:
            calibrations.take(message.data)
        except CalibrationError as error:
            refused.add(format_stamp(message.stamp_ns), str(error))
    for sentence in refused.sentences(count, "calibrations"):
        yield BagFinding("calibration", sentence)
    if count == 1 and images.count > 1 and not topic.latched:
        yield BagFinding(
            "calibration",
            f"{topic.name}: sent once, and not kept for those who listen later; let the driver latch it (reliable, "
            "transient local) or repeat it",
            is_fatal=True,
        )
    elif not refused.total:
        latched = ", latched" if topic.latched else ""
        yield BagFinding("calibration", f"{topic.name}: {count} messages{latched}", is_good=True)


def _of_odometry(sources: BagSources) -> BagFinding:
    if sources.odometry is None:
        text = (
            "none: the robot is followed by its largest speed; record odom->base in /tf, or nav_msgs/Odometry"
        )
        return BagFinding("odometry", text)
    frames = f"'{sources.odometry.child_frame}' in '{sources.odometry.parent_frame}'"
    return BagFinding("odometry", f"{frames}, {len(sources.odometry)} poses", is_good=True)


def _localize(replay: Replay, sources: BagSources) -> _Seen:
    """Look at the stamps of all images, and ask some of them as the node would."""
    seen = _Seen()
    for camera in sources.cameras:
        for frame in camera.frames:
            seen.num_images += 1
            seen.notes.update(frame.camera.notes)
            seen.num_undated += stamp_from_message(frame.message.header.stamp) == 0
            # A recording of made stamps may begin at zero, which a live node takes for a clock that has not come.
            disagreement = frame.receipt_ns and clock_disagreement(frame.stamp_ns, frame.receipt_ns)
            if disagreement:
                seen.clocks.add(frame.name, disagreement)
    topic = sources.frames.topic
    step = max(1, round(topic.rate_hz / _RATE_HZ), -(-topic.count // _MOST_IMAGES))
    for answer in replay.in_order(every=step):
        seen.num_answers += 1
        found = answer.relocalization
        reason = answer.error if found is None else reason_of(found.localization, found)
        if reason:
            seen.unused.add(format_stamp(answer.stamp_ns), reason)
        if found is not None:
            for warning in found.warnings:
                kind = seen.oddities if warning in seen.notes else seen.doubts
                kind.add(format_stamp(answer.stamp_ns), warning)
            seen.num_accepted += found.decision is not None and found.decision.verdict is Verdict.ACCEPTED
        for view in answer.views:
            problem = share_of(answer, view).problem
            if view.camera and problem:
                seen.views.setdefault(view.camera, Reasons()).add(format_stamp(answer.stamp_ns), problem)
    return seen


def _of_stamps(seen: _Seen, *, has_clock: bool) -> Iterator[BagFinding]:
    if seen.num_undated:
        yield BagFinding(
            "stamps",
            f"{seen.num_undated} of {seen.num_images} images have no stamp, so that they fit no odometry; let the "
            "driver set it",
            is_fatal=seen.num_undated > _MANY * seen.num_images,
        )
    for sentence in seen.clocks.sentences(seen.num_images):
        is_fatal = not has_clock and seen.clocks.total > _MANY * seen.num_images
        yield BagFinding("stamps", sentence, is_fatal=is_fatal)


def _of_answers(seen: _Seen, served: ServedMap) -> Iterator[BagFinding]:
    """Tell what became of the images, and what is doubtful about calibration, mounting and scale."""
    is_localized = seen.num_accepted > 0
    for sentence in seen.doubts.sentences(seen.num_answers):
        yield BagFinding("doubt", sentence, is_fatal=True)
    for sentence in seen.oddities.sentences(seen.num_answers):
        # What is odd about how a calibration is stated may do no harm, as the answers then show.
        yield BagFinding("calibration", sentence, is_fatal=not is_localized)
    text = f"{seen.num_accepted} of {seen.num_answers} accepted in {served.path.name}"
    yield BagFinding("localized", text, is_good=is_localized, is_fatal=not is_localized)
    for sentence in seen.unused.sentences(seen.num_answers):
        yield BagFinding("not used", sentence)
    for camera, reasons in seen.views.items():
        for sentence in reasons.sentences(seen.num_answers):
            yield BagFinding(f"{camera} view", sentence)


def _first_line(error: Exception) -> str:
    """Return what an error says without the table of topics that follows."""
    return str(error).splitlines()[0].removesuffix("; the bag holds:")
