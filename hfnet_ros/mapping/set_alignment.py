"""How two sub-maps lie to each other, by what both show, and where all of a set lie.

Keyframes of one map are localized in the other by what the map remembers of them; each says where the other map
lies. Errors of keyframes that follow each other are alike, so what the motion is uncertain by is taken from blocks of
them, not from their number; and what the maps' tests of themselves say that they are off by is added.

Reference: Kuensch, "The jackknife and the bootstrap for general stationary observations", Annals of Statistics 1989
    (blocks); Grisetti et al., "A tutorial on graph-based SLAM", ITSM 2010 (poses of sub-maps).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from hfnet_ros.config import Config
from hfnet_ros.errors import MappingError
from hfnet_ros.features.aggregation import VladAggregation, describe_whole
from hfnet_ros.geometry.covariance import change_child_covariance, rotate_covariance, symmetrize
from hfnet_ros.geometry.rigid3 import Rigid3, pose_difference
from hfnet_ros.map.map_set import Overlap
from hfnet_ros.map.place_view import PlaceView
from hfnet_ros.map.visual_map import VisualMap, with_search
from hfnet_ros.mapping.alignment import MIN_AGREEING, agree_on_motion, features_of
from hfnet_ros.matching.landmark_matcher import MutualNearestMatcher
from hfnet_ros.pose.problem import ErrorModel, ObserverCones
from hfnet_ros.pose.solver import PoseSolver
from hfnet_ros.retrieval.index import create_index
from hfnet_ros.retrieval.places import group_into_places
from hfnet_ros.types import ImageFeatures, RetrievalHit, RigCamera

FloatArray = NDArray[np.float64]

_MAX_ASKED = 60
_MIN_AGREEING_SHARE = 0.5
_TOLERANCE_OF_DEPTH = 0.05
_TOLERANCE_RAD = np.deg2rad(4.0)
_NUM_BLOCKS = 10
_MIN_SIGMAS = np.array([1e-4] * 3 + [1e-5] * 3)  # no overlap is known better: m, rad


def align_overlap(first: VisualMap, second: VisualMap, config: Config) -> Overlap | None:
    """Measure where the second map lies in the first one.

    Args:
        first: gives the frame.
        second: of the same extractor. Its keyframes that look most like the first map are looked for there.
        config: how is matched and how poses are found.

    Returns:
        The motion between the frames in which the maps answer; None where they do not overlap: fewer than five
        keyframes are found, or they do not agree.
    """
    located = _Located(first, config)
    pairs = [pair for row in located.most_alike(second) if (pair := located.pair(second, row)) is not None]
    if len(pairs) < MIN_AGREEING:
        return None
    tolerance_m = _TOLERANCE_OF_DEPTH * float(np.median(first.landmark_distance_ranges[:, 1]))
    motion = _fit(pairs, tolerance_m)
    agreeing = [pair for pair in pairs if _agrees(pair, motion, tolerance_m)]
    if len(agreeing) < max(MIN_AGREEING, _MIN_AGREEING_SHARE * len(pairs)):
        return None
    motion = _fit(agreeing, tolerance_m)
    middle = np.mean([second_from_camera.translation for _, second_from_camera in agreeing], axis=0)
    off = np.array([_residual(pair, motion) for pair in agreeing])
    squares = (off**2).reshape(len(off), 2, 3).sum(axis=2).mean(axis=0)
    at_middle = _covariance(agreeing, motion, middle, off, tolerance_m) + _own_errors(first, second, agreeing)
    centered = Rigid3(motion.rotation, motion @ middle)
    covariance = change_child_covariance(at_middle, centered, -middle)
    return Overlap(
        motion, covariance, len(agreeing), (float(np.sqrt(squares[0])), float(np.sqrt(squares[1])))
    )


def sigmas_off(overlap: Overlap, first_from_second: Rigid3) -> float:
    """Return how far two maps are from where their overlap says, in its standard deviations, rms of six directions."""
    off = pose_difference(overlap.first_from_second, first_from_second)
    return float(np.linalg.norm(_root_of_information(overlap.covariance) @ off) / np.sqrt(6.0))


def poses_by_overlaps(
    names: Sequence[str], overlaps: Mapping[tuple[str, str], Overlap], fixed: Mapping[str, Rigid3]
) -> dict[str, tuple[Rigid3, FloatArray]]:
    """Return where all sub-maps lie so that the overlaps are explained best.

    Args:
        names: of the sub-maps.
        overlaps: between any of them.
        fixed: set_from_map of those that do not move, at least one.

    Returns:
        set_from_map and its covariance [6, 6] by name; zero of those that are fixed.

    Raises:
        MappingError: a sub-map hangs together with none that is fixed; names it.
    """
    start = _spread(overlaps, fixed)
    loose = [name for name in names if name not in start]
    if loose:
        raise MappingError(
            f"{', '.join(loose)}: overlaps with none of the other maps ({', '.join(start)}), so that nobody knows "
            "where it lies; give the maps in one frame, or record where they overlap"
        )
    free = [name for name in names if name not in fixed]
    found = {name: (pose, np.zeros((6, 6))) for name, pose in start.items() if name in names}
    if not free:
        return found
    roots = {pair: _root_of_information(overlap.covariance) for pair, overlap in overlaps.items()}

    def moved(step: FloatArray) -> dict[str, Rigid3]:
        poses = dict(start)
        for place, name in enumerate(free):
            turn, shift = step[6 * place + 3 : 6 * place + 6], step[6 * place : 6 * place + 3]
            poses[name] = Rigid3(
                Rigid3.from_rotvec(turn, np.zeros(3)).rotation @ start[name].rotation,
                start[name].translation + shift,
            )
        return poses

    def residuals(step: FloatArray) -> FloatArray:
        poses = moved(step)
        return np.concatenate(
            [
                roots[first, second]
                @ pose_difference(overlap.first_from_second, poses[first].inverse() @ poses[second])
                for (first, second), overlap in overlaps.items()
            ]
        )

    solved = least_squares(residuals, np.zeros(6 * len(free)), x_scale="jac")
    spread = symmetrize(np.linalg.pinv(solved.jac.T @ solved.jac))
    poses = moved(solved.x)
    for place, name in enumerate(free):
        rows = slice(6 * place, 6 * place + 6)
        found[name] = poses[name], spread[rows, rows]
    return found


def _spread(overlaps: Mapping[tuple[str, str], Overlap], fixed: Mapping[str, Rigid3]) -> dict[str, Rigid3]:
    """Return the poses that follow from the fixed ones, by the surest overlaps first."""
    poses = dict(fixed)
    surest = sorted(overlaps, key=lambda pair: (float(np.trace(overlaps[pair].covariance)), pair))
    while True:
        reaching = next((pair for pair in surest if (pair[0] in poses) != (pair[1] in poses)), None)
        if reaching is None:
            return poses
        (first, second), first_from_second = reaching, overlaps[reaching].first_from_second
        if first in poses:
            poses[second] = poses[first] @ first_from_second
        else:
            poses[first] = poses[second] @ first_from_second.inverse()


class _Located:
    """Localizes keyframes of other maps in a map, by what these maps remember of them."""

    def __init__(self, first: VisualMap, config: Config) -> None:
        self._map = with_search(first, config.retrieval.vocabulary_size, config.pose.seed)
        assert self._map.search is not None
        self._search, self._config = self._map.search, config
        self._index = create_index(self._map.global_descriptors, self._map.codes, config.retrieval)
        self._aggregation = VladAggregation(**first.aggregation) if first.aggregation else None
        self._matcher = MutualNearestMatcher(config.matching)
        measured_px = first.consistency.measured_residual_px
        residual_px = config.pose.assumed_residual_px if measured_px is None else measured_px
        errors = ErrorModel(
            residual_px, *first.refined_covariance_model, is_self_tested=first.consistency.vouches
        )
        self._solver = PoseSolver(config.pose, config.verification, errors)

    def most_alike(self, second: VisualMap) -> list[int]:
        """Return the keyframes of another map that look most like this one, ascending."""
        alike = np.full(second.num_keyframes, -np.inf)
        for row in range(second.num_keyframes):
            hits = self._hits(features_of(second, row), 1)
            if hits:
                alike[row] = hits[0].similarity
        best = np.argsort(-alike, kind="stable")[:_MAX_ASKED]
        return sorted(int(row) for row in best if np.isfinite(alike[row]))

    def pair(self, second: VisualMap, row: int) -> tuple[Rigid3, Rigid3] | None:
        """Return the poses of a keyframe in both maps' answers; None where it is not found in this one."""
        features = features_of(second, row)
        hits = self._hits(features, self._config.retrieval.count(by_vlad=not self._map.has_head))
        places = group_into_places(hits, self._search, self._config.retrieval.min_shared_landmarks)
        camera = RigCamera(second.cameras[second.camera_idx_of(row)].refined)
        for place in places[: self._config.retrieval.max_places]:
            seen = np.unique(
                np.concatenate([self._map.landmarks_seen_by(frame) for frame in place.keyframe_idxs])
            )
            matches = self._matcher.match(features, PlaceView(self._map, seen, place.keyframe_idxs))
            rows = matches.landmark_idxs
            cones = ObserverCones(
                self._map.landmark_view_directions[rows].astype(np.float64),
                self._map.landmark_distance_ranges[rows].astype(np.float64),
            )
            answer = self._solver.solve(matches, [camera], cones)
            if answer.estimate is not None and answer.correspondences is not None:
                inliers = answer.correspondences.landmark_idxs[answer.estimate.inlier_mask]
                counts = [
                    np.isin(self._map.landmarks_seen_by(frame), inliers).sum()
                    for frame in place.keyframe_idxs
                ]
                nearest = place.keyframe_idxs[int(np.argmax(counts))]
                given = self._map.given_from_refined(nearest) @ answer.estimate.map_from_camera
                return given, second.given_from_refined(row) @ second.map_from_camera(row)
        return None

    def _hits(self, features: ImageFeatures, count: int) -> list[RetrievalHit]:
        if not len(features.local):
            return []
        described = describe_whole(self._aggregation, features)
        return [] if described is None else self._index.search(described, count)


_Pair = tuple[Rigid3, Rigid3]


def _fit(pairs: Sequence[_Pair], tolerance_m: float) -> Rigid3:
    fit = agree_on_motion(pairs, tolerance_m, with_scale=False)
    return Rigid3(fit.rotation, fit.translation)


def _residual(pair: _Pair, motion: Rigid3) -> FloatArray:
    """Return [6] by how much a pair is off a motion: position, m, and rotation vector, rad."""
    first_from_camera, second_from_camera = pair
    return pose_difference(first_from_camera, motion @ second_from_camera)


def _agrees(pair: _Pair, motion: Rigid3, tolerance_m: float) -> bool:
    off = _residual(pair, motion)
    return bool(np.linalg.norm(off[:3]) <= tolerance_m and np.linalg.norm(off[3:]) <= _TOLERANCE_RAD)


def _covariance(
    pairs: Sequence[_Pair], motion: Rigid3, middle: FloatArray, off: FloatArray, tolerance_m: float
) -> FloatArray:
    """Return [6, 6] of the motion of the cameras' middle: what the fit changes by as blocks of pairs are left out.

    Few blocks do not reach all six directions, so what as many independent pairs would say is added.
    """
    blocks = np.array_split(np.arange(len(pairs)), min(_NUM_BLOCKS, len(pairs)))
    changes = []
    for block in blocks:
        kept = [pair for row, pair in enumerate(pairs) if row not in block]
        without = _fit(kept, tolerance_m)
        centered = [Rigid3(each.rotation, each @ middle) for each in (motion, without)]
        changes.append(pose_difference(*centered))
    away = np.array(changes) - np.mean(changes, axis=0)
    count = len(blocks)
    jackknife = (count - 1) / count * away.T @ away
    independent = np.diag((off**2).mean(axis=0)) / count
    return symmetrize(jackknife + independent + np.diag(_MIN_SIGMAS**2))


def _own_errors(first: VisualMap, second: VisualMap, pairs: Sequence[_Pair]) -> FloatArray:
    """Return [6, 6] what both maps are off by themselves, as their self-tests found, in the axes of the first.

    Poses that are given are off by the same for seconds on end, so that a hundred keyframes in one room say it a
    hundred times: this part is not averaged away.
    """
    added = first.covariance_model[1] + second.covariance_model[1]
    turned = [rotate_covariance(added, first_from_camera) for first_from_camera, _ in pairs]
    return np.asarray(np.mean(turned, axis=0))


def _root_of_information(covariance: FloatArray) -> FloatArray:
    """Return W [6, 6] so that |W r|^2 is the squared Mahalanobis length of r."""
    floored = covariance + np.diag(_MIN_SIGMAS**2)
    return np.linalg.inv(np.linalg.cholesky(floored))
