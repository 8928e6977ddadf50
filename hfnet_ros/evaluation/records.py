"""What an evaluation run hands to the scoring: one result per query, and what produced them."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.map_points import MapPoints
from hfnet_ros.types import GateDecision, Localization, Relocalization, Verdict

TimedPose = tuple[int, Rigid3]

_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """A small picture of a query that has no file, made by `thumbnails.make_thumbnail`.

    Attributes:
        jpeg: the picture as a JPEG file.
        size_wh: of the picture, px.
        image_size_wh: size of the image it shows, px; keypoints are in pixels of that.
        corners_px: where in it the image of each view begins; of one view at its own corner.
    """

    jpeg: bytes
    size_wh: tuple[int, int]
    image_size_wh: tuple[int, int]
    corners_px: tuple[tuple[int, int], ...] = ((0, 0),)


@dataclass(frozen=True, slots=True, eq=False)
class QueryResult:
    """One image, what localization answered, and where the camera really was.

    Attributes:
        name: what a person calls the query, usually its file name; need not be unique.
        image_path: file of the image for the report's thumbnails; None for frames of a bag.
        stamp_ns: time of exposure, nanoseconds.
        localization: the answer.
        groundtruth: map_from_camera as measured by something better; None where unknown.
        relocalization: what the gate and the filter made of it; None where images are asked one by one.
        thumbnail: picture for the report where there is no file.
    """

    name: str
    image_path: Path | None
    stamp_ns: int
    localization: Localization
    groundtruth: Rigid3 | None = None
    relocalization: Relocalization | None = None
    thumbnail: Thumbnail | None = None

    @property
    def decision(self) -> GateDecision | None:
        """Return the verdict of the gate; None without a gate or without a pose."""
        return None if self.relocalization is None else self.relocalization.decision

    @property
    def is_accepted(self) -> bool:
        """Tell whether a robot would have used the pose: without a gate, whether there is one."""
        if self.relocalization is None:
            return self.localization.estimate is not None
        return self.decision is not None and self.decision.verdict is Verdict.ACCEPTED


@dataclass(frozen=True, slots=True, eq=False)
class RunContext:
    """What surrounds the queries of a run; every part may be missing.

    Attributes:
        map_points: of the scene they were localized in.
        groundtruth: true map_from_camera at its full rate, to find a time offset; without it the
            ground truth of the queries is used.
        fused: map_from_base as filter and odometry had it, at any rate.
        groundtruth_base: true map_from_base to compare `fused` with.
        training_curves: what was measured while the scene's network was trained.
        copies: names of queries that are the very images of keyframes.
    """

    map_points: MapPoints = field(default_factory=MapPoints)
    groundtruth: Sequence[TimedPose] = ()
    fused: Sequence[TimedPose] = ()
    groundtruth_base: Sequence[TimedPose] = ()
    training_curves: Sequence[Mapping[str, float]] = ()
    copies: Sequence[str] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RunIdentity:
    """What produced the results: without it a number cannot be repeated.

    Attributes:
        map: facts about the map (path, keyframes, landmarks, digest).
        extractor_id: network and digest of its weights.
        backend: what ran the network.
        config: every parameter of the run, nested by section.
        version: version of this package.
        commit: git commit, or "" outside a checkout.
        machine: see `describe_machine`.
    """

    map: Mapping[str, object] = field(default_factory=dict)
    extractor_id: str = ""
    backend: str = ""
    config: Mapping[str, object] = field(default_factory=dict)
    version: str = ""
    commit: str = ""
    machine: Mapping[str, object] = field(default_factory=dict)


IDENTITY_KEYS = tuple(item.name for item in fields(RunIdentity))


def describe_machine() -> dict[str, object]:
    """Return processor, usable cores, system and Python of the machine this runs on."""
    return {
        "processor": _processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _processor_name() -> str:
    # platform.processor() is empty on most Linux distributions.
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    return platform.processor() or platform.machine()
