"""Find keyframes where the camera is expected, before looking in the whole map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import PriorConfig
from hfnet_ros.errors import MapFormatError
from hfnet_ros.geometry.covariance import largest_sigmas
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.rotations import rotations_from_quats
from hfnet_ros.map.array_files import ADVICE
from hfnet_ros.map.schema import MAX_QUATERNION_DEVIATION
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.retrieval.index import search_rows
from hfnet_ros.types import PosePrior, RetrievalHit

_FARTHEST_M = 1e12  # of a keyframe from the map's origin; squares of more than is possible overflow


@dataclass(frozen=True, eq=False)
class Region:
    """Where the camera is expected.

    Attributes:
        center: [3] m, map frame.
        radius_m: how far from it the camera may be.
        keyframe_idxs: [K] keyframes in there that look about the same way, ascending.
    """

    center: NDArray[np.float64]
    radius_m: float
    keyframe_idxs: NDArray[np.int64]

    def contains(self, map_from_camera: Rigid3) -> bool:
        """Tell whether a camera is inside."""
        return float(np.linalg.norm(map_from_camera.translation - self.center)) <= self.radius_m


class NearbyKeyframes:
    """The map's keyframes by position; the cost of a question does not grow with the map."""

    def __init__(
        self,
        keyframe_poses: NDArray[np.float64],
        descriptors: UnitVectors,
        config: PriorConfig,
        array: str = "keyframe_poses",
        among: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take the keyframes.

        Args:
            keyframe_poses: [F, 7] map_from_camera: x y z, qx qy qz qw.
            descriptors: [F, G].
            config: how far around a prediction is looked.
            array: name of the poses.
            among: [F] true for those that may be found; all without.
        """
        self._among = among
        self._array = array
        self._config = config
        self._poses = keyframe_poses
        self._descriptors = descriptors

    @cached_property
    def _tree(self) -> Any:
        """Sort positions when they are asked for first: an image without a prediction needs none."""
        positions = self._poses[:, :3]
        strange = np.flatnonzero(~(np.abs(positions) < _FARTHEST_M).all(axis=1))
        if len(strange):
            raise self._damaged(f"has positions that are not finite or in no map, first row {strange[0]}")
        # Imported here: a tenth of a second, which an image without a prediction does not wait for.
        from scipy.spatial import cKDTree

        return cKDTree(positions)

    def region(self, prior: PosePrior) -> Region | None:
        """Return where to look; None if that is nearly everywhere or no keyframe is near.

        Raises:
            MapFormatError: the map's poses are damaged.
        """
        sigma_m, sigma_rad = largest_sigmas(prior.covariance)
        radius_m = self._config.sigmas * sigma_m + self._config.margin_m
        if not radius_m <= self._config.max_radius_m:
            return None
        center = prior.map_from_camera.translation
        near = np.array(self._tree.query_ball_point(center, radius_m, return_sorted=True), dtype=np.int64)
        if self._among is not None:
            near = near[self._among[near]]
        if len(near) == 0:
            return None
        angle = np.deg2rad(self._config.max_angle_deg) + self._config.sigmas * sigma_rad
        least = np.cos(angle) if angle < np.pi else -np.inf
        quats_xyzw = self._poses[near, 3:]
        bent = np.flatnonzero(~(np.abs(np.linalg.norm(quats_xyzw, axis=1) - 1.0) < MAX_QUATERNION_DEVIATION))
        if len(bent):
            raise self._damaged(f"has a quaternion that is not of length 1 in row {near[bent[0]]}")
        axes = rotations_from_quats(quats_xyzw)[:, :, 2]  # the optical axis is z
        idxs = near[axes @ prior.map_from_camera.rotation[:, 2] >= least]
        return Region(center, radius_m, idxs) if len(idxs) else None

    def search(self, descriptor: NDArray[np.float32], region: Region, count: int) -> list[RetrievalHit]:
        """Return the `count` most similar keyframes of a region, best first, for a unit descriptor [G]."""
        return search_rows(self._descriptors, region.keyframe_idxs, descriptor, count)

    def _damaged(self, what: str) -> MapFormatError:
        return MapFormatError(f"array '{self._array}' {what}: the map is damaged; {ADVICE}")
