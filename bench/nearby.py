"""What a question for the keyframes around a position costs as a map grows.

    python bench/nearby.py

Keyframes stand a metre apart along streets. A sharp prediction knows its place to 0.3 m and where it looks; a vague
one its place to 8 m, as of GNSS, or to 20 m, as of wifi, and not where it looks. Beside it what a kd-tree of all
positions takes, which has to be made when a map is opened. Asserts nothing.
"""

from __future__ import annotations

import time

import numpy as np
from scipy.spatial import cKDTree

from hfnet_ros.config import PriorConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.position_grid import PositionGrid
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.retrieval.nearby import NearbyKeyframes
from hfnet_ros.types import PosePrior

SIZES = (1_000, 100_000, 1_000_000)


def prior_at(position: np.ndarray, sigma_m: float, sigma_rad: float) -> PosePrior:
    return PosePrior(Rigid3(np.eye(3), position), np.diag([sigma_m**2] * 3 + [sigma_rad**2] * 3))


def main() -> None:
    print("keyframes  made s  sharp ms  GNSS ms (keyframes)  wifi ms (keyframes)  kd-tree: made s  sharp ms")
    for size in SIZES:
        rng = np.random.default_rng(0)
        street, along = np.divmod(np.arange(size), 1000)
        positions = np.column_stack([along, 30.0 * street, np.zeros(size)]) + rng.normal(
            scale=0.3, size=(size, 3)
        )
        poses = np.column_stack([positions, np.tile([0.0, 0.0, 0.0, 1.0], (size, 1))])
        started = time.perf_counter()
        grid = PositionGrid.of(poses)
        made_s = time.perf_counter() - started
        codes = UnitVectors(np.zeros((size, 8), np.int8))
        found = NearbyKeyframes(poses, codes, PriorConfig(), grid=grid)
        times: dict[tuple[float, float], list[float]] = {(0.3, 0.05): [], (8.0, np.pi): [], (20.0, np.pi): []}
        counts: dict[tuple[float, float], list[int]] = {sigmas: [] for sigmas in times}
        for row in rng.integers(size, size=200):
            for sigmas, measured in times.items():
                asked = prior_at(positions[row], *sigmas)
                started = time.perf_counter()
                region = found.region(asked)
                measured.append(1e3 * (time.perf_counter() - started))
                counts[sigmas].append(len(region.keyframe_idxs))
        started = time.perf_counter()
        tree = cKDTree(positions)
        tree_s, tree_ms = time.perf_counter() - started, []
        for row in rng.integers(size, size=200):
            started = time.perf_counter()
            tree.query_ball_point(positions[row], 3.9, return_sorted=True)
            tree_ms.append(1e3 * (time.perf_counter() - started))
        sharp, gnss, wifi = (np.median(measured) for measured in times.values())
        _, of_gnss, of_wifi = (np.median(numbers) for numbers in counts.values())
        print(
            f"{size:9d} {made_s:7.3f} {sharp:9.3f} {gnss:8.3f} ({of_gnss:.0f}) {wifi:16.3f} ({of_wifi:.0f}) "
            f"{tree_s:22.3f} {np.median(tree_ms):9.3f}"
        )


if __name__ == "__main__":
    main()
