"""What the images alone say about how keyframes stand to each other, to hold given poses against.

Partners are chosen by the sequence and by appearance beside those chosen by pose: a keyframe whose
pose is wrong has none of the latter. Of each pair the matches are kept that one relative pose
explains, whichever it is; how many of them the given poses explain as well is what the poses are
judged by.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX, Camera
from hfnet_ros.geometry.epipolar import sampson_distances
from hfnet_ros.geometry.pose_readings import Poses
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.matches import match_pairs
from hfnet_ros.mapping.pair_matcher import PairMatcher
from hfnet_ros.mapping.pairs import nearest_pairs
from hfnet_ros.mapping.views import PairMatches, View
from hfnet_ros.pose.sampled_poses import SampledPose, sample_relative_pose
from hfnet_ros.types import ImageFeatures, Progress, ignore_progress

FloatArray = NDArray[np.float64]
Pair = tuple[int, int]

NUM_SUCCESSORS = 3  # keyframes of the same camera that follow
_NUM_ALIKE = 3
_NUM_BY_POSE = 4
_MAX_KEYPOINTS = 1024  # of pairs matched for the check alone
_MAX_MATCHES = 300
_MAX_KEPT = 80
_MAX_ITERATIONS = 300
_INLIER_PX = 2.0  # at the reference focal length
_MIN_INLIERS = 40
_MIN_INLIER_SHARE = 0.3  # below, chance finds as many: images that show different things have 0.05 to 0.12
_MIN_PARALLAX = np.radians(0.7)  # of rays whose order in depth means something
# Chosen on generated apartments and fox: as given they agree to 0.99, with a hand-eye rotation of
# 3 deg to 0.38 .. 0.96, and every systematic fault that is undone brings them back to 0.99.
SOUND = 0.95
_MIN_GAIN = 0.03
_MIN_UNDONE = 0.4  # of the disagreement that a constant must explain


@dataclass(frozen=True, slots=True, eq=False)
class PairEvidence:
    """Pairs of keyframes whose images fit together; P pairs, M matches.

    Attributes:
        pairs: [P, 2] int64, the earlier keyframe first.
        pair_idx: [M] int64, the pair of each match, ascending.
        rays_a: [M, 3] float64, ray (x, y, 1) of the match in the pair's first camera.
        rays_b: [M, 3] float64, in its second.
        rotations: [P, 3, 3] float64, b_from_a as the images have it.
        directions: [P, 3] float64, the same motion's translation, of length one.
    """

    pairs: NDArray[np.int64]
    pair_idx: NDArray[np.int64]
    rays_a: FloatArray
    rays_b: FloatArray
    rotations: FloatArray
    directions: FloatArray

    @property
    def num_pairs(self) -> int:
        """Number of pairs, P."""
        return len(self.pairs)

    def of_pairs(self, chosen: NDArray[np.int64]) -> PairEvidence:
        """Return the evidence of some pairs, given by their positions in ascending order."""
        position = np.full(self.num_pairs, -1)
        position[chosen] = np.arange(len(chosen))
        kept = position[self.pair_idx] >= 0
        return PairEvidence(
            self.pairs[chosen],
            position[self.pair_idx[kept]],
            self.rays_a[kept],
            self.rays_b[kept],
            self.rotations[chosen],
            self.directions[chosen],
        )

    def thinned(self, max_pairs: int = 120, max_matches: int = 20) -> PairEvidence:
        """Return a part of it, spread over the pairs, for what is computed many times."""
        chosen = np.unique(np.linspace(0, self.num_pairs - 1, min(max_pairs, self.num_pairs)).astype(int))
        some = self.of_pairs(chosen)
        counts = np.bincount(some.pair_idx, minlength=some.num_pairs)
        rank = np.arange(len(some.pair_idx)) - (np.cumsum(counts) - counts)[some.pair_idx]
        kept = rank < max_matches
        return PairEvidence(
            some.pairs,
            some.pair_idx[kept],
            some.rays_a[kept],
            some.rays_b[kept],
            some.rotations,
            some.directions,
        )


def choose_check_pairs(
    camera_idxs: Sequence[int], global_descriptors: NDArray[np.float32], matches: PairMatches
) -> list[Pair]:
    """Choose a few partners of each keyframe: its successors, those that look alike, those matched most.

    Args:
        camera_idxs: camera of each keyframe, in the order they were taken.
        global_descriptors: [F, G] float32 unit norm.
        matches: pairs that are matched anyway.
    """
    pairs: set[Pair] = set()
    for camera_idx in sorted(set(camera_idxs)):
        taken = np.flatnonzero(np.array(camera_idxs) == camera_idx).tolist()
        for step in range(1, NUM_SUCCESSORS + 1):
            pairs |= set(zip(taken, taken[step:], strict=False))
    dissimilarity = 1.0 - (global_descriptors @ global_descriptors.T).astype(np.float64)
    np.fill_diagonal(dissimilarity, np.inf)
    pairs |= set(nearest_pairs(dissimilarity, _NUM_ALIKE))
    by_keyframe: dict[int, list[tuple[int, Pair]]] = {}
    for pair, rows in matches.items():
        for keyframe in pair:
            by_keyframe.setdefault(keyframe, []).append((-len(rows), pair))
    for partners in by_keyframe.values():
        pairs |= {pair for _, pair in sorted(partners)[:_NUM_BY_POSE]}
    return sorted(pairs)


def gather_evidence(
    views: Sequence[View],
    cameras: Sequence[Camera],
    pairs: Sequence[Pair],
    matches: PairMatches,
    matcher: PairMatcher,
    num_threads: int,
    seed: int,
    progress: Progress = ignore_progress,
) -> tuple[PairEvidence, PairMatches]:
    """Match what is not matched yet, and keep of each pair what one relative pose explains.

    Args:
        views: features; their poses are not looked at.
        cameras: calibrations, by the views' `camera_idx`.
        pairs: to look at.
        matches: keypoint rows [M, 2] of pairs that are matched already.
        matcher: matches the others, by their strongest keypoints.
        num_threads: CPU threads.
        seed: of the samples.
        progress: called with stage "check poses".

    Returns:
        The evidence, and the matches of all these pairs.
    """
    missing = [pair for pair in pairs if pair not in matches]
    strongest = {idx: strongest_of(views[idx].features) for pair in missing for idx in pair}
    features = [strongest.get(idx, view.features) for idx, view in enumerate(views)]
    found = match_pairs(matcher, features, missing, 0.0, num_threads)
    known = {
        pair: matches[pair] if pair in matches else found[pair]
        for pair in pairs
        if pair in matches or pair in found
    }
    return evidence_of(views, cameras, known, num_threads, seed, progress), known


def evidence_of(
    views: Sequence[View],
    cameras: Sequence[Camera],
    matches: PairMatches,
    num_threads: int,
    seed: int,
    progress: Progress = ignore_progress,
) -> PairEvidence:
    """Keep of each pair of matched images what one relative pose explains; see `gather_evidence`."""
    normalized = [cameras[view.camera_idx].undistort(view.keypoints) for view in views]
    explained = {}
    with ThreadPoolExecutor(num_threads) as pool:
        sought = pool.map(lambda pair: explain(normalized, pair, matches[pair], seed), matches)
        for done, (pair, entry) in enumerate(zip(matches, sought, strict=True)):
            progress("check poses", done, len(matches))
            if entry is not None:
                explained[pair] = entry
    progress("check poses", len(matches), len(matches))
    return join_evidence(explained)


Explained = tuple[FloatArray, FloatArray, Rigid3]


def explain(
    normalized: Sequence[FloatArray], pair: Pair, rows: NDArray[np.int64], seed: int
) -> Explained | None:
    """Return rays of both cameras and the relative pose that explains them; None where none does."""
    points_a, points_b = normalized[pair[0]][rows[:, 0]], normalized[pair[1]][rows[:, 1]]
    finite = np.isfinite(points_a).all(axis=1) & np.isfinite(points_b).all(axis=1)
    points_a, points_b = points_a[finite], points_b[finite]
    rng = np.random.default_rng([seed, *pair])
    if len(points_a) > _MAX_MATCHES:
        some = rng.choice(len(points_a), _MAX_MATCHES, replace=False)
        points_a, points_b = points_a[some], points_b[some]
    relative = sample_relative_pose(points_a, points_b, _INLIER_PX, _MAX_ITERATIONS, seed)
    if relative is None or not is_telling(relative):
        return None
    inliers = np.flatnonzero(relative.inliers)
    if len(inliers) > _MAX_KEPT:
        inliers = rng.choice(inliers, _MAX_KEPT, replace=False)
    ones = np.ones((len(inliers), 1))
    return (
        np.hstack([points_a[inliers], ones]),
        np.hstack([points_b[inliers], ones]),
        relative.motion,
    )


def is_telling(relative: SampledPose) -> bool:
    """Tell whether enough matches agree that chance is no explanation."""
    count = int(relative.inliers.sum())
    return count >= _MIN_INLIERS and count >= _MIN_INLIER_SHARE * len(relative.inliers)


def join_evidence(explained: dict[Pair, Explained]) -> PairEvidence:
    """Put the evidence of single pairs into arrays."""
    pairs = sorted(explained)
    counts = [len(explained[pair][0]) for pair in pairs]
    rays_a = [explained[pair][0] for pair in pairs]
    rays_b = [explained[pair][1] for pair in pairs]
    return PairEvidence(
        np.array(pairs, np.int64).reshape(-1, 2),
        np.repeat(np.arange(len(pairs)), counts),
        np.concatenate([np.zeros((0, 3)), *rays_a]),
        np.concatenate([np.zeros((0, 3)), *rays_b]),
        np.array([explained[pair][2].rotation for pair in pairs]).reshape(-1, 3, 3),
        np.array([explained[pair][2].translation for pair in pairs]).reshape(-1, 3),
    )


def agreement(evidence: PairEvidence, poses: Poses, max_error_px: float) -> FloatArray:
    """Return for each pair [P] the share of its matches that the poses explain.

    A match must lie within `max_error_px` (Sampson, at the reference focal length) of its epipolar
    line and meet in front of both cameras. Cameras at one place see everything where a rotation
    moves it.
    """
    agreeing = explained_matches(evidence, *poses.between(evidence.pairs), max_error_px)
    total = np.bincount(evidence.pair_idx, minlength=evidence.num_pairs)
    found = np.bincount(evidence.pair_idx, agreeing, minlength=evidence.num_pairs)
    return np.asarray(found / np.maximum(total, 1))


def seen_by(
    evidence: PairEvidence, given: NDArray[np.int64], read: NDArray[np.int64], cameras: Sequence[Camera]
) -> PairEvidence:
    """Return the same pixels as rays of other cameras, `read` instead of `given` of each keyframe [F]."""
    sides = []
    for side, rays in enumerate((evidence.rays_a, evidence.rays_b)):
        keyframe, moved = evidence.pairs[evidence.pair_idx, side], rays.copy()
        for own, other in set(zip(given.tolist(), read.tolist(), strict=True)):
            if own != other:
                rows = (given[keyframe] == own) & (read[keyframe] == other)
                moved[rows, :2] = cameras[other].undistort(cameras[own].project(rays[rows]))
        sides.append(moved)
    return replace(evidence, rays_a=sides[0], rays_b=sides[1])


def contradicted_places(
    pairs: NDArray[np.int64], agrees: NDArray[np.bool_], least: int
) -> list[tuple[int, int]]:
    """Return where the path holds together by pairs [P, 2] alone that contradict it, at least so many.

    Returns:
        The first keyframe after each place, and how many pairs say so.
    """
    first, second = np.sort(pairs, axis=1).T + 1
    size = int(second.max(initial=0)) + 1

    def num_across(of: NDArray[np.bool_]) -> NDArray[np.int64]:
        begun, ended = (np.bincount(ends[of], minlength=size) for ends in (first, second))
        return np.cumsum(begun - ended)

    against = num_across(~agrees)
    is_contradicted = (against >= least) & (num_across(agrees) == 0)
    begins = np.flatnonzero(is_contradicted[1:] & ~is_contradicted[:-1]) + 1
    return [(place, int(against[place])) for place in begins.tolist()]


def wanted_share(share: float) -> float:
    """Return the share of matches that poses must explain that are read otherwise, given what they do as given."""
    return share + max(_MIN_GAIN, _MIN_UNDONE * (1.0 - share))


def explained_matches(
    evidence: PairEvidence, rotations: FloatArray, translations: FloatArray, max_error_px: float
) -> NDArray[np.bool_]:
    """Tell which matches [M] fit b_from_a [P, 3, 3], [P, 3] of their pairs."""
    lengths = np.linalg.norm(translations, axis=1)
    directions = translations / np.maximum(lengths, 1e-12)[:, None]
    pair, limit = evidence.pair_idx, max_error_px / REFERENCE_FOCAL_PX
    fits = np.abs(signed_errors(evidence, rotations, translations)) <= limit
    # Most of the hundreds of readings that are tried explain few matches, and only of those it matters where they meet.
    near = np.flatnonzero(fits)
    turned = np.einsum("mij,mj->mi", rotations[pair[near]], evidence.rays_a[near])
    fits[near] = _is_in_front(turned, evidence.rays_b[near], directions[pair[near]])
    together = np.flatnonzero(lengths[pair] < 1e-9)
    if len(together):
        turned = np.einsum("mij,mj->mi", rotations[pair[together]], evidence.rays_a[together])
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.linalg.norm(turned[:, :2] / turned[:, 2:] - evidence.rays_b[together, :2], axis=1)
        fits[together] = moved <= limit
    return fits


def signed_errors(evidence: PairEvidence, rotations: FloatArray, translations: FloatArray) -> FloatArray:
    """Return the Sampson distances [M] to epipolar lines of b_from_a, signed, normalised units."""
    lengths = np.linalg.norm(translations, axis=1)
    directions = translations / np.maximum(lengths, 1e-12)[:, None]
    # The cross product of a direction with each column of a rotation.
    essential = np.cross(directions[:, :, None], rotations, axis=1)[evidence.pair_idx]
    lines_b = np.einsum("mij,mj->mi", essential, evidence.rays_a)
    lines_a = np.einsum("mji,mj->mi", essential, evidence.rays_b)
    return sampson_distances(evidence.rays_b, lines_a, lines_b)


def _is_in_front(turned_a: FloatArray, rays_b: FloatArray, directions: FloatArray) -> NDArray[np.bool_]:
    """Tell which rays [M, 3] of both cameras, in the second's axes, meet ahead; True where they are parallel."""
    unit_a = turned_a / np.linalg.norm(turned_a, axis=1, keepdims=True)
    unit_b = rays_b / np.linalg.norm(rays_b, axis=1, keepdims=True)
    # b_from_a's translation is where the first camera stands: its ray must lean towards the second's.
    ahead = np.sum(unit_a * directions, axis=1) < np.sum(unit_b * directions, axis=1)
    parallel = np.linalg.norm(np.cross(unit_a, unit_b), axis=1) < np.sin(_MIN_PARALLAX)
    return np.asarray(ahead | parallel)


def strongest_of(features: ImageFeatures) -> ImageFeatures:
    """Return the keypoints that are matched for the check alone."""
    return features.strongest(_MAX_KEYPOINTS)
