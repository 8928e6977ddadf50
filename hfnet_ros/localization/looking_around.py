"""Look where the other views of a rig ought to see the map, once one of them says where the rig is.

Prior frames that look like one view show what that one sees. What another view looks at may be known to frames of
another place, so that it has nothing right to match with, and can neither help nor object. Near the pose that was found
there are frames that look its way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.answers import join_matches
from hfnet_ros.localization.landmarks import Landmarks
from hfnet_ros.localization.matchers import only_of
from hfnet_ros.localization.retrieval import Descriptors, PlaceRetrieval
from hfnet_ros.map.place_view import PlaceView
from hfnet_ros.pose.hypotheses import FirstPoses
from hfnet_ros.pose.problem import PoseProblem
from hfnet_ros.pose.solver import PoseSolver
from hfnet_ros.pose.view_agreement import without
from hfnet_ros.types import Correspondences, ImageFeatures, RigCamera

# Of all views, to look around from its pose; of a view, to let it be.
_MIN_INLIERS, _MIN_BACKING = 12, 6

MatchLandmarks = Callable[[Sequence[ImageFeatures], PlaceView], Correspondences]


@dataclass(frozen=True)
class LookedAround:
    """What views see where one of them says that the rig is.

    Attributes:
        problem: matches of all views.
        first: poses of them, as far as matches were not asked for anew.
    """

    problem: PoseProblem
    first: FirstPoses


class LookingAround:
    """Gives views of which a pose explains nothing what they should see there."""

    def __init__(self, retrieval: PlaceRetrieval, landmarks: Landmarks, solver: PoseSolver) -> None:
        """Take what finds keyframes near a pose, their landmarks, and what finds poses."""
        self._retrieval = retrieval
        self._landmarks = landmarks
        self._solver = solver

    def more(
        self,
        matches: Correspondences,
        match: MatchLandmarks,
        features: Sequence[ImageFeatures],
        descriptors: Descriptors,
        cameras: Sequence[RigCamera],
        doubted: frozenset[int],
        frames: Sequence[int] = (),
    ) -> LookedAround:
        """Return matches in which each view has what it should see at the pose that most of them agree with.

        Args:
            matches: of all views with one place.
            match: finds matches of all views with a place.
            features: of each view.
            descriptors: global ones, of each view.
            cameras: of the views.
            doubted: views that say where to look only if no other one does.
            frames: that say how well depths are known; see `Landmarks.cones`.

        Raises:
            MapFormatError: the map is damaged where it was read.
        """
        problem = self._solver.problem(matches, cameras, self._landmarks.cones(matches, frames))
        first, pose = self._solver.first_poses(problem), None
        if doubted:
            others = without(problem, tuple(doubted))
            pose = self._pose_of_most(others, self._solver.first_poses(others, first.of_others(doubted)))
        if pose is None:
            pose = self._pose_of_most(problem, first)
        if pose is None:
            return LookedAround(problem, first)
        fits = self._solver.is_fitting(problem, problem.recognized_residuals(pose))
        num_inliers = np.bincount(problem.view_idxs[fits], minlength=len(cameras))
        blind = np.flatnonzero(num_inliers < _MIN_BACKING)
        place = self._retrieval.around(descriptors, cameras, pose, blind.tolist())
        if place is None:
            return LookedAround(problem, first)
        seen = match(only_of(features, blind.tolist()), self._landmarks.of(place))
        frames = frames and tuple(dict.fromkeys((*frames, *place.keyframe_idxs)))
        joined = join_matches(matches.chosen(~np.isin(matches.views, blind)), seen)
        return LookedAround(
            self._solver.problem(joined, cameras, self._landmarks.cones(joined, frames)),
            first.of_others(blind.tolist()),
        )

    def _pose_of_most(self, problem: PoseProblem, first: FirstPoses) -> Rigid3 | None:
        """Return the pose that matches agree with; None where there are few that do."""
        best = first.best
        if best is None or self._solver.is_fitting(problem, best.residuals).sum() < _MIN_INLIERS:
            return None
        return best.map_from_camera
