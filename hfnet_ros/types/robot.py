"""What the answers to many images say of a robot.

Arrays inside records are never modified; lengths are written as letters that stay the same
within one record (N keypoints, D descriptor size, M matches, L landmarks, F keyframes).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types.localization import Localization
from hfnet_ros.types.query import Frame


class Verdict(str, Enum):
    """Whether the robot may use a fix. Only ACCEPTED ones are published."""

    ACCEPTED = "ACCEPTED"
    REJECTED_INNOVATION = "REJECTED_INNOVATION"
    AWAITING_AGREEMENT = "AWAITING_AGREEMENT"
    NO_ODOMETRY = "NO_ODOMETRY"
    NO_EXTRINSIC = "NO_EXTRINSIC"
    NO_SCALE = "NO_SCALE"


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
        warnings: those of the localization, and what is doubtful about mounting and odometry.
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
    warnings: tuple[str, ...] = ()


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
class CameraView:
    """What one camera of a robot gave to an answer.

    Attributes:
        camera: its name; empty where the robot has one camera.
        frame: its image, where it could be read.
        base_from_camera: mounting; of several cameras moved by odometry to the stamp of the answer. None if unknown.
        view_idx: position of the image in the query; None where it was not asked.
        problem: why it was not asked, one sentence; empty if it was.
        is_missing: no image of this time has come.
    """

    camera: str = ""
    frame: Frame | None = None
    base_from_camera: Rigid3 | None = None
    view_idx: int | None = None
    problem: str = ""
    is_missing: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of one image, or of images of one time, and where the time went.

    Attributes:
        relocalization: None where the image could not be used.
        error: why it could not be used; empty where it could.
        camera_frame_id: empty where the image could not be read.
        wait_s: from arrival to the start of work.
        decode_s: message to pixels.
        gate_s: waiting for odometry, comparison, filter.
        total_s: from arrival to this answer.
        counters: of all images so far, this one included.
        frame: the image, where it could be read; of several the first.
        is_refused: no work was begun, because the engine is not ready; `error` says how far it is.
        tracking: what is known of the position, where there is no relocalization to say it.
        views: what each camera gave, in their order.
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
    views: tuple[CameraView, ...] = ()
