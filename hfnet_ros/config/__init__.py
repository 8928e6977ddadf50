"""Every parameter of the package: default, unit, bounds, level and one sentence, written once.

ROS parameter declarations, the check of YAML files and docs/parameters.md are made from the
fields of the sections here. A parameter's full name is `section.field`, e.g. `pose.ransac_sigmas`.
"""

from hfnet_ros.config.cameras import CameraConfig, CamerasConfig
from hfnet_ros.config.image import (
    EXTRACTOR_NAMES,
    MATCHER_NAMES,
    POSE_METHOD_NAMES,
    ExtractorConfig,
    HFNetConfig,
    LocalizationConfig,
    MatchingConfig,
    PoseConfig,
    PriorConfig,
    RetrievalConfig,
    SiftConfig,
    VerificationConfig,
    XFeatConfig,
)
from hfnet_ros.config.mapping import PAIR_MATCHER_NAMES, MappingConfig
from hfnet_ros.config.maps import MapConfig
from hfnet_ros.config.parameters import MOVED, Config, load_config, refuse_moved
from hfnet_ros.config.robot import FramesConfig, GateConfig, NodeConfig, OdometryConfig, StalenessConfig
from hfnet_ros.config.ros_file import OF_EVERY_NODE, parameters_of_node
from hfnet_ros.config.runtime import InferenceConfig
from hfnet_ros.config.scene import SCENE_NETWORKS, SceneConfig

__all__ = [
    "EXTRACTOR_NAMES",
    "MATCHER_NAMES",
    "MOVED",
    "OF_EVERY_NODE",
    "PAIR_MATCHER_NAMES",
    "POSE_METHOD_NAMES",
    "SCENE_NETWORKS",
    "CameraConfig",
    "CamerasConfig",
    "Config",
    "ExtractorConfig",
    "FramesConfig",
    "GateConfig",
    "HFNetConfig",
    "InferenceConfig",
    "LocalizationConfig",
    "MapConfig",
    "MappingConfig",
    "MatchingConfig",
    "NodeConfig",
    "OdometryConfig",
    "PoseConfig",
    "PriorConfig",
    "RetrievalConfig",
    "SceneConfig",
    "SiftConfig",
    "StalenessConfig",
    "VerificationConfig",
    "XFeatConfig",
    "load_config",
    "parameters_of_node",
    "refuse_moved",
]
