"""What the landmarks of a place are. Nothing here is of the length of the map."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MapFormatError
from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX, Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.expected_view import ExpectedPoints
from hfnet_ros.map.array_files import ADVICE
from hfnet_ros.map.place_view import PlaceView
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.pose.problem import ObserverCones
from hfnet_ros.types import Correspondences, Place, RigCamera

_VIEW_MARGIN = 0.1  # of the image's width and height
# Of two rays from their mean, as far apart as those of a landmark must be (`mapping.min_triangulation_angle_deg`), rad.
_LEAST_DEVIATION = float(np.sqrt(2.0) * np.sin(np.deg2rad(0.75)))


class Landmarks:
    """Landmarks of a map, by place."""

    def __init__(self, visual_map: VisualMap, max_landmarks: int) -> None:
        """Take a map with its search structure, and how many landmarks of a place are looked at."""
        self._map = visual_map
        self._max_landmarks = max_landmarks
        # Of what the last query asked for: a place is looked at twice.
        self._last_seen_by: dict[tuple[int, ...], tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def of(self, place: Place) -> PlaceView:
        """Return the landmarks that the place's frames see.

        Raises:
            MapFormatError: the map is damaged there.
        """
        self._last_seen_by.clear()
        idxs, num_seeing = self._seen_by(place.keyframe_idxs)
        return PlaceView(self._map, self._most_seen(idxs, num_seeing), place.keyframe_idxs)

    def unexplained(
        self,
        frames: Sequence[int],
        agreeing: Collection[int],
        map_from_rig: Rigid3,
        cameras: Sequence[RigCamera],
    ) -> PlaceView:
        """Return the landmarks that frames see, but for those that a pose explains.

        That is what cameras there look at and frames that agree with the pose know. What is in view but
        known to others only may be behind a wall.

        Raises:
            MapFormatError: the map is damaged there.
        """
        idxs, num_seeing = self._seen_by(frames)
        explained = np.zeros(len(idxs), np.bool_)
        if agreeing:
            points = self._map.landmark_xyz[idxs]
            for view in cameras:
                explained |= _in_view(points, map_from_rig @ view.rig_from_camera, view.camera)
            known = np.zeros(len(idxs), np.bool_)
            # Agreeing frames are some of the frames, so that all of theirs is there.
            known[np.searchsorted(idxs, self._seen_by(tuple(agreeing))[0])] = True
            explained &= known
        return PlaceView(self._map, self._most_seen(idxs[~explained], num_seeing[~explained]), tuple(frames))

    def nums_seen_by(self, frames: Sequence[int], landmark_idxs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many of some landmarks each frame sees; see `nums_common`."""
        return nums_common(self._map, frames, np.sort(landmark_idxs))

    def part_text(self, landmark_idxs: NDArray[np.int64]) -> str:
        """Return which sub-map of a set landmarks are of; see `VisualMap.part_text`."""
        return self._map.part_text(landmark_idxs)

    def is_same_place(
        self, keyframe_idx: int, pose: Rigid3, landmark_idxs: NDArray[np.int64], other_pose: Rigid3
    ) -> bool:
        """Tell whether landmarks of another sub-map of a set say the same pose; see `VisualMap.is_same_place`."""
        return self._map.is_same_place(keyframe_idx, pose, landmark_idxs, other_pose)

    def expected(
        self, place: PlaceView, map_from_rig: Rigid3, cameras: Sequence[RigCamera]
    ) -> ExpectedPoints:
        """Return the landmarks of a place that cameras there look at, and from where they were seen.

        Raises:
            MapFormatError: the map is damaged there.
        """
        points, in_view = place.xyz, np.zeros(len(place), np.bool_)
        for view in cameras:
            in_view |= _in_view(points, map_from_rig @ view.rig_from_camera, view.camera)
        return ExpectedPoints(points[in_view], self._cones_of(place.idxs[in_view]))

    def cones(self, matches: Correspondences, frames: Sequence[int] = ()) -> ObserverCones | None:
        """Return from where the matched landmarks were seen when the map was made; None of matches with none.

        Args:
            matches: with landmarks.
            frames: that say how well the depths of the landmarks are known; without, that is not asked.
        """
        if len(matches) and matches.landmark_idxs[0] < 0:
            return None
        cones = self._cones_of(matches.landmark_idxs)
        if not frames or len(matches) == 0:
            return cones
        return replace(cones, depth_sigmas=self._depth_sigmas(matches.landmark_idxs, frames))

    def _cones_of(self, rows: NDArray[np.int64]) -> ObserverCones:
        return ObserverCones(
            self._map.landmark_view_directions[rows].astype(np.float64),
            self._map.landmark_distance_ranges[rows].astype(np.float64),
        )

    def _depth_sigmas(self, landmark_idxs: NDArray[np.int64], frames: Sequence[int]) -> NDArray[np.float64]:
        """Return `ObserverCones.depth_sigmas` [M] by what some frames saw of landmarks.

        A pixel turns a ray by 1 / f, and moves the point along the mean ray the farther the less the two differ.
        """
        idxs, row_of = np.unique(landmark_idxs, return_inverse=True)
        points, directions = self._map.landmark_xyz[idxs], self._map.landmark_view_directions[idxs]
        farthest = self._map.landmark_distance_ranges[idxs][:, 1]
        known = (_LEAST_DEVIATION / np.maximum(farthest, 1e-9).astype(np.float64)) ** 2
        for frame in frames:
            seen = self._map.landmarks_seen_by(frame)
            rows = np.minimum(np.searchsorted(idxs, seen), len(idxs) - 1)
            rows = rows[idxs[rows] == seen]
            rays = points[rows] - self._map.map_from_camera(frame).translation
            squared = np.maximum(np.einsum("mi,mi->m", rays, rays), 1e-18)
            across = squared - np.einsum("mi,mi->m", rays, directions[rows]) ** 2
            known[rows] += np.maximum(across, 0.0) / squared**2
        return np.asarray(1.0 / (REFERENCE_FOCAL_PX * np.sqrt(known)))[row_of]

    def _seen_by(self, keyframe_idxs: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows [N], ascending, of what the frames see, and how many of them see each."""
        key = tuple(sorted(keyframe_idxs))
        if key not in self._last_seen_by:
            self._last_seen_by[key] = self._read_seen_by(key)
        return self._last_seen_by[key]

    def _read_seen_by(self, keyframe_idxs: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        seen = np.concatenate([self._map.landmarks_seen_by(frame) for frame in keyframe_idxs])
        idxs, num_seeing = np.unique(seen, return_counts=True)
        if len(idxs) and (idxs[0] < 0 or idxs[-1] >= self._map.num_landmarks):
            raise MapFormatError(
                f"array 'observation_landmark_idx' ranges from {idxs[0]} to {idxs[-1]}, expected 0 to "
                f"{self._map.num_landmarks - 1}: the map is damaged; {ADVICE}"
            )
        return idxs.astype(np.int64), num_seeing

    def _most_seen(self, idxs: NDArray[np.int64], num_seeing: NDArray[np.int64]) -> NDArray[np.int64]:
        """Keep, of too many landmarks, those that most frames see."""
        if len(idxs) <= self._max_landmarks:
            return idxs
        return idxs[np.sort(np.argsort(-num_seeing, kind="stable")[: self._max_landmarks])]


def nums_common(visual_map: VisualMap, frames: Sequence[int], some: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many of some landmarks [M], ascending, each of the frames sees [K]; M may be 0."""
    if len(some) == 0 or len(frames) == 0:
        return np.zeros(len(frames), np.int64)
    seen = [visual_map.landmarks_seen_by(frame) for frame in frames]
    joined = np.concatenate(seen)
    at = np.minimum(np.searchsorted(some, joined), len(some) - 1)
    counted = np.concatenate([[0], np.cumsum(some[at] == joined)])
    bounds = np.concatenate([[0], np.cumsum([len(of_frame) for of_frame in seen])])
    return np.asarray(np.diff(counted[bounds]))


def _in_view(points_map: NDArray[np.float64], map_from_camera: Rigid3, camera: Camera) -> NDArray[np.bool_]:
    """Tell which points [N, 3] a camera there looks at, walls or not."""
    (left, top), (right, bottom) = _view_bounds(camera)
    # One axis after the other, each along memory.
    x, y, z = map_from_camera.rotation.T @ (points_map - map_from_camera.translation).T
    depth = np.maximum(z, 1e-9)
    in_view: NDArray[np.bool_] = (
        (z > 0.0) & (x > left * depth) & (x < right * depth) & (y > top * depth) & (y < bottom * depth)
    )
    return in_view


@lru_cache(maxsize=8)
def _view_bounds(camera: Camera) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and largest x/z, y/z [2] in a camera's image, with a margin.

    A lens whose border no ray reaches sees everything in front of it.
    """
    right, bottom = np.array(camera.size_wh) - 1.0
    along = np.linspace(0.0, 1.0, 17)
    border = np.concatenate(
        [np.stack([along * right, np.full(17, y)], axis=1) for y in (0.0, bottom)]
        + [np.stack([np.full(17, x), along * bottom], axis=1) for x in (0.0, right)]
    )
    slopes = camera.undistort(border)
    if not np.isfinite(slopes).all():
        return np.full(2, -np.inf), np.full(2, np.inf)
    low, high = slopes.min(axis=0), slopes.max(axis=0)
    margin = _VIEW_MARGIN * (high - low)
    return low - margin, high + margin
