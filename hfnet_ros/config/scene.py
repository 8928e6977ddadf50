"""Parameters of training a scene-coordinate network."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_ros.config.schema import parameter

SCENE_NETWORKS = ["hybrid", "dense", "dense-full"]


@dataclass(frozen=True)
class SceneConfig:
    """How a scene-coordinate network is trained (`map build --kind scene` or `both`)."""

    network: str = parameter(
        "hybrid",
        "Kind of network: hybrid takes the extractor's keypoints and a retrieved keyframe, minutes on two cores; dense "
        "takes the image, an hour; dense-full is HSCNet as published, for a GPU.",
        choices=SCENE_NETWORKS,
    )
    classes: int = parameter(25, "Parts that the scene is divided into, as published.", low=1, high=1000)
    subclasses: int = parameter(25, "Leaves that each part is divided into, as published.", low=1, high=1000)
    rooms: int = parameter(
        1,
        "Rooms (places of keyframes) that are divided into classes each by itself, as published for combined scenes.",
        low=1,
        high=1000,
    )
    regression: bool = parameter(
        True, "Regress coordinates within a leaf; without, the centre of the leaf stands for all of it."
    )
    views: int = parameter(
        8,
        "Altered views (turned, nearer, darker, blurred) of each keyframe that the hybrid network learns besides; "
        "without them it forgets views from aside.",
        low=0,
        high=64,
    )
    steps: int = parameter(
        0, "Steps of the optimizer; 0 is as many as the network needs by default.", low=0, high=10_000_000
    )
    seed: int = parameter(0, "Seed of everything random in training.", low=0, high=2**31 - 1)
