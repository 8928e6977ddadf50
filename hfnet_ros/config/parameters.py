"""All parameters by section, read from dictionaries and files."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfnet_ros.config.cameras import CamerasConfig
from hfnet_ros.config.image import (
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
from hfnet_ros.config.mapping import MappingConfig
from hfnet_ros.config.maps import MapConfig
from hfnet_ros.config.robot import FramesConfig, GateConfig, NodeConfig, OdometryConfig, StalenessConfig
from hfnet_ros.config.ros_file import OF_EVERY_NODE, parameters_of_node
from hfnet_ros.config.runtime import InferenceConfig
from hfnet_ros.config.scene import SceneConfig
from hfnet_ros.config.schema import read_section, refuse_unknown
from hfnet_ros.config.yaml_text import parse_yaml
from hfnet_ros.errors import ConfigError

_logger = logging.getLogger(__name__)

MOVED = {  # former name -> the name that a parameter has now
    "extractor.detection_threshold": "xfeat.detection_threshold",
    "extractor.nms_radius_px": "xfeat.nms_radius_px",
}


@dataclass(frozen=True)
class Config:
    """All parameters, by section."""

    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    hfnet: HFNetConfig = field(default_factory=HFNetConfig)
    xfeat: XFeatConfig = field(default_factory=XFeatConfig)
    sift: SiftConfig = field(default_factory=SiftConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    map: MapConfig = field(default_factory=MapConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    localization: LocalizationConfig = field(default_factory=LocalizationConfig)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    pose: PoseConfig = field(default_factory=PoseConfig)
    verification: VerificationConfig = field(default_factory=VerificationConfig)
    mapping: MappingConfig = field(default_factory=MappingConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    node: NodeConfig = field(default_factory=NodeConfig)
    cameras: CamerasConfig = field(default_factory=CamerasConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    odometry: OdometryConfig = field(default_factory=OdometryConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    staleness: StalenessConfig = field(default_factory=StalenessConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)

    def __post_init__(self) -> None:
        """Refuse several cameras without a frame that their poses are in.

        Raises:
            ConfigError: says what to do.
        """
        if len(self.cameras.each) > 1 and not self.frames.base_frame:
            raise ConfigError(
                "frames.base_frame is empty, so that several cameras (cameras.names) have no frame in common; name "
                "the robot's, or the optical frame of one of them"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Build from nested dictionaries; what is not named keeps its default.

        Raises:
            ConfigError: a name is unknown or has moved, a type is wrong or a value out of bounds.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"parameters are {values!r}, expected sections of names and values")
        kinds = {section.name: section.default_factory for section in dataclasses.fields(cls)}
        refuse_unknown(values, kinds, "section")
        for name, given in values.items():
            refuse_moved(f"{name}.{key}" for key in (given if isinstance(given, Mapping) else ()))
        return cls(**{name: read_section(name, kind, values.get(name)) for name, kind in kinds.items()})

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return nested dictionaries, as `from_dict` reads them."""
        return dataclasses.asdict(self)


def refuse_moved(names: Iterable[str]) -> None:
    """Refuse former names of parameters, full ones such as `extractor.nms_radius_px`.

    Raises:
        ConfigError: says the new name.
    """
    for name in names:
        if name in MOVED:
            raise ConfigError(f"{name} is now {MOVED[name]}; give it under the new name")


def load_config(path: Path, node_name: str = "relocalizer") -> Config:
    """Read parameters from YAML, plain or below ROS's `/**: ros__parameters:`.

    Args:
        path: the file.
        node_name: of the node whose parameters they are; see `parameters_of_node`.

    Raises:
        ConfigError: the file is missing, not YAML, has sections of other nodes only, or holds an unknown or unusable
            parameter.
    """
    try:
        document = parse_yaml(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if document is None:
        return Config()
    if not isinstance(document, Mapping):
        raise ConfigError(f"{path}: holds {type(document).__name__}, expected sections of parameters")
    try:
        of_node = parameters_of_node(document, node_name)
        if of_node is not None:
            if of_node.get("use_sim_time") is True:
                _logger.warning(
                    "%s: use_sim_time is the ROS node's; give --use-sim-time to hfnet-ros run", path
                )
            document = {name: given for name, given in of_node.items() if name not in OF_EVERY_NODE}
        return Config.from_dict(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
