"""Add a new session to a map: another day, other light, things moved.

The new images make a map of their own, in the same frame. Besides, each of them looks for the
old map's landmarks where its pose says they are. What is found again ties the sessions
together; old landmarks that the new images ought to see and never do, or see through, are
dropped; everything else stays, because the old light may come back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from threadpoolctl import threadpool_limits

from hfnet_ros.config import Config
from hfnet_ros.errors import ExtractorMismatchError
from hfnet_ros.features.aggregation import MAX_BESIDE_HEAD, aggregate_vlad, beside_head
from hfnet_ros.features.extractor import FeatureExtractor
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.given_frame import GivenFrame, mean_pose
from hfnet_ros.map.stored_poses import pose_rows
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import MapCamera, VisualMap
from hfnet_ros.mapping.alignment import Locate
from hfnet_ros.mapping.carried import without_carried
from hfnet_ros.mapping.copies import not_in_map
from hfnet_ros.mapping.describe import check_images, describe_images
from hfnet_ros.mapping.disagreement import with_disagreement
from hfnet_ros.mapping.joining import Reobservations, find_same_landmarks, join_maps
from hfnet_ros.mapping.joint_retrieval import project_vlads
from hfnet_ros.mapping.map_builder import build_untested_map
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.persistence import landmarks_in_view
from hfnet_ros.mapping.pruning import prune_unconfirmed, with_build_info
from hfnet_ros.mapping.session_frame import check_session_frame
from hfnet_ros.mapping.sources import PosedImages, check_counts
from hfnet_ros.mapping.upright import turns_upright
from hfnet_ros.mapping.views import Keyframe, focal_scale

IntArray = NDArray[np.int64]

# Given poses of two sessions disagree by more than one session's keypoints do.
_SEARCH_RADIUS_PX = 12.0
_MAX_CANDIDATES = 8
_MIN_SIMILARITY = 0.7
# Below this two sessions see a landmark in different light: both looks are kept.
_SAME_LOOK = 0.8
_NUM_NEAREST = 5


@dataclass(frozen=True)
class UpdateReport:
    """What an update changed.

    Attributes:
        num_keyframes: new keyframes.
        num_seen_again: old landmarks that new keyframes see.
        num_new: landmarks that were added.
        num_dropped: old landmarks that were dropped, by reason.
    """

    num_keyframes: int
    num_seen_again: int
    num_new: int
    num_dropped: dict[str, int]


def update_map(
    visual_map: VisualMap,
    session_images: PosedImages,
    extractor: FeatureExtractor,
    config: Config,
    options: BuildOptions | None = None,
    *,
    prune: bool = True,
    locate: Locate | None = None,
) -> tuple[VisualMap, UpdateReport]:
    """Return the map with a new session in it; the map given stays as it is.

    Args:
        visual_map: what there is.
        session_images: keyframes of the new session and their poses in the map; a camera the map knows
            is used as refined there.
        extractor: the map's.
        config: parameters.
        options: refinement of new cameras, progress; the frame stays the map's.
        prune: drop old landmarks that the new images show to be gone.
        locate: finds the new keyframes among the map's refined poses, by which their own poses are held to be in its
            frame; None takes these as they are.

    Raises:
        ExtractorMismatchError: the map was built with another extractor.
        DatasetError: images and poses do not fit each other.
        ImageError: an image cannot be read.
        MappingError: the new images do not make a map, are all in it already, or their poses are in another frame.
    """
    if visual_map.extractor_id != extractor.extractor_id:
        raise ExtractorMismatchError(
            f"the map was built with '{visual_map.extractor_id}', the extractor is '{extractor.extractor_id}'; "
            "choose the map's extractor or build the map anew"
        )
    images, cameras = session_images.images, session_images.cameras
    known = [visual_map.known_camera(camera) for camera in cameras]
    refined = [camera if pair is None else pair.refined for camera, pair in zip(cameras, known, strict=True)]
    options = dataclasses.replace(options or BuildOptions(), frame_id=visual_map.frame_id)
    if all(pair is not None for pair in known):
        options = dataclasses.replace(options, intrinsics="off")
    check_counts(images, cameras, len(session_images.map_from_camera))
    check_images(images, cameras, options.progress)
    given = session_images.map_from_camera
    among_refined = _among_refined(visual_map, given, [cameras[image.camera_idx] for image in images])
    mapped = [visual_map.map_from_camera(row) for row in range(visual_map.num_keyframes)]
    turns = turns_upright(among_refined, extractor, config.mapping, mapped)
    described = describe_images(images, extractor, config.mapping.max_keypoints, options.progress, turns)
    fresh = not_in_map(described, among_refined, visual_map)
    images, given = [images[row] for row in fresh], [given[row] for row in fresh]
    among_refined = [among_refined[row] for row in fresh]
    keyframes = without_carried([described[row] for row in fresh])
    session = build_untested_map(keyframes, among_refined, refined, config, options)
    session = _with_pairs(session, known, cameras)
    disagreement = np.zeros((6, 6)) if locate is None else check_session_frame(visual_map, session, locate)
    if visual_map.given is not None:
        motions = [pose @ moved.inverse() for pose, moved in zip(given, among_refined, strict=True)]
        names = [image.name for image in images]
        session = _with_given(session, dict(zip(names, motions, strict=True)))
    by_name = {keyframe.image.name: keyframe for keyframe in keyframes}
    used = [by_name[name] for name in session.keyframe_names]
    with threadpool_limits(1, "blas"):
        session = _described_like(visual_map, session, used)
        seen_again, same = _recognize(visual_map, session, used)
        updated = with_disagreement(join_maps(visual_map, session, same, seen_again), disagreement)
    new_keyframes = range(visual_map.num_keyframes, updated.num_keyframes)
    observed = np.concatenate([updated.landmarks_seen_by(row) for row in new_keyframes])
    num_seen_again = len(np.unique(observed[observed < visual_map.num_landmarks]))
    num_new = updated.num_landmarks - visual_map.num_landmarks
    dropped: dict[str, int] = {}
    if prune:
        updated, dropped = prune_unconfirmed(updated, new_keyframes, visual_map.num_landmarks)
    report = UpdateReport(len(new_keyframes), num_seen_again, num_new, dropped)
    history = [*visual_map.build_info.get("updates", []), dataclasses.asdict(report)]
    return with_build_info(updated, {"updates": history}), report


def _with_pairs(session: VisualMap, known: Sequence[MapCamera | None], given: Sequence[Camera]) -> VisualMap:
    pairs = [
        MapCamera(camera, built.refined) if pair is None else pair
        for built, pair, camera in zip(session.cameras, known, given, strict=True)
    ]
    return dataclasses.replace(session, cameras=tuple(pairs))


def _among_refined(visual_map: VisualMap, given: Sequence[Rigid3], cameras: Sequence[Camera]) -> list[Rigid3]:
    """Return poses among the map's refined ones of cameras whose poses are in the frame of the given ones.

    Each is moved as the keyframes nearest to it, which look the same way, were when they were refined.
    """
    if visual_map.given is None:
        return list(given)
    poses = visual_map.given.keyframe_poses
    reach = float(np.median(visual_map.landmark_distance_ranges[:, 1]))
    axes = Rotation.from_quat(poses[:, 3:]).as_matrix()[:, :, 2]
    moved = []
    for pose, camera in zip(given, cameras, strict=True):
        turned = np.arccos(np.clip(axes @ pose.rotation[:, 2], -1.0, 1.0))
        distance = np.linalg.norm(poses[:, :3] - pose.translation, axis=1)
        nearest = np.argsort(distance / reach + turned, kind="stable")[:_NUM_NEAREST]
        row = visual_map.known_camera_idx(camera)
        arm = np.zeros(3) if row is None else visual_map.given.lever_arms_m[row]
        optical = pose @ Rigid3(np.eye(3), -arm)
        turns, shifts = visual_map.motions_to_given(nearest.tolist())
        back = turns.transpose(0, 2, 1)
        positions = np.einsum("kij,kj->ki", back, optical.translation - shifts)
        moved.append(mean_pose(back @ optical.rotation, positions, np.ones(len(positions)))[0])
    return moved


def _with_given(session: VisualMap, motions: Mapping[str, Rigid3]) -> VisualMap:
    """Return the session with its poses in the frame of the map's given ones.

    Args:
        session: among the map's refined poses.
        motions: by name, from the pose that a keyframe had there before it was refined to its given one; the same
            for one whose wrong pose was put right when the session was built.
    """
    rows = pose_rows(
        motions[name] @ session.given_map_from_camera(row) for row, name in enumerate(session.keyframe_names)
    )
    return dataclasses.replace(session, given=GivenFrame(rows, np.zeros((len(session.cameras), 3))))


def _described_like(visual_map: VisualMap, session: VisualMap, keyframes: Sequence[Keyframe]) -> VisualMap:
    """Return the session described with the map's vocabulary, from all keypoints of its images."""
    if not visual_map.aggregation:
        return session
    vocabulary = visual_map.aggregation["vocabulary"]
    features = [keyframe.features for keyframe in keyframes]
    if session.has_head:
        features = [entry.strongest(MAX_BESIDE_HEAD) for entry in features]
    vlads = np.stack([aggregate_vlad(entry.local.descriptors, vocabulary) for entry in features])
    descriptors, aggregation = project_vlads(vlads, vocabulary, visual_map.aggregation["projection"])
    if session.has_head:
        heads = session.global_descriptors.decoded()[:, : session.head_size]
        descriptors = beside_head(heads, descriptors)
    return dataclasses.replace(
        session,
        global_descriptors=UnitVectors.encode(descriptors),
        aggregation=aggregation,
        search=None,
        codes=None,
    )


def _recognize(
    visual_map: VisualMap, session: VisualMap, keyframes: Sequence[Keyframe]
) -> tuple[Reobservations, IntArray]:
    """Return observations of old landmarks in new images, and which new landmarks are old ones.

    A new landmark is an old one if their summaries say so, or if most of the keypoints it is
    made of were recognised as that old one, and both look alike.
    """
    parts, votes = [], []
    for row, keyframe in enumerate(keyframes):
        local = keyframe.features.local
        landmarks, keypoints = _recognize_in(visual_map, session, row, keyframe)
        parts.append(
            Reobservations(np.full(len(landmarks), row, np.int64), landmarks, local.keypoints[keypoints])
        )
        votes.append(_votes(session, row, landmarks, local.keypoints[keypoints]))
    same = find_same_landmarks(visual_map, session)
    _elect(same, np.concatenate(votes), visual_map, session)
    return (
        Reobservations(
            np.concatenate([part.keyframe_idx for part in parts]),
            np.concatenate([part.landmark_idx for part in parts]),
            np.concatenate([part.xy for part in parts]),
        ),
        same,
    )


def _recognize_in(
    visual_map: VisualMap, session: VisualMap, row: int, keyframe: Keyframe
) -> tuple[IntArray, IntArray]:
    """Return old landmarks and the keypoints they appear as in one image, each once."""
    camera = session.cameras[session.keyframe_camera_idx[row]].refined
    rows, pixels, _ = landmarks_in_view(visual_map, camera, session.map_from_camera(row))
    local = keyframe.features.local
    if len(rows) == 0 or len(local) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    count = min(_MAX_CANDIDATES, len(local))
    radius = _SEARCH_RADIUS_PX * focal_scale(camera)
    distances, near = cKDTree(local.keypoints).query(pixels, k=count, distance_upper_bound=radius)
    distances, near = distances.reshape(-1, count), near.reshape(-1, count)
    near = np.where(np.isfinite(distances), near, 0)
    similarity = np.einsum("lcd,ld->lc", local.descriptors[near], visual_map.landmark_descriptors[rows])
    similarity = np.where(np.isfinite(distances), similarity, -1.0)
    best = similarity.argmax(axis=1)
    value, keypoint = similarity[np.arange(len(rows)), best], near[np.arange(len(rows)), best]
    chosen = np.flatnonzero(value >= _MIN_SIMILARITY)
    chosen = chosen[np.argsort(-value[chosen], kind="stable")]
    _, first = np.unique(keypoint[chosen], return_index=True)
    chosen = np.sort(chosen[first])
    return rows[chosen], keypoint[chosen].astype(np.int64)


def _votes(session: VisualMap, row: int, landmarks: IntArray, xy: NDArray[np.float32]) -> IntArray:
    """Return [V, 2] new and old landmark that one keypoint of a keyframe shows."""
    start, stop = session.observation_offsets[row : row + 2]
    if start == stop or len(landmarks) == 0:
        return np.empty((0, 2), np.int64)
    # Both are copies of the same keypoints, one of them on the grid that the map keeps.
    distance, nearest = cKDTree(session.observation_xy[start:stop]).query(xy)
    shown = distance <= 1.0 / session.observation_xy.steps_per_px
    return np.column_stack([session.landmarks_seen_by(row)[nearest[shown]], landmarks[shown]]).astype(
        np.int64
    )


def _elect(same: IntArray, votes: IntArray, visual_map: VisualMap, session: VisualMap) -> None:
    """Give undecided new landmarks the old one that most of their keypoints show; `same` is changed."""
    if len(votes) == 0:
        return
    pairs, counts = np.unique(votes, axis=0, return_counts=True)
    lengths = session.track_lengths
    taken = set(same[same >= 0].tolist())
    for (new, old), count in sorted(
        zip(pairs.tolist(), counts.tolist(), strict=True), key=lambda vote: (-vote[1], vote[0])
    ):
        if same[new] >= 0 or old in taken or 2 * count <= lengths[new]:
            continue
        look = float(visual_map.landmark_descriptors[old] @ session.landmark_descriptors[new])
        if look >= _SAME_LOOK:
            same[new] = old
            taken.add(old)
