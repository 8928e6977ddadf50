"""How far can a map be trusted? Ask it about its own keyframes.

Poses given for mapping carry errors (a few centimetres and degrees are usual), and so does the
lens model. Both show when a map of one half localizes the other half: the differences to their given
poses are what a query will suffer too. They set the pixel noise that pose estimation assumes,
and are added to every covariance, which otherwise would count the noise of keypoints only.

The halves are made of blocks of the sequence. Neighbouring keyframes share their error, and
testing each between its neighbours would find almost none.

Where poses were refined, each half is refined by itself: held-out keyframes are compared with given poses that took no
part, in the frame of which the half answers.

Both ways in which matches can weigh in a pose (`PoseConfig.weights`) are tried, and the better one kept.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import MappingError
from hfnet_ros.features.extractor import FeatureExtractor
from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX, Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.answer_frame import in_given_frame
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.map.visual_map import MapConsistency, VisualMap
from hfnet_ros.mapping.map_builder import build_untested_map
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.views import Keyframe
from hfnet_ros.types import ImageFeatures, Localization, Progress, RigCamera, ignore_progress

FloatArray = NDArray[np.float64]

_logger = logging.getLogger(__name__)

MIN_KEYFRAMES = 10
# Long ones, as far apart in time and place as the map allows: what comes on another day is further still. RedKitchen's
# ANEES is 5.5 with ten blocks and 2.6 with four, EuRoC's the same.
_NUM_BLOCKS = 4
_MIN_BLOCK = 3
# Which of them are asked: every other one, or the last two, of two rounds the second one.
_ASKED_BLOCKS = ((1, 3), (2, 3))
# Landmarks shared with what is mapped, by which a keyframe may be found; and how many more of those asked must have
# them for that. Maps of one walk lose by it (0.9 and 0.65 of those asked), one of two rounds has 0.62 and 1.
_LEAST_KNOWN, _MORE_KNOWN_SHARE = 30, 0.2
# A map of fewer than 20 keyframes is asked block by block, each in a map of all others.
_LEAST_TESTED = 8
_MIN_OF_FEW = 6
_RAYLEIGH_MEDIAN = 1.17741  # median length of a 2D normal vector over its deviation per axis
_NORMAL_MEDIAN = 0.67449  # median absolute value of a normal variable over its deviation
_CLIP_SIGMAS = 3.0
# Part by which weighing must lower the deviations: chance alone does a tenth in a test of fifty keyframes.
_LEAST_WEIGHED_GAIN = 0.15
# An answer so far off, of the distance at which it sees landmarks, or turned so far, is of another place.
_ELSEWHERE_DEPTH_FRACTION = 0.25
_ELSEWHERE_RAD = np.deg2rad(20.0)


@dataclass(frozen=True, eq=False)
class Differences:
    """What held-out keyframes were localized with.

    Attributes:
        to_given: differences [6] to the given poses, (translation, rotation) in camera axes, m and rad.
        to_refined: the same to refined poses; none where poses were not refined.
        residuals_px: median reprojection errors, px at the reference focal length.
        num_asked: keyframes that were held out.
        elsewhere: of those that were localized where they are not: that position and how far they see, [4].
    """

    to_given: list[FloatArray]
    to_refined: list[FloatArray]
    residuals_px: list[float]
    num_asked: int = 0
    elsewhere: list[FloatArray] = dataclasses.field(default_factory=list)

    def __add__(self, other: Differences) -> Differences:
        """Return both together."""
        return Differences(
            self.to_given + other.to_given,
            self.to_refined + other.to_refined,
            self.residuals_px + other.residuals_px,
            self.num_asked + other.num_asked,
            self.elsewhere + other.elsewhere,
        )


@dataclass(frozen=True, eq=False)
class HeldOutKeyframe:
    """A keyframe that the map under test does not contain.

    Attributes:
        features: as a query has them.
        camera: its calibration, refined.
        map_from_camera: pose as it was given.
        refined: pose among those that agree with each other; None where the given ones are used.
    """

    features: ImageFeatures
    camera: Camera
    map_from_camera: Rigid3
    refined: Rigid3 | None = None


def with_self_test(
    visual_map: VisualMap,
    keyframes: Sequence[Keyframe],
    extractor: FeatureExtractor,
    config: Config,
    progress: Progress = ignore_progress,
) -> VisualMap:
    """Return the map with its consistency measured; unchanged when it is too small to be tested.

    Args:
        visual_map: as built from the keyframes.
        keyframes: what it was built from, found again by name.
        extractor: the map's extractor; nothing is extracted again.
        config: parameters of mapping and localization.
        progress: called with stages that begin with "self-test".
    """
    by_name = {keyframe.image.name: keyframe for keyframe in keyframes}
    cameras = [camera.refined for camera in visual_map.cameras]
    posed = [
        _of_camera(by_name[name], int(visual_map.keyframe_camera_idx[row]))
        for row, name in enumerate(visual_map.keyframe_names)
    ]
    poses = [visual_map.given_map_from_camera(row) for row in range(visual_map.num_keyframes)]
    is_refined = visual_map.given is not None
    ways = ("even", "by_depth") if config.pose.weights == "auto" else (config.pose.weights,)

    def report(stage: str, done: int, total: int) -> None:
        progress(f"self-test, {stage}", done, total)

    differences = {weights: Differences([], [], []) for weights in ways}
    for mapped, asked in _folds([keyframe.image.stamp_ns for keyframe in posed], visual_map):
        try:
            part = build_untested_map(
                [posed[row] for row in mapped],
                [poses[row] for row in mapped],
                cameras,
                # They have been checked.
                dataclasses.replace(config, mapping=dataclasses.replace(config.mapping, check_poses=False)),
                BuildOptions(
                    intrinsics="off",
                    refine_poses="on" if is_refined else "off",
                    is_draft=True,
                    progress=report,
                ),
            )
        except MappingError as error:
            _logger.warning("no self-test: a part of the keyframes makes no map: %s", error)
            continue
        held_out = [
            HeldOutKeyframe(
                posed[row].extracted,
                cameras[posed[row].image.camera_idx],
                poses[row],
                visual_map.map_from_camera(row) if is_refined else None,
            )
            for row in asked
        ]
        for weights in ways:
            decided = dataclasses.replace(config.pose, answer_frame="refined", weights=weights)
            localizer = Localizer(part, extractor, dataclasses.replace(config, pose=decided))
            found = compare_held_out(localizer, held_out, report, part if is_refined else None)
            differences[weights] += found
    least = MIN_KEYFRAMES if len(posed) >= 2 * MIN_KEYFRAMES else _MIN_OF_FEW
    positions = visual_map.keyframe_poses[:, :3]
    tested = {
        weights: summarize_differences(found, positions, least) for weights, found in differences.items()
    }
    chosen = ways[0] if len(ways) == 1 else _better_weights(tested["even"], tested["by_depth"])
    consistency = dataclasses.replace(
        tested[chosen],
        contradicted_share=visual_map.consistency.contradicted_share,
        weighs_depths=chosen == "by_depth",
    )
    if consistency.num_elsewhere:
        _logger.warning(
            "self-test: %d of %d held-out keyframes were localized elsewhere: the map has places that look alike; "
            "answers there will be given a probability of being wrong of at least %.2f to %.2f",
            consistency.num_elsewhere,
            consistency.num_asked,
            min(row[4] for row in consistency.look_alikes),
            max(row[4] for row in consistency.look_alikes),
        )
    if consistency.num_asked and not consistency.vouches:
        _logger.warning(
            "self-test: only %d of %d held-out keyframes were localized where they are: the map is one of few and weak "
            "links, and its answers are doubted as those of an untested one; take more images, closer together",
            len(differences[chosen].to_given),
            consistency.num_asked,
        )
    is_measured = consistency.num_keyframes > 0 or consistency.num_asked > 0
    return dataclasses.replace(visual_map, consistency=consistency) if is_measured else visual_map


def _better_weights(even: MapConsistency, by_depth: MapConsistency) -> str:
    """Return with which weights keyframes were localized nearer to their given poses, and as many of them.

    Where too few were localized to tell, points weigh by their depths: in maps of few keyframes that was better
    (docs/notes/evaluation.md).
    """
    if not even.num_keyframes:
        return "by_depth"
    ratio = (by_depth.translation_m * by_depth.rotation_rad) / (even.translation_m * even.rotation_rad)
    is_better = ratio < (1.0 - _LEAST_WEIGHED_GAIN) ** 2
    return "by_depth" if is_better and by_depth.num_keyframes >= even.num_keyframes else "even"


def _folds(stamps_ns: Sequence[int], visual_map: VisualMap) -> list[tuple[list[int], list[int]]]:
    """Return which keyframes are mapped and which asked: two halves, or of a small map each block in turn.

    Keyframes of one time are of one rig, and never held against each other. A walk of two rounds has its places in
    both: blocks taken in turn would ask for the half of each that neither has mapped, and the second round is asked
    instead.
    """
    count, first_of = len(stamps_ns), dict[int, int]()
    block = max(_MIN_BLOCK, count // _NUM_BLOCKS)
    block_of = [first_of.setdefault(stamp_ns, row) // block for row, stamp_ns in enumerate(stamps_ns)]
    if count >= 2 * MIN_KEYFRAMES:
        halves = [
            (
                [row for row in range(count) if block_of[row] % _NUM_BLOCKS not in numbers],
                [row for row in range(count) if block_of[row] % _NUM_BLOCKS in numbers],
            )
            for numbers in _ASKED_BLOCKS
        ]
        in_turn, in_rounds = (_known_share(visual_map, mapped, asked) for mapped, asked in halves)
        return [halves[1 if in_rounds > in_turn + _MORE_KNOWN_SHARE else 0]]
    if count < _LEAST_TESTED:
        return []
    return [
        (
            [row for row in range(count) if block_of[row] != number],
            [row for row in range(count) if block_of[row] == number],
        )
        for number in sorted(set(block_of))
    ]


def _known_share(visual_map: VisualMap, mapped: Sequence[int], asked: Sequence[int]) -> float:
    """Return the share of the keyframes that are asked which see landmarks that some of the mapped ones see."""
    if not mapped or not asked:
        return 0.0
    is_known = np.zeros(visual_map.num_landmarks, np.bool_)
    for row in mapped:
        is_known[visual_map.landmarks_seen_by(row)] = True
    nums = [np.count_nonzero(is_known[visual_map.landmarks_seen_by(row)]) for row in asked]
    return float(np.mean(np.array(nums) >= _LEAST_KNOWN))


def _of_camera(keyframe: Keyframe, camera_idx: int) -> Keyframe:
    """Return the keyframe with the number that the map gives its camera."""
    return dataclasses.replace(keyframe, image=dataclasses.replace(keyframe.image, camera_idx=camera_idx))


def compare_held_out(
    localizer: Localizer,
    held_out: Sequence[HeldOutKeyframe],
    progress: Progress = ignore_progress,
    two_frames: VisualMap | None = None,
) -> Differences:
    """Localize held-out keyframes and return how far they are from their poses.

    Args:
        localizer: over a map of the other keyframes.
        held_out: keyframes that it does not contain.
        progress: called with stage "localize".
        two_frames: that map, where its poses were refined and the localizer answers in their frame.
    """
    found = Differences([], [], [])
    for stamp_ns, keyframe in enumerate(held_out):
        progress("localize", stamp_ns, len(held_out))
        answer = localizer.localize_features(keyframe.features, keyframe.camera, stamp_ns)
        if answer.estimate is None:
            continue
        residual = _median_residual(answer, keyframe, keyframe.map_from_camera)
        pose = answer.estimate.map_from_camera
        if not np.isfinite(residual) or _is_elsewhere(answer, pose, keyframe):
            found.elsewhere.append(np.append(pose.translation, _depth(answer, pose)))
            continue
        if two_frames is not None:
            residual = _median_residual(answer, keyframe, pose)
            assert keyframe.refined is not None
            found.to_refined.append(_error_in_camera(pose, keyframe.refined))
            pose = _given_pose(answer, two_frames, keyframe.camera)
        found.to_given.append(_error_in_camera(pose, keyframe.map_from_camera))
        found.residuals_px.append(residual)
    progress("localize", len(held_out), len(held_out))
    return dataclasses.replace(found, num_asked=len(held_out))


def _is_elsewhere(answer: Localization, pose: Rigid3, keyframe: HeldOutKeyframe) -> bool:
    """Tell whether the answer is another place, not the right one estimated badly."""
    truth = keyframe.refined or keyframe.map_from_camera
    return (
        pose.translation_to(truth) > _ELSEWHERE_DEPTH_FRACTION * _depth(answer, pose)
        or pose.rotation_to(truth) > _ELSEWHERE_RAD
    )


def _depth(answer: Localization, pose: Rigid3) -> float:
    """Return the median distance of what an answer sees."""
    assert answer.estimate is not None and answer.correspondences is not None
    points = answer.correspondences.points3d[answer.estimate.inlier_mask]
    return float(np.median(np.linalg.norm(points - pose.translation, axis=1)))


def _look_alikes(found: Differences, positions: FloatArray) -> tuple[tuple[float, ...], ...]:
    """Return where wrong answers were and their share around there, rows [5] of `MapConsistency.look_alikes`."""
    wrong, rows = np.array(found.elsewhere).reshape(-1, 4), []
    for place in wrong:
        num_wrong, num_there = (
            int((np.linalg.norm(others - place[:3], axis=1) < place[3]).sum())
            for others in (wrong[:, :3], positions)
        )
        rows.append((*place.tolist(), num_wrong / (num_wrong + num_there)))
    return tuple(rows)


def summarize_differences(
    found: Differences, positions: FloatArray, least: int = MIN_KEYFRAMES
) -> MapConsistency:
    """Return robust figures; `num_keyframes` is 0, and they mean nothing, with fewer than `least` right answers.

    Args:
        found: of all keyframes that were held out.
        positions: [F, 3] m, of all keyframes of the map.
        least: right answers.
    """
    num_elsewhere = len(found.elsewhere)
    look_alikes = _look_alikes(found, positions)
    if len(found.to_given) < least:
        return MapConsistency(0.0, 0.0, 0.0, 0, (), (), found.num_asked, num_elsewhere, look_alikes)
    sigmas, covariance = _spread(np.stack(found.to_given))
    refined_covariance = _spread(np.stack(found.to_refined))[1] if found.to_refined else np.empty(0)
    return MapConsistency(
        residual_px=float(np.median(found.residuals_px)) / _RAYLEIGH_MEDIAN,
        translation_m=float(np.sqrt(np.mean(sigmas[:3] ** 2))),
        rotation_rad=float(np.sqrt(np.mean(sigmas[3:] ** 2))),
        num_keyframes=len(found.to_given),
        pose_covariance=tuple(float(value) for value in covariance.ravel()),
        refined_pose_covariance=tuple(float(value) for value in refined_covariance.ravel()),
        num_asked=found.num_asked,
        num_elsewhere=num_elsewhere,
        look_alikes=look_alikes,
    )


def _given_pose(answer: Localization, two_frames: VisualMap, camera: Camera) -> Rigid3:
    assert answer.place is not None
    moved = in_given_frame(answer, two_frames, answer.place, [RigCamera(camera)])
    assert moved.estimate is not None
    return moved.estimate.map_from_camera


def _spread(differences: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return robust deviations [6] of differences [N, 6], and their second moment [6, 6], outliers clipped.

    Of few differences correlations mean nothing: then the moment leans towards its diagonal.
    """
    sigmas = np.maximum(np.median(np.abs(differences), axis=0) / _NORMAL_MEDIAN, 1e-6)
    clipped = np.clip(differences, -_CLIP_SIGMAS * sigmas, _CLIP_SIGMAS * sigmas)
    moment = clipped.T @ clipped / len(clipped)
    lean = 6.0 / len(clipped) if len(clipped) < 2 * MIN_KEYFRAMES else 0.0
    return sigmas, moment + min(lean, 1.0) * (np.diag(np.diag(moment)) - moment)


def _error_in_camera(estimate: Rigid3, given: Rigid3) -> FloatArray:
    """Return (translation, rotation) error [6] in camera axes, as covariances mean it."""
    translation = estimate.rotation.T @ (estimate.translation - given.translation)
    turn = Rigid3(given.rotation.T @ estimate.rotation, np.zeros(3))
    return np.concatenate([translation, turn.rotvec])


def _median_residual(answer: Localization, keyframe: HeldOutKeyframe, map_from_camera: Rigid3) -> float:
    """Return the median distance of the matched landmarks at a pose of the keyframe, at the reference focal.

    A landmark behind that pose, as of the given one after a wrong answer, is infinitely far away.
    """
    assert answer.estimate is not None and answer.correspondences is not None
    inlier = answer.estimate.inlier_mask
    points = map_from_camera.inverse() @ answer.correspondences.points3d[inlier]
    difference = keyframe.camera.project(points) - answer.correspondences.points2d[inlier]
    distance = np.nan_to_num(np.hypot(difference[:, 0], difference[:, 1]), nan=np.inf)
    return float(np.median(distance)) * REFERENCE_FOCAL_PX / float(keyframe.camera.focal.mean())
