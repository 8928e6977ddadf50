"""Draw what a camera sees: which rectangle is nearest at each pixel, then one texture lookup."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry import Camera, Rigid3
from hfnet_ros.scene.atlas import NUM_MIP_LEVELS, TextureAtlas, pack_textures
from hfnet_ros.scene.model import FloatArray, Scene
from hfnet_ros.types import ImageArray

FloatImage = NDArray[np.float32]

_TILE_PX = 16
_BLOCK_ROWS = 16  # looked up at a time: what is computed of them stays in the cache
_NEAR_M = 1e-3
# Neighbouring rectangles share edges; without slack rounding would leave pinholes between them.
_EDGE_SLACK = 2e-6
# Below it, m^3, the camera is behind the rectangle or sees it edge-on.
_MIN_VOLUME = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class _PixelGrid:
    """What is known of a camera's pixels before the scene is: ray slopes and solid angle.

    `x`, `y` [H, W]: slopes x/z, y/z. `log_area` [H, W]: log2 of the area of a pixel on z = 1.
    `tiles` [TH, TW, 4]: least x, y and greatest x, y within each square of 16 px.
    """

    x: FloatImage
    y: FloatImage
    log_area: FloatImage
    tiles: FloatImage


@dataclass(frozen=True, slots=True, eq=False)
class _Hits:
    """Nearest rectangle per pixel [H, W] (-1 none), its u / z and v / z, and 1 / z in 1/m.

    `volume` [R]: determinant of each rectangle's [A B O], see `_trace`.
    """

    volume: FloatArray
    rectangle_idx: NDArray[np.int32]
    u_over_z: FloatImage
    v_over_z: FloatImage
    inverse_depth: FloatImage

    def of_rows(self, rows: slice) -> _Hits:
        """Return some rows of the image."""
        return _Hits(
            self.volume,
            self.rectangle_idx[rows],
            self.u_over_z[rows],
            self.v_over_z[rows],
            self.inverse_depth[rows],
        )


def render(scene: Scene, camera: Camera, map_from_camera: Rigid3, oversampling: int = 1) -> ImageArray:
    """Draw the scene as `camera` sees it; black where there is nothing or no ray.

    Textures are filtered (trilinear, footprint by area); silhouettes are not, unless
    `oversampling` draws several samples per pixel side and averages them.

    Args:
        scene: what to draw. Its textures are packed at the first call and kept.
        camera: any model; the lens is honoured exactly, pixel by pixel.
        map_from_camera: pose of the optical frame.
        oversampling: samples per pixel in each direction, at least 1.

    Returns:
        [H, W, 3] BGR uint8.
    """
    if oversampling > 1:
        width, height = camera.size_wh
        large = render(scene, _enlarged(camera, oversampling), map_from_camera)
        return np.asarray(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    grid = _pixel_grid(camera)
    return _shade(_packed(scene), _trace(scene, grid, map_from_camera.inverse()), grid)


def render_depth(scene: Scene, camera: Camera, map_from_camera: Rigid3) -> FloatImage:
    """Return z-depth [H, W] float32, m, along the optical axis; NaN where nothing is hit."""
    hits = _trace(scene, _pixel_grid(camera), map_from_camera.inverse())
    depth = np.full(hits.inverse_depth.shape, np.nan, np.float32)
    np.divide(1.0, hits.inverse_depth, out=depth, where=hits.rectangle_idx >= 0)
    return depth


@lru_cache(maxsize=2)
def _packed(scene: Scene) -> TextureAtlas:
    return pack_textures(scene.rectangles)


@lru_cache(maxsize=4)
def _enlarged(camera: Camera, factor: int) -> Camera:
    # Cached because grids are cached per Camera object.
    return camera.resized((camera.size_wh[0] * factor, camera.size_wh[1] * factor))


@lru_cache(maxsize=8)
def _pixel_grid(camera: Camera) -> _PixelGrid:
    width, height = camera.size_wh
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    rays = camera.unproject(np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float64))
    slopes = (rays[:, :2] / rays[:, 2:]).reshape(height, width, 2)
    area = np.full((height, width), 1.0 / float(np.prod(camera.focal)))
    if camera.has_distortion and min(width, height) > 1:
        down, right = (np.asarray(np.gradient(slopes, axis=axis)) for axis in range(2))
        area = np.abs(right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0])
    log_area = np.log2(np.maximum(np.nan_to_num(area, nan=1e-6), 1e-12)).astype(np.float32)
    x, y = (np.ascontiguousarray(slopes[..., axis], np.float32) for axis in range(2))
    return _PixelGrid(x, y, log_area, _tile_bounds(np.stack([x, y], axis=-1)))


def _tile_bounds(slopes: FloatImage) -> FloatImage:
    height, width = slopes.shape[:2]
    padding = ((0, -height % _TILE_PX), (0, -width % _TILE_PX), (0, 0))
    low = np.pad(np.where(np.isnan(slopes), np.inf, slopes), padding, constant_values=np.inf)
    high = np.pad(np.where(np.isnan(slopes), -np.inf, slopes), padding, constant_values=-np.inf)
    shape = (low.shape[0] // _TILE_PX, _TILE_PX, low.shape[1] // _TILE_PX, _TILE_PX, 2)
    bounds = [low.reshape(shape).min(axis=(1, 3)), high.reshape(shape).max(axis=(1, 3))]
    return np.concatenate(bounds, axis=-1).astype(np.float32)


def _trace(scene: Scene, grid: _PixelGrid, camera_from_map: Rigid3) -> _Hits:
    """Find the nearest rectangle per pixel.

    A point O + u A + v B of a rectangle is seen along the ray r = (x, y, 1) at depth z when
    [A B O] (u, v, 1) = z r. Hence [A B O]^-1 r = (u, v, 1) / z: three linear forms of the
    pixel's slopes give texture coordinates and inverse depth.
    """
    shape = grid.x.shape
    frames = _frames(scene, camera_from_map)
    volume = np.linalg.det(frames)
    hits = _Hits(volume, np.full(shape, -1, np.int32), *(np.zeros(shape, np.float32) for _ in range(3)))
    for index in np.flatnonzero(volume > _MIN_VOLUME):
        window = _window(frames[index], grid)
        if window is not None:
            forms = np.linalg.inv(frames[index]).astype(np.float32)
            _draw(hits, int(index), forms, grid.x[window], grid.y[window], window)
    return hits


def _frames(scene: Scene, camera_from_map: Rigid3) -> FloatArray:
    """Return [A B O] in the camera's axes, [R, 3, 3]; a positive determinant means seen from the front."""
    edges_u = np.array([rectangle.edge_u for rectangle in scene.rectangles]).reshape(-1, 3)
    edges_v = np.array([rectangle.edge_v for rectangle in scene.rectangles]).reshape(-1, 3)
    origins = np.array([rectangle.origin for rectangle in scene.rectangles]).reshape(-1, 3)
    turn = camera_from_map.rotation.T
    return np.stack([edges_u @ turn, edges_v @ turn, camera_from_map @ origins], axis=-1)


def _window(frame: FloatArray, grid: _PixelGrid) -> tuple[slice, slice] | None:
    """Return rows and columns outside of which the rectangle cannot be, None if it is not in view."""
    edge_u, edge_v, origin = frame.T
    corners = np.stack([origin, origin + edge_u, origin + edge_u + edge_v, origin + edge_v])
    ahead = _clip_near(corners)
    if len(ahead) == 0:
        return None
    slopes = ahead[:, :2] / ahead[:, 2:]
    (least_x, least_y), (most_x, most_y) = slopes.min(axis=0) - 1e-4, slopes.max(axis=0) + 1e-4
    tiles = grid.tiles
    touched = (tiles[..., 0] <= most_x) & (tiles[..., 2] >= least_x)
    touched &= (tiles[..., 1] <= most_y) & (tiles[..., 3] >= least_y)
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    if len(rows) == 0:
        return None
    return (
        slice(int(rows[0]) * _TILE_PX, (int(rows[-1]) + 1) * _TILE_PX),
        slice(int(columns[0]) * _TILE_PX, (int(columns[-1]) + 1) * _TILE_PX),
    )


def _clip_near(corners: FloatArray) -> FloatArray:
    """Cut off the part of a polygon [4, 3] behind the near plane (Sutherland and Hodgman 1974)."""
    kept = []
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if start[2] >= _NEAR_M:
            kept.append(start)
        if (start[2] >= _NEAR_M) != (end[2] >= _NEAR_M):
            share = (_NEAR_M - start[2]) / (end[2] - start[2])
            kept.append(start + share * (end - start))
    return np.array(kept).reshape(-1, 3)


def _draw(
    hits: _Hits, index: int, forms: FloatImage, x: FloatImage, y: FloatImage, window: tuple[slice, slice]
) -> None:
    u, v, inverse_depth = (form[0] * x + (form[1] * y + form[2]) for form in forms)
    inside = np.minimum(u, v) >= -_EDGE_SLACK
    inside &= np.maximum(u, v) <= inverse_depth + _EDGE_SLACK
    nearest = hits.inverse_depth[window]
    inside &= inverse_depth > nearest
    np.copyto(nearest, inverse_depth, where=inside)
    np.copyto(hits.u_over_z[window], u, where=inside)
    np.copyto(hits.v_over_z[window], v, where=inside)
    np.copyto(hits.rectangle_idx[window], np.int32(index), where=inside)


def _shade(atlas: TextureAtlas, hits: _Hits, grid: _PixelGrid) -> ImageArray:
    """Look up every pixel in two mip levels and blend them, some rows at a time."""
    image = np.empty((*hits.rectangle_idx.shape, 3), np.uint8)
    for top in range(0, len(image), _BLOCK_ROWS):
        rows = slice(top, top + _BLOCK_ROWS)
        image[rows] = _shade_rows(atlas, hits.of_rows(rows), grid.log_area[rows])
    return image


def _shade_rows(atlas: TextureAtlas, hits: _Hits, log_area: FloatImage) -> ImageArray:
    idx = hits.rectangle_idx
    missed = idx < 0
    depth = 1.0 / np.where(missed, 1.0, hits.inverse_depth)
    width, height = atlas.sizes[:, 0].take(idx), atlas.sizes[:, 1].take(idx)
    u_px, v_px = hits.u_over_z * depth * width, hits.v_over_z * depth * height
    corner_x, corner_y = atlas.corners[:, 0].take(idx), atlas.corners[:, 1].take(idx)
    level = np.clip(_mip_level(atlas, hits, log_area), 0.0, NUM_MIP_LEVELS - 1.001)
    lower = np.floor(level)
    images = []
    for fine in (lower, lower + 1.0):
        shrink = np.exp2(-fine)
        # The layout of `TextureAtlas`: level k >= 1 starts H (1 - 2^(1 - k)) below level 1.
        left = corner_x + np.where(fine > 0.0, width, 0.0)
        top = corner_y + np.where(fine > 0.0, height * (1.0 - 2.0 * shrink), 0.0)
        x = left + np.clip(u_px * shrink - 0.5, 0.0, width * shrink - 1.0)
        y = top + np.clip(v_px * shrink - 0.5, 0.0, height * shrink - 1.0)
        images.append(cv2.remap(atlas.image, x, y, cv2.INTER_LINEAR))
    share = level - lower
    image = cv2.blendLinear(images[0], images[1], 1.0 - share, share)
    image[missed] = 0
    return np.asarray(image, dtype=np.uint8)


def _mip_level(atlas: TextureAtlas, hits: _Hits, log_area: FloatImage) -> FloatImage:
    """Return log2 of the side, in texels, of a pixel's footprint.

    The map from slopes to texture coordinates is a homography M = [A B O]^-1; it scales areas
    by det(M) z^3. The mean side is used: the longer one would blur floors more than a lens does.
    """
    texels = atlas.sizes.prod(axis=1, dtype=np.float64)
    log_density = np.log2(texels / np.maximum(hits.volume, _MIN_VOLUME)).astype(np.float32)
    log_inverse_depth = np.log2(np.maximum(hits.inverse_depth, 1e-6))
    level = 0.5 * (log_density.take(hits.rectangle_idx) + log_area) - 1.5 * log_inverse_depth
    return np.asarray(level, dtype=np.float32)
