"""Which pairs of images without poses show the same place, and whether the camera moved between them.

Reference: Moisan and Stival, "A probabilistic criterion to detect rigid point matches between two images and
estimate the fundamental matrix", IJCV 2004 (number of false alarms).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from hfnet_ros.config import Config
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.mapping.matches import MIN_PAIR_MATCHES
from hfnet_ros.mapping.pycolmap_library import pycolmap
from hfnet_ros.mapping.views import PairMatches

FloatArray = NDArray[np.float64]
Pair = tuple[int, int]

# Enough for a third of right matches; pairs without a common view would use up COLMAP's 10000.
_MAX_TRIALS = 2000
_MAX_ERROR_PX = 4.0
_SAMPLE = 7  # matches that make a fundamental matrix
# Repeated structure (rails, doors, tiles) agrees by more than chance would have it: on one of the tower's floors
# images of different rooms reach -16, and models of such pairs hold half of the building.
_MAX_LOG10_FALSE_ALARMS = -20.0
_FOCALS = np.geomspace(0.4, 3.0, 25)  # of the longer side, tried where the calibration is not known
_MIN_PAIRS = 3
# A turn that explains half of the matches is found among fewer; OpenCV's 2000 are run where there is none.
_MAX_TURNS_TRIED = 200


def verify_pairs(
    database: Path, matches: PairMatches, sizes_wh: Sequence[tuple[int, int]], config: Config
) -> PairMatches:
    """Let COLMAP verify the matches in its database, and drop from it the pairs that chance explains.

    Args:
        database: with keypoints and tentative matches, image ids counted from one.
        matches: the tentative matches, rows [M, 2] by positions of the images.
        sizes_wh: of the images, px.
        config: threads and seed.

    Returns:
        The verified matches of the pairs that are left.
    """
    verifier = pycolmap.GeometricVerifierOptions()
    verifier.num_threads = config.inference.num_threads
    geometry = pycolmap.TwoViewGeometryOptions()
    geometry.min_num_inliers = MIN_PAIR_MATCHES
    geometry.detect_watermark = False
    geometry.ransac.random_seed = config.pose.seed
    geometry.ransac.max_error = _MAX_ERROR_PX
    geometry.ransac.max_num_trials = _MAX_TRIALS
    geometry.ransac.dyn_num_trials_multiplier = 1.0
    pycolmap.geometric_verification(database, verifier, two_view_geometry_options=geometry)
    verified: PairMatches = {}
    opened = pycolmap.Database.open(database)
    try:
        with pycolmap.DatabaseTransaction(opened):
            pair_ids, geometries = opened.read_two_view_geometries()
            for pair_id, found in zip(pair_ids, geometries, strict=True):
                ids = pycolmap.pair_id_to_image_pair(pair_id)
                first, second = sorted(image_id - 1 for image_id in ids)
                num_inliers, num_matches = len(found.inlier_matches), len(matches[first, second])
                if log10_false_alarms(num_inliers, num_matches, sizes_wh[second]) > _MAX_LOG10_FALSE_ALARMS:
                    opened.delete_two_view_geometry(*ids)
                else:
                    verified[first, second] = np.asarray(found.inlier_matches, np.int64)
    finally:
        opened.close()
    return verified


def log10_false_alarms(num_inliers: int, num_matches: int, size_wh: tuple[int, int]) -> float:
    """Return how often so many of some matches agree by chance with an epipolar geometry made of seven, log10.

    Args:
        num_inliers: matches that agree within four pixels.
        num_matches: tentative matches of the pair.
        size_wh: of the image with the epipolar lines, px.
    """
    if num_inliers <= _SAMPLE:
        return np.inf
    width, height = size_wh
    by_chance = min(1.0, 2.0 * _MAX_ERROR_PX * float(np.hypot(width, height)) / (width * height))
    return (
        float(np.log10(num_matches))
        + _log10_choices(num_matches, num_inliers)
        + _log10_choices(num_inliers, _SAMPLE)
        + (num_inliers - _SAMPLE) * float(np.log10(by_chance))
    )


def _log10_choices(count: int, chosen: int) -> float:
    return float(gammaln(count + 1) - gammaln(chosen + 1) - gammaln(count - chosen + 1)) / float(np.log(10.0))


def share_of_turning(
    verified: Mapping[Pair, NDArray[np.int64]],
    keypoints: Sequence[NDArray[np.float32]],
    sizes_wh: Sequence[tuple[int, int]],
    cameras: Sequence[Camera] | None,
    camera_idxs: Sequence[int],
) -> float:
    """Return the share of a pair's matches that a turn of the camera alone explains; median, 0 of few pairs.

    Args:
        verified: matches [M, 2] by pair.
        keypoints: [N, 2] px of each image.
        sizes_wh: of the images, px.
        cameras: calibrations; None takes the focal length that explains most.
        camera_idxs: camera of each image.
    """
    if len(verified) < _MIN_PAIRS:
        return 0.0
    points = _centred(keypoints, sizes_wh, cameras, camera_idxs)
    focals = _FOCALS * max(map(max, sizes_wh)) if cameras is None else np.array([cameras[0].focal.mean()])
    shares = []
    for (first, second), rows in verified.items():
        points_a, points_b = points[first][rows[:, 0]], points[second][rows[:, 1]]
        finite = np.isfinite(points_a).all(axis=1) & np.isfinite(points_b).all(axis=1)
        shares.append(_turned_shares(points_a[finite], points_b[finite], focals))
    return float(np.median(shares, axis=0).max())


def _centred(
    keypoints: Sequence[NDArray[np.float32]],
    sizes_wh: Sequence[tuple[int, int]],
    cameras: Sequence[Camera] | None,
    camera_idxs: Sequence[int],
) -> list[FloatArray]:
    """Return keypoints from the principal point, px; with calibrations of the first one's focal length."""
    if cameras is not None:
        known = zip(keypoints, camera_idxs, strict=True)
        return [cameras[0].focal.mean() * cameras[idx].undistort(points) for points, idx in known]
    return [
        points.astype(np.float64) - 0.5 * (np.array(size) - 1.0)
        for points, size in zip(keypoints, sizes_wh, strict=True)
    ]


def _turned_shares(points_a: FloatArray, points_b: FloatArray, focals: FloatArray) -> FloatArray:
    """Return for each focal length the share of matches [M, 2] that one rotation explains."""
    if len(points_a) < _SAMPLE:
        return np.zeros(len(focals))
    homography, _ = cv2.findHomography(
        points_a, points_b, cv2.RANSAC, _MAX_ERROR_PX, maxIters=_MAX_TURNS_TRIED
    )
    shares = np.zeros(len(focals))
    if homography is None:
        return shares
    for row, focal in enumerate(focals.tolist()):
        scaled = np.diag([focal, focal, 1.0])
        left, _, right = np.linalg.svd(np.linalg.inv(scaled) @ homography @ scaled)
        rotation = left @ right
        rotation *= np.sign(np.linalg.det(rotation))
        turned = np.column_stack([points_a / focal, np.ones(len(points_a))]) @ rotation.T
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.linalg.norm(focal * turned[:, :2] / turned[:, 2:] - points_b, axis=1)
        shares[row] = np.mean((moved <= _MAX_ERROR_PX) & (turned[:, 2] > 0.0))
    return shares
