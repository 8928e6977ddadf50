"""Where a keyframe must stand for what its partners see with each other, not with it.

Matches of pairs that fit the poses are triangulated two by two. A keyframe is then placed among the
points that its partners made with others, so that its own pose takes no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.views import PairMatches
from hfnet_ros.pose.sampled_poses import sample_absolute_pose

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MIN_PARALLAX = np.radians(1.5)
_MAX_POINTS = 200
_MAX_ITERATIONS = 150
_MIN_INLIERS = 30
_MIN_INLIER_SHARE = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class PairPoints:
    """Points that pairs of keyframes see; N entries, two for each point, sorted by keyframe and parallax.

    Attributes:
        keyframe: [N] int64.
        partner: [N] int64, the other keyframe of the pair.
        keypoint: [N] int64, row in the keyframe's keypoints.
        xyz: [N, 3] float64, map frame.
        starts: [F + 1] int64, where the entries of each keyframe begin.
    """

    keyframe: IntArray
    partner: IntArray
    keypoint: IntArray
    xyz: FloatArray
    starts: IntArray

    def of(self, keyframe: int) -> slice:
        """Return where the entries of a keyframe are."""
        return slice(int(self.starts[keyframe]), int(self.starts[keyframe + 1]))


@dataclass(frozen=True, slots=True, eq=False)
class Resection:
    """A keyframe placed by others.

    Attributes:
        map_from_camera: where it must stand.
        num_inliers: points that say so.
        agreement: share of them that the given pose explains as well.
        partner: the keyframe that most of them come from.
    """

    map_from_camera: Rigid3
    num_inliers: int
    agreement: float
    partner: int


def triangulate_pairs(
    normalized: Sequence[FloatArray],
    poses: Sequence[Rigid3],
    matches: PairMatches,
    max_error_px: float,
    min_parallax: float = _MIN_PARALLAX,
) -> PairPoints:
    """Triangulate what pairs of keyframes see, two rays at a time.

    Args:
        normalized: [N, 2] normalised image coordinates of each keyframe's keypoints.
        poses: map_from_camera.
        matches: of pairs whose poses can be believed.
        max_error_px: how far rays may pass each other, at the reference focal length.
        min_parallax: angle between rays, rad.
    """
    parts = []
    for (first, second), rows in matches.items():
        rays_a = _world_rays(normalized[first][rows[:, 0]], poses[first])
        rays_b = _world_rays(normalized[second][rows[:, 1]], poses[second])
        baseline = poses[second].translation - poses[first].translation
        xyz, parallax, ahead = _meeting_points(rays_a, rays_b, poses[first].translation, baseline)
        error = _miss(xyz, poses[first], normalized[first][rows[:, 0]])
        error = np.maximum(error, _miss(xyz, poses[second], normalized[second][rows[:, 1]]))
        good = ahead & (parallax > min_parallax) & (error <= max_error_px / REFERENCE_FOCAL_PX)
        count = int(good.sum())
        for keyframe, partner, column in ((first, second, 0), (second, first, 1)):
            parts.append(
                (
                    np.full(count, keyframe),
                    np.full(count, partner),
                    rows[good, column],
                    xyz[good],
                    parallax[good],
                )
            )
    if not parts:
        none = np.zeros(0, np.int64)
        return PairPoints(none, none, none, np.zeros((0, 3)), np.zeros(len(poses) + 1, np.int64))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    owners, partners, keypoints, points, angles = columns
    order = np.lexsort((angles, owners))
    starts = np.searchsorted(owners[order], np.arange(len(poses) + 1))
    return PairPoints(owners[order], partners[order], keypoints[order], points[order], starts)


def resect(
    points: PairPoints,
    keyframe: int,
    given: Rigid3,
    normalized: FloatArray,
    matches_of: dict[int, IntArray],
    excluded: NDArray[np.bool_],
    max_error_px: float,
    seed: int,
) -> Resection | None:
    """Place a keyframe among its partners' points; None where too few agree on a place.

    Args:
        points: what pairs see.
        keyframe: to place.
        given: its given pose, to compare with.
        normalized: [N, 2] normalised image coordinates of its keypoints.
        matches_of: by partner, keypoint rows [M, 2] of this keyframe and of the partner.
        excluded: [F] bool, keyframes that do not count; neither do points made with `keyframe`.
        max_error_px: reprojection error of a point that agrees, at the reference focal length.
        seed: of the samples.
    """
    own, xyz, sources = [], [], []
    for partner, rows in matches_of.items():
        if excluded[partner] or not len(rows):
            continue
        usable = np.arange(points.starts[partner], points.starts[partner + 1])
        usable = usable[(points.partner[usable] != keyframe) & ~excluded[points.partner[usable]]]
        entry_of = np.full(1 + max(rows[:, 1].max(), points.keypoint[usable].max(initial=0)), -1)
        # Of several points of a keypoint the one seen under the widest angle, which comes last.
        entry_of[points.keypoint[usable]] = usable
        entry = entry_of[rows[:, 1]]
        found = entry >= 0
        own.append(rows[found, 0])
        xyz.append(points.xyz[entry[found]])
        sources.append(np.full(int(found.sum()), partner))
    if sum(map(len, own)) < _MIN_INLIERS:
        return None
    keypoint, points3d, source = np.concatenate(own), np.concatenate(xyz), np.concatenate(sources)
    if len(keypoint) > _MAX_POINTS:
        some = np.random.default_rng([seed, keyframe]).choice(len(keypoint), _MAX_POINTS, replace=False)
        keypoint, points3d, source = keypoint[some], points3d[some], source[some]
    placed = sample_absolute_pose(normalized[keypoint], points3d, max_error_px, _MAX_ITERATIONS, seed)
    if placed is None:
        return None
    count = int(placed.inliers.sum())
    if count < _MIN_INLIERS or count < _MIN_INLIER_SHARE * len(keypoint):
        return None
    misses = _miss(points3d[placed.inliers], given, normalized[keypoint[placed.inliers]])
    agreement = float(np.mean(misses <= 2.0 * max_error_px / REFERENCE_FOCAL_PX))
    return Resection(placed.motion, count, agreement, int(np.bincount(source[placed.inliers]).argmax()))


def _world_rays(points: FloatArray, pose: Rigid3) -> FloatArray:
    rays = np.hstack([points, np.ones((len(points), 1))])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    turned: FloatArray = rays @ pose.rotation.T
    return turned


def _meeting_points(
    rays_a: FloatArray, rays_b: FloatArray, center_a: FloatArray, baseline: FloatArray
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return the points midway between rays, the angles between them, and whether they meet ahead.

    Reference: Hartley and Sturm, Triangulation, CVIU 1997 (midpoint method).
    """
    cosine = np.sum(rays_a * rays_b, axis=1)
    sine2 = np.maximum(1.0 - cosine**2, 1e-12)
    along_a, along_b = rays_a @ baseline, rays_b @ baseline
    depth_a = (along_a - cosine * along_b) / sine2
    depth_b = (cosine * along_a - along_b) / sine2
    xyz = center_a + 0.5 * (depth_a[:, None] * rays_a + baseline + depth_b[:, None] * rays_b)
    return xyz, np.arcsin(np.clip(np.sqrt(sine2), 0.0, 1.0)), (depth_a > 0.0) & (depth_b > 0.0)


def _miss(xyz: FloatArray, pose: Rigid3, points: FloatArray) -> FloatArray:
    """Return how far points [M, 3] project beside where they are seen, normalised units; inf from behind."""
    in_camera = pose.inverse() @ xyz
    depth = np.where(in_camera[:, 2] > 1e-9, in_camera[:, 2], np.nan)
    error = np.linalg.norm(in_camera[:, :2] / depth[:, None] - points, axis=1)
    return np.asarray(np.nan_to_num(error, nan=np.inf))
