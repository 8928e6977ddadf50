"""Which maps of a set overlap, and how: pair by pair, two maps open at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.map_io import load_map
from hfnet_ros.map.map_set import Overlap
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.copies import common_keyframes, refuse_contained
from hfnet_ros.mapping.set_alignment import align_overlap
from hfnet_ros.types import Progress, ignore_progress

FloatArray = NDArray[np.float64]


def measure_overlaps(
    paths: Mapping[str, Path],
    config: Config,
    *,
    places: Mapping[str, Rigid3] | None = None,
    changed: Sequence[str] | None = None,
    progress: Progress = ignore_progress,
) -> dict[tuple[str, str], Overlap]:
    """Return the overlaps between maps, by both names.

    Args:
        paths: maps by name.
        config: see `align_overlap`.
        places: set_from_map of each, so that only maps are compared that come near each other; all without.
        changed: compare only what these are part of; all without.
        progress: told of the pairs.

    Raises:
        MapFormatError: a map cannot be read.
        MappingError: a map has all keyframes of another one.
    """
    names = list(paths)
    pairs = [
        (first, second)
        for place, first in enumerate(names)
        for second in names[place + 1 :]
        if changed is None or first in changed or second in changed
    ]
    if places is not None:
        reaches = {
            name: _reach(load_map(paths[name]), places[name]) for name in {n for pair in pairs for n in pair}
        }
        pairs = [pair for pair in pairs if _meet(*(reaches[name] for name in pair))]
    return dict(_measured(pairs, paths, config, progress))


def _measured(
    pairs: Sequence[tuple[str, str]], paths: Mapping[str, Path], config: Config, progress: Progress
) -> Iterator[tuple[tuple[str, str], Overlap]]:
    opened: tuple[str, VisualMap] | None = None
    for done, (first, second) in enumerate(pairs):
        progress("overlaps", done, len(pairs))
        if opened is None or opened[0] != first:
            opened = first, load_map(paths[first])
        other = load_map(paths[second])
        overlap = align_overlap(opened[1], other, config)
        if overlap is not None:
            common = common_keyframes(opened[1], other, overlap.first_from_second)
            refuse_contained(opened[1], other, common, (first, second))
            yield (first, second), overlap


def _reach(visual_map: VisualMap, set_from_map: Rigid3) -> FloatArray:
    """Return [2, 3] the box of what a map's keyframes see, m, frame of the set."""
    positions = set_from_map @ visual_map.given_poses[:, :3]
    far = float(np.median(visual_map.landmark_distance_ranges[:, 1])) if visual_map.num_landmarks else 0.0
    return np.stack([positions.min(axis=0) - far, positions.max(axis=0) + far])


def _meet(one: FloatArray, other: FloatArray) -> bool:
    return bool((one[0] <= other[1]).all() and (other[0] <= one[1]).all())
