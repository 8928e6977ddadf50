"""How much of the time a robot knew where it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A pause this much longer than the usual step is a break between recordings, not a lost robot.
_BREAK_STEPS, _BREAK_S = 30.0, 10.0


@dataclass(frozen=True, slots=True)
class Availability:
    """Presence of an answer over time; seconds.

    Attributes:
        recordings: stretches without a long pause; nothing is counted across a pause.
        duration_s: sum of their lengths.
        time_to_first_s: from the first query of a recording to its first answer, the longest over
            the recordings; None if one of them never had an answer.
        longest_lost_s: longest time from an answer (or the start) to the next (or the end) with a
            query in between, or at that end, that had none; 0 if every query had an answer.
        share_of_time: of `duration_s`; an answer holds until the next query. None of no duration.
    """

    recordings: int
    duration_s: float
    time_to_first_s: float | None
    longest_lost_s: float
    share_of_time: float | None


def measure_availability(stamps_ns: Sequence[int], has_answer: Sequence[bool]) -> Availability:
    """Measure when answers [N] were there; the queries may come in any order.

    Raises:
        ValueError: the two differ in length.
    """
    if len(stamps_ns) != len(has_answer):
        raise ValueError(f"{len(stamps_ns)} stamps but {len(has_answer)} answers")
    order = np.argsort(np.asarray(stamps_ns, dtype=np.int64), kind="stable")
    stamps = np.asarray(stamps_ns, dtype=np.int64)[order]
    answers = np.asarray(has_answer, dtype=bool)[order]
    parts = np.split(np.arange(len(stamps)), _breaks(stamps))
    recordings = [(stamps[part], answers[part]) for part in parts if len(part)]
    firsts = [_time_to_first(*recording) for recording in recordings]
    duration = float(sum((stamps[-1] - stamps[0]) / 1e9 for stamps, _ in recordings))
    held = float(sum((np.diff(stamps) / 1e9)[answers[:-1]].sum() for stamps, answers in recordings))
    known = [first for first in firsts if first is not None]
    return Availability(
        recordings=len(recordings),
        duration_s=duration,
        time_to_first_s=max(known) if known and len(known) == len(firsts) else None,
        longest_lost_s=max((_longest_lost(*recording) for recording in recordings), default=0.0),
        share_of_time=held / duration if duration > 0.0 else None,
    )


def _breaks(stamps: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(stamps) < 2:
        return np.zeros(0, dtype=np.int64)
    steps_s = np.diff(stamps) / 1e9
    return np.flatnonzero(steps_s > max(_BREAK_STEPS * float(np.median(steps_s)), _BREAK_S)) + 1


def _time_to_first(stamps: NDArray[np.int64], answers: NDArray[np.bool_]) -> float | None:
    if not answers.any():
        return None
    return float(stamps[int(np.argmax(answers))] - stamps[0]) / 1e9


def _longest_lost(stamps: NDArray[np.int64], answers: NDArray[np.bool_]) -> float:
    lost = np.flatnonzero(~answers)
    if len(lost) == 0:
        return 0.0
    found = np.flatnonzero(answers)
    place = np.searchsorted(found, lost)
    # Before the first answer and after the last, the ends of the recording bound the stretch.
    bounds = np.concatenate([[0], found, [len(stamps) - 1]])
    return float((stamps[bounds[place + 1]] - stamps[bounds[place]]).max()) / 1e9
