"""What a caller may ask for when a map is built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hfnet_ros.types import Progress, ignore_progress

RefinementMode = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class BuildOptions:
    """Wishes beside the configuration.

    Attributes:
        frame_id: name of the map's frame.
        intrinsics: "auto" refines calibrations and keeps what helps held-out keyframes, "on"
            keeps it always, "off" never.
        refine_poses: "auto" makes the given poses agree with each other and keeps that if held-out
            landmarks agree, "on" keeps it always, "off" never. Answers stay in the frame of the given poses.
        drop_moved: drop landmarks that most keyframes see through, as on things that moved.
        self_test: measure how far a new map can be trusted.
        is_draft: whether nobody will use the map: what is doubtful about it is not said.
        progress: called with stage, steps done and steps in total; stages are check, extract,
            match, check poses, triangulate, without poses verify and register, and those of the self-test,
            which begin with "self-test".
    """

    frame_id: str = "map"
    intrinsics: RefinementMode = "auto"
    refine_poses: RefinementMode = "auto"
    drop_moved: bool = False
    self_test: bool = True
    is_draft: bool = False
    progress: Progress = field(default=ignore_progress, compare=False)
