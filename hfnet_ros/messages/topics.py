"""Everything the node subscribes to, publishes and serves: the one table behind both transports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from hfnet_ros.config import CameraConfig, Config

_COMPRESSED = "/compressed"


class Qos(str, Enum):
    """Kinds of delivery, as words; each transport knows what they are in its terms."""

    SENSOR_DATA = "sensor data"  # best effort, volatile
    NEWEST = "sensor data, depth 1"  # the same, only the newest waits
    RELIABLE = "reliable"
    LATCHED = "reliable, transient local, keep last 1"


@dataclass(frozen=True)
class Topic:
    """A topic by its ROS name before remapping; `~/` is the node's own namespace.

    Attributes:
        is_second: subscribed beside another of its name, so that a publisher who does not match it is no fault.
        beside: image topic that it goes with where that is renamed, unless it is renamed itself; empty for none.
    """

    name: str
    type_name: str
    qos: Qos
    is_second: bool = False
    beside: str = ""


@dataclass(frozen=True)
class Service:
    """A service by its ROS name before remapping."""

    name: str
    type_name: str


IMAGE = Topic("image", "sensor_msgs/msg/Image", Qos.NEWEST)
COMPRESSED_IMAGE = Topic("image/compressed", "sensor_msgs/msg/CompressedImage", Qos.NEWEST, beside=IMAGE.name)
CAMERA_INFO = Topic("camera_info", "sensor_msgs/msg/CameraInfo", Qos.SENSOR_DATA, beside=IMAGE.name)
ODOMETRY = Topic("odom", "nav_msgs/msg/Odometry", Qos.SENSOR_DATA)
INITIAL_POSE = Topic("initialpose", "geometry_msgs/msg/PoseWithCovarianceStamped", Qos.RELIABLE)

POSE = Topic("~/pose", "geometry_msgs/msg/PoseWithCovarianceStamped", Qos.LATCHED)
STATUS = Topic("~/status", "hfnet_ros/msg/RelocalizationStatus", Qos.RELIABLE)
MAP_INFO = Topic("~/map_info", "hfnet_ros/msg/MapInfo", Qos.LATCHED)
DIAGNOSTICS = Topic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", Qos.RELIABLE)
DEBUG_IMAGE = Topic("~/debug_image", "sensor_msgs/msg/Image", Qos.RELIABLE)
MATCHES = Topic("~/matches", "visualization_msgs/msg/MarkerArray", Qos.RELIABLE)
MAP_POINTS = Topic("~/map_points", "sensor_msgs/msg/PointCloud2", Qos.LATCHED)
TF = Topic("/tf", "tf2_msgs/msg/TFMessage", Qos.RELIABLE)
TF_STATIC = Topic("/tf_static", "tf2_msgs/msg/TFMessage", Qos.LATCHED)
PUBLISHED = (POSE, STATUS, MAP_INFO, DIAGNOSTICS, DEBUG_IMAGE, MATCHES, MAP_POINTS, TF_STATIC)

RELOCALIZE = Service("~/relocalize", "hfnet_ros/srv/Relocalize")
LOAD_MAP = Service("~/load_map", "hfnet_ros/srv/LoadMap")
TRIGGER = Service("~/trigger", "std_srvs/srv/Trigger")
REINITIALIZE = Service("reinitialize_global_localization", "std_srvs/srv/Empty")
NO_MOTION_UPDATE = Service("request_nomotion_update", "std_srvs/srv/Empty")
SERVICES = (RELOCALIZE, LOAD_MAP, TRIGGER, REINITIALIZE, NO_MOTION_UPDATE)


@dataclass(frozen=True)
class CameraTopics:
    """Where images and calibrations of one camera are expected.

    Attributes:
        image: raw or compressed.
        camera_infos: the same name twice: what is repeated, and what was published once.
    """

    image: Topic
    camera_infos: tuple[Topic, Topic]


def camera_topics(camera: CameraConfig, config: Config) -> CameraTopics:
    """Return the topics of one of a configuration's cameras."""
    image = replace(IMAGE, name=camera.image_topic)
    beside = "" if camera.camera_info_topic else image.name
    info = replace(CAMERA_INFO, name=camera.camera_info_topic or camera_info_topic(image.name), beside=beside)
    if (camera.transport or config.node.image_transport) == "compressed":
        image = replace(COMPRESSED_IMAGE, name=compressed_topic(image.name), beside=image.name)
    # A driver may publish it once and keep it for those who come later, who get it if they ask for that.
    return CameraTopics(image, (info, replace(info, qos=Qos.LATCHED, is_second=True)))


def resolve_topic(topic: Topic, resolve: Callable[[str], str], expand: Callable[[str], str]) -> str:
    """Return a topic's full name; what belongs to an image goes with it, unless renamed itself.

    Args:
        topic: any of the above.
        resolve: makes a name absolute and renames it as the node was told.
        expand: makes it absolute only.
    """
    own = resolve(topic.name)
    if not topic.beside or own != expand(topic.name):
        return own
    is_image = topic.type_name == COMPRESSED_IMAGE.type_name
    return (compressed_topic if is_image else camera_info_topic)(resolve(topic.beside))


def camera_info_topic(image_topic: str) -> str:
    """Return where image_transport expects the calibration of an image topic: beside it."""
    folder, _, _ = image_topic.removesuffix(_COMPRESSED).rpartition("/")
    return f"{folder}/camera_info" if folder or image_topic.startswith("/") else "camera_info"


def compressed_topic(image_topic: str) -> str:
    """Return where image_transport publishes the compressed form of an image topic."""
    return image_topic.removesuffix(_COMPRESSED) + _COMPRESSED
