"""Is what a pose should see seen, and would another place explain the same keypoints?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hfnet_ros.config import VerificationConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.expected_view import seen_share
from hfnet_ros.localization.landmarks import Landmarks
from hfnet_ros.map.place_view import PlaceView
from hfnet_ros.pose.flatness import flat_share
from hfnet_ros.pose.hypotheses import Hypothesis
from hfnet_ros.pose.problem import PoseProblem
from hfnet_ros.pose.solver import PoseSolver
from hfnet_ros.types import Correspondences, ImageFeatures, Localization, Place, RigCamera

_MAX_KEYPOINTS = 150
# Frames of two places that look alike share fewer landmarks, by mistakes of matching.
_MIN_SHARED = 3
_MAX_ROUNDS = 3

MatchLandmarks = Callable[[Sequence[ImageFeatures], PlaceView], Correspondences]


class SecondLook:
    """Looks at a map again with a pose that has passed every other test."""

    def __init__(
        self, landmarks: Landmarks, match: MatchLandmarks, solver: PoseSolver, limits: VerificationConfig
    ) -> None:
        """Take the landmarks of the map, how they are matched with the views of a query, and what finds poses.

        A `rematch_ratio` above its limit is not sought further, and nobody asks how flat it is where enough is seen.
        """
        self._limits = limits
        self._landmarks = landmarks
        self._match = match
        self._solver = solver

    def at(
        self,
        answer: Localization,
        features: Sequence[ImageFeatures],
        cameras: Sequence[RigCamera],
        landmarks: PlaceView,
        places: Sequence[Place],
    ) -> tuple[dict[str, float], str]:
        """Measure `rematch_ratio`, `seen_share` and `flat_share`, and say in which sub-map of a set the other place is.

        The first is the score of the inliers' keypoints at another pose, over their own: of the landmarks that the
        answer does not explain. The second is described in `expected_view`, the third in `flatness`.

        Args:
            answer: a valid one.
            features: of each view.
            cameras: of the views.
            landmarks: of the place that the answer was found in.
            places: all that the query was compared with.

        Raises:
            MapFormatError: the map is damaged where it was read.
        """
        assert answer.estimate is not None and answer.correspondences is not None
        pose = answer.estimate.map_from_camera
        inliers = answer.correspondences.chosen(answer.estimate.inlier_mask)
        own = inliers.chosen(np.arange(min(len(inliers), _MAX_KEYPOINTS)))
        keypoints = [view.chosen(own.keypoints_of(view_idx)) for view_idx, view in enumerate(features)]
        own_score = max(self._solver.score(own, pose, cameras), 1e-9)
        keyframe_idx, ratio, elsewhere = landmarks.keyframe_idxs[0], 0.0, ""
        # All at once, for a rival that several places see a part of; then one by one, for where there are many rivals:
        # a keypoint is matched once, and ten twins then have a tenth of the keypoints each.
        for some in (places, *([place] for place in places if len(places) > 2)):
            alias, where = self._alias(keypoints, own, pose, cameras, some, keyframe_idx)
            if alias is not None and alias.score / own_score > ratio:
                ratio, elsewhere = alias.score / own_score, where
            if ratio > self._limits.max_rematch_ratio:
                break
        share = seen_share(self._landmarks.expected(landmarks, pose, cameras), inliers, pose, cameras)
        measured = {"rematch_ratio": ratio, "seen_share": share}
        if share < self._limits.min_seen_of_flat:
            measured["flat_share"] = flat_share(inliers.points3d, pose.translation)
        return measured, elsewhere

    def _alias(
        self,
        keypoints: Sequence[ImageFeatures],
        own: Correspondences,
        pose: Rigid3,
        cameras: Sequence[RigCamera],
        places: Sequence[Place],
        keyframe_idx: int,
    ) -> tuple[Hypothesis | None, str]:
        """Return the other pose that explains most of the keypoints, and where; None where there is none.

        Sub-maps of a set that overlap know the same place by other landmarks, a little off. What one of them says of
        the same pose is no alias, but may hide one: its frames are then taken for those that agree.
        """
        frames = tuple({frame: None for place in places for frame in place.keyframe_idxs})
        knowing = self._landmarks.nums_seen_by(frames, own.landmark_idxs) >= _MIN_SHARED
        agreeing = {frame for frame, knows in zip(frames, knowing, strict=True) if knows}
        for _ in range(_MAX_ROUNDS):
            unexplained = self._unexplained_matches(keypoints, agreeing, pose, cameras, frames)
            alias = self._solver.solve_quickly(unexplained)
            if alias is None:
                return None, ""
            fitting = self._solver.fitting(unexplained, alias.map_from_camera).landmark_idxs
            if not self._landmarks.is_same_place(keyframe_idx, pose, fitting, alias.map_from_camera):
                return alias, self._landmarks.part_text(fitting)
            others = [frame for frame in frames if frame not in agreeing]
            knowing = self._landmarks.nums_seen_by(others, fitting) >= _MIN_SHARED
            if not knowing.any():
                left_over = self._solver.left_over(unexplained, alias.map_from_camera)
                return self._solver.solve_quickly(left_over), ""
            agreeing |= {frame for frame, knows in zip(others, knowing, strict=True) if knows}
        return None, ""

    def _unexplained_matches(
        self,
        keypoints: Sequence[ImageFeatures],
        agreeing: set[int],
        pose: Rigid3,
        cameras: Sequence[RigCamera],
        frames: tuple[int, ...],
    ) -> PoseProblem:
        """Match the keypoints with what the places know and the pose does not explain.

        Mutual matches go to the place that was mapped better, and hide the other; so everything that the pose
        explains is taken away first: what lies in view and is known to frames that know the inliers (`agreeing`).
        Frames of another session, whose landmarks are others, show themselves by matches that agree with the pose, and
        are added.
        """
        for _ in range(_MAX_ROUNDS):
            unexplained = self._landmarks.unexplained(frames, agreeing, pose, cameras)
            matches = self._match(keypoints, unexplained)
            problem = self._solver.problem(matches, cameras, self._landmarks.cones(matches))
            fitting = self._solver.fitting(problem, pose)
            if len(fitting) < _MIN_SHARED:
                break
            others = [frame for frame in frames if frame not in agreeing]
            num_fitting = self._landmarks.nums_seen_by(others, fitting.landmark_idxs)
            num_matched = self._landmarks.nums_seen_by(others, matches.landmark_idxs)
            is_more = (num_fitting >= _MIN_SHARED) & (num_fitting > num_matched / 2)
            if not is_more.any():
                break
            agreeing |= {frame for frame, agrees in zip(others, is_more, strict=True) if agrees}
        return problem
