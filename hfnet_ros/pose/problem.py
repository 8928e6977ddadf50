"""The matches of one query in the form pose estimation works on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import Correspondences, RigCamera

FloatArray = NDArray[np.float64]

MIN_MATCHES = 6  # that a pose is sampled among
_FAR_AWAY_PX = 1e6
_MIN_DEPTH = 1e-6


def robust_score(residuals: FloatArray, scale_px: float) -> float:
    """Return the sum of `robust_scores`."""
    return float(np.sum(robust_scores(residuals, scale_px)))


def robust_scores(residuals: FloatArray, scale_px: float) -> FloatArray:
    """Return 1 / (1 + e^2 / c^2)^2 of each match [M]: one for a perfect match, none far away."""
    return np.asarray(1.0 / (1.0 + (residuals / scale_px) ** 2) ** 2)


@dataclass(frozen=True, eq=False)
class ObserverCones:
    """From where points were seen before: whoever looks at one from elsewhere would not know it.

    Attributes:
        directions: [M, 3] unit vectors from the observers to the point, map frame.
        distance_ranges: [M, 2] m, nearest and farthest observer.
        depth_sigmas: [M] m that a point is off by along its direction for each pixel that its observers' keypoints are
            off by, at the reference focal length; None where points are not weighed by that.
    """

    directions: FloatArray
    distance_ranges: FloatArray
    depth_sigmas: FloatArray | None = None

    def chosen(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> ObserverCones:
        """Return the cones of some of the points."""
        sigmas = None if self.depth_sigmas is None else self.depth_sigmas[rows]
        return ObserverCones(self.directions[rows], self.distance_ranges[rows], sigmas)

    def admit(
        self, toward: FloatArray, max_view_change_rad: float, max_scale_change: float
    ) -> NDArray[np.bool_]:
        """Tell which points [..., M] are seen much as they were before.

        Args:
            toward: [..., M, 3] vectors from whoever looks to the points, map frame.
            max_view_change_rad: largest angle between the two directions.
            max_scale_change: most times nearer or farther.
        """
        distance = np.sqrt(np.einsum("...mi,...mi->...m", toward, toward))
        along = np.einsum("...mi,mi->...m", toward, self.directions)
        return self.allow(along, distance, max_view_change_rad, max_scale_change)

    def allow(
        self, along: FloatArray, distance: FloatArray, max_view_change_rad: float, max_scale_change: float
    ) -> NDArray[np.bool_]:
        """Tell what `admit` does of points [..., M] that are so far away, and so far along the directions, m."""
        distance = np.maximum(distance, 1e-9)
        nearest, farthest = self.distance_ranges.T
        allowed: NDArray[np.bool_] = (
            (along > math.cos(max_view_change_rad) * distance)
            & (distance < farthest * max_scale_change)
            & (distance > nearest / max_scale_change)
        )
        return allowed


@dataclass(frozen=True, eq=False)
class ViewOrder:
    """Matches of several views, those of each together.

    Attributes:
        order: [M] which match is at each position; None where they lie so already.
        back: [M] at which position each match is.
        runs: where those of each view are, and its camera.
    """

    order: NDArray[np.int64] | None
    back: NDArray[np.int64] | None
    runs: tuple[tuple[slice, RigCamera], ...]

    def of(self, of_matches: FloatArray) -> FloatArray:
        """Return what is given of each match [M, ...] in this order."""
        return of_matches if self.order is None else of_matches[self.order]

    def restored(self, in_order: NDArray[Any]) -> NDArray[Any]:
        """Return what is given in this order [S, M] in that of the matches."""
        return in_order if self.back is None else np.take(in_order, self.back, axis=1)


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """What points and poses of a map are off by, whoever looks.

    Attributes:
        residual_px: standard deviation of a reprojection error per axis, at the reference focal length.
        reprojection_scale: factor on covariances that come of reprojection errors.
        pose_covariance: [6, 6] added to every covariance, (translation, rotation) in camera axes.
        is_self_tested: whether the map's test of itself vouches for it.
        look_alikes: [K, 5] x y z, radius, m, map frame: where the map's test of itself put keyframes that are
            elsewhere, and the share of wrong answers there.
        contradicted_share: of what looked the same when the map was made, the share that was not.
    """

    residual_px: float
    reprojection_scale: float = 1.0
    pose_covariance: FloatArray = field(default_factory=lambda: np.zeros((6, 6)))
    is_self_tested: bool = False
    look_alikes: FloatArray = field(default_factory=lambda: np.zeros((0, 5)))
    contradicted_share: float = 0.0

    def elsewhere_share(self, position: FloatArray) -> float:
        """Return the share of what looked like a position [3] while the map was made and tested, and was another."""
        around = np.linalg.norm(self.look_alikes[:, :3] - position, axis=1) < self.look_alikes[:, 3]
        return float(self.look_alikes[around, 4].max(initial=self.contradicted_share))


@dataclass(frozen=True, eq=False)
class PoseProblem:
    """2D-3D matches of one query, with the lens taken out and what is known of each point.

    Pixels are those of a pinhole camera of one focal length for all views, so that errors of different lenses can
    be compared.

    Attributes:
        correspondences: the matches, most similar first.
        cameras: of the views that they are of.
        pinhole: [M, 2] undistorted pixels relative to the principal point, at `focal`.
        focal: px, mean of both focal lengths of all views.
        cones: from where the points were seen; None where that is not known.
        max_view_change_rad: a point is not recognised from further around.
        max_scale_change: nor from this many times nearer or farther.
    """

    correspondences: Correspondences
    cameras: tuple[RigCamera, ...]
    pinhole: FloatArray
    focal: float
    cones: ObserverCones | None
    max_view_change_rad: float
    max_scale_change: float

    @property
    def points3d(self) -> FloatArray:
        """[M, 3] points of the scene, m."""
        return self.correspondences.points3d

    @cached_property
    def is_one_camera(self) -> bool:
        """Tell whether the rig is nothing but a camera."""
        return len(self.cameras) == 1 and self.cameras[0].rig_from_camera.is_identity

    @property
    def view_idxs(self) -> NDArray[np.int64]:
        """[M] position of the view that each match is of."""
        return self.correspondences.views

    def rows_of(self, view_idx: int) -> NDArray[np.int64]:
        """Return the positions of a view's matches, most similar first."""
        return np.flatnonzero(self.view_idxs == view_idx)

    def pixels(self, at_reference_focal: float) -> float:
        """Scale a pixel parameter from the reference focal length to this problem's."""
        return at_reference_focal * self.focal / REFERENCE_FOCAL_PX

    @cached_property
    def cells(self) -> tuple[dict[float, tuple[NDArray[np.int64], NDArray[np.int64]]], ...]:
        """What `evidence` has found of the matches of each view: in which cells of the image they are."""
        return tuple({} for _ in self.cameras)

    def view_scale(self, view_idx: int) -> float:
        """Return the factor from this problem's pixels to those of a view's image."""
        return float(self.cameras[view_idx].camera.focal.mean()) / self.focal

    def chosen(self, rows: NDArray[np.bool_]) -> PoseProblem:
        """Return some of the matches [M], of the same views."""
        cones = self.cones
        return replace(
            self,
            correspondences=self.correspondences.chosen(rows),
            pinhole=self.pinhole[rows],
            cones=None if cones is None else cones.chosen(rows),
        )

    @cached_property
    def by_view(self) -> ViewOrder:
        """In which order the matches of each view lie together: what is done with a camera is one pass over memory."""
        if len(self.cameras) == 1:
            return ViewOrder(None, None, ((slice(0, len(self.correspondences)), self.cameras[0]),))
        order = np.argsort(self.view_idxs, kind="stable")
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        ends = np.cumsum(np.bincount(self.view_idxs, minlength=len(self.cameras))).tolist()
        runs = [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        return ViewOrder(order, back, tuple(zip(runs, self.cameras, strict=True)))

    def residuals(self, map_from_rig: Rigid3) -> FloatArray:
        """Return [M] reprojection distances in pinhole pixels; behind the camera is very far away."""
        return self.residuals_of([map_from_rig])[0]

    def residuals_of(self, poses: Sequence[Rigid3]) -> FloatArray:
        """Return the `residuals` [S, M] of several poses of the rig."""
        return self.by_view.restored(self._distances(self._in_cameras(poses)))

    def recognized_residuals(self, map_from_rig: Rigid3) -> FloatArray:
        """Return `residuals`, infinite for points that are not `recognizable` there."""
        return self.recognized_residuals_of([map_from_rig])[0]

    def recognized_residuals_of(self, poses: Sequence[Rigid3]) -> FloatArray:
        """Return the `recognized_residuals` [S, M] of several poses of the rig."""
        points = self._in_cameras(poses)
        residuals = self._distances(points)
        if self.cones is not None:
            residuals = np.where(self._admitted(poses, points), residuals, np.inf)
        return self.by_view.restored(residuals)

    def recognizable(self, map_from_rig: Rigid3) -> NDArray[np.bool_]:
        """Tell which points [M] cameras there could recognise, given from where they were seen.

        A wrong pose often explains matches by looking at a wall's back, or from far outside.
        """
        if self.cones is None:
            return np.ones(len(self.correspondences), np.bool_)
        poses = [map_from_rig]
        return self.by_view.restored(self._admitted(poses, self._in_cameras(poses)))[0]

    def _in_cameras(self, poses: Sequence[Rigid3]) -> FloatArray:
        """Return the points in the frames of their cameras [S, 3, M], in the order of `by_view`."""
        turned = np.stack([pose.rotation.T for pose in poses])
        shifts = turned @ np.stack([pose.translation for pose in poses])[:, :, None]
        points_map, _ = self._columns
        points = np.empty((len(poses), *points_map.shape))
        for run, view in self.by_view.runs:
            rotation, shift = turned, shifts
            if not self.is_one_camera:
                camera_from_rig = view.rig_from_camera.rotation.T
                rotation = camera_from_rig @ turned
                shift = camera_from_rig @ (shifts + view.rig_from_camera.translation[:, None])
            seen = points[:, :, run]
            np.matmul(rotation, points_map[:, run], out=seen)
            seen -= shift
        return points

    def _distances(self, points: FloatArray) -> FloatArray:
        """Return [S, M] px between where cameras see their points [S, 3, M] and where these were seen."""
        depth = points[:, 2]
        in_front = depth > _MIN_DEPTH
        slopes = points[:, :2] * (self.focal / np.where(in_front, depth, 1.0))[:, None]
        slopes -= self._columns[1]
        return np.where(in_front, np.sqrt(np.einsum("sim,sim->sm", slopes, slopes)), _FAR_AWAY_PX)

    def _admitted(self, poses: Sequence[Rigid3], points: FloatArray) -> NDArray[np.bool_]:
        """Tell which points [S, M], given in the frames of their cameras [S, 3, M], are recognised there."""
        assert self._cone_columns is not None
        cones, directions, along = self._cone_columns
        distance = np.sqrt(np.einsum("sim,sim->sm", points, points))
        toward = np.empty_like(distance)
        for run, view in self.by_view.runs:
            centers = np.stack([pose @ view.rig_from_camera.translation for pose in poses])
            np.matmul(-centers, directions[:, run], out=toward[:, run])
        toward += along
        return cones.allow(toward, distance, self.max_view_change_rad, self.max_scale_change)

    @cached_property
    def _columns(self) -> tuple[FloatArray, FloatArray]:
        """Points [3, M] and pinhole pixels [2, M], in the order of `by_view`."""
        order = self.by_view
        return np.ascontiguousarray(order.of(self.points3d).T), np.ascontiguousarray(order.of(self.pinhole).T)

    @cached_property
    def _cone_columns(self) -> tuple[ObserverCones, FloatArray, FloatArray] | None:
        """The cones, their directions [3, M] and how far the points lie along them [M], in the order of `by_view`."""
        if self.cones is None:
            return None
        order = self.by_view.order
        cones = self.cones if order is None else self.cones.chosen(order)
        directions = np.ascontiguousarray(cones.directions.T)
        return cones, directions, np.einsum("im,im->m", directions, self._columns[0])


def make_problem(
    correspondences: Correspondences,
    cameras: Sequence[RigCamera],
    cones: ObserverCones | None = None,
    max_view_change_rad: float = np.pi,
    max_scale_change: float = np.inf,
) -> PoseProblem:
    """Undistort the matched pixels once; matches that no ray leads to are dropped."""
    normalized = np.full((len(correspondences), 2), np.nan)  # of a view that is none, too
    for view_idx, view in enumerate(cameras):
        of_view = np.flatnonzero(correspondences.views == view_idx)
        if len(of_view):
            normalized[of_view] = view.camera.undistort(correspondences.points2d[of_view])
    valid = np.asarray(np.isfinite(normalized).all(axis=1))
    if not valid.all():
        normalized, correspondences = normalized[valid], correspondences.chosen(valid)
        cones = None if cones is None else cones.chosen(valid)
    focal = float(np.mean([view.camera.focal.mean() for view in cameras]))
    return PoseProblem(
        correspondences,
        tuple(cameras),
        normalized * focal,
        focal,
        cones,
        max_view_change_rad,
        max_scale_change,
    )
