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

    name: str = parameter("xfeat", "Feature extractor; sift needs no weights.", choices=("xfeat", "sift"))
    weights: str = parameter("", "File with the published weights; empty searches the usual places.")
    max_keypoints: int = parameter(2048, "Keypoints kept per image, best first.", low=64, high=8192)
    detection_threshold: float = parameter(
        0.05,
        "Heat-map probability above which a peak is a keypoint (XFeat, as published).",
        low=0.0,
        high=1.0,
    )
    nms_radius_px: int = parameter(
        2,
        "Half size of the square in which a keypoint must be the highest (XFeat, as published).",
        unit="px",
        low=1,
        high=16,
    )


@dataclass(frozen=True)
class InferenceConfig:
    """How networks run on this machine."""

    backend: str = parameter(
        "auto", "Runtime of the networks; auto takes the best one present.", choices=("auto", "onnxruntime")
    )
    num_threads: int = parameter(2, "CPU threads of the network.", low=1, high=64)
    allow_spinning: bool = parameter(
        False, "Let network threads wait busily: a millisecond faster, at the cost of idle cores."
    )


@dataclass(frozen=True)
class RetrievalConfig:
    """How prior frames are found and grouped."""

    num_prior_frames: int = parameter(
        25,
        "Keyframes retrieved per image: with 10 nearly all strongly turned views are lost, with 20 a few.",
        low=1,
        high=500,
    )
    max_places: int = parameter(3, "Places tried per image before giving up.", low=1, high=50)
    vocabulary_size: int = parameter(
        64, "VLAD centres learned from the map (extractors without a global descriptor).", low=4, high=512
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
        0.97, "Score of the best clearly different pose over the score of the best one.", low=0.1, high=1.0
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
class Config:
    """All parameters, by section."""

    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    pose: PoseConfig = field(default_factory=PoseConfig)
    verification: VerificationConfig = field(default_factory=VerificationConfig)
    mapping: MappingConfig = field(default_factory=MappingConfig)

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
