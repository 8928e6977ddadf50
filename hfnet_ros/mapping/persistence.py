"""Which landmarks are still there? Ask the keyframes that look at them without seeing them.

A landmark on something that moved was seen in one stretch of time only. Later, or earlier,
keyframes look at the same spot and see what is behind it: their rays pass through the landmark.
Given poses alone do not tell such landmarks from good ones, because while the thing stood still
every observation agreed with them.

Whether a ray passes is read off the landmarks that a keyframe does see around the spot: all
deeper means that it passes, one at the same depth that there is a surface, all nearer that
something stands in front and the keyframe knows nothing.

Reference: Pomerleau et al., "Long-term 3D map maintenance in dynamic environments", ICRA 2014
    (visibility of points along rays).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.views import focal_scale

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_NEIGHBOR_RADIUS_PX = 30.0  # at the reference focal length
_NUM_NEIGHBORS = 4
_DEPTH_MARGIN = 0.25  # landmarks of little parallax are that wrong in depth
_MAX_VIEW_CHANGE_RAD = np.deg2rad(45.0)
_MAX_SCALE_CHANGE = 2.0
_MIN_PASSING_RAYS = 5
_MIN_PASSING_SHARE = 0.8
_MAX_BETWEEN_SHARE = 0.1
_MISSED_BY_CHANCE = 0.01
_MIN_USUAL_RATE = 0.05


@dataclass(frozen=True, eq=False)
class Sightings:
    """What keyframes say about each landmark, counts [L].

    Attributes:
        observed: keyframes that see it.
        missed: keyframes that look at it, past nothing, and do not see it.
        passed: of those, keyframes whose rays pass through it.
        passed_between: of those, the ones between its first and its last observer in time.
        missed_apart: keyframes that miss it before or after the time it may have been there, which
            lasts from its last ray through before the first observer to the next one after the last.
    """

    observed: IntArray
    missed: IntArray
    passed: IntArray
    passed_between: IntArray
    missed_apart: IntArray


def count_sightings(visual_map: VisualMap, keyframe_idxs: Sequence[int] | None = None) -> Sightings:
    """Count for every landmark what these keyframes, or all, say about it."""
    rows = np.arange(visual_map.num_keyframes) if keyframe_idxs is None else np.asarray(keyframe_idxs)
    in_time = rows[np.argsort(visual_map.keyframe_stamps_ns[rows], kind="stable")].tolist()
    seen = [visual_map.landmarks_seen_by(row).astype(np.int64) for row in in_time]
    pairs = [_missed_by(visual_map, row) for row in in_time]
    missed, passed = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    count = visual_map.num_landmarks
    first, last = np.full(count, len(in_time)), np.full(count, -1)
    for time, landmarks in enumerate(seen):
        first[landmarks] = np.minimum(first[landmarks], time)
        last[landmarks] = time
    # A landmark that none of them sees was never there: all of them are apart from its time.
    unseen = last < 0
    start, end = np.where(unseen, len(in_time), -1), np.full(count, len(in_time))
    between = np.zeros(count, np.int64)
    for time, landmarks in enumerate(passed):
        before, after = landmarks[time < first[landmarks]], landmarks[time > last[landmarks]]
        start[before] = np.maximum(start[before], time)
        end[after] = np.minimum(end[after], time)
        between[landmarks[(time > first[landmarks]) & (time < last[landmarks])]] += 1
    apart = np.zeros(count, np.int64)
    for time, landmarks in enumerate(missed):
        apart[landmarks[(time <= start[landmarks]) | (time >= end[landmarks])]] += 1
    return Sightings(_count(seen, count), _count(missed, count), _count(passed, count), between, apart)


def is_seen_through(sightings: Sightings) -> NDArray[np.bool_]:
    """Tell which landmarks [L] were there for a time only: before or after it, rays pass through them.

    Beside an edge some rays pass too, but now and then; where something moved, all of them do,
    and none while it was there.
    """
    apart = sightings.passed - sightings.passed_between
    return (
        (apart >= _MIN_PASSING_RAYS)
        & (apart > _MIN_PASSING_SHARE * sightings.missed_apart)
        & (sightings.passed_between <= _MAX_BETWEEN_SHARE * sightings.passed)
    )


def is_gone(sightings: Sightings, usual: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Tell which landmarks [L] are never seen although they would have been, were they still there.

    How often a landmark is seen by a keyframe that looks at it depends on the light and on the
    features; the rate over the `usual` landmarks, or all, says what to expect. None is gone where
    hardly any are seen again: then the images are too different to tell.
    """
    looked_at = sightings.observed + sightings.missed
    among = np.ones(len(looked_at), np.bool_) if usual is None else usual
    rate = float(sightings.observed[among].sum()) / max(float(looked_at[among].sum()), 1.0)
    if rate < _MIN_USUAL_RATE:
        return np.zeros(len(looked_at), np.bool_)
    by_chance = (1.0 - min(rate, 0.99)) ** looked_at
    return (sightings.observed == 0) & (by_chance < _MISSED_BY_CHANCE)


def landmarks_in_view(
    visual_map: VisualMap, camera: Camera, map_from_camera: Rigid3
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return the landmarks a camera there could recognise, walls or not: rows, pixels [V, 2], depths [V]."""
    toward = visual_map.landmark_xyz - map_from_camera.translation
    depth = toward @ map_from_camera.rotation[:, 2]
    distance = np.maximum(np.linalg.norm(toward, axis=1), 1e-9)
    cosine = np.einsum("ij,ij->i", toward, visual_map.landmark_view_directions) / distance
    nearest, farthest = visual_map.landmark_distance_ranges.T
    likely = (depth > 1e-6) & (cosine > np.cos(_MAX_VIEW_CHANGE_RAD))
    likely &= (distance < farthest * _MAX_SCALE_CHANGE) & (distance > nearest / _MAX_SCALE_CHANGE)
    rows = np.flatnonzero(likely)
    pixels = camera.project(toward[rows] @ map_from_camera.rotation)
    inside = ((pixels >= 0.0) & (pixels <= np.array(camera.size_wh) - 1.0)).all(axis=1)
    return rows[inside], pixels[inside], depth[rows[inside]]


def _missed_by(visual_map: VisualMap, keyframe_idx: int) -> tuple[IntArray, IntArray]:
    """Return the landmarks that a keyframe ought to see and does not, and those it sees through."""
    nothing = np.empty(0, np.int64)
    camera = visual_map.cameras[visual_map.keyframe_camera_idx[keyframe_idx]].refined
    map_from_camera = visual_map.map_from_camera(keyframe_idx)
    rows, pixels, depths = landmarks_in_view(visual_map, camera, map_from_camera)
    seen = visual_map.landmarks_seen_by(keyframe_idx)
    unseen = ~np.isin(rows, seen)
    rows, pixels, depths = rows[unseen], pixels[unseen], depths[unseen]
    if len(seen) < _NUM_NEIGHBORS or len(rows) == 0:
        return nothing, nothing
    seen_depths = (map_from_camera.inverse() @ visual_map.landmark_xyz[seen])[:, 2]
    start, stop = visual_map.observation_offsets[keyframe_idx : keyframe_idx + 2]
    radius = _NEIGHBOR_RADIUS_PX * focal_scale(camera)
    tree = cKDTree(visual_map.observation_xy[start:stop])
    distances, neighbors = tree.query(pixels, k=_NUM_NEIGHBORS, distance_upper_bound=radius)
    surrounded = np.isfinite(distances).all(axis=1)
    rows, depths = rows[surrounded], depths[surrounded, None]
    around = seen_depths[neighbors[surrounded]]
    passed = (around > depths * (1.0 + _DEPTH_MARGIN)).all(axis=1)
    hidden = (around < depths * (1.0 - _DEPTH_MARGIN)).all(axis=1)
    return rows[~hidden], rows[passed]


def _count(landmarks: Sequence[NDArray[np.integer]], num_landmarks: int) -> IntArray:
    joined = np.concatenate(landmarks) if landmarks else np.empty(0, np.int64)
    return np.bincount(joined, minlength=num_landmarks).astype(np.int64)
