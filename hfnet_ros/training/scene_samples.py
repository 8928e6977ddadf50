"""What a hybrid scene network learns from: keypoints of a map's keyframes, and the landmarks that they show.

Every keyframe is described once more as it is, and in altered views: turned, nearer, darker, blurred. A map that keeps
what its keyframes saw will do without images, and without altered views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MappingError
from hfnet_ros.features.extractor import FeatureExtractor
from hfnet_ros.features.scene_hybrid import normalised_positions
from hfnet_ros.features.turning import extract_turned
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.training.augmentation import draw_homography, spoil, transfer
from hfnet_ros.types import ImageArray, ImageFeatures, LocalFeatures, Progress

_SAME_PX = 2.0  # a keypoint shows a landmark that is seen no further from it, of both the nearest
_OTHER_PX = 6.0  # and shows none if all are further away
_MAX_NEGATIVES = 200_000
_STRENGTH = 0.75  # of `draw_homography`: up to 26 degrees, a factor of 1.5

BATCH = 4096  # samples a step
_EPOCHS, _LEAST_STEPS, _MOST_STEPS = 8.0, 1000, 6000

ReadPixels = Callable[[int], ImageArray]


@dataclass(frozen=True, eq=False)
class Samples:
    """Keypoints. S samples, D descriptor size.

    Attributes:
        descriptors: [S, D] float16.
        positions: [S, 2] float32, as `normalised_positions`.
        keyframes: [S] int64, row of the keyframe.
        landmarks: [S] int64, row of the landmark; -1 of a keypoint that shows none.
    """

    descriptors: NDArray[np.float16]
    positions: NDArray[np.float32]
    keyframes: NDArray[np.int64]
    landmarks: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.descriptors)

    def chosen(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Samples:
        """Return some of the samples, in the order of `rows`."""
        return Samples(
            self.descriptors[rows], self.positions[rows], self.keyframes[rows], self.landmarks[rows]
        )

    @staticmethod
    def joined(parts: Sequence[Samples]) -> Samples:
        """Return all samples of several."""
        return Samples(
            np.concatenate([part.descriptors for part in parts]),
            np.concatenate([part.positions for part in parts]),
            np.concatenate([part.keyframes for part in parts]),
            np.concatenate([part.landmarks for part in parts]),
        )


def default_steps(num_samples: int) -> int:
    """Return how many steps so many samples are worth."""
    return int(np.clip(round(_EPOCHS * num_samples / BATCH), _LEAST_STEPS, _MOST_STEPS))


def samples_of_images(
    visual_map: VisualMap,
    rows: Sequence[int],
    pixels: ReadPixels,
    extractor: FeatureExtractor,
    num_views: int,
    turns_rad: NDArray[np.float64],
    seed: int,
    max_keypoints: int,
    progress: Progress,
) -> Samples:
    """Describe keyframes and altered views of them.

    Args:
        visual_map: whose landmarks are meant.
        rows: keyframes.
        pixels: reads the image of a keyframe.
        extractor: of the map.
        num_views: altered views of each keyframe.
        turns_rad: [F] by how much each keyframe is turned to be described.
        seed: of the alterations; those of a keyframe do not depend on which others there are.
        max_keypoints: of each view.
        progress: called with stage "describe views".

    Raises:
        ImageError: an image cannot be read.
    """
    parts = []
    for done, row in enumerate(rows):
        progress("describe views", done, len(rows))
        rng = np.random.default_rng([seed, row])
        image, seen = pixels(row), _observations(visual_map, row)
        for view in range(num_views + 1):
            altered, homography = (image, np.eye(3)) if view == 0 else _altered(image, rng)
            features = extract_turned(extractor, altered, float(turns_rad[row])).strongest(max_keypoints)
            parts.append(_labelled(features, seen, homography, row))
    progress("describe views", len(rows), len(rows))
    return _limited(parts, seed)


def samples_of_observations(visual_map: VisualMap, rows: Sequence[int]) -> Samples:
    """Take what a map's keyframes saw, as it keeps it.

    Raises:
        MappingError: the map does not keep it.
    """
    if visual_map.observation_descriptors is None:
        raise MappingError(
            "the map does not hold what its keyframes saw, and no images are given to learn from; give --images, or "
            "build the map with --keep-observations"
        )
    parts = [
        _samples(observed_features(visual_map, row), row, _observations(visual_map, row)[1]) for row in rows
    ]
    return _limited(parts, 0)


def observed_features(visual_map: VisualMap, row: int) -> ImageFeatures:
    """Return what a map that keeps it says that a keyframe saw, in the order of its observations."""
    assert visual_map.observation_descriptors is not None
    start, stop = visual_map.observation_offsets[row : row + 2]
    points, _ = _observations(visual_map, row)
    local = LocalFeatures(
        points.astype(np.float32),
        np.ones(len(points), np.float32),
        visual_map.observation_descriptors[start:stop],
    )
    size_wh = visual_map.cameras[visual_map.camera_idx_of(row)].refined.size_wh
    return ImageFeatures(local, None, visual_map.extractor_id, size_wh)


def _limited(parts: Sequence[Samples], seed: int) -> Samples:
    """Join samples, of which no more than so many show no landmark."""
    joined = Samples.joined(parts)
    shows, none = np.flatnonzero(joined.landmarks >= 0), np.flatnonzero(joined.landmarks < 0)
    if len(none) > _MAX_NEGATIVES:
        none = np.sort(np.random.default_rng(seed).choice(none, _MAX_NEGATIVES, replace=False))
    return joined.chosen(np.concatenate([shows, none]))


def _observations(visual_map: VisualMap, row: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    start, stop = visual_map.observation_offsets[row : row + 2]
    points = np.asarray(visual_map.observation_xy[start:stop], np.float64)
    return points, visual_map.observation_landmark_idx[start:stop].astype(np.int64)


def _altered(image: ImageArray, rng: np.random.Generator) -> tuple[ImageArray, NDArray[np.float64]]:
    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    size_wh = (gray.shape[1], gray.shape[0])
    homography = draw_homography(size_wh, rng, _STRENGTH) if rng.random() < 0.7 else np.eye(3)
    warped = cv2.warpPerspective(gray, homography, size_wh, flags=cv2.INTER_AREA)
    return spoil(np.asarray(warped, np.uint8), rng).astype(np.uint8), homography


def _labelled(
    features: ImageFeatures,
    seen: tuple[NDArray[np.float64], NDArray[np.int64]],
    homography: NDArray[np.float64],
    row: int,
) -> Samples:
    """Say which keypoints of a view show which landmark; those that may show one are left out."""
    from scipy.spatial import cKDTree

    keypoints = features.local.keypoints.astype(np.float64)
    points, landmarks = transfer(seen[0], homography), seen[1]
    valid = np.isfinite(points).all(axis=1)
    points, landmarks = points[valid], landmarks[valid]
    if len(points) == 0 or len(keypoints) == 0:
        return _samples(features.chosen(np.empty(0, np.int64)), row, np.empty(0, np.int64))
    distance, nearest = cKDTree(points).query(keypoints)
    _, back = cKDTree(keypoints).query(points)
    shows = (distance <= _SAME_PX) & (back[nearest] == np.arange(len(keypoints)))
    kept = np.flatnonzero(shows | (distance > _OTHER_PX))
    return _samples(features.chosen(kept), row, np.where(shows, landmarks[nearest], -1)[kept])


def _samples(features: ImageFeatures, row: int, landmarks: NDArray[np.int64]) -> Samples:
    return Samples(
        features.local.descriptors.astype(np.float16),
        normalised_positions(features),
        np.full(len(landmarks), row, np.int64),
        landmarks,
    )
