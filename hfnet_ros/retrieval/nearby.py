"""Find keyframes where the camera is expected, before looking in the whole map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import PriorConfig
from hfnet_ros.errors import MapFormatError
from hfnet_ros.geometry.covariance import largest_sigmas
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.rotations import rotations_from_quats
from hfnet_ros.map.array_files import ADVICE
from hfnet_ros.map.position_grid import PositionGrid, cell_keys
from hfnet_ros.map.schema import MAX_QUATERNION_DEVIATION
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.retrieval.descriptor_index import DescriptorIndex, StoredIndex, search_rows
from hfnet_ros.types import PosePrior, RetrievalHit

_FARTHEST_M = 1e12  # of a keyframe from the map's origin; squares of more than is possible overflow
# A region of more than so much that holds most of the map is as good as none.
_WIDE_M, _MOST = 30.0, 0.5
# Of more keyframes near a prediction only those that look like the image are asked where they are.
_MAX_ASKED = 2000
# Of those found among cubes of space half and more may be outside the ball or look elsewhere.
_MORE_FOUND = 4
_MAX_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Region:
    """Where the camera is expected.

    Attributes:
        center: [3] m, map frame.
        radius_m: how far from it the camera may be.
        axis: [3] where it is expected to look, map frame.
        least_cosine: of the angle to it that keyframes may have.
        keyframe_idxs: [K] keyframes in there that look about the same way, ascending; None where there are many.
        among: then [F] true for keyframes that may be in there.
    """

    center: NDArray[np.float64]
    radius_m: float
    axis: NDArray[np.float64]
    least_cosine: float
    keyframe_idxs: NDArray[np.int64] | None
    among: NDArray[np.bool_] | None = None

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
        *,
        grid: PositionGrid | None = None,
        index: DescriptorIndex | None = None,
    ) -> None:
        """Take the keyframes.

        Args:
            keyframe_poses: [F, 7] map_from_camera: x y z, qx qy qz qw.
            descriptors: [F, G].
            config: how far around a prediction is looked.
            array: name of the poses.
            among: [F] true for those that may be found; all without.
            grid: of these poses, if the map has one; one of others is not looked at.
            index: searches among many of the descriptors; all of these are compared without.
        """
        self._among = among
        self._array = array
        self._config = config
        self._poses = keyframe_poses
        self._descriptors = descriptors
        self._stored_grid = grid
        self._index = index or StoredIndex(descriptors)

    @cached_property
    def _num_allowed(self) -> int:
        return len(self._poses) if self._among is None else int(np.count_nonzero(self._among))

    @cached_property
    def _grid(self) -> PositionGrid:
        """The map's; else positions are sorted when they are asked for first."""
        if self._stored_grid is not None and self._stored_grid.poses is self._poses:
            return self._stored_grid
        positions = self._poses[:, :3]
        strange = np.flatnonzero(~(np.abs(positions) < _FARTHEST_M).all(axis=1))
        if len(strange):
            raise self._damaged(f"has positions that are not finite or in no map, first row {strange[0]}")
        return PositionGrid.of(self._poses)

    def region(self, prior: PosePrior) -> Region | None:
        """Return where to look; None if that is nearly everywhere or no keyframe is near.

        Where it is not known which way the camera looks, keyframes may look anywhere.

        Raises:
            MapFormatError: the map is damaged there.
        """
        sigma_m, sigma_rad = largest_sigmas(prior.covariance)
        radius_m = self._config.sigmas * sigma_m + self._config.margin_m
        if not radius_m <= self._config.max_radius_m:
            return None
        center = prior.map_from_camera.translation
        angle = np.deg2rad(self._config.max_angle_deg) + self._config.sigmas * sigma_rad
        least = float(np.cos(angle)) if angle < np.pi else -np.inf
        region = Region(center, radius_m, prior.map_from_camera.rotation[:, 2], least, None)
        near, cells = self._grid.around(center, radius_m)
        if len(near) and not 0 <= near.min() <= near.max() < len(self._poses):
            raise MapFormatError(
                f"array 'grid_keyframe_idx' ranges from {near.min()} to {near.max()}, expected 0 to "
                f"{len(self._poses) - 1}: the map is damaged; {ADVICE}"
            )
        if self._among is not None:
            allowed = self._among[near]
            near, cells = near[allowed], cells[allowed]
        if radius_m > _WIDE_M and len(near) > _MOST * self._num_allowed:
            return None
        if len(near) <= _MAX_ASKED:
            order = np.argsort(near)
            rows = near[order].astype(np.int64)
            self._check_cells(rows, cells[order])
            rows = rows[self._is_in(rows, region)]
            return replace(region, keyframe_idxs=rows) if len(rows) else None
        among = np.zeros(len(self._poses), np.bool_)
        among[near] = True
        return replace(region, among=among)

    def search_lists(
        self, descriptors: NDArray[np.float32], region: Region, count: int
    ) -> list[list[RetrievalHit]]:
        """Return the `count` most similar keyframes of a region, best first, for each descriptor [L, G] of an image.

        Raises:
            MapFormatError: the map is damaged there.
        """
        if region.keyframe_idxs is not None:
            return search_rows(self._descriptors, region.keyframe_idxs, descriptors, count)
        found: list[list[RetrievalHit]] = []
        for round_idx in range(1, _MAX_ROUNDS + 1):
            wanted = count * _MORE_FOUND**round_idx
            lists = self._index.search_lists(descriptors, wanted, region.among)
            found = [self._inside(hits, region) for hits in lists]
            if all(len(kept) >= count or len(hits) < wanted for kept, hits in zip(found, lists, strict=True)):
                break
        return [kept[:count] for kept in found]

    def _inside(self, hits: list[RetrievalHit], region: Region) -> list[RetrievalHit]:
        inside = self._is_in(np.array([hit.keyframe_idx for hit in hits], np.int64), region)
        return [hit for hit, is_inside in zip(hits, inside, strict=True) if is_inside]

    def _is_in(self, rows: NDArray[np.int64], region: Region) -> NDArray[np.bool_]:
        """Tell which keyframes are in a region and look about the way that is expected there."""
        inside = np.linalg.norm(self._poses[rows, :3] - region.center, axis=1) <= region.radius_m
        if region.least_cosine == -np.inf:
            return inside
        rows = rows[inside]
        quats_xyzw = self._poses[rows, 3:]
        bent = np.flatnonzero(~(np.abs(np.linalg.norm(quats_xyzw, axis=1) - 1.0) < MAX_QUATERNION_DEVIATION))
        if len(bent):
            raise self._damaged(f"has a quaternion that is not of length 1 in row {rows[bent[0]]}")
        axes = rotations_from_quats(quats_xyzw)[:, :, 2]  # the optical axis is z
        inside[inside] = axes @ region.axis >= region.least_cosine
        return inside

    def _check_cells(self, rows: NDArray[np.int64], cells: NDArray[np.int64]) -> None:
        strange = np.flatnonzero(cell_keys(self._poses[rows, :3]) != cells)
        if len(strange):
            raise self._damaged(
                f"has positions that are not where its grid says, first row {rows[strange[0]]}"
            )

    def _damaged(self, what: str) -> MapFormatError:
        return MapFormatError(f"array '{self._array}' {what}: the map is damaged; {ADVICE}")
