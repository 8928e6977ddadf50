"""Depth images of a camera beside the one that a map was made with: found where it sits, and moved into its pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import DatasetError
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.rotations import rotations_from_rotvecs
from hfnet_ros.map.visual_map import VisualMap

FloatImage = NDArray[np.float32]

_MOST_LANDMARKS = 20_000  # observations that the offset is found from
_LEAST_LANDMARKS = 200
_LONG_TRACK = 6  # landmarks that fewer keyframes see are less sure than a depth image
# An error of this share of the depth is one of the landmark or of the sensor; the first are larger, to find in.
_SCALES = (0.2, 0.06, 0.03)
_ITERATIONS = 12
_DIFFERENCE = 0.005  # m and rad
_STEEPEST = 20.0
_AGREES, _LEAST_AGREEING = 0.06, 0.5
# Is the calibration that of another camera? At its focal length, or another, depth then agrees much better.
_OTHER_FOCAL_SCALES, _MUCH_BETTER = (0.9, 1.1), 0.9
_MOST_OFFSET_M = 0.5


@dataclass(frozen=True, eq=False)
class DepthSource:
    """Depth images of keyframes.

    Attributes:
        read: returns the depth [H, W] float32 m along the optical axis of a keyframe by its row, NaN where there is
            none; None for a keyframe without a depth image.
        camera: that took them, of their size.
    """

    read: Callable[[int], FloatImage | None]
    camera: Camera


@dataclass(frozen=True, eq=False)
class RegisteredDepth:
    """Depth in the pixels of a keyframe's colour camera.

    Attributes:
        depth_m: [h, w] float32, NaN where there is none.
        taken_wh: size of the colour image, of which this one is shrunk.
    """

    depth_m: FloatImage
    taken_wh: tuple[int, int]

    def at(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the depth [N] at pixels [N, 2] of the colour image; NaN outside."""
        height, width = self.depth_m.shape
        place = np.floor((points_px + 0.5) * (np.array([width, height]) / self.taken_wh)).astype(np.int64)
        inside = ((place >= 0) & (place < (width, height))).all(axis=1)
        found = np.full(len(points_px), np.nan)
        found[inside] = self.depth_m[place[inside, 1], place[inside, 0]]
        return found


@dataclass(frozen=True, eq=False)
class DepthOffset:
    """Where the depth camera is beside the colour camera, as the landmarks of a map say.

    Attributes:
        depth_from_color: of points.
        share: of landmarks with a depth whose depth agrees.
        median_error: of their depth, as a share of it.
        focal_scale: of the depth camera's focal length that fits much better; 1 where none does.
        num_landmarks: that were looked at.
    """

    depth_from_color: Rigid3
    share: float
    median_error: float
    focal_scale: float
    num_landmarks: int


def depth_folder(visual_map: VisualMap, folder: Path, camera: Camera) -> DepthSource:
    """Return the depth images of a folder: PNG of 16 bit, mm, named as the keyframes' images.

    0 is none, and so is the largest number, which recordings of 7-Scenes write where the sensor saw nothing.

    Raises:
        DatasetError: the folder has none of a keyframe of the map.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.png"))}
    names = [Path(str(name)).stem for name in visual_map.keyframe_names]
    if not any(name in paths for name in names):
        raise DatasetError(
            f"{folder}: {len(paths)} .png files, none named as a keyframe ({names[0]}, ...); name depth images as the "
            "images that they belong to"
        )

    def read(row: int) -> FloatImage | None:
        path = paths.get(names[row])
        if path is None:
            return None
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 2 or image.dtype != np.uint16:
            raise DatasetError(f"{path}: no depth image, expected PNG of one channel of 16 bit, mm")
        camera.check_size(image.shape, str(path))
        depth = image.astype(np.float32) / np.float32(1000.0)
        depth[(image == 0) | (image == np.iinfo(np.uint16).max)] = np.nan
        return depth

    return DepthSource(read, camera)


def find_offset(visual_map: VisualMap, depths: DepthSource, rows: NDArray[np.int64]) -> DepthOffset:
    """Find where the depth camera is: landmarks that a keyframe observes are as far away as its depth image says.

    Args:
        visual_map: whose landmarks are of the colour camera.
        depths: of its keyframes.
        rows: keyframes to look at.

    Raises:
        DatasetError: there are too few landmarks, depth does not agree with them, or agrees much better at another
            focal length of the depth camera.
    """
    points, images, image_idxs = _observed(visual_map, depths, rows)
    if len(points) < _LEAST_LANDMARKS:
        raise DatasetError(
            f"{len(points)} landmarks observed in keyframes with a depth image, {_LEAST_LANDMARKS} needed to find the "
            "depth camera; give depth images of more keyframes"
        )

    fits = [
        _fitted(scale, points, images, image_idxs, depths.camera) for scale in (1.0, *_OTHER_FOCAL_SCALES)
    ]
    medians = [float(np.median(np.abs(_known(errors)))) for _, errors in fits]
    values, errors = fits[0]
    focal_scale = 1.0
    if min(medians[1:]) < _MUCH_BETTER * medians[0]:
        focal_scale = _OTHER_FOCAL_SCALES[int(np.argmin(medians[1:]))]
    offset = DepthOffset(
        Rigid3(rotations_from_rotvecs(values[3:]), values[:3]),
        float(np.mean(np.abs(_known(errors)) < _AGREES)),
        medians[0],
        focal_scale,
        len(points),
    )
    _check(offset)
    return offset


def _fitted(
    focal_scale: float,
    points: NDArray[np.float64],
    images: list[FloatImage],
    image_idxs: NDArray[np.int64],
    camera: Camera,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the offset (shift m, rotation vector) at which depth agrees best, and by what share each one is off.

    Gauss and Newton's method for Cauchy's loss, ever narrower; images are too rough for small differences.
    """

    def errors(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return _relative_errors(values, focal_scale, points, images, image_idxs, camera)

    values = np.zeros(6)
    for scale in _SCALES:
        for _ in range(_ITERATIONS):
            steps = np.eye(6) * _DIFFERENCE
            jacobian = np.column_stack([errors(values + step) - errors(values - step) for step in steps])
            jacobian /= 2.0 * _DIFFERENCE
            found = errors(values)
            # A landmark at an edge has no slope.
            rows = np.isfinite(found) & np.isfinite(jacobian).all(axis=1)
            rows[rows] = np.abs(jacobian[rows]).max(axis=1) < _STEEPEST
            slopes, off = jacobian[rows], found[rows]
            weighted = slopes / (1.0 + (off / scale) ** 2)[:, None]
            values = values - np.linalg.lstsq(weighted.T @ slopes, weighted.T @ off, rcond=None)[0]
    return values, errors(values)


def _known(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    known = errors[np.isfinite(errors)]
    return known if len(known) else np.ones(1)


def _check(offset: DepthOffset) -> None:
    distance = float(np.linalg.norm(offset.depth_from_color.translation))
    if offset.share < _LEAST_AGREEING or distance > _MOST_OFFSET_M:
        raise DatasetError(
            f"depth images agree with {offset.share:.0%} of {offset.num_landmarks} landmarks, {_LEAST_AGREEING:.0%} "
            f"needed (best with the depth camera {distance:.2f} m beside the colour camera); check that depth is in "
            "mm along the optical axis, belongs to the images of the same names, and that the map is metric"
        )
    if offset.focal_scale != 1.0:
        raise DatasetError(
            f"depth images agree with the landmarks much better at {offset.focal_scale:.1f} times the depth camera's "
            "focal length; give the calibration of the depth camera itself, not of the colour camera"
        )


def _observed(
    visual_map: VisualMap, depths: DepthSource, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], list[FloatImage], NDArray[np.int64]]:
    """Return landmarks [P, 3] in the colour cameras that observe them, depth images, and which is of each landmark."""
    images: list[FloatImage] = []
    points, image_idxs = [], []
    for row in rows.tolist():
        depth = depths.read(row)
        if depth is None:
            continue
        landmarks = visual_map.landmarks_seen_by(row)
        seen = visual_map.landmark_xyz[landmarks[visual_map.track_lengths[landmarks] >= _LONG_TRACK]]
        points.append(visual_map.map_from_camera(row).inverse() @ seen)
        image_idxs.append(np.full(len(seen), len(images)))
        images.append(depth)
    if not images:
        return np.empty((0, 3)), images, np.empty(0, np.int64)
    joined, of_image = np.concatenate(points), np.concatenate(image_idxs)
    chosen = np.linspace(0, len(joined) - 1, min(len(joined), _MOST_LANDMARKS)).astype(np.int64)
    return joined[chosen], images, of_image[chosen]


def _relative_errors(
    values: NDArray[np.float64],
    focal_scale: float,
    points: NDArray[np.float64],
    images: list[FloatImage],
    image_idxs: NDArray[np.int64],
    camera: Camera,
) -> NDArray[np.float64]:
    """Return [P] by which share of its depth a landmark is off the depth image; NaN where that has none."""
    moved = points @ rotations_from_rotvecs(values[3:]).T + values[:3]
    z = np.maximum(moved[:, 2], 1e-6)
    focal = camera.focal * focal_scale
    pixels = moved[:, :2] / z[:, None] * focal + camera.center
    found = np.full(len(points), np.nan)
    for index, image in enumerate(images):
        rows = np.flatnonzero(image_idxs == index)
        if len(rows) == 0:
            continue
        found[rows] = _interpolated(image, pixels[rows])
    return np.asarray(found / z - 1.0)


def _interpolated(image: FloatImage, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values [P] at pixels [P, 2], bilinear; NaN outside and beside what is NaN."""
    return np.asarray(
        cv2.remap(
            image,
            pixels[None].astype(np.float32),
            None,  # type: ignore[call-overload]
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=float("nan"),
        )[0],
        np.float64,
    )


def registered(
    depth: FloatImage,
    depth_camera: Camera,
    camera: Camera,
    depth_from_color: Rigid3,
    size_wh: tuple[int, int],
) -> RegisteredDepth:
    """Return a depth image as the colour camera would have taken it, shrunk; the nearest of a pixel counts."""
    height, width = depth.shape
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    known = np.isfinite(depth)
    rays = depth_camera.undistort(np.column_stack([x[known], y[known]]))
    z = depth[known].astype(np.float64)
    points = depth_from_color.inverse() @ (np.column_stack([rays, np.ones(len(rays))]) * z[:, None])
    pixels = camera.project(points)
    place = np.floor((pixels + 0.5) * (np.array(size_wh) / camera.size_wh))
    inside = np.asarray(np.isfinite(place).all(axis=1))
    inside[inside] &= ((place[inside] >= 0) & (place[inside] < size_wh)).all(axis=1)
    cell = place[inside].astype(np.int64)
    nearest = np.full(size_wh[0] * size_wh[1], np.inf)
    np.minimum.at(nearest, cell[:, 1] * size_wh[0] + cell[:, 0], points[inside, 2])
    nearest[np.isinf(nearest)] = np.nan
    return RegisteredDepth(nearest.reshape(size_wh[1], size_wh[0]).astype(np.float32), camera.size_wh)
