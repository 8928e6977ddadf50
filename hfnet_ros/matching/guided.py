"""Match keypoints with the landmarks near where a scene network puts them.

Among the few landmarks of a neighbourhood a descriptor finds its own where among all of a place it finds another that
looks like it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.map.place_view import PlaceView
from hfnet_ros.matching.landmark_matcher import as_correspondences
from hfnet_ros.types import Correspondences, ImageFeatures, SceneCoordinates

# How sure the network must be before a match is dropped that it contradicts.
_SURE = 0.25
_BLOCK = 8192  # pairs compared at a time


def match_guided(
    features: ImageFeatures,
    place: PlaceView,
    coordinates: SceneCoordinates,
    radius_m: float,
    min_similarity: float,
    known: Correspondences,
) -> Correspondences:
    """Return matches, most similar first, each keypoint and each landmark once.

    Args:
        features: of the image.
        place: its landmarks.
        coordinates: where keypoints of the image are, as a network sees it.
        radius_m: how far from there a landmark may be.
        min_similarity: cosine below which a pair is dropped.
        known: matches found without the network; those that it surely contradicts are dropped, the others stay.
    """
    keypoints, rows = pairs_within(coordinates.points3d, place.xyz, radius_m)
    known = _not_contradicted(known, coordinates, keypoints, radius_m)
    points = coordinates.keypoint_idxs[keypoints]
    free = ~np.isin(points, known.keypoint_idxs) & ~np.isin(place.idxs[rows], known.landmark_idxs)
    points, rows = points[free], rows[free]
    similarity = _similarity(features.local.descriptors, points, place.descriptors, rows)
    alike = similarity > min_similarity
    points, rows, similarity = points[alike], rows[alike], similarity[alike]
    order = np.argsort(-similarity, kind="stable")
    points, rows, similarity = points[order], rows[order], similarity[order]
    # The first row of a keypoint is its best landmark, and the other way round.
    mutual = np.intersect1d(
        np.unique(points, return_index=True)[1], np.unique(rows, return_index=True)[1], assume_unique=True
    )
    guided = as_correspondences(features.local, place, points[mutual], rows[mutual], similarity[mutual])
    return _joined(known, guided)


def _similarity(
    first: NDArray[np.float32],
    first_rows: NDArray[np.int64],
    second: NDArray[np.float32],
    second_rows: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the cosine of each pair of rows [P], so many at a time that they fit the cache."""
    found = np.empty(len(first_rows), np.float32)
    for start in range(0, len(found), _BLOCK):
        part = slice(start, start + _BLOCK)
        np.einsum("ij,ij->i", first[first_rows[part]], second[second_rows[part]], out=found[part])
    return found


def pairs_within(
    points: NDArray[np.float64], landmarks: NDArray[np.float64], radius_m: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs of rows of points [M, 3] and of landmarks [L, 3] that are no further apart, by points.

    A cube of cells of twice the radius around each point has two on a side.
    """
    nothing = np.empty(0, np.int64), np.empty(0, np.int64)
    if len(points) == 0 or len(landmarks) == 0:
        return nothing
    low = landmarks.min(axis=0) - radius_m
    cells = np.floor((landmarks - low) / (2.0 * radius_m)).astype(np.int64)
    shape = cells.max(axis=0) + 2
    keys = (cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.floor((points - low - radius_m) / (2.0 * radius_m)).astype(np.int64)
    found = []
    for corner in np.ndindex(2, 2, 2):
        cell = first + corner
        inside = ((cell >= 0) & (cell < shape)).all(axis=1)
        key = np.where(inside, (cell[:, 0] * shape[1] + cell[:, 1]) * shape[2] + cell[:, 2], -1)
        start, stop = np.searchsorted(keys, key), np.searchsorted(keys, key, side="right")
        count = stop - start
        row = np.repeat(np.arange(len(points)), count)
        ordinal = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        found.append((row, order[np.repeat(start, count) + ordinal]))
    rows, others = (np.concatenate(part) for part in zip(*found, strict=True))
    near = ((points[rows] - landmarks[others]) ** 2).sum(axis=1) <= radius_m**2
    rows, others = rows[near], others[near]
    by_point = np.lexsort((others, rows))
    return rows[by_point], others[by_point]


def _not_contradicted(
    known: Correspondences, coordinates: SceneCoordinates, near: NDArray[np.int64], radius_m: float
) -> Correspondences:
    """Return matches without those whose landmark is elsewhere than a sure network says, where there are others."""
    order = np.argsort(coordinates.keypoint_idxs, kind="stable")
    at = np.searchsorted(coordinates.keypoint_idxs, known.keypoint_idxs, sorter=order)
    at = order[np.minimum(at, len(order) - 1)] if len(order) else at
    if len(order) == 0 or len(known) == 0:
        return known
    asked = coordinates.keypoint_idxs[at] == known.keypoint_idxs
    has_others = np.zeros(len(coordinates), np.bool_)
    has_others[near] = True
    distance = np.linalg.norm(coordinates.points3d[at] - known.points3d, axis=1)
    contradicted = asked & has_others[at] & (coordinates.confidence[at] > _SURE) & (distance > radius_m)
    return known.chosen(~contradicted)


def _joined(first: Correspondences, second: Correspondences) -> Correspondences:
    joined = Correspondences(
        np.concatenate([first.points2d, second.points2d]),
        np.concatenate([first.points3d, second.points3d]),
        np.concatenate([first.keypoint_idxs, second.keypoint_idxs]),
        np.concatenate([first.landmark_idxs, second.landmark_idxs]),
        np.concatenate([first.similarity, second.similarity]),
    )
    return joined.chosen(np.argsort(-joined.similarity, kind="stable"))
