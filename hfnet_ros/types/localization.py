"""What becomes of one query: places, matches, a pose, an answer.

Arrays inside records are never modified; lengths are written as letters that stay the same
within one record (N keypoints, D descriptor size, M matches, L landmarks, F keyframes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types.query import Frame, Query


@dataclass(frozen=True, slots=True)
class RetrievalHit:
    """A keyframe that looks like the query; `similarity` is a cosine in [-1, 1]."""

    keyframe_idx: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Place:
    """Prior frames that see common landmarks.

    Attributes:
        keyframe_idxs: most similar first.
        similarity: of the most similar one, cosine.
        score: sum of the similarities.
    """

    keyframe_idxs: tuple[int, ...]
    similarity: float
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Correspondences:
    """2D-3D matches of a query with points of the scene.

    Attributes:
        points2d: [M, 2] float64, px of the view's image; the matcher's own, which may have moved keypoints.
        points3d: [M, 3] float64, m, map frame.
        keypoint_idxs: [M] int64, row in the view's features; -1 where a match is of no keypoint.
        landmark_idxs: [M] int64, row in the map's landmarks; -1 where a match is with none.
        similarity: [M] float32, cosine of the two descriptors, or another measure of trust in [-1, 1].
        view_idxs: [M] int64, position of the view in the query; None where all are of the first.
    """

    points2d: NDArray[np.float64]
    points3d: NDArray[np.float64]
    keypoint_idxs: NDArray[np.int64]
    landmark_idxs: NDArray[np.int64]
    similarity: NDArray[np.float32]
    view_idxs: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Return the number of matches."""
        return len(self.points2d)

    @property
    def views(self) -> NDArray[np.int64]:
        """[M] position of the view that each match is of: `view_idxs`, or the first."""
        return np.zeros(len(self), np.int64) if self.view_idxs is None else self.view_idxs

    def keypoints_of(self, view_idx: int) -> NDArray[np.int64]:
        """Return the rows of a view's features that are matched, in the order of the matches."""
        rows = self.keypoint_idxs[self.views == view_idx]
        return rows[rows >= 0]

    def chosen(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Correspondences:
        """Return some of the matches, in the order of `rows`."""
        return Correspondences(
            self.points2d[rows],
            self.points3d[rows],
            self.keypoint_idxs[rows],
            self.landmark_idxs[rows],
            self.similarity[rows],
            None if self.view_idxs is None else self.view_idxs[rows],
        )


@dataclass(frozen=True, slots=True, eq=False)
class PoseEstimate:
    """A camera pose and how sure it is.

    Attributes:
        map_from_camera: pose of the optical frame in the map; of the rig's frame where the query has several
            views.
        covariance: [6, 6] float64 in the order x y z rx ry rz; translation error in the map,
            then rotation error about the axes of the map; m², m rad, rad². Positive definite.
        inlier_mask: [M] bool over the correspondences.
        reprojection_rmse_px: root mean square distance of the inliers, px.
        common: [6, 6] part of the covariance that answers in this part of the map have in common, so that
            averaging them does not remove it; None where nothing is known of it.
    """

    map_from_camera: Rigid3
    covariance: NDArray[np.float64]
    inlier_mask: NDArray[np.bool_]
    reprojection_rmse_px: float
    common: NDArray[np.float64] | None = None

    @property
    def num_inliers(self) -> int:
        """Return the number of matches the pose explains."""
        return int(np.count_nonzero(self.inlier_mask))


class Outcome(str, Enum):
    """What became of one image. Only LOCALIZED carries a pose."""

    LOCALIZED = "LOCALIZED"
    NO_FEATURES = "NO_FEATURES"
    NO_CANDIDATES = "NO_CANDIDATES"
    TOO_FEW_MATCHES = "TOO_FEW_MATCHES"
    NO_CONSENSUS = "NO_CONSENSUS"
    TOO_FEW_INLIERS = "TOO_FEW_INLIERS"
    ILL_CONDITIONED = "ILL_CONDITIONED"


class Search(str, Enum):
    """Where prior frames were sought: near the predicted pose, or in the whole map."""

    PRIOR = "prior"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The numbers behind an Outcome, for the place that came furthest.

    Attributes:
        num_keypoints: keypoints found in the image.
        num_matches: tentative 2D-3D matches.
        num_inliers: matches that the best pose explains.
        reason: one sentence: what was found and what was needed.
        scores: the numbers verification looked at, by name.
        score: robust score of the best pose, comparable between the places of one query.
    """

    num_keypoints: int = 0
    num_matches: int = 0
    num_inliers: int = 0
    reason: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    score: float = 0.0

    @property
    def false_probability(self) -> float | None:
        """Return the probability that the best pose is wrong (0.5 m or 10 deg); None where none was judged."""
        return self.scores.get("false_probability")


@dataclass(frozen=True, slots=True, eq=False)
class LensRest:
    """What is left in an image, once its pose is taken out, of a calibration that is off.

    Normal equations of by how much the focal length is longer (a share), the centre is aside (x, y, slopes) and the
    radial distortion of third degree is more; a single image hardly tells these.

    Attributes:
        normal: [4, 4].
        weighted: [4] right side.
        taken: [6, 4] what the pose takes of each: by how much it moves (x y z rx ry rz, axes of the camera).
        depth: median of the landmarks, units of the map.
    """

    normal: NDArray[np.float64]
    weighted: NDArray[np.float64]
    taken: NDArray[np.float64]
    depth: float


@dataclass(frozen=True, slots=True, eq=False)
class ViewOffset:
    """By how much the rig is elsewhere by the matches of one view than by those of all.

    Attributes:
        vector: [6] x y z (m) rx ry rz (rad) of the motion from the pose of all to that of the view, axes of the rig.
        covariance: [6, 6] of it, of the view's own matches; what the map is off by is not in it.
    """

    vector: NDArray[np.float64]
    covariance: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ViewShare:
    """What one view of a query brought to its answer.

    Attributes:
        num_keypoints: found in its image.
        num_matches: of them with landmarks, in the place of the answer.
        num_inliers: matches that the answer's pose, or the best pose of a refused one, explains.
        problem: why the view did not help, one sentence; empty if it did.
        agrees: chance does not explain how many of its matches the pose does.
        contradicts: it knows where it is, and other views say that it is elsewhere.
        alone: the pose of the rig that the view alone tells, which is not given because its camera is doubted.
        doubt: what its camera did before, for which it is not believed alone; empty if nothing.
        offset: where the rig is by its matches alone, if it agrees with another view; None where too few of them do.
        mounting: by how much its camera is turned, shifted and late against the others, with standard deviations;
            empty where that is not known.
        is_askew: that is no chance: its mounting, calibration or clock is not what it is said to be.
        unproven: why its camera is not believed alone though nothing speaks against it; empty if it is.
    """

    num_keypoints: int = 0
    num_matches: int = 0
    num_inliers: int = 0
    problem: str = ""
    agrees: bool = False
    contradicts: bool = False
    alone: PoseEstimate | None = None
    doubt: str = ""
    offset: ViewOffset | None = None
    mounting: str = ""
    is_askew: bool = False
    unproven: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Localization:
    """The answer for one query; `estimate` is present if and only if LOCALIZED.

    A solver makes it of the matches of one place; the localizer adds the stamp, the place and the time it took.

    Attributes:
        timings_s: seconds per stage: extract, retrieve, match, pose, total.
        search: where the answer was found, or the last place it was looked for.
        turn_rad: by how much the image, of several views the first, was turned clockwise to be known; 0 as it is.
        sought_roll: the images were looked for turned by every angle.
        matched_by: what found the matches: `nearest` or another of `matching.method`, `scene` or `guided`.
        is_metric: lengths are metres; False in a map of images alone, whose scale nobody knows.
        warnings: what is doubtful about calibration or map whatever the outcome, in sentences.
        views: what each view of the query brought, in its order; none where no localizer says it.
        lens: what an image says of its calibration; None of several, and where it says nothing.
    """

    stamp_ns: int
    outcome: Outcome
    estimate: PoseEstimate | None
    place: Place | None
    evidence: Evidence
    timings_s: Mapping[str, float]
    correspondences: Correspondences | None = None
    search: Search = Search.GLOBAL
    turn_rad: float = 0.0
    sought_roll: bool = False
    matched_by: str = "nearest"
    is_metric: bool = True
    warnings: tuple[str, ...] = ()
    views: tuple[ViewShare, ...] = ()
    lens: LensRest | None = None

    def __post_init__(self) -> None:
        """Refuse a pose without success and a success without a pose."""
        if (self.estimate is not None) != (self.outcome is Outcome.LOCALIZED):
            raise ValueError(f"outcome {self.outcome.value} contradicts estimate {self.estimate!r}")

    @property
    def is_valid(self) -> bool:
        """Tell whether there is a pose that may be believed."""
        return self.outcome is Outcome.LOCALIZED

    def refused(self, reason: str, outcome: Outcome = Outcome.ILL_CONDITIONED) -> Localization:
        """Return the answer without its pose, and why."""
        return replace(self, outcome=outcome, estimate=None, evidence=replace(self.evidence, reason=reason))

    def kept_back(self, view_idx: int, problem: str, reason: str) -> Localization:
        """Return a valid answer without its pose, which goes to the view that sees the map alone, and why."""
        shares = list(self.views)
        shares[view_idx] = replace(shares[view_idx], problem=problem, alone=self.estimate)
        return replace(self.refused(reason), views=tuple(shares))

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Sort key among the places of one query: how far it came."""
        return self.is_valid, self.evidence.score, self.evidence.num_matches


@dataclass(frozen=True, slots=True, eq=False)
class PosePrior:
    """Where the camera is expected; narrows the search, never the answer.

    Attributes:
        map_from_camera: expected pose of the optical frame.
        covariance: [6, 6] in the order and axes of `PoseEstimate.covariance`.
    """

    map_from_camera: Rigid3
    covariance: NDArray[np.float64]


class ImageLocalizer(Protocol):
    """Answers where a query was taken; belongs to the thread that opened it."""

    def localize(self, query: Query | Frame, prior: PosePrior | None = None) -> Localization:
        """Find the pose of a camera or rig, looking near `prior` first, or say why there is none.

        Raises:
            ImageError: an image does not have the size of its calibration.
            EngineError: the network failed.
        """
        ...
