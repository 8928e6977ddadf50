"""Keypoints of what a camera carries with it: the robot's own body, text in the image, dirt on the lens.

They are where they were in every image, and match better than all else. Two images of one scene then agree most on not
having moved at all, and right poses look wrong; two that share nothing agree on it as well.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_ros.mapping.views import Keyframe
from hfnet_ros.types import ImageFeatures, LocalFeatures

_logger = logging.getLogger(__name__)

_MIN_VIEWS, _MAX_VIEWS = 6, 12  # of a camera, that are compared with each other
# Images of a camera; the many where the few show too few views, as of a robot that waits.
_NUM_LOOKED_AT = (12, 36)
_MAX_SHIFT = 0.0025  # of the diagonal, 2 px of 640x480: a seventh of what landmarks need to be triangulated
_MIN_SIMILARITY = 0.8  # as of landmarks of two maps that are one
_NUM_CANDIDATES = 4
# Chance leaves one keypoint in a thousand where it was, what is carried is found again in most images.
_MIN_SHARE = 0.5  # of the other views: what a camera turns about is followed by some
# Two images of a robot that waits are no other views: something stays in every part of them.
_CELLS = 4  # along each side
_MIN_IN_CELL = 8
_MIN_CHANGED_SHARE = 0.25  # of the cells
_TOLD_SHARE = 0.05  # of the keypoints


def without_carried(keyframes: Sequence[Keyframe]) -> list[Keyframe]:
    """Return the keyframes without the keypoints that are in one place of the image wherever their camera is.

    What was extracted stays, as queries have it.

    Args:
        keyframes: of any number of cameras, in the order they were taken.
    """
    kept = list(keyframes)
    for camera in sorted({keyframe.image.camera_idx for keyframe in keyframes}):
        rows = [row for row, keyframe in enumerate(keyframes) if keyframe.image.camera_idx == camera]
        looked_at = {place: keyframes[rows[place]].features for place in places_looked_at(len(rows))}
        carried = carried_among(looked_at, len(rows))
        if carried is None:
            continue
        num_all = num_carried = 0
        for row in rows:
            own = rows_not_carried(keyframes[row].features, carried)
            num_all += len(keyframes[row].features.local)
            num_carried += len(keyframes[row].features.local) - len(own)
            kept[row] = _among(keyframes[row], own)
        tell_carried(keyframes[rows[0]].image.name, num_carried / max(num_all, 1))
    return kept


def places_looked_at(count: int) -> list[int]:
    """Return which of so many images of a camera, in the order they were taken, tell what it carries."""
    return sorted({place for num in _NUM_LOOKED_AT for place in _spread(count, num)})


def rows_not_carried(features: ImageFeatures, carried: LocalFeatures) -> NDArray[np.int64]:
    """Return the keypoints of an image that its camera does not carry with it."""
    return np.flatnonzero(~_stays(features, carried))


def tell_carried(name: str, share: float) -> None:
    """Warn of what a camera carries, a share of all keypoints of its images, where that is more than a little.

    Args:
        name: of one of its images.
        share: left out of the map.
    """
    if share > _TOLD_SHARE:
        _logger.warning(
            "%d %% of the keypoints of %s and the other images of its camera are where they are in all of them, as "
            "of the robot's own body or of text in the image: left out of the map. More images are found in it with a "
            "mask of that (`hfnet-ros mask` draws one)",
            round(100 * share),
            name,
        )


def carried_among(looked_at: Mapping[int, ImageFeatures], count: int) -> LocalFeatures | None:
    """Return keypoints of some images of one camera that stay where they are in other views; None without any.

    Args:
        looked_at: images at the `places_looked_at`.
        count: of all images of the camera.
    """
    views = _other_views(looked_at, count)
    if len(views) < _MIN_VIEWS:
        return None
    least = _MIN_SHARE * (len(views) - 1)
    found = []
    for row, view in enumerate(views):
        times = np.sum([_stays(view, other.local) for other in views[:row] + views[row + 1 :]], axis=0)
        found.append(view.local.chosen(np.flatnonzero(times >= least)))
    if not sum(map(len, found)):
        return None
    return LocalFeatures(
        np.concatenate([local.keypoints for local in found]),
        np.concatenate([local.scores for local in found]),
        np.concatenate([local.descriptors for local in found]),
    )


def _spread(count: int, num: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, num).round().astype(int)).tolist()


def _other_views(looked_at: Mapping[int, ImageFeatures], count: int) -> list[ImageFeatures]:
    """Return some images, spread over all, each of another view than the others: one of a robot that waits."""
    views: list[ImageFeatures] = []
    for num in _NUM_LOOKED_AT:
        views = []
        for features in (looked_at[place] for place in _spread(count, num)):
            if all(_is_other_view(features, _stays(features, view.local)) for view in views):
                views.append(features)
        if len(views) >= _MIN_VIEWS:
            break
    return views[:: -(-len(views) // _MAX_VIEWS)] if views else views


def _stays(features: ImageFeatures, others: LocalFeatures) -> NDArray[np.bool_]:
    """Tell which keypoints [N] of an image others show in the same place."""
    local = features.local
    if not len(local) or not len(others):
        return np.zeros(len(local), np.bool_)
    radius = _MAX_SHIFT * float(np.hypot(*features.extent_wh))
    count = min(_NUM_CANDIDATES, len(others))
    distances, near = cKDTree(others.keypoints).query(local.keypoints, k=count, distance_upper_bound=radius)
    distances, near = distances.reshape(-1, count), near.reshape(-1, count)
    row, candidate = np.nonzero(np.isfinite(distances))
    similarity = np.einsum(
        "nd,nd->n", local.descriptors[row], others.descriptors[near[row, candidate]], dtype=np.float32
    )
    stays = np.zeros(len(local), np.bool_)
    stays[row[similarity >= _MIN_SIMILARITY]] = True
    return stays


def _is_other_view(features: ImageFeatures, stays: NDArray[np.bool_]) -> bool:
    """Tell whether there are parts of an image with enough to see, of which nothing stays where it is."""
    shares = features.local.keypoints / np.array(features.extent_wh)
    column, row = np.clip((_CELLS * shares).astype(int), 0, _CELLS - 1).T
    cells = _CELLS * row + column
    nums = np.bincount(cells, minlength=_CELLS**2)
    is_told = nums >= _MIN_IN_CELL
    changed = is_told & (np.bincount(cells, stays, minlength=_CELLS**2) == 0)
    return bool(changed.sum() > 0 and changed.sum() >= _MIN_CHANGED_SHARE * is_told.sum())


def _among(keyframe: Keyframe, rows: NDArray[np.int64]) -> Keyframe:
    if len(rows) == len(keyframe.features.local):
        return keyframe
    return replace(keyframe, features=keyframe.features.chosen(rows), colors=keyframe.colors[rows])
