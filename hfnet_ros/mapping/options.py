"""What a caller may ask for when a map is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hfnet_ros.types import Progress, ignore_progress

IntrinsicsMode = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class BuildOptions:
    """Wishes beside the configuration.

    Attributes:
        frame_id: name of the map's frame.
        intrinsics: "auto" refines calibrations and keeps what helps held-out keyframes, "on"
            keeps it always, "off" never.
        refine_poses: adjust the given poses to the images; kept only if held-out landmarks agree.
        drop_moved: drop landmarks that most keyframes see through, as on things that moved.
        self_test: measure how far a new map can be trusted.
        progress: called with stage, steps done and steps in total; stages are check, extract,
            match, triangulate, without poses verify and register, and those of the self-test,
            which begin with "self-test".
    """

    frame_id: str = "map"
    intrinsics: IntrinsicsMode = "auto"
    refine_poses: bool = False
    drop_moved: bool = False
    self_test: bool = True
    progress: Progress = field(default=ignore_progress, compare=False)
