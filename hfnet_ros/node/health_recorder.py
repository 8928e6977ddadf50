"""Remembers what happened in the last minute, for diagnostics."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.features.preprocess import describe_flatness
from hfnet_ros.messages.diagnostics import ImageHealth, LocalizationHealth, ViewHealth
from hfnet_ros.messages.status import outcome_word, share_of, worst_sigmas
from hfnet_ros.tracking.image_groups import CameraTiming
from hfnet_ros.types import Answer, CameraView, Tracking, Verdict, ViewShare

_WINDOW_S = 60.0
_RATE_IMAGES = 20  # arrivals over which the rate is taken
_MOST_LOSSES = 10_000  # events of a minute; of more the newest count
_IN_A_ROW = 3  # images of a camera that tell of a fault, where one alone may be of the place
_FROZEN = "frozen"  # how the problem of a view begins that repeats itself


class _Conclusion(NamedTuple):
    """What is said of the last image that was answered."""

    outcome: str = ""
    verdict: str = ""
    reason: str = ""


class _Answered(NamedTuple):
    time_s: float
    latency_s: float
    num_received: int
    num_superseded: int


class _Lost(NamedTuple):
    """What was received and lost of a camera's images before some more were lost at a time."""

    time_s: float
    num_received: int
    num_lost: int


@dataclass
class _CameraSeen:
    """Counts and last events of one camera; texts are empty where there is nothing to complain of."""

    arrivals_s: deque[float] = field(default_factory=lambda: deque(maxlen=_RATE_IMAGES))
    num_received: int = 0
    num_lost: int = 0
    losses: deque[_Lost] = field(default_factory=lambda: deque(maxlen=_MOST_LOSSES))
    num_refused: int = 0
    last_error: str = ""
    size_wh: tuple[int, int] | None = None
    share: ViewShare | None = None
    frozen: str = ""
    flat: str = ""
    num_flat: int = 0  # in a row
    contradiction: str = ""

    def note(self, view: CameraView, share: ViewShare, error: str) -> None:
        """Take what became of an image that came."""
        self.last_error = error
        if error:
            self.num_refused += 1
            return
        if view.frame is None:
            return
        self.size_wh = view.frame.camera.size_wh
        if not view.camera:
            return
        self.share = share
        self.frozen = view.problem if view.problem.startswith(_FROZEN) else ""
        self.flat = describe_flatness(view.frame.image)
        self.num_flat = self.num_flat + 1 if self.flat else 0
        self.contradiction = share.doubt

    def lost_share(self, since_s: float) -> float | None:
        """Return the part of the images since a time that was lost; None where none was."""
        while self.losses and self.losses[0].time_s < since_s:
            self.losses.popleft()
        if not self.losses:
            return None
        first = self.losses[0]
        lost = self.num_lost - first.num_lost
        return lost / (lost + self.num_received - first.num_received)


@dataclass
class _Seen:
    """Counts and last events since activation."""

    cameras: defaultdict[str, _CameraSeen] = field(default_factory=lambda: defaultdict(_CameraSeen))
    camera_frames: dict[str, str] = field(default_factory=dict)
    num_processed: int = 0
    doubts: tuple[str, ...] = ()  # of the last image that could be used
    last: _Conclusion = field(default_factory=_Conclusion)
    rejected_in_a_row: int = 0
    answered: deque[_Answered] = field(default_factory=deque)

    def drop_answers_before(self, time_s: float) -> None:
        while self.answered and self.answered[0].time_s < time_s:
            self.answered.popleft()


class HealthRecorder:
    """Takes events from any thread; gives the parts of `NodeHealth` that they make up."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._lock = threading.Lock()
        self._seen = _Seen()

    def clear(self) -> None:
        """Forget everything, as at activation."""
        with self._lock:
            self._seen = _Seen()

    @property
    def camera_frame(self) -> str:
        """Return the optical frame of the last image, of several cameras all of them; empty before the first."""
        with self._lock:
            return " ".join(self._seen.camera_frames.values())

    def note_image(self, camera_frame: str, camera: str = "") -> None:
        """Note that an image message of a camera came."""
        with self._lock:
            seen = self._seen.cameras[camera]
            seen.arrivals_s.append(time.monotonic())
            seen.num_received += 1
            self._seen.camera_frames[camera] = camera_frame

    def note_lost(self, number: int, camera: str = "") -> None:
        """Note that images of a camera were sent and did not arrive."""
        with self._lock:
            seen = self._seen.cameras[camera]
            seen.losses.append(_Lost(time.monotonic(), seen.num_received, seen.num_lost))
            seen.num_lost += number

    def note_answer(self, answer: Answer) -> None:
        """Note what became of an image."""
        counters = answer.counters
        now_s = time.monotonic()
        with self._lock:
            seen = self._seen
            seen.num_processed = counters.num_processed
            seen.last = _conclusion(answer)
            if answer.is_refused:  # it says nothing of images, nor of how long one takes
                return
            answered = _Answered(now_s, answer.total_s, counters.num_received, counters.num_superseded)
            seen.answered.append(answered)
            seen.drop_answers_before(now_s - _WINDOW_S)
            for view in answer.views or (CameraView(frame=answer.frame),):
                if not view.is_missing:
                    unread = view.problem if view.frame is None else ""
                    seen.cameras[view.camera].note(view, share_of(answer, view), unread or answer.error)
            if answer.relocalization is None:
                return
            seen.doubts = answer.relocalization.warnings
            decision = answer.relocalization.decision
            if decision is not None:
                accepted = decision.verdict is Verdict.ACCEPTED
                seen.rejected_in_a_row = 0 if accepted else seen.rejected_in_a_row + 1

    def image_health(
        self,
        config: Config,
        topic: str,
        camera: str = "",
        *,
        camera_info_error: str = "",
        extrinsic_error: str = "",
        clock_error: str = "",
        timing: CameraTiming | None = None,
    ) -> ImageHealth:
        """Return what is known of the images of a camera.

        Args:
            config: the parameters in force.
            topic: where they are expected.
            camera: its name.
            camera_info_error: see `ImageHealth`, as the next two.
            extrinsic_error: why its mounting is unknown.
            clock_error: how stamps and time disagree.
            timing: how its images fit those of the others; None where there are none.
        """
        now_s = time.monotonic()
        with self._lock:
            self._seen.drop_answers_before(now_s - _WINDOW_S)
            seen = self._seen.cameras[camera]
            arrivals = list(seen.arrivals_s)
            return ImageHealth(
                camera=camera,
                topic=topic,
                num_received=seen.num_received,
                num_lost=seen.num_lost,
                lost_share=seen.lost_share(now_s - _WINDOW_S),
                age_s=now_s - arrivals[-1] if arrivals else None,
                timeout_s=config.node.image_timeout_s,
                rate_hz=_rate_hz(arrivals),
                size_wh=seen.size_wh,
                num_refused=seen.num_refused,
                last_error=seen.last_error,
                camera_info_error=camera_info_error,
                extrinsic_error=extrinsic_error,
                clock_error=clock_error,
                doubts=self._seen.doubts,
                superseded_share=_superseded_share(self._seen.answered),
                among=None if timing is None else _view_health(seen, timing, config),
            )

    def localization_health(
        self, config: Config, now: Tracking, not_ready: str, rival: str = ""
    ) -> LocalizationHealth:
        """Return what is known of localization.

        Args:
            config: the parameters in force.
            now: what is known of the position.
            not_ready: why no image is localized, while the engine is being prepared; else empty.
            rival: who else broadcasts map->odom; empty if nobody does.
        """
        with self._lock:
            seen = self._seen
            seen.drop_answers_before(time.monotonic() - _WINDOW_S)
            last, latencies_s = seen.last, [answered.latency_s for answered in seen.answered]
            rejected, processed = seen.rejected_in_a_row, seen.num_processed
        sigmas = worst_sigmas(now.belief.covariance if now.belief is not None else None)
        median_s, last_percent_s = (
            np.percentile(latencies_s, [50, 99]).tolist() if latencies_s else (None, None)
        )
        return LocalizationHealth(
            on_demand=config.node.mode == "on_demand",
            not_ready=not_ready,
            state=now.state,
            outcome=last.outcome,
            verdict=last.verdict,
            reason=last.reason,
            age_s=now.age_s,
            distance_m=now.distance_m,
            position_sigma_m=sigmas[0] if sigmas is not None else None,
            rotation_sigma_rad=sigmas[1] if sigmas is not None else None,
            rejected_in_a_row=rejected,
            num_processed=processed,
            latency_p50_s=median_s,
            latency_p99_s=last_percent_s,
            broadcasts=config.frames.publish_tf,
            rival=rival,
        )


def _conclusion(answer: Answer) -> _Conclusion:
    outcome, relocalization = outcome_word(answer), answer.relocalization
    if relocalization is None:
        return _Conclusion(outcome, reason=answer.error)
    decision = relocalization.decision
    if decision is None:
        return _Conclusion(outcome, reason=relocalization.localization.evidence.reason)
    return _Conclusion(outcome, decision.verdict.value, decision.reason)


def _view_health(seen: _CameraSeen, timing: CameraTiming, config: Config) -> ViewHealth:
    flat = seen.flat if seen.num_flat >= _IN_A_ROW else ""
    share = seen.share
    return ViewHealth(
        delay_s=timing.behind_s,
        max_delay_s=config.cameras.sync_wait_s,
        group_share=timing.group_share,
        picture_error=seen.frozen or flat,
        contradiction=seen.contradiction,
        unproven="" if share is None else share.unproven,
        mounting="" if share is None else share.mounting,
        is_askew=share is not None and share.is_askew,
        num_keypoints=None if share is None else share.num_keypoints,
        num_matches=None if share is None else share.num_matches,
        num_inliers=None if share is None else share.num_inliers,
        problem="" if share is None else share.problem,
    )


def _rate_hz(arrivals_s: list[float]) -> float | None:
    if len(arrivals_s) < 2 or arrivals_s[-1] == arrivals_s[0]:
        return None
    return (len(arrivals_s) - 1) / (arrivals_s[-1] - arrivals_s[0])


def _superseded_share(answered: Sequence[_Answered]) -> float | None:
    if len(answered) < 2:
        return None
    first, last = answered[0], answered[-1]
    received = last.num_received - first.num_received
    return (last.num_superseded - first.num_superseded) / received if received > 0 else None
