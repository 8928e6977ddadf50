"""From structure and keyframes to the arrays of a `VisualMap`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from hfnet_ros.mapping.views import Keyframe, Structure, View

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkArrays:
    """The landmark part of a map; attributes as in `VisualMap`."""

    landmark_xyz: NDArray[np.float64]
    landmark_descriptors: Float32Array
    landmark_view_directions: Float32Array
    landmark_distance_ranges: Float32Array
    landmark_colors: NDArray[np.uint8]
    observation_offsets: NDArray[np.int64]
    observation_landmark_idx: NDArray[np.int32]
    observation_xy: Float32Array
    observation_descriptors: Float32Array | None


def summarize_landmarks(
    structure: Structure,
    views: Sequence[View],
    keyframes: Sequence[Keyframe],
    *,
    keep_observations: bool = False,
) -> LandmarkArrays:
    """Summarise what the observers of each landmark saw.

    A landmark's descriptor is the normalised mean of its observations' descriptors: the
    direction with the highest summed cosine to all of them.

    Args:
        structure: at least one landmark.
        views: F views the structure refers to.
        keyframes: features and colours of the same F images.
        keep_observations: return the descriptor of every observation, too.
    """
    total = _summation(structure)
    descriptors = np.concatenate([view.descriptors for view in views])
    colors = np.concatenate([keyframe.colors for keyframe in keyframes])
    starts = np.cumsum([0] + [len(view.keypoints) for view in views])
    feature = starts[structure.view_idx] + structure.keypoint_idx
    offsets, landmark_idx, xy = _observations_by_keyframe(structure, views)
    directions, ranges = _viewing_geometry(structure, views, total)
    return LandmarkArrays(
        landmark_xyz=structure.xyz,
        landmark_descriptors=_unit_rows(total @ descriptors[feature].astype(np.float64)).astype(np.float32),
        landmark_view_directions=directions,
        landmark_distance_ranges=ranges,
        landmark_colors=_mean_colors(total, colors[feature], structure.track_lengths),
        observation_offsets=offsets,
        observation_landmark_idx=landmark_idx,
        observation_xy=xy,
        observation_descriptors=descriptors[feature][_by_keyframe(structure)] if keep_observations else None,
    )


def track_length_counts(structure: Structure) -> Mapping[str, int]:
    """Return how many landmarks have 2, 3, 4, ... observations; 10 stands for 10 and more."""
    lengths, counts = np.unique(np.minimum(structure.track_lengths, 10), return_counts=True)
    return {str(length): int(count) for length, count in zip(lengths, counts, strict=True)}


def _summation(structure: Structure) -> csr_matrix:
    """Return the sparse [L, O] matrix that sums over each landmark's observations."""
    count = len(structure.landmark_idx)
    rows = (structure.landmark_idx, np.arange(count))
    return csr_matrix((np.ones(count), rows), shape=(structure.num_landmarks, count))


def _viewing_geometry(
    structure: Structure, views: Sequence[View], total: csr_matrix
) -> tuple[Float32Array, Float32Array]:
    """Return mean directions from observers [L, 3] and nearest and farthest distances [L, 2]."""
    centers = np.array([view.map_from_camera.translation for view in views])
    rays = structure.xyz[structure.landmark_idx] - centers[structure.view_idx]
    distances = np.linalg.norm(rays, axis=1)
    directions = _unit_rows(total @ (rays / np.maximum(distances, 1e-12)[:, None]))
    starts = np.concatenate([[0], np.cumsum(structure.track_lengths)[:-1]])
    nearest = np.minimum.reduceat(distances, starts)
    farthest = np.maximum.reduceat(distances, starts)
    return directions.astype(np.float32), np.stack([nearest, farthest], axis=1).astype(np.float32)


def _mean_colors(
    total: csr_matrix, colors: NDArray[np.uint8], track_lengths: NDArray[np.int64]
) -> NDArray[np.uint8]:
    mean = (total @ colors.astype(np.float64)) / track_lengths[:, None]
    return np.rint(mean).astype(np.uint8)


def _by_keyframe(structure: Structure) -> NDArray[np.int64]:
    """Return the order [O] of observations by keyframe and then landmark."""
    return np.lexsort((structure.landmark_idx, structure.view_idx))


def _observations_by_keyframe(
    structure: Structure, views: Sequence[View]
) -> tuple[NDArray[np.int64], NDArray[np.int32], Float32Array]:
    """Return offsets [F + 1], landmark rows [O] and pixels [O, 2], by keyframe and then landmark."""
    order = _by_keyframe(structure)
    counts = np.bincount(structure.view_idx, minlength=len(views))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    keypoint_idx = structure.keypoint_idx[order]
    pieces = [view.keypoints[keypoint_idx[offsets[idx] : offsets[idx + 1]]] for idx, view in enumerate(views)]
    return offsets, structure.landmark_idx[order].astype(np.int32), np.concatenate(pieces).astype(np.float32)


def _unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
