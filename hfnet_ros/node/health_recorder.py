"""Remembers what happened in the last minute, for diagnostics."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.messages.diagnostics import ImageHealth, LocalizationHealth
from hfnet_ros.messages.status import outcome_word, worst_sigmas
from hfnet_ros.types import Answer, Tracking, Verdict

_WINDOW_S = 60.0
_RATE_IMAGES = 20  # arrivals over which the rate is taken


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


@dataclass
class _Seen:
    """Counts and last events since activation."""

    arrivals_s: deque[float] = field(default_factory=lambda: deque(maxlen=_RATE_IMAGES))
    num_received: int = 0
    num_refused: int = 0
    num_processed: int = 0
    last_error: str = ""
    size_wh: tuple[int, int] | None = None
    camera_frame: str = ""
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
        """Return the optical frame of the last image; empty before the first."""
        return self._seen.camera_frame

    def note_image(self, camera_frame: str) -> None:
        """Note that an image message came."""
        with self._lock:
            self._seen.arrivals_s.append(time.monotonic())
            self._seen.num_received += 1
            self._seen.camera_frame = camera_frame

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
            seen.last_error = answer.error
            answered = _Answered(now_s, answer.total_s, counters.num_received, counters.num_superseded)
            seen.answered.append(answered)
            seen.drop_answers_before(now_s - _WINDOW_S)
            if answer.relocalization is None:
                seen.num_refused += 1
                return
            if answer.frame is not None:
                seen.size_wh = answer.frame.camera.size_wh
            seen.doubts = answer.relocalization.warnings
            decision = answer.relocalization.decision
            if decision is not None:
                accepted = decision.verdict is Verdict.ACCEPTED
                seen.rejected_in_a_row = 0 if accepted else seen.rejected_in_a_row + 1

    def image_health(self, config: Config, topic: str, **errors: str) -> ImageHealth:
        """Return what is known of the images.

        Args:
            config: the parameters in force.
            topic: where they are expected.
            errors: `camera_info_error`, `extrinsic_error` and `clock_error`.
        """
        now_s = time.monotonic()
        with self._lock:
            seen = self._seen
            seen.drop_answers_before(now_s - _WINDOW_S)
            arrivals = list(seen.arrivals_s)
            return ImageHealth(
                topic=topic,
                num_received=seen.num_received,
                age_s=now_s - arrivals[-1] if arrivals else None,
                timeout_s=config.node.image_timeout_s,
                rate_hz=_rate_hz(arrivals),
                size_wh=seen.size_wh,
                num_refused=seen.num_refused,
                last_error=seen.last_error,
                **errors,
                doubts=seen.doubts,
                superseded_share=_superseded_share(seen.answered),
            )

    def localization_health(self, config: Config, now: Tracking, not_ready: str) -> LocalizationHealth:
        """Return what is known of localization.

        Args:
            config: the parameters in force.
            now: what is known of the position.
            not_ready: why no image is localized, while the engine is being prepared; else empty.
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
        )


def _conclusion(answer: Answer) -> _Conclusion:
    outcome, relocalization = outcome_word(answer), answer.relocalization
    if relocalization is None:
        return _Conclusion(outcome, reason=answer.error)
    decision = relocalization.decision
    if decision is None:
        return _Conclusion(outcome, reason=relocalization.localization.evidence.reason)
    return _Conclusion(outcome, decision.verdict.value, decision.reason)


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
