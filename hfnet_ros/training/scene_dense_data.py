"""What a dense scene network learns of keyframes: images with the depth of their cells, altered in plane.

The depth of a cell is that of a depth image where there are some, else of the nearest landmark that the keyframe sees.
Points are along the cell's own ray, in the frame of `keyframe_poses`.

Reference: Li et al., "Hierarchical Scene Coordinate Classification and Regression for Visual Localization", CVPR 2020,
    section 4.1 (data augmentation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.features.scene_dense import STRIDE, cell_centers
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.training.scene_depth import RegisteredDepth
from hfnet_ros.types import ImageArray, Progress

# Images are kept at this many times the size that the network sees, so that enlarged ones stay sharp.
_KEPT_SCALE = 1.5
# A landmark says the depth of a cell whose middle it is so near to, px of the network's image.
_NEAR_PX = 4.0
# Altered as published: turned, scaled, sheared and moved at random, on a ground of noise, and brighter or darker; and
# with more or less contrast.
_MAX_TURN_DEG, _SCALES, _MAX_SHEAR_DEG, _MAX_SHIFT = 30.0, (0.7, 1.5), 10.0, 0.2
_MAX_BRIGHTNESS, _MAX_CONTRAST = 20.0, 0.2


@dataclass(frozen=True, eq=False)
class DenseKeyframe:
    """A keyframe to learn from.

    Attributes:
        image: [h, w, 3] BGR uint8, at `_KEPT_SCALE` times the network's size.
        camera: of the image as it was taken, refined.
        map_from_camera: refined pose.
        observed_px: [O, 2] where landmarks were observed, px of the image as it was taken.
        observed_m: [O] their depth, m.
        depth: depth in the pixels of the colour camera, shrunk; None without a depth image.
    """

    image: ImageArray
    camera: Camera
    map_from_camera: Rigid3
    observed_px: NDArray[np.float64]
    observed_m: NDArray[np.float64]
    depth: RegisteredDepth | None


@dataclass(frozen=True, eq=False)
class DenseExample:
    """An image as the network sees it and what is known of its n = h * w cells, by rows.

    Attributes:
        image: [H, W, 3] BGR uint8.
        rays: [n, 2] x/z, y/z of the cells' middles in the camera; NaN of those that show nothing.
        points: [n, 3] m; NaN where nobody knows.
        map_from_camera: of the keyframe.
        focal_px: mean focal length of the keyframe's camera.
        median_m: median depth of what is known of the keyframe.
    """

    image: ImageArray
    rays: NDArray[np.float64]
    points: NDArray[np.float64]
    map_from_camera: Rigid3
    focal_px: float
    median_m: float


def network_size(size_wh: tuple[int, int], long_side: int) -> tuple[int, int]:
    """Return the size at which a network sees images: its longer side and the aspect, in whole cells."""
    scale = long_side / max(size_wh)
    width, height = (max(round(side * scale / STRIDE), 1) * STRIDE for side in size_wh)
    return width, height


def read_keyframes(
    visual_map: VisualMap,
    rows: Sequence[int],
    pixels: Callable[[int], ImageArray],
    size_wh: tuple[int, int],
    depths: Callable[[int], RegisteredDepth | None] | None,
    progress: Progress,
) -> list[DenseKeyframe]:
    """Read keyframes once, shrunk to what the network needs.

    Raises:
        ImageError: an image cannot be read, or is not of its calibration's size.
    """
    kept_wh = (round(size_wh[0] * _KEPT_SCALE), round(size_wh[1] * _KEPT_SCALE))
    found = []
    for done, row in enumerate(rows):
        progress("read", done, len(rows))
        image = pixels(row)
        camera = visual_map.cameras[visual_map.camera_idx_of(row)].refined
        camera.check_size(image.shape, str(visual_map.keyframe_names[row]))
        if image.ndim == 2:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
        pose = visual_map.map_from_camera(row)
        start, stop = visual_map.observation_offsets[row : row + 2]
        landmarks = visual_map.landmark_xyz[visual_map.observation_landmark_idx[start:stop]]
        found.append(
            DenseKeyframe(
                np.asarray(cv2.resize(image, kept_wh, interpolation=cv2.INTER_AREA), np.uint8),
                camera,
                pose,
                np.asarray(visual_map.observation_xy[start:stop], np.float64),
                (pose.inverse() @ landmarks)[:, 2],
                None if depths is None else depths(row),
            )
        )
    return found


def example_of(
    keyframe: DenseKeyframe, size_wh: tuple[int, int], rng: np.random.Generator | None
) -> DenseExample:
    """Return a keyframe as the network sees it; altered at random with a generator."""
    taken_wh = keyframe.camera.size_wh
    scale = np.array(size_wh, np.float64) / taken_wh
    seen_from_taken = np.eye(3)
    seen_from_taken[:2] = np.column_stack([np.diag(scale), 0.5 * scale - 0.5])
    if rng is not None:
        seen_from_taken = _altered(size_wh, rng) @ seen_from_taken
    kept_wh = (keyframe.image.shape[1], keyframe.image.shape[0])
    kept_scale = np.array(kept_wh, np.float64) / taken_wh
    taken_from_kept = np.eye(3)
    taken_from_kept[:2] = np.column_stack([np.diag(1.0 / kept_scale), 0.5 / kept_scale - 0.5])
    ground = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    if rng is not None:
        ground = rng.integers(0, 256, ground.shape, np.uint8)
    image = np.asarray(
        cv2.warpAffine(
            keyframe.image if rng is None else _relit(keyframe.image, rng),
            (seen_from_taken @ taken_from_kept)[:2],
            size_wh,
            dst=ground,
            borderMode=cv2.BORDER_TRANSPARENT,
        ),
        np.uint8,
    )
    centers = cell_centers(size_wh)
    taken_px = _moved(np.asarray(np.linalg.inv(seen_from_taken), np.float64), centers)
    shows = ((taken_px >= -0.5) & (taken_px < np.array(taken_wh) - 0.5)).all(axis=1)
    rays = np.full((len(centers), 2), np.nan)
    rays[shows] = keyframe.camera.undistort(taken_px[shows])
    depth = _depth_of_cells(keyframe, taken_px, centers, seen_from_taken, size_wh)
    points = np.column_stack([rays, np.ones(len(rays))]) * depth[:, None]
    known = keyframe.observed_m if keyframe.depth is None else keyframe.depth.depth_m
    positive = known[known > 0.0]
    return DenseExample(
        image,
        rays,
        keyframe.map_from_camera @ points,
        keyframe.map_from_camera,
        float(keyframe.camera.focal.mean()),
        float(np.median(positive)) if len(positive) else 1.0,
    )


def _depth_of_cells(
    keyframe: DenseKeyframe,
    taken_px: NDArray[np.float64],
    centers: NDArray[np.float64],
    seen_from_taken: NDArray[np.float64],
    size_wh: tuple[int, int],
) -> NDArray[np.float64]:
    """Return the depth [n] m of cells, by a depth image or else by the nearest landmark; NaN where neither is."""
    depth = np.full(len(centers), np.nan)
    seen = _moved(seen_from_taken, keyframe.observed_px)
    columns = size_wh[0] // STRIDE
    cell = np.floor((seen + 0.5) / STRIDE).astype(np.int64)
    index = cell[:, 1] * columns + cell[:, 0]
    inside = (cell >= 0).all(axis=1) & (cell[:, 0] < columns) & (cell[:, 1] < size_wh[1] // STRIDE)
    inside &= keyframe.observed_m > 0.0
    index, seen, found = index[inside], seen[inside], keyframe.observed_m[inside]
    distance = np.linalg.norm(seen - centers[index], axis=1)
    # The nearest is written last.
    order = np.argsort(-distance, kind="stable")
    order = order[distance[order] <= _NEAR_PX]
    depth[index[order]] = found[order]
    if keyframe.depth is not None:
        measured = keyframe.depth.at(taken_px)
        depth = np.where(np.isfinite(measured), measured, depth)
    return depth


def _altered(size_wh: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return [3, 3] an affine motion about the middle of an image, px."""
    turn = np.deg2rad(rng.uniform(-_MAX_TURN_DEG, _MAX_TURN_DEG))
    scale = np.exp(rng.uniform(*np.log(_SCALES)))
    shear = np.tan(np.deg2rad(rng.uniform(-_MAX_SHEAR_DEG, _MAX_SHEAR_DEG)))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = scale * rotation @ np.array([[1.0, shear], [0.0, 1.0]])
    middle = 0.5 * (np.array(size_wh, np.float64) - 1.0)
    shift = rng.uniform(-_MAX_SHIFT, _MAX_SHIFT, 2) * size_wh
    altered = np.eye(3)
    altered[:2] = np.column_stack([linear, middle + shift - linear @ middle])
    return altered


def _relit(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    gain = rng.uniform(1.0 - _MAX_CONTRAST, 1.0 + _MAX_CONTRAST)
    offset = rng.uniform(-_MAX_BRIGHTNESS, _MAX_BRIGHTNESS) + (1.0 - gain) * float(image.mean())
    levels = np.clip(gain * np.arange(256) + offset, 0.0, 255.0)
    return np.asarray(cv2.LUT(image, levels.astype(np.uint8)), np.uint8)


def _moved(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(points @ matrix[:2, :2].T + matrix[:2, 2])
