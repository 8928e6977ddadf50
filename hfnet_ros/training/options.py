"""What a training run is made of; one YAML file, kept beside its results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfnet_ros.config.yaml_text import parse_yaml
from hfnet_ros.errors import ConfigError

CELL = 8  # px of the input per cell of the local heads
NO_KEYPOINT = CELL * CELL  # the class of a cell without one, the "dustbin"
UNKNOWN_CELL = 255  # the class of a cell that is not part of the loss


@dataclass(frozen=True)
class NetworkOptions:
    """Shape of the student.

    Attributes:
        encoder: `mobilenet_v2` as published, or `light`: plain 3x3 convolutions and a pyramid, which
            train and run several times faster on a CPU.
        width: multiplier of the encoder's channels (0.75 as published).
        normalization: `fixed` is (x - 128) / 128 as published; `image` subtracts mean and divides by
            deviation of each image, which takes exposure out.
        descriptor_size: of a local descriptor (256 as published).
        head_channels: of the 3x3 convolutions that start both local heads.
        clusters: of NetVLAD; 0 leaves this head out.
        local_clusters: of a second NetVLAD, over the local descriptors; 0 is without, as published.
        cluster_channels: of the map that NetVLAD aggregates; 0 takes the encoder's last map as it is.
        global_size: of the global descriptor (4096 as published).
        attention_power: of the head that is fitted last: a cell counts by this power of the probability that
            it has a keypoint. Measured (docs/hfnet.md): blurred and empty parts of a room count for less.
        cluster_saturation: of the head that is fitted last: a cluster with this sum of weights counts half of one
            with many; 0 counts all alike, as published, also those that hardly anything was assigned to.
        vocabularies: of the head that is fitted last: its clusters are so many vocabularies, learned apart. Two of
            32 clusters vary less with the seed than one of 64.
        global_scales: sizes of the image that the exported network takes the global descriptor from: `whole`,
            `half`, or `both`, which are added.
    """

    encoder: str = "light"
    width: float = 1.0
    normalization: str = "image"
    descriptor_size: int = 64
    head_channels: int = 64
    clusters: int = 0
    local_clusters: int = 64
    cluster_channels: int = 128
    global_size: int = 1024
    attention_power: float = 4.0
    cluster_saturation: float = 1.0
    vocabularies: int = 2
    global_scales: str = "half"


@dataclass(frozen=True)
class DataOptions:
    """What is looked at.

    Attributes:
        photos: folder of photos without poses; empty uses generated scenes only.
        views_per_photo: the first is the whole photo, the others are cut out of it at random.
        max_photos: at the most, evenly chosen; 0 is all that are not held out.
        scenes: generated apartments.
        views_per_scene: in groups of three that look at the same things.
        aside_m: how far from the first view of a group the others are at the most, along each horizontal axis.
        boxes_per_room: that stand about in generated apartments, besides their furniture.
        photo_share: share of the surfaces of generated apartments on which there is a part of a photo.
        view_wh: size of every view, px, multiples of 32.
        max_keypoints: teacher keypoints kept per view.
    """

    photos: str = ""
    views_per_photo: int = 2
    max_photos: int = 0
    scenes: int = 12
    views_per_scene: int = 72
    aside_m: float = 0.9
    boxes_per_room: int = 0
    photo_share: float = 0.0
    view_wh: tuple[int, int] = (320, 256)
    max_keypoints: int = 400


@dataclass(frozen=True)
class TeacherOptions:
    """Who is imitated.

    Attributes:
        local: `alike` (a dense ONNX file), `xfeat`, or `sift` for trials without weights.
        local_weights: its file; empty searches the usual places.
        global_parts: descriptors that are concatenated and projected: `vlad` of the local teacher,
            `vlad-xfeat`.
        global_weights: ONNX file of another teacher of the global descriptor, in the place of `global_parts`; see
            `GlobalNetwork`.
        xfeat_weights: file of XFeat, where it is used; empty searches the usual places.
        detection_threshold: score above which the local teacher's peaks are keypoints.
        nms_radius_px: half size of the square in which a peak is the highest.
        vocabulary_size: VLAD centres.
    """

    local: str = "alike"
    local_weights: str = ""
    global_parts: tuple[str, ...] = ("vlad", "vlad-xfeat")
    global_weights: str = ""
    xfeat_weights: str = ""
    detection_threshold: float = 0.1
    nms_radius_px: int = 2
    vocabulary_size: int = 64


@dataclass(frozen=True)
class ScheduleOptions:
    """How long and how fast.

    Attributes:
        steps: of the optimizer.
        pairs: pairs of views per step.
        scene_share: share of the pairs taken from generated scenes.
        turned_share: share of the pairs whose second view is turned about its middle, by any angle.
        learning_rate: highest; warm-up, then a cosine down to a hundredth.
        warmup_steps: with a linearly rising rate.
        weight_decay: of AdamW, on weights of convolutions and products.
        average_decay: of the running average of the weights that is exported.
        points_per_pair: correspondences compared per pair.
        consistency: also compare the two views of a pair (descriptors that match; metric learning of
            the global head). Off is the published method: distillation only.
        start_from: folder of another run whose averaged weights training starts from; empty starts at
            random.
        head_start: step at which the head over local descriptors is fitted to them and the global loss
            begins; 0 starts it at random with all the rest.
        fits_head_last: fit that head anew to the finished local descriptors. Measured (docs/hfnet.md): what
            training adds holds on the training's views more than on others.
        seed: of everything random.
        precision: `float32` or `bfloat16` (automatic mixed precision).
        device: `cpu` or `cuda`.
        save_every: steps between checkpoints.
        log_every: steps between lines of curves.csv.
    """

    steps: int = 6000
    pairs: int = 16
    scene_share: float = 0.25
    turned_share: float = 0.0
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    average_decay: float = 0.998
    points_per_pair: int = 192
    consistency: bool = True
    start_from: str = ""
    head_start: int = 0
    fits_head_last: bool = True
    seed: int = 0
    precision: str = "float32"
    device: str = "cpu"
    save_every: int = 250
    log_every: int = 25


@dataclass(frozen=True)
class TrainingOptions:
    """All of it, by section."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    data: DataOptions = field(default_factory=DataOptions)
    teachers: TeacherOptions = field(default_factory=TeacherOptions)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return nested dictionaries of plain values, as `options_from_dict` reads them."""
        nested = dataclasses.asdict(self)
        return {
            section: {
                key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
            }
            for section, values in nested.items()
        }


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # An hour on two CPU cores; made the weights in the package.
    "small": {"schedule": {"steps": 3200, "pairs": 10, "warmup_steps": 100, "head_start": 1200}},
    # An hour and a half: matches from further aside are right more often, places are found less often (docs/hfnet.md).
    "wide": {
        "data": {
            "scenes": 30,
            "views_per_scene": 72,
            "aside_m": 1.8,
            "boxes_per_room": 7,
            "photo_share": 0.5,
        },
        "schedule": {
            "steps": 4500,
            "pairs": 10,
            "scene_share": 0.45,
            "turned_share": 0.15,
            "warmup_steps": 100,
            "head_start": 1500,
        },
    },
    # Half an hour on one large GPU with 16 cores beside it.
    "full": {
        "data": {"views_per_photo": 3, "scenes": 32, "views_per_scene": 72, "view_wh": [448, 352]},
        "schedule": {
            "steps": 12000,
            "pairs": 40,
            "learning_rate": 2e-3,
            "warmup_steps": 400,
            "head_start": 4000,
            "average_decay": 0.999,
            "points_per_pair": 256,
            "precision": "bfloat16",
            "device": "cuda",
            "save_every": 500,
        },
    },
    # As published: MobileNetV2 0.75, 256 and 4096 dimensions, distillation only.
    "published": {
        "network": {
            "encoder": "mobilenet_v2",
            "width": 0.75,
            "normalization": "fixed",
            "descriptor_size": 256,
            "head_channels": 256,
            "clusters": 32,
            "cluster_channels": 0,
            "local_clusters": 0,
            "global_size": 4096,
            "global_scales": "whole",
        },
        "schedule": {
            "consistency": False,
            "precision": "bfloat16",
            "device": "cuda",
            "steps": 85000,
            "pairs": 8,
        },
    },
}

_CHOICES = {
    "encoder": ("light", "mobilenet_v2"),
    "normalization": ("image", "fixed"),
    "global_scales": ("whole", "half", "both"),
    "local": ("alike", "xfeat", "sift"),
    "precision": ("float32", "bfloat16"),
    "device": ("cpu", "cuda"),
}


def options_from_dict(values: Mapping[str, Any]) -> TrainingOptions:
    """Read nested dictionaries; what is not named keeps its default.

    Raises:
        ConfigError: a section or name is unknown, or a value of another type or out of the choices.
    """
    sections: dict[str, Any] = {}
    known = {
        section.name: type(getattr(TrainingOptions(), section.name))
        for section in dataclasses.fields(TrainingOptions)
    }
    for name, given in (values or {}).items():
        if name not in known:
            raise ConfigError(f"'{name}' is no section of a training run; known are {', '.join(known)}")
        if not isinstance(given, Mapping):
            raise ConfigError(f"section '{name}' is {given!r}, expected names and values")
        sections[name] = known[name](
            **{key: _checked(name, known[name], key, value) for key, value in given.items()}
        )
    return TrainingOptions(**sections)


def read_options(preset: str, path: Path | None, changes: Mapping[str, Mapping[str, Any]]) -> TrainingOptions:
    """Return a preset, changed by a YAML file and by what was said on the command line.

    Raises:
        ConfigError: the file is missing, not YAML, or something is unknown.
    """
    values: dict[str, dict[str, Any]] = {section: dict(given) for section, given in PRESETS[preset].items()}
    for given in (_read_yaml(path) if path else {}, changes):
        for section, options in given.items():
            if not isinstance(options, Mapping):
                raise ConfigError(f"section '{section}' is {options!r}, expected names and values")
            values.setdefault(section, {}).update(options)
    return options_from_dict(values)


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        document = parse_yaml(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if document is not None and not isinstance(document, Mapping):
        raise ConfigError(f"{path}: holds {type(document).__name__}, expected sections of options")
    return document or {}


def _checked(section: str, kind: type[Any], key: str, value: Any) -> Any:
    fields = {entry.name: entry.default for entry in dataclasses.fields(kind)}
    if key not in fields:
        raise ConfigError(f"'{key}' is no option of section '{section}'; known are {', '.join(fields)}")
    default = fields[key]
    if isinstance(default, tuple) and isinstance(value, (list, tuple)):
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise ConfigError(f"{section}.{key} is {value!r}, expected {type(default).__name__}")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise ConfigError(f"{section}.{key} is '{value}', expected one of {', '.join(_CHOICES[key])}")
    return value
