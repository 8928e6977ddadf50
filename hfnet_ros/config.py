"""Every parameter of the package: default, unit, bounds and one sentence, written once.

ROS parameter declarations, the check of YAML files and docs/parameters.md are made from the
fields below. A parameter's full name is `section.field`, e.g. `pose.ransac_sigmas`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfnet_ros.errors import ConfigError


def parameter(
    default: Any,
    sentence: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare one parameter with everything a person or a ROS descriptor needs to know."""
    metadata = {"sentence": sentence, "unit": unit, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class ExtractorConfig:
    """Which features describe an image."""

    name: str = parameter(
        "hfnet",
        "Feature extractor: hfnet, whose weights come with the package and whose one pass gives local and global "
        "descriptors; xfeat, with its published weights; xfeat+hfnet, XFeat's keypoints and HF-Net's global "
        "descriptor; sift, without a network.",
        choices=("hfnet", "xfeat", "xfeat+hfnet", "sift"),
    )
    weights: str = parameter(
        "", "Weights of the extractor (of xfeat+hfnet: XFeat's); empty searches the usual places."
    )
    max_keypoints: int = parameter(2048, "Keypoints kept per image, best first.", low=64, high=8192)
    detection_threshold: float = parameter(
        0.05,
        "Heat-map probability above which a peak is a keypoint of XFeat, as published; HF-Net's limit is 0.005.",
        low=0.0,
        high=1.0,
    )
    nms_radius_px: int = parameter(
        2,
        "Half size of the square in which a keypoint of XFeat must be the highest, as published; HF-Net's is 4.",
        unit="px",
        low=1,
        high=16,
    )


@dataclass(frozen=True)
class InferenceConfig:
    """How networks run on this machine."""

    backend: str = parameter(
        "auto",
        "Runtime of the networks; auto takes the fastest one that works here and logs why not a faster one.",
        choices=("auto", "onnxruntime", "onnxruntime-cuda", "tensorrt"),
    )
    num_threads: int = parameter(2, "CPU threads of the network.", low=1, high=64)
    allow_spinning: bool = parameter(
        False, "Let network threads wait busily: a millisecond faster, at the cost of idle cores."
    )
    precision: str = parameter(
        "fp16",
        "Numbers of a TensorRT engine: convolutions in float16, everything as in the file (fp32, also for files "
        "with float16 or Q/DQ nodes of their own), or what TensorRT 10 chooses itself (weak-fp16, weak-int8).",
        choices=("fp16", "fp32", "weak-fp16", "weak-int8"),
    )
    engine_cache: str = parameter(
        "",
        "Folder of built TensorRT engines and compiled kernels; empty is hfnet_ros/engines in the user's cache.",
    )
    build_engines: bool = parameter(
        True,
        "Build a missing TensorRT engine when it is needed, which takes minutes; otherwise it is an error.",
    )
    workspace_mib: int = parameter(
        512,
        "MiB of GPU memory a TensorRT layer may work in; XFeat's largest tensor at 640x480 has 5, and a Jetson's is "
        "that of the whole machine.",
        low=16,
        high=65536,
    )
    cuda_graph: bool = parameter(
        False, "Record a TensorRT run once and replay it, which spares the CPU; not yet tried on a TensorRT."
    )
    dla_core: int = parameter(
        -1,
        "Deep learning accelerator of a Jetson that runs what it can of the network; -1 is the GPU alone.",
        low=-1,
        high=3,
    )
    gpu_postprocessing: str = parameter(
        "auto",
        "Choose and describe keypoints on the GPU: behind a TensorRT engine (auto), or never; not yet tried on a GPU.",
        choices=("auto", "off"),
    )
    gpu_matching: str = parameter(
        "auto",
        "Search and match in the map on the GPU: where the network runs there and the map fits (auto), or never; not "
        "yet tried on a GPU.",
        choices=("auto", "off"),
    )


@dataclass(frozen=True)
class RetrievalConfig:
    """How prior frames are found and grouped."""

    num_prior_frames: int = parameter(
        10,
        "Keyframes retrieved per image by a network's global descriptor, as many as Sarlin et al. 2019 took; "
        "more bring landmarks that no more than confuse.",
        low=1,
        high=500,
    )
    num_prior_frames_vlad: int = parameter(
        25,
        "The same where the map learned VLAD of the extractor's keypoints: with 10 nearly all strongly turned views "
        "are lost, with 20 a few.",
        low=1,
        high=500,
    )
    max_places: int = parameter(3, "Places tried per image before giving up.", low=1, high=50)
    vocabulary_size: int = parameter(
        64,
        "Visual words learned from the map: landmarks are matched within them, and extractors without a global "
        "descriptor get one of them (VLAD).",
        low=4,
        high=512,
    )
    global_size: int = parameter(
        1024, "Largest number of dimensions kept of an aggregated descriptor.", low=16, high=8192
    )
    exact_limit: int = parameter(
        20000,
        "Keyframes above which faiss's approximate search is used, where installed.",
        low=100,
        high=10000000,
    )
    min_shared_landmarks: int = parameter(
        20, "Landmarks two prior frames must share to belong to one place.", low=1, high=1000
    )

    def count(self, *, by_vlad: bool) -> int:
        """Return the number of keyframes to retrieve per image, which depends on what describes them."""
        return self.num_prior_frames_vlad if by_vlad else self.num_prior_frames


@dataclass(frozen=True)
class MatchingConfig:
    """How query keypoints are matched to landmarks."""

    max_query_keypoints: int = parameter(1024, "Best query keypoints that are matched.", low=64, high=8192)
    max_landmarks: int = parameter(
        20000,
        "Landmarks of a place that are matched, those seen by most prior frames first.",
        low=100,
        high=1000000,
    )
    words_per_keypoint: int = parameter(
        8,
        "Visual words in which a keypoint is compared with landmarks; all of them is exhaustive.",
        low=1,
        high=512,
    )
    min_similarity: float = parameter(0.6, "Cosine below which a match is dropped.", low=-1.0, high=1.0)
    ratio: float = parameter(
        1.0,
        "Largest ratio of best to second-best descriptor distance, another landmark's; 1 is off: with XFeat "
        "0.95 took a quarter of the hard queries.",
        low=0.1,
        high=1.0,
    )


@dataclass(frozen=True)
class PoseConfig:
    """How a pose is estimated from matches. Pixels are meant at a focal length of 525 px."""

    assumed_residual_px: float = parameter(
        2.7,
        "Reprojection noise per axis where the map has no self-test; where it has one, that is used, "
        "between 1 px and this value.",
        unit="px",
        low=0.5,
        high=20.0,
    )
    ransac_sigmas: float = parameter(
        4.5,
        "RANSAC's inlier threshold in standard deviations of the map's reprojection noise.",
        low=1.0,
        high=10.0,
    )
    robust_sigmas: float = parameter(
        6.0,
        "Scale of the robust cost, and radius of the final inliers, in the same unit.",
        low=1.0,
        high=20.0,
    )
    num_hypotheses: int = parameter(
        1, "Independent RANSAC runs on all matches; their answers compete.", low=1, high=20
    )
    max_iterations: int = parameter(1000, "Samples per RANSAC run at the most.", low=50, high=100000)
    seed: int = parameter(0, "Seed of every random choice.", low=0, high=2**31 - 1)


@dataclass(frozen=True)
class VerificationConfig:
    """What a pose must show before it is believed."""

    min_evidence: float = parameter(
        22.0,
        "Decades by which chance is less likely to explain the inliers than the number of poses tried "
        "(a-contrario, on image cells).",
        low=0.0,
        high=1000.0,
    )
    min_inliers: int = parameter(12, "Inliers on distinct keypoints at the least.", low=4, high=1000)
    max_rival_ratio: float = parameter(
        0.97,
        "Score of the best clearly different pose (5 degrees or 0.1 of the distance) over the score of the best one.",
        low=0.1,
        high=1.0,
    )
    min_lead_over_rival: float = parameter(
        1.645,
        "Standard deviations by which a pose explains the matches better than any that is turned by 8 degrees or "
        "0.15 of the distance away; 95 % one-sided. Near-planar scenes fail first.",
        low=0.0,
        high=100.0,
    )
    max_twin_ratio: float = parameter(
        0.6,
        "Score of another pose on matches that the best one leaves over, over the best one's: two places alike.",
        low=0.1,
        high=1.0,
    )
    max_rematch_ratio: float = parameter(
        0.35,
        "Score of the inliers matched to what the pose does not see, over their own: two places alike.",
        low=0.05,
        high=1.0,
    )
    max_view_change_deg: float = parameter(
        75.0, "A landmark is not recognised from further around than this.", unit="deg", low=10.0, high=180.0
    )
    max_scale_change: float = parameter(
        4.0, "A landmark is not recognised from this many times nearer or farther.", low=1.2, high=20.0
    )
    max_translation_sigma_m: float = parameter(
        0.5, "Largest standard deviation of position in its worst direction.", unit="m", low=0.001, high=100.0
    )
    max_rotation_sigma_deg: float = parameter(
        10.0,
        "Largest standard deviation of orientation about its worst axis.",
        unit="deg",
        low=0.01,
        high=90.0,
    )
    cell_size_px: float = parameter(
        40.0,
        "Side of the image cells in which inliers count once, at an image width of 640.",
        unit="px",
        low=4.0,
        high=320.0,
    )


@dataclass(frozen=True)
class MappingConfig:
    """How a map is built."""

    max_keypoints: int = parameter(2048, "Keypoints per keyframe that are matched.", low=64, high=8192)
    num_neighbors: int = parameter(12, "Keyframes each keyframe is matched with.", low=1, high=200)
    max_view_angle_deg: float = parameter(
        60.0,
        "Keyframes that look in directions further apart are not matched.",
        unit="deg",
        low=5.0,
        high=180.0,
    )
    max_epipolar_error_px: float = parameter(
        4.0,
        "Distance to the epipolar line of the given poses; at a focal length of 525 px.",
        unit="px",
        low=0.1,
        high=50.0,
    )
    max_reprojection_error_px: float = parameter(
        4.0,
        "Largest error of an observation that stays in a landmark's track; at a focal length of 525 px.",
        unit="px",
        low=0.1,
        high=50.0,
    )
    min_triangulation_angle_deg: float = parameter(
        1.5, "Landmarks seen under a smaller angle have no trustworthy depth.", unit="deg", low=0.1, high=45.0
    )
    min_track_length: int = parameter(2, "Keyframes that must see a landmark.", low=2, high=100)
    min_intrinsics_gain: float = parameter(
        0.02,
        "Part by which refined intrinsics must lower the held-out reprojection error to be kept.",
        low=0.0,
        high=1.0,
    )


@dataclass(frozen=True)
class FramesConfig:
    """Coordinate frames (REP-105) and who publishes map->odom."""

    map_frame: str = parameter("", "Name of the map's frame; empty takes the name stored in the map.")
    odom_frame: str = parameter("odom", "Frame in which odometry is continuous.")
    base_frame: str = parameter(
        "base_link", "Frame of the robot whose pose is published; empty means the camera's own."
    )
    base_from_camera: str = parameter(
        "",
        "Mounting of the optical frame, 'x y z qx qy qz qw' (m), used where TF has none; empty relies on TF.",
    )
    publish_tf: bool = parameter(
        False, "Broadcast map->odom; only one node of a robot may (AMCL or slam_toolbox do so too)."
    )
    tf_rate_hz: float = parameter(
        20.0, "How often map->odom is repeated with a fresh stamp.", unit="Hz", low=1.0, high=200.0
    )
    transform_tolerance_s: float = parameter(
        0.1, "How far map->odom is dated into the future, as AMCL does.", unit="s", low=0.0, high=5.0
    )


@dataclass(frozen=True)
class NodeConfig:
    """What the live node does with images."""

    map: str = parameter("", "Folder of the map that is loaded on start.")
    mode: str = parameter(
        "continuous",
        "Localize every image, or only when asked by service.",
        choices=("continuous", "on_demand"),
    )
    max_rate_hz: float = parameter(
        5.0,
        "Images localized per second at the most; 0 takes every image the machine can handle. Odometry carries "
        "the pose between two fixes.",
        unit="Hz",
        low=0.0,
        high=1000.0,
    )
    image_transport: str = parameter(
        "raw",
        "Kind of image messages; compressed listens to <image>/compressed.",
        choices=("raw", "compressed"),
    )
    diagonal_covariance: bool = parameter(
        False, "Publish variances only: Nav2 refuses a covariance with any negative element."
    )
    image_timeout_s: float = parameter(
        2.0, "Time without an image after which diagnostics report an error.", unit="s", low=0.1, high=3600.0
    )
    request_timeout_s: float = parameter(
        5.0, "Time a request waits for an image and its answer.", unit="s", low=0.1, high=600.0
    )
    bond: bool = parameter(
        True, "Keep a bond with Nav2's lifecycle manager, where the ROS package bondpy is installed."
    )
    diagnostics_rate_hz: float = parameter(
        1.0, "How often diagnostics are published.", unit="Hz", low=0.1, high=10.0
    )


@dataclass(frozen=True)
class OdometryConfig:
    """Where odometry comes from and how far it may be trusted."""

    source: str = parameter(
        "auto",
        "Tf looks up odom->base, topic listens to `odom`, auto takes whichever is there (and works without until "
        "either has been seen), none relies on the speed limits below.",
        choices=("auto", "tf", "topic", "none"),
    )
    history_s: float = parameter(
        10.0,
        "How long odometry is remembered; must exceed the delay of images.",
        unit="s",
        low=0.5,
        high=600.0,
    )
    max_gap_s: float = parameter(
        0.25, "Largest gap between two odometry poses that is interpolated.", unit="s", low=0.001, high=10.0
    )
    wait_s: float = parameter(
        0.1,
        "How long to wait, after an image is localized, for odometry to reach its stamp.",
        unit="s",
        low=0.0,
        high=5.0,
    )
    translation_sigma_m: float = parameter(
        0.05,
        "Standard deviation of position gathered over one metre of travel; grows with the root of the distance.",
        unit="m",
        low=0.0,
        high=10.0,
    )
    rotation_sigma_deg: float = parameter(
        1.0,
        "Standard deviation of orientation gathered over one metre of travel, and again over one radian of turn.",
        unit="deg",
        low=0.0,
        high=90.0,
    )
    max_speed_m_s: float = parameter(
        1.5, "Speed of the robot where there is no odometry.", unit="m/s", low=0.01, high=100.0
    )
    max_turn_deg_s: float = parameter(
        90.0, "Turning rate of the robot where there is no odometry.", unit="deg/s", low=1.0, high=3600.0
    )


@dataclass(frozen=True)
class GateConfig:
    """When a fix is believed, and when the former position is given up."""

    probability: float = parameter(
        0.999, "Share of right fixes that pass the chi-square gate.", low=0.5, high=0.999999
    )
    axes: str = parameter(
        "full",
        "Axes that are compared: all six, or x, y and yaw of a robot on a floor.",
        choices=("full", "planar"),
    )
    systematic_translation_m: float = parameter(
        0.05,
        "Error that neighbouring fixes have in common (the map's own), which averaging does not remove; standard "
        "deviation of position.",
        unit="m",
        low=0.001,
        high=10.0,
    )
    systematic_rotation_deg: float = parameter(
        1.0, "The same for orientation.", unit="deg", low=0.01, high=90.0
    )
    agreement_fixes: int = parameter(
        3, "Fixes that must agree before a position is believed at all.", low=1, high=100
    )
    recovery_rejections: int = parameter(
        5,
        "Rejected fixes in a row that agree with each other, after which the former position is given up "
        "(kidnapped robot).",
        low=2,
        high=1000,
    )
    smoothing_s: float = parameter(
        1.0,
        "Time constant with which the broadcast map->odom follows the filter; 0 lets it jump.",
        unit="s",
        low=0.0,
        high=60.0,
    )


@dataclass(frozen=True)
class StalenessConfig:
    """How long a position counts as known without a new fix."""

    position_sigma_m: float = parameter(
        0.5, "Standard deviation of position beyond which it is STALE.", unit="m", low=0.01, high=1000.0
    )
    rotation_sigma_deg: float = parameter(
        10.0, "Standard deviation of orientation beyond which it is STALE.", unit="deg", low=0.1, high=180.0
    )
    lost_factor: float = parameter(
        10.0,
        "How many times these limits the uncertainty may reach before the position is LOST.",
        low=1.0,
        high=1000.0,
    )


@dataclass(frozen=True)
class PriorConfig:
    """Searching first where the robot is expected."""

    enabled: bool = parameter(True, "Search near the predicted position first, then the whole map.")
    sigmas: float = parameter(
        3.0, "Radius of that search in standard deviations of the prediction.", low=1.0, high=20.0
    )
    margin_m: float = parameter(
        3.0,
        "Added to the radius: keyframes look at the same things from some way off.",
        unit="m",
        low=0.0,
        high=1000.0,
    )
    max_angle_deg: float = parameter(
        75.0,
        "Keyframes turned away further from the predicted view are left out.",
        unit="deg",
        low=5.0,
        high=180.0,
    )
    max_radius_m: float = parameter(
        30.0,
        "With a vaguer prediction than this the whole map is searched at once.",
        unit="m",
        low=0.1,
        high=1000.0,
    )


@dataclass(frozen=True)
class Config:
    """All parameters, by section."""

    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    pose: PoseConfig = field(default_factory=PoseConfig)
    verification: VerificationConfig = field(default_factory=VerificationConfig)
    mapping: MappingConfig = field(default_factory=MappingConfig)
    node: NodeConfig = field(default_factory=NodeConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    odometry: OdometryConfig = field(default_factory=OdometryConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    staleness: StalenessConfig = field(default_factory=StalenessConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Build from nested dictionaries; what is not named keeps its default.

        Raises:
            ConfigError: a name is unknown, a type wrong or a value out of bounds.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"parameters are {values!r}, expected sections of names and values")
        _refuse_unknown(values, [section.name for section in dataclasses.fields(cls)], "section")
        sections = {}
        for section in dataclasses.fields(cls):
            given = values.get(section.name)
            if given is None:  # a section whose lines are all commented out
                given = {}
            if not isinstance(given, Mapping):
                raise ConfigError(f"section '{section.name}' is {given!r}, expected names and values")
            sections[section.name] = _read_section(section.name, type(getattr(cls(), section.name)), given)
        return cls(**sections)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return nested dictionaries, as `from_dict` reads them."""
        return dataclasses.asdict(self)


def load_config(path: Path) -> Config:
    """Read parameters from YAML, plain or below ROS's `/**: ros__parameters:`.

    Raises:
        ConfigError: the file is missing, not YAML, or holds an unknown or unusable parameter.
    """
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if document is None:
        return Config()
    if not isinstance(document, Mapping):
        raise ConfigError(f"{path}: holds {type(document).__name__}, expected sections of parameters")
    for node in document.values():
        if isinstance(node, Mapping) and "ros__parameters" in node:
            document = {} if node["ros__parameters"] is None else node["ros__parameters"]
            break
    try:
        return Config.from_dict(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _read_section(name: str, kind: type[Any], given: Mapping[str, Any]) -> Any:
    fields = {entry.name: entry for entry in dataclasses.fields(kind)}
    _refuse_unknown(given, list(fields), f"parameter of section '{name}'")
    return kind(**{key: _checked(f"{name}.{key}", fields[key], value) for key, value in given.items()})


def _checked(name: str, entry: dataclasses.Field[Any], value: Any) -> Any:
    kind = type(entry.default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(f"{name} is {value!r} ({type(value).__name__}), expected {kind.__name__}")
    meta = entry.metadata
    if meta["choices"] and value not in meta["choices"]:
        raise ConfigError(f"{name} is '{value}', expected one of {', '.join(meta['choices'])}")
    if kind in (int, float):
        below = meta["low"] is not None and not value >= meta["low"]
        above = meta["high"] is not None and not value <= meta["high"]
        if below or above:
            raise ConfigError(
                f"{name} is {value}, expected {meta['low']} to {meta['high']} {meta['unit']}".rstrip()
            )
    return value


def _refuse_unknown(given: Mapping[str, Any], known: list[str], what: str) -> None:
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ConfigError(f"'{unknown[0]}' is no {what}; known are {', '.join(known)}")
