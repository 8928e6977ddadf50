"""What is in a bag: topics as a table, and the choice of one of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from hfnet_ros.errors import BagError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
ODOMETRY = "nav_msgs/msg/Odometry"
TF = "tf2_msgs/msg/TFMessage"
POSE = "geometry_msgs/msg/PoseStamped"
POSE_WITH_COVARIANCE = "geometry_msgs/msg/PoseWithCovarianceStamped"
TRANSFORM = "geometry_msgs/msg/TransformStamped"
READ_TYPES = (IMAGE, COMPRESSED_IMAGE, CAMERA_INFO, ODOMETRY, TF, POSE, POSE_WITH_COVARIANCE, TRANSFORM)

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Definition:
    """The text that says what a message type consists of.

    Attributes:
        text: with the definitions of the types it uses, as rosbag2 and ROS 1 store them.
        is_idl: OMG IDL, else .msg.
        digest: RIHS01 hash of the type in ROS 2, MD5 in ROS 1; may be empty.
    """

    text: str
    is_idl: bool = False
    digest: str = ""


@dataclass(frozen=True, slots=True)
class BagTopic:
    """One topic; a name that was used with two types is two of them.

    Attributes:
        type_name: as ROS 2 writes it, e.g. sensor_msgs/msg/Image.
        count: messages.
        rate_hz: mean over the duration of the bag; 0 where that has no length.
        definition: None where the bag does not say.
        latched: late subscribers get the last message, too (transient local).
    """

    name: str
    type_name: str
    count: int
    rate_hz: float
    definition: Definition | None = None
    latched: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Return name and type, which together tell topics of a bag apart."""
        return self.name, self.type_name


def topic_table(topics: Iterable[BagTopic]) -> str:
    """Return one line per topic: name, type, messages, rate."""
    rows = [
        (topic.name, topic.type_name, f"{topic.count} messages", f"{topic.rate_hz:.1f} Hz")
        for topic in sorted(topics, key=lambda topic: (topic.name, topic.type_name))
    ]
    if not rows:
        return "  (no topics)"
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}"
        for row in rows
    )


def choose_topic(
    topics: Sequence[BagTopic],
    types: Collection[str],
    asked: str,
    *,
    purpose: str,
    option: str,
    instead: str = "",
) -> BagTopic:
    """Return the topic that was asked for, or the only one of the types if none was.

    Args:
        topics: what is in the bag.
        types: types that serve.
        asked: name, or "" to choose.
        purpose: what it is for, e.g. "images".
        option: how a person names it, e.g. --image-topic.
        instead: what to do without one, if anything.

    Raises:
        BagError: there is no such topic, it is of another type, or several would do; with the
            table of what is there.
    """
    known = " or ".join(types)
    if asked:
        wanted = "/" + asked.strip("/")
        named = [topic for topic in topics if "/" + topic.name.strip("/") == wanted]
        fitting = [topic for topic in named if topic.type_name in types]
        if fitting:
            return max(fitting, key=lambda topic: topic.count)
        if named:
            raise _refusal(f"{asked} is {named[0].type_name}, expected {known} for {purpose}", topics)
        raise _refusal(f"no topic {asked} for {purpose}", topics)
    fitting = [topic for topic in topics if topic.type_name in types and topic.count]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(topic.name for topic in fitting)
        raise _refusal(f"several topics could be the {purpose} ({names}); name one by {option}", topics)
    remedy = f": {instead}" if instead else ""
    raise _refusal(f"no topic with messages of type {known} for {purpose}{remedy}", topics)


def mean_rate_hz(count: int, start_ns: int, end_ns: int) -> float:
    """Return messages per second of the bag's duration."""
    return (count - 1) * _NS_PER_S / (end_ns - start_ns) if count > 1 and end_ns > start_ns else 0.0


def _refusal(sentence: str, topics: Iterable[BagTopic]) -> BagError:
    return BagError(f"{sentence}; the bag holds:\n{topic_table(topics)}")
