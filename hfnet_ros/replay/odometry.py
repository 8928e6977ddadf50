"""Odometry of a bag, as much of it as has come by the time of a replay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.bags.pose_samples import PoseSamples
from hfnet_ros.config import OdometryConfig
from hfnet_ros.replay.clock import SimulatedClock
from hfnet_ros.tracking.odometry import OdometrySample, TransformHistory

_NS_PER_S = 1_000_000_000


class BagOdometry:
    """An `Odometry` for the relocalizer, fed by a clock instead of messages."""

    def __init__(
        self,
        samples: PoseSamples,
        available_ns: NDArray[np.int64],
        config: OdometryConfig,
        clock: SimulatedClock,
    ) -> None:
        """Start with nothing known.

        Args:
            samples: odom_from_base.
            available_ns: [N] when each of them may be known, never decreasing.
            config: what is remembered and what gap is bridged.
            clock: of the replay; waiting lets it advance.
        """
        self._samples, self._available_ns, self._clock = samples, available_ns, clock
        self._history = TransformHistory(config)
        self._num_fed = 0

    @property
    def is_expected(self) -> bool:
        """Tell whether a missing pose is a fault: some have come, or will."""
        return True

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """Return the stamps of the oldest and the newest pose that is remembered; None if there is none."""
        self._feed()
        return self._history.span_ns

    @property
    def held_back(self) -> str:
        """Why the newest pose is not used unless the next one agrees with it, in words; empty where it is used."""
        self._feed()
        return self._history.held_back

    def sample_at(self, stamp_ns: int) -> OdometrySample | None:
        """Return the pose at a time; None where it would have to be guessed."""
        self._feed()
        return self._history.sample_at(stamp_ns)

    def last_before(self, stamp_ns: int) -> OdometrySample | None:
        """Return the pose at a time, or else the newest one before it; None if there is none."""
        self._feed()
        return self._history.last_before(stamp_ns)

    def wait_for(self, stamp_ns: int, timeout_s: float) -> bool:
        """Let the clock advance until poses reach a time; at once False if none ever came."""
        self._feed()
        if not self._num_fed:
            return False
        limit_ns = self._clock.now_ns() + round(timeout_s * _NS_PER_S)
        index = int(np.searchsorted(self._samples.stamps_ns, stamp_ns))
        reaches = index < len(self._samples) and int(self._available_ns[index]) <= limit_ns
        self._clock.advance_to(int(self._available_ns[index]) if reaches else limit_ns)
        self._feed()
        return reaches

    def _feed(self) -> None:
        """Remember what has become available."""
        end = int(np.searchsorted(self._available_ns, self._clock.now_ns(), side="right"))
        for index in range(self._num_fed, end):
            self._history.add(int(self._samples.stamps_ns[index]), self._samples.pose(index))
        self._num_fed = max(self._num_fed, end)


def known_ahead(samples: PoseSamples) -> NDArray[np.int64]:
    """Return when samples are available if nothing is ever late: each with its predecessor.

    At any time there is then one sample beyond it, so that poses are interpolated and not guessed.
    """
    before = samples.stamps_ns[:-1]
    return np.concatenate([np.full(1, np.iinfo(np.int64).min), before])


def known_when_received(samples: PoseSamples) -> NDArray[np.int64]:
    """Return when samples are available to a live node: on receipt, and none before its predecessor."""
    return np.maximum.accumulate(samples.receipts_ns)
