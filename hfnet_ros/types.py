"""The frozen records that flow through the pipeline.

Arrays inside records are never modified; lengths are written as letters that stay the same
within one record (N keypoints, D descriptor size, M matches, L landmarks, F keyframes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3

if TYPE_CHECKING:
    from collections.abc import Mapping

ImageArray = NDArray[np.uint8]

# Told in a few words what goes on while something is made ready; an empty text means it is.
ReportProgress = Callable[[str], None]
# Told a stage of long work, how many of its steps are done, and how many there are.
Progress = Callable[[str, int, int], None]


def ignore_progress(stage: str, done: int, total: int) -> None:
    """Stand in where nobody wants to know how far long work is."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One camera image with its calibration.

    Attributes:
        stamp_ns: time of exposure, nanoseconds.
        image: [H, W] gray or [H, W, 3] BGR, uint8.
        camera: calibration of exactly this image size.
        camera_frame_id: name of the optical frame (REP-103: z forward, x right, y down).
    """

    stamp_ns: int
    image: ImageArray
    camera: Camera
    camera_frame_id: str = "camera"


@dataclass(frozen=True, slots=True, eq=False)
class RigCamera:
    """A calibrated camera of a rig.

    Attributes:
        camera: calibration of the images it takes.
        rig_from_camera: pose of its optical frame on the rig; identity where the camera is the rig.
    """

    camera: Camera
    rig_from_camera: Rigid3 = field(default_factory=Rigid3.identity)


@dataclass(frozen=True, slots=True, eq=False)
class LocalFeatures:
    """Keypoints of one image, best first.

    Attributes:
        keypoints: [N, 2] float32, px of the original image, top-left pixel centre is (0, 0).
        scores: [N] float32, descending.
        descriptors: [N, D] float32, unit norm.
    """

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    descriptors: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of keypoints."""
        return len(self.keypoints)

    def moved_to(self, keypoints: NDArray[np.float32]) -> LocalFeatures:
        """Return the same features at other points [N, 2]."""
        return LocalFeatures(keypoints, self.scores, self.descriptors)

    def chosen(self, rows: NDArray[np.int64]) -> LocalFeatures:
        """Return some of the features [M], in the order of `rows`."""
        return LocalFeatures(self.keypoints[rows], self.scores[rows], self.descriptors[rows])


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """Everything the networks say about one image.

    Attributes:
        local: keypoints and descriptors.
        global_descriptor: [G] float32 unit norm; None from an extractor without a global head,
            whose local descriptors are then aggregated (see `features.aggregation`).
        extractor_id: network and digest of its weights.
    """

    local: LocalFeatures
    global_descriptor: NDArray[np.float32] | None
    extractor_id: str

    def chosen(self, rows: NDArray[np.int64]) -> ImageFeatures:
        """Return the same image with some of its local features [M], in the order of `rows`."""
        return ImageFeatures(self.local.chosen(rows), self.global_descriptor, self.extractor_id)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What one camera of a rig saw at one time: an image, or what is left of one that was described before.

    Attributes:
        calibration: of the camera, and where it is on the rig.
        image: [H, W] gray or [H, W, 3] BGR, uint8; None where `features` are given.
        features: of the image, if they are there already.
    """

    calibration: RigCamera
    image: ImageArray | None
    features: ImageFeatures | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What is to be localized: all that a rig saw at one time, one view at least.

    One view is the trivial rig, whose frame is the optical frame of its camera.

    Attributes:
        stamp_ns: time of exposure, nanoseconds.
        views: in any order; answers refer to a view by its position here.
    """

    stamp_ns: int
    views: tuple[View, ...]

    @classmethod
    def of(cls, asked: Frame | Query) -> Query:
        """Return a query of one image; a query as it is."""
        if isinstance(asked, Query):
            return asked
        return cls(asked.stamp_ns, (View(RigCamera(asked.camera), asked.image),))

    @property
    def cameras(self) -> tuple[RigCamera, ...]:
        """The calibrations of the views."""
        return tuple(view.calibration for view in self.views)


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

    def keypoints_of(self, view_idx: int) -> NDArray[np.int64]:
        """Return the rows of a view's features that are matched, in the order of the matches."""
        rows = self.keypoint_idxs
        if self.view_idxs is not None:
            rows = rows[self.view_idxs == view_idx]
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
    """

    map_from_camera: Rigid3
    covariance: NDArray[np.float64]
    inlier_mask: NDArray[np.bool_]
    reprojection_rmse_px: float

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


@dataclass(frozen=True, slots=True, eq=False)
class Localization:
    """The answer for one query; `estimate` is present if and only if LOCALIZED.

    A solver makes it of the matches of one place; the localizer adds the stamp, the place and the time it took.

    Attributes:
        timings_s: seconds per stage: extract, retrieve, match, pose, total.
        search: where the answer was found, or the last place it was looked for.
    """

    stamp_ns: int
    outcome: Outcome
    estimate: PoseEstimate | None
    place: Place | None
    evidence: Evidence
    timings_s: Mapping[str, float]
    correspondences: Correspondences | None = None
    search: Search = Search.GLOBAL

    def __post_init__(self) -> None:
        """Refuse a pose without success and a success without a pose."""
        if (self.estimate is not None) != (self.outcome is Outcome.LOCALIZED):
            raise ValueError(f"outcome {self.outcome.value} contradicts estimate {self.estimate!r}")

    @property
    def is_valid(self) -> bool:
        """Tell whether there is a pose that may be believed."""
        return self.outcome is Outcome.LOCALIZED

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


class Verdict(str, Enum):
    """Whether the robot may use a fix. Only ACCEPTED ones are published."""

    ACCEPTED = "ACCEPTED"
    REJECTED_INNOVATION = "REJECTED_INNOVATION"
    AWAITING_AGREEMENT = "AWAITING_AGREEMENT"
    NO_ODOMETRY = "NO_ODOMETRY"
    NO_EXTRINSIC = "NO_EXTRINSIC"


class TrackingState(str, Enum):
    """What is known of the robot's position."""

    LOST = "LOST"
    TRACKING = "TRACKING"
    STALE = "STALE"


@dataclass(frozen=True, slots=True, eq=False)
class GateDecision:
    """The verdict on one fix and the numbers behind it.

    Attributes:
        reason: one sentence: what was found and what was needed.
        mahalanobis_sq: squared length of the innovation in standard deviations; None without a
            prediction, as are the next two.
        threshold: chi-square quantile it may not exceed.
        innovation: [6] fix minus prediction, x y z (m) rx ry rz (rad), axes of the map.
        dof: degrees of freedom of the quantile.
    """

    verdict: Verdict
    reason: str
    mahalanobis_sq: float | None = None
    threshold: float | None = None
    innovation: NDArray[np.float64] | None = None
    dof: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """What all accepted fixes and odometry together say.

    Attributes:
        stamp_ns: time it is valid at.
        map_from_base: pose of the robot.
        covariance: [6, 6] of it, x y z rx ry rz, axes of the map; grows while no fix comes.
        map_from_odom: what REP-105 calls map->odom, smoothed; None without odometry.
    """

    stamp_ns: int
    map_from_base: Rigid3
    covariance: NDArray[np.float64]
    map_from_odom: Rigid3 | None


@dataclass(frozen=True, slots=True, eq=False)
class Relocalization:
    """All that one image changed.

    Attributes:
        decision: present if and only if the image was LOCALIZED.
        map_from_base: the fix as a pose of the robot; None unless LOCALIZED with known mounting.
        base_covariance: [6, 6] of it.
        state: what is known of the position after this image.
        belief: None while LOST.
        relocated: this fix replaced a position that was given up.
        age_s: since the last accepted fix; None if there was none.
        distance_m: travelled since then by odometry; None where unknown.
    """

    localization: Localization
    decision: GateDecision | None
    map_from_base: Rigid3 | None
    base_covariance: NDArray[np.float64] | None
    state: TrackingState
    belief: Belief | None
    relocated: bool = False
    age_s: float | None = None
    distance_m: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Tracking:
    """What is known of the position at some time.

    Attributes:
        belief: None while LOST.
        age_s: since the last accepted fix; None if there was none.
        distance_m: travelled since then by odometry; None where unknown.
    """

    state: TrackingState = TrackingState.LOST
    belief: Belief | None = None
    age_s: float | None = None
    distance_m: float | None = None


@dataclass(frozen=True, slots=True)
class ImageCounters:
    """What became of the images since the start.

    Attributes:
        num_superseded: replaced by a newer one before work on them began.
        num_processed: answered, this one included.
    """

    num_received: int = 0
    num_superseded: int = 0
    num_processed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of one image, and where the time went.

    Attributes:
        relocalization: None where the image could not be used.
        error: why it could not be used; empty where it could.
        camera_frame_id: empty where the image could not be read.
        wait_s: from arrival to the start of work.
        decode_s: message to pixels.
        gate_s: waiting for odometry, comparison, filter.
        total_s: from arrival to this answer.
        counters: of all images so far, this one included.
        frame: the image, where it could be read.
        is_refused: no work was begun, because the engine is not ready; `error` says how far it is.
        tracking: what is known of the position, where there is no relocalization to say it.
    """

    stamp_ns: int
    relocalization: Relocalization | None
    error: str
    camera_frame_id: str
    wait_s: float
    decode_s: float
    gate_s: float
    total_s: float
    counters: ImageCounters
    frame: Frame | None
    is_refused: bool = False
    tracking: Tracking | None = None
