"""Look where the other views of a rig ought to see the map, once one of them says where the rig is.

Prior frames that look like one view show what that one sees. What another view looks at may be known to frames of
another place, so that it has nothing right to match with, and can neither help nor object. Near the pose that was found
there are frames that look its way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hfnet_ros.localization.answers import join_matches
from hfnet_ros.localization.landmarks import Landmarks
from hfnet_ros.localization.retrieval import Descriptors, PlaceRetrieval
from hfnet_ros.map.place_view import PlaceView
from hfnet_ros.pose.hypotheses import MIN_MATCHES
from hfnet_ros.pose.solver import PoseSolver
from hfnet_ros.types import Correspondences, ImageFeatures, Localization, RigCamera

MatchLandmarks = Callable[[Sequence[ImageFeatures], PlaceView], Correspondences]


class LookingAround:
    """Gives views that a pose explains nothing of what they should see there, and solves again."""

    def __init__(self, retrieval: PlaceRetrieval, landmarks: Landmarks, solver: PoseSolver) -> None:
        """Take what finds keyframes near a pose, their landmarks, and what finds poses."""
        self._retrieval = retrieval
        self._landmarks = landmarks
        self._solver = solver

    def at(
        self,
        answer: Localization,
        matches: Correspondences,
        match: MatchLandmarks,
        features: Sequence[ImageFeatures],
        descriptors: Descriptors,
        cameras: Sequence[RigCamera],
        num_versions: int,
    ) -> Localization:
        """Return the answer of all views, or the same one where there is nothing more to see.

        Args:
            answer: a valid one.
            matches: that it was found with.
            match: finds matches of all views with a place.
            features: of each view.
            descriptors: global ones, of each view.
            cameras: of the views.
            num_versions: see `PoseSolver.solve`.

        Raises:
            MapFormatError: the map is damaged where it was read.
        """
        assert answer.estimate is not None
        blind = [
            view_idx
            for view_idx, share in enumerate(answer.views)
            if share.num_inliers < MIN_MATCHES and not share.problem and len(features[view_idx].local) > 0
        ]
        place = self._retrieval.around(descriptors, cameras, answer.estimate.map_from_camera, blind)
        if place is None:
            return answer
        asked = [
            view if view_idx in blind else view.chosen(np.arange(0)) for view_idx, view in enumerate(features)
        ]
        found = match(asked, self._landmarks.of(place))
        kept = matches.chosen(~np.isin(matches.views, blind))
        both = join_matches(kept, found)
        return self._solver.solve(both, cameras, self._landmarks.cones(both), num_versions)
