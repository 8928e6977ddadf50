"""Batches of pairs of views; each depends on seed and step only, so that a resumed run sees the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.training.augmentation import draw_homography, draw_turn, spoil, transfer
from hfnet_ros.training.cache import TeacherCache, label_cells
from hfnet_ros.training.options import CELL, UNKNOWN_CELL, ScheduleOptions
from hfnet_ros.training.views import GROUP_SIZE, view_camera

_BORDER_PX = 4
_OCCLUSION = 0.04  # relative difference of depth from which another surface is in front
_NEAR_M, _SIDE_DEG = 3.5, 75.0  # scene views nearer and less turned may overlap: no negatives


@dataclass(frozen=True, slots=True, eq=False)
class PairBatch:
    """B pairs of views; a is as cached but for light, b is another view of the same.

    Attributes:
        images: [2 B, 1, H, W] float32, 0 to 255: all a, then all b.
        cells: [2 B, H/8, W/8] int64, 255 unknown.
        points_a: [B, N, 2] float32 px, keypoints of a.
        points_b: [B, N, 2] float32 px, where they are in b.
        is_point: [B, N] bool, False for padding.
        is_match: [B, N] bool, whether b sees it.
        descriptors: [B, N, T] float32 of the local teacher at `points_a`.
        targets: [B, G] float32 of the global teacher for a.
        is_negative: [B, B] bool, whether a of one pair and b of another surely show different places.
        rows: [B] int64, row of a in the cache.
    """

    images: NDArray[np.float32]
    cells: NDArray[np.int64]
    points_a: NDArray[np.float32]
    points_b: NDArray[np.float32]
    is_point: NDArray[np.bool_]
    is_match: NDArray[np.bool_]
    descriptors: NDArray[np.float32]
    targets: NDArray[np.float32]
    is_negative: NDArray[np.bool_]
    rows: NDArray[np.int64]


class PairSource:
    """Draws batches from a cache."""

    def __init__(self, cache: TeacherCache, options: ScheduleOptions) -> None:
        """Keep the cache."""
        self._cache = cache
        self._options = options
        self._size_wh = (cache.images.shape[2], cache.images.shape[1])
        self._intrinsics = view_camera(self._size_wh).intrinsics

    def batches(self, first_step: int, last_step: int, workers: int) -> Iterator[PairBatch]:
        """Yield the batches of some steps in order, a few of them drawn ahead by other threads."""
        with ThreadPoolExecutor(max(1, workers)) as pool:
            ahead: deque[Future[PairBatch]] = deque()
            for step in range(first_step, last_step):
                ahead.append(pool.submit(self.draw, step))
                if len(ahead) > workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def draw(self, step: int) -> PairBatch:
        """Draw the batch of one step."""
        rng = np.random.default_rng([self._options.seed, 7, step])
        num_photos, num_views = self._cache.num_photo_views, len(self._cache.images)
        from_scenes = round(self._options.pairs * self._options.scene_share)
        if num_photos == 0:
            from_scenes = self._options.pairs
        elif num_views == num_photos:
            from_scenes = 0
        count = self._options.pairs - from_scenes
        rows = np.concatenate(
            [
                rng.choice(num_photos, count, replace=count > num_photos) if count else np.empty(0, np.int64),
                num_photos + rng.choice(num_views - num_photos, from_scenes)
                if from_scenes
                else np.empty(0, np.int64),
            ]
        ).astype(np.int64)
        pairs = [
            self._photo_pair(row, rng) if row < num_photos else self._scene_pair(row, rng) for row in rows
        ]
        columns = [np.stack(column) for column in zip(*pairs, strict=True)]
        images_a, images_b, cells_a, cells_b, points_a, points_b, is_point, is_match, descriptors = columns
        return PairBatch(
            np.concatenate([images_a, images_b])[:, None],
            np.concatenate([cells_a, cells_b]).astype(np.int64),
            points_a,
            points_b,
            is_point,
            is_match,
            descriptors,
            np.asarray(self._cache.targets[rows], np.float32),
            self._negatives(rows),
            rows,
        )

    def _photo_pair(self, row: int, rng: np.random.Generator) -> tuple[NDArray[np.generic], ...]:
        image = np.asarray(self._cache.images[row])
        homography = draw_homography(self._size_wh, rng)
        if self._is_turned(rng):
            homography = draw_turn(self._size_wh, rng) @ homography
        found = np.asarray(self._cache.points[row, : self._cache.counts[row]])
        warped, labels, moved = self._warp(image, found, homography)
        return self._pair(row, warped, labels, moved, self._is_inside(moved), rng)

    def _scene_pair(self, row: int, rng: np.random.Generator) -> tuple[NDArray[np.generic], ...]:
        start = row - (row - self._cache.num_photo_views) % GROUP_SIZE
        other = start + (row - start + int(rng.integers(1, GROUP_SIZE))) % GROUP_SIZE
        found = np.asarray(self._cache.points[row, : self._cache.counts[row]])
        moved, visible = self._project(row, other, found)
        image, labels = np.asarray(self._cache.images[other]), np.asarray(self._cache.cells[other])
        if self._is_turned(rng):
            turn = draw_turn(self._size_wh, rng)
            image, labels, _ = self._warp(image, self._cache.points[other, : self._cache.counts[other]], turn)
            moved = transfer(moved, turn)
            visible &= self._is_inside(moved)
        return self._pair(row, image, labels, moved, visible, rng)

    def _is_turned(self, rng: np.random.Generator) -> bool:
        """Draw whether a second view is turned; without any, no number is drawn, as in runs before there were some."""
        share = self._options.turned_share
        return share > 0.0 and bool(rng.random() < share)

    def _warp(
        self, image: NDArray[np.uint8], points: NDArray[np.float32], homography: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.generic], NDArray[np.float64]]:
        """Return a picture, the classes of its cells and its keypoints [N, 2] under a change of view.

        Cells that show nothing are unknown.
        """
        warped = cv2.warpPerspective(image, homography, self._size_wh, flags=cv2.INTER_LINEAR)
        moved = transfer(points, homography)
        labels = label_cells(moved[self._is_inside(moved)].astype(np.float32), self._cache.cells.shape[1:])
        return (
            np.asarray(warped, np.uint8),
            np.where(self._seen_cells(homography), labels, UNKNOWN_CELL),
            moved,
        )

    def _pair(
        self,
        row: int,
        image_b: NDArray[np.uint8],
        cells_b: NDArray[np.generic],
        moved: NDArray[np.float64],
        visible: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.generic], ...]:
        """Spoil both pictures and choose the points that are compared, visible ones first."""
        size = self._options.points_per_pair
        order = np.argsort(~visible + 0.5 * rng.random(len(visible)))[:size]
        count = len(order)
        points_a, points_b = np.zeros((2, size, 2), np.float32)
        descriptors = np.zeros((size, self._cache.descriptors.shape[2]), np.float32)
        is_point, is_match = np.arange(size) < count, np.zeros(size, np.bool_)
        points_a[:count] = self._cache.points[row][order]
        points_b[:count] = np.where(visible[order, None], moved[order], 0.0)
        is_match[:count] = visible[order]
        descriptors[:count] = self._cache.descriptors[row][order]
        image_a = spoil(np.asarray(self._cache.images[row]), rng)
        cells_a = np.asarray(self._cache.cells[row])
        return (
            image_a, spoil(image_b, rng), cells_a, cells_b, points_a, points_b, is_point, is_match, descriptors,
        )  # fmt: skip

    def _is_inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell for px [N, 2] whether they lie in the picture, off its border."""
        high = np.array(self._size_wh) - 1 - _BORDER_PX
        with np.errstate(invalid="ignore"):
            return np.asarray(((points >= _BORDER_PX) & (points <= high)).all(axis=1))

    def _seen_cells(self, homography: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell for each cell of the warped picture whether its middle shows the photo."""
        rows, columns = np.mgrid[: self._cache.cells.shape[1], : self._cache.cells.shape[2]]
        middles = np.stack([columns, rows], axis=-1).reshape(-1, 2) * CELL + (CELL - 1) / 2.0
        return self._is_inside(transfer(middles, np.asarray(np.linalg.inv(homography), np.float64))).reshape(
            rows.shape
        )

    def _project(
        self, row: int, other: int, points: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return where scene points of one view are in another [N, 2], and whether they are seen there."""
        first, second = row - self._cache.num_photo_views, other - self._cache.num_photo_views
        pixels = points.astype(np.int64)
        depth = self._cache.depth[first][pixels[:, 1], pixels[:, 0]].astype(np.float64)
        rays = np.column_stack([points, np.ones(len(points))]) @ np.linalg.inv(self._intrinsics).T
        other_from_row = np.linalg.inv(self._cache.poses[second]) @ self._cache.poses[first]
        moved = (rays * depth[:, None]) @ other_from_row[:3, :3].T + other_from_row[:3, 3]
        in_front = moved[:, 2] > 0.05
        projected = moved @ self._intrinsics.T
        pixels_b = projected[:, :2] / np.where(in_front, moved[:, 2], np.nan)[:, None]
        visible = self._is_inside(pixels_b)
        nearest = np.where(visible[:, None], np.nan_to_num(pixels_b), 0.0).round().astype(np.int64)
        surface = self._cache.depth[second][nearest[:, 1], nearest[:, 0]].astype(np.float64)
        with np.errstate(invalid="ignore"):
            visible &= np.abs(surface - moved[:, 2]) < _OCCLUSION * moved[:, 2]
        return pixels_b, visible

    def _negatives(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell for pairs of rows [B, B] whether they surely show different places."""
        groups, scenes = self._cache.groups[rows], self._cache.scenes[rows]
        different = (groups[:, None] != groups[None]) | (scenes[:, None] != scenes[None])
        is_scene = scenes >= 0
        if is_scene.any():
            poses = np.tile(np.eye(4), (len(rows), 1, 1))
            poses[is_scene] = self._cache.poses[rows[is_scene] - self._cache.num_photo_views]
            apart = np.linalg.norm(poses[:, None, :3, 3] - poses[None, :, :3, 3], axis=-1)
            cosine = np.einsum("ak,bk->ab", poses[:, :3, 2], poses[:, :3, 2])
            may_overlap = (apart < _NEAR_M) & (cosine > np.cos(np.deg2rad(_SIDE_DEG)))
            same_scene = is_scene[:, None] & is_scene[None] & (scenes[:, None] == scenes[None])
            different &= ~(same_scene & may_overlap)
        return different
