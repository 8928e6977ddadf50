"""Views and what the teachers say about them, read through memory maps (written by `teaching`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import DatasetError
from hfnet_ros.training.options import CELL, NO_KEYPOINT

_ARRAYS = (
    "images",
    "cells",
    "points",
    "counts",
    "descriptors",
    "targets",
    "groups",
    "scenes",
    "depth",
    "poses",
)


@dataclass(frozen=True, slots=True, eq=False)
class TeacherCache:
    """V views: first those of photos, then S of generated scenes.

    Attributes:
        images: [V, H, W] uint8, mean of the channels.
        cells: [V, H/8, W/8] uint8: 8 row + column of the best keypoint in the cell, 64 without one.
        points: [V, K, 2] float32, px; the first `counts[v]` rows are keypoints, best first.
        counts: [V] int32.
        descriptors: [V, K, T] float16 of the local teacher.
        targets: [V, G] float32 unit norm, of the global teacher.
        groups: [V] int32, views of one group match; photos and scenes count apart.
        scenes: [V] int32, -1 for photos.
        depth: [S, H, W] float16, m, NaN where nothing is.
        poses: [S, 4, 4] float64, map_from_camera.
        local_projection: [D, T] float32, from the teacher's descriptors to the student's.
        about: teachers, options and counts, for the model card.
    """

    images: NDArray[np.uint8]
    cells: NDArray[np.uint8]
    points: NDArray[np.float32]
    counts: NDArray[np.int32]
    descriptors: NDArray[np.float16]
    targets: NDArray[np.float32]
    groups: NDArray[np.int32]
    scenes: NDArray[np.int32]
    depth: NDArray[np.float16]
    poses: NDArray[np.float64]
    local_projection: NDArray[np.float32]
    about: dict[str, Any]

    @property
    def num_photo_views(self) -> int:
        """Return how many views come from photos; the others follow."""
        return len(self.images) - len(self.depth)


def open_cache(folder: Path) -> TeacherCache:
    """Map a cache written by `build_cache`.

    Raises:
        DatasetError: the folder is none.
    """
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in (*_ARRAYS, "local_projection")
        }
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder}: no teacher cache: {error}; delete it to have it made anew") from error
    return TeacherCache(**arrays, about=about)


def label_cells(points: NDArray[np.float32], cells_hw: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the class of every cell [h, w]: 8 row + column of its first (best) keypoint, else 64."""
    labels = np.full(cells_hw, NO_KEYPOINT, np.uint8)
    pixels = np.rint(points[::-1]).astype(np.int64)
    columns, rows = pixels[:, 0] // CELL, pixels[:, 1] // CELL
    inside = (columns >= 0) & (rows >= 0) & (columns < cells_hw[1]) & (rows < cells_hw[0])
    pixels, columns, rows = pixels[inside], columns[inside], rows[inside]
    # The last assignment stays: points come in reverse, so the best one is last.
    labels[rows, columns] = (pixels[:, 1] % CELL) * CELL + pixels[:, 0] % CELL
    return labels
