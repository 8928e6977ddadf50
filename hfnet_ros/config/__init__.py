"""Every parameter of the package: default, unit, bounds, level and one sentence, written once.

ROS parameter declarations, the check of YAML files and docs/parameters.md are made from the
fields of the sections here. A parameter's full name is `section.field`, e.g. `pose.ransac_sigmas`.
"""

from hfnet_ros.config.image import (
    ExtractorConfig,
    MatchingConfig,
    PoseConfig,
    PriorConfig,
    RetrievalConfig,
    VerificationConfig,
)
from hfnet_ros.config.mapping import MappingConfig
from hfnet_ros.config.parameters import Config, load_config
from hfnet_ros.config.robot import FramesConfig, GateConfig, NodeConfig, OdometryConfig, StalenessConfig
from hfnet_ros.config.runtime import InferenceConfig

__all__ = [
    "Config",
    "ExtractorConfig",
    "FramesConfig",
    "GateConfig",
    "InferenceConfig",
    "MappingConfig",
    "MatchingConfig",
    "NodeConfig",
    "OdometryConfig",
    "PoseConfig",
    "PriorConfig",
    "RetrievalConfig",
    "StalenessConfig",
    "VerificationConfig",
    "load_config",
]
