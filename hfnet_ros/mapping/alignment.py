"""Bring one map into the frame of another through the places they share.

A map keeps no images, but what its keyframes saw: observed pixels and the descriptors of the
landmarks there. With these a keyframe of one map is localized in the other like any image.
Every keyframe found says where the whole other map lies; the answer is what most of them agree
on. Maps made of images alone have no unit of length, so that a scale is estimated with the
motion there.

Reference: Umeyama, "Least-squares estimation of transformation parameters between two point
    patterns", PAMI 1991; Fischler and Bolles, "Random sample consensus", 1981.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from hfnet_ros.errors import MappingError
from hfnet_ros.features.keypoints import unit_rows
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.given_frame import GivenFrame
from hfnet_ros.map.stored_poses import pose_rows
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.types import ImageFeatures, LocalFeatures

FloatArray = NDArray[np.float64]
Locate = Callable[[ImageFeatures, Camera, int], "Rigid3 | None"]

MIN_AGREEING = 5
_MIN_AGREEING_SHARE = 0.5
_MAX_ASKED = 200
_MAX_PAIRS = 2000
_TOLERANCE_OF_DEPTH = 0.05
TOLERANCE_RAD = np.deg2rad(4.0)


@dataclass(frozen=True, eq=False)
class Similarity:
    """Motion with a change of unit: `x_b = scale * rotation @ x_a + translation`, b_from_a."""

    scale: float
    rotation: FloatArray
    translation: FloatArray

    def move_points(self, points: FloatArray) -> FloatArray:
        """Return points [N, 3] in the new frame and unit."""
        moved: FloatArray = self.scale * points @ self.rotation.T + self.translation
        return moved

    def move_pose(self, a_from_camera: Rigid3) -> Rigid3:
        """Return b_from_camera; the camera keeps its axes."""
        center = self.move_points(a_from_camera.translation[None])[0]
        return Rigid3(self.rotation @ a_from_camera.rotation, center)


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where one map lies in the other, and how sure that is.

    Attributes:
        first_from_second: the motion, with a scale where one was estimated.
        num_asked: keyframes of the second map that were looked for in the first.
        num_localized: those found.
        num_agreeing: those that agree with the motion.
        spread_m: median distance of the agreeing keyframes from where the motion puts them, in
            units of the first map.
        spread_deg: median angle, in the same way.
    """

    first_from_second: Similarity
    num_asked: int
    num_localized: int
    num_agreeing: int
    spread_m: float
    spread_deg: float


def align_through_places(
    first: VisualMap, second: VisualMap, locate: Locate, *, with_scale: bool
) -> Alignment:
    """Find the second map in the first one.

    Args:
        first: gives the frame.
        second: looked for, keyframe by keyframe.
        locate: returns the pose in the first map of a camera that saw these features, or None.
        with_scale: whether the second map has another unit of length.

    Raises:
        MappingError: too few keyframes are found, or they do not agree.
    """
    num_asked, pairs = locate_keyframes(second, locate)
    if len(pairs) < MIN_AGREEING:
        raise MappingError(
            f"{len(pairs)} of {num_asked} keyframes were found in the other map, expected at least {MIN_AGREEING}: "
            "the maps share too little to be aligned; record where they overlap"
        )
    tolerance_m = agreement_tolerance_m(first)
    fit = agree_on_motion(pairs, tolerance_m, with_scale=with_scale)
    distances, angles = deviations(pairs, fit)
    agreeing = _agree(distances, angles, tolerance_m)
    count = int(agreeing.sum())
    if count < MIN_AGREEING or count < _MIN_AGREEING_SHARE * len(pairs):
        raise MappingError(
            f"{len(pairs)} of {num_asked} keyframes were found in the other map, but only {count} agree on where "
            f"the map lies, expected at least {max(MIN_AGREEING, -(-len(pairs) // 2))}: the maps do not show the "
            "same place, or places in them look alike"
        )
    return Alignment(
        fit,
        num_asked,
        len(pairs),
        count,
        float(np.median(distances[agreeing])),
        float(np.degrees(np.median(angles[agreeing]))),
    )


def locate_keyframes(visual_map: VisualMap, locate: Locate) -> tuple[int, list[tuple[Rigid3, Rigid3]]]:
    """Look for keyframes of a map, some hundred at most, in another one.

    Returns:
        How many were looked for; of those found the pose there and the one in their own map.
    """
    asked = np.unique(np.linspace(0, visual_map.num_keyframes - 1, _MAX_ASKED).round().astype(int)).tolist()
    pairs = []
    for row in asked:
        camera = visual_map.cameras[visual_map.keyframe_camera_idx[row]].refined
        found = locate(features_of(visual_map, row), camera, int(visual_map.keyframe_stamps_ns[row]))
        if found is not None:
            pairs.append((found, visual_map.map_from_camera(row)))
    return len(asked), pairs


def agreement_tolerance_m(visual_map: VisualMap) -> float:
    """Return the distance up to which poses in a map agree, m: a part of that to what is seen."""
    return _TOLERANCE_OF_DEPTH * float(np.median(visual_map.landmark_distance_ranges[:, 1]))


def agreeing_with(
    pairs: Sequence[tuple[Rigid3, Rigid3]], motion: Similarity, tolerance_m: float
) -> NDArray[np.bool_]:
    """Tell which pairs [N] of (first_from_camera, second_from_camera) agree with a motion."""
    return _agree(*deviations(pairs, motion), tolerance_m)


def _agree(distances: FloatArray, angles: FloatArray, tolerance_m: float) -> NDArray[np.bool_]:
    agreeing: NDArray[np.bool_] = (distances <= tolerance_m) & (angles <= TOLERANCE_RAD)
    return agreeing


def features_of(visual_map: VisualMap, keyframe_idx: int) -> ImageFeatures:
    """Return what a keyframe saw, as the map remembers it."""
    start, stop = visual_map.observation_offsets[keyframe_idx : keyframe_idx + 2]
    rows = visual_map.landmarks_seen_by(keyframe_idx)
    # The scores are gone. Landmarks that many keyframes see are matched best: they come first.
    lengths = visual_map.track_lengths[rows]
    order = np.argsort(-lengths, kind="stable")
    local = LocalFeatures(
        visual_map.observation_xy[start:stop][order],
        (lengths[order] / max(int(lengths.max(initial=1)), 1)).astype(np.float32),
        visual_map.landmark_descriptors[rows[order]],
    )
    described = None
    if visual_map.has_head:
        described = unit_rows(visual_map.global_descriptors[keyframe_idx][None, : visual_map.head_size])[0]
    return ImageFeatures(local, described, visual_map.extractor_id)


def agree_on_motion(
    pairs: Sequence[tuple[Rigid3, Rigid3]], tolerance_m: float, *, with_scale: bool
) -> Similarity:
    """Return the motion that most pairs of (first_from_camera, second_from_camera) agree with.

    Args:
        pairs: poses of the same cameras in both maps, at least two.
        tolerance_m: distance in the first map up to which a pair agrees.
        with_scale: whether the maps differ in their unit of length.
    """
    best, most = None, (-1, 0.0)
    for candidate in _candidates(pairs, with_scale=with_scale):
        distances, angles = deviations(pairs, candidate)
        agreeing = _agree(distances, angles, tolerance_m)
        rank = (int(agreeing.sum()), -float(distances[agreeing].sum()))
        if rank > most:
            best, most = candidate, rank
    if best is None:
        raise MappingError("the shared keyframes are all in one place, which leaves the scale open")
    for _ in range(3):
        near = np.flatnonzero(agreeing_with(pairs, best, tolerance_m))
        if len(near) < 3:
            return best
        best = _refine([pairs[row] for row in near.tolist()], best, tolerance_m, with_scale=with_scale)
    return best


def move_map(visual_map: VisualMap, new_from_map: Similarity, frame_id: str) -> VisualMap:
    """Return the map in another frame and unit of length."""
    poses = [
        new_from_map.move_pose(visual_map.map_from_camera(row)) for row in range(visual_map.num_keyframes)
    ]
    scale = new_from_map.scale
    consistency, calibration, given = visual_map.consistency, visual_map.calibration, visual_map.given
    if calibration is not None:
        resized = _resize_covariance(calibration.pose_covariance, scale)
        calibration = dataclasses.replace(calibration, pose_covariance=resized)
    if given is not None:
        moved = [
            new_from_map.move_pose(given.map_from_camera(row)) for row in range(visual_map.num_keyframes)
        ]
        given = GivenFrame(pose_rows(moved), scale * given.lever_arms_m)
    return dataclasses.replace(
        visual_map,
        frame_id=frame_id,
        keyframe_poses=pose_rows(poses),
        landmark_xyz=new_from_map.move_points(visual_map.landmark_xyz),
        landmark_view_directions=(visual_map.landmark_view_directions @ new_from_map.rotation.T).astype(
            np.float32
        ),
        landmark_distance_ranges=(scale * visual_map.landmark_distance_ranges).astype(np.float32),
        consistency=dataclasses.replace(
            consistency,
            translation_m=scale * consistency.translation_m,
            pose_covariance=_resize_covariance(consistency.pose_covariance, scale),
            look_alikes=_moved_look_alikes(consistency.look_alikes, new_from_map),
            refined_pose_covariance=_resize_covariance(consistency.refined_pose_covariance, scale),
        ),
        calibration=calibration,
        given=given,
        # A network says points of the frame that it was trained in; boxes do not turn.
        scene=None,
        areas={},
    )


def _moved_look_alikes(
    rows: tuple[tuple[float, ...], ...], new_from_map: Similarity
) -> tuple[tuple[float, ...], ...]:
    moved = (
        (*new_from_map.move_points(np.array([row[:3]]))[0].tolist(), new_from_map.scale * row[3], row[4])
        for row in rows
    )
    return tuple(moved)


def _resize_covariance(numbers: tuple[float, ...], scale: float) -> tuple[float, ...]:
    """Return a covariance in camera axes, which do not turn with the map, in another unit of length."""
    if not numbers:
        return numbers
    unit = np.array([scale] * 3 + [1.0] * 3)
    resized = np.array(numbers).reshape(6, 6) * np.outer(unit, unit)
    return tuple(resized.ravel().tolist())


def _candidates(pairs: Sequence[tuple[Rigid3, Rigid3]], *, with_scale: bool) -> Iterator[Similarity]:
    """Yield the motion each pair says, or each two pairs where the distance between them is needed."""
    turns = [first.rotation @ second.rotation.T for first, second in pairs]
    if not with_scale:
        for (first, second), turn in zip(pairs, turns, strict=True):
            yield Similarity(1.0, turn, first.translation - turn @ second.translation)
        return
    combinations = [(i, j) for i in range(len(pairs)) for j in range(i + 1, len(pairs))]
    for i, j in combinations[:: -(-len(combinations) // _MAX_PAIRS)]:
        (first_i, second_i), (first_j, second_j) = pairs[i], pairs[j]
        length = second_i.translation_to(second_j)
        if length < 1e-9:
            continue
        scale = first_i.translation_to(first_j) / length
        if scale > 0.0:
            yield Similarity(scale, turns[i], first_i.translation - scale * turns[i] @ second_i.translation)


def deviations(pairs: Sequence[tuple[Rigid3, Rigid3]], motion: Similarity) -> tuple[FloatArray, FloatArray]:
    """Return for each pair [N] how far, m, and turned by how much, rad, the motion puts it from its place."""
    moved = [motion.move_pose(second) for _, second in pairs]
    distances = [pose.translation_to(first) for pose, (first, _) in zip(moved, pairs, strict=True)]
    angles = [pose.rotation_to(first) for pose, (first, _) in zip(moved, pairs, strict=True)]
    return np.array(distances), np.array(angles)


def _refine(
    pairs: Sequence[tuple[Rigid3, Rigid3]], start: Similarity, tolerance_m: float, *, with_scale: bool
) -> Similarity:
    """Minimise distances and angles of all pairs together; both count by their tolerance."""
    centers_a = np.array([first.translation for first, _ in pairs])
    centers_b = np.array([second.translation for _, second in pairs])
    turns_a = Rotation.from_matrix([first.rotation for first, _ in pairs])
    turns_b = Rotation.from_matrix([second.rotation for _, second in pairs])
    middle = start.move_points(centers_b).mean(axis=0)

    def motion_of(step: FloatArray) -> Similarity:
        # About the middle of the cameras: there turning and moving hardly depend on each other.
        turn = Rotation.from_rotvec(step[:3]).as_matrix()
        growth = float(np.exp(step[6])) if with_scale else 1.0
        translation = growth * turn @ (start.translation - middle) + middle + step[3:6]
        return Similarity(growth * start.scale, turn @ start.rotation, translation)

    def residuals(step: FloatArray) -> FloatArray:
        motion = motion_of(step)
        apart = (motion.move_points(centers_b) - centers_a) / tolerance_m
        turned = (Rotation.from_matrix(motion.rotation) * turns_b * turns_a.inv()).as_rotvec()
        return np.concatenate([apart.ravel(), (turned / TOLERANCE_RAD).ravel()])

    found = least_squares(residuals, np.zeros(7 if with_scale else 6), loss="soft_l1", f_scale=0.3)
    return motion_of(found.x)
