from __future__ import annotations

import numpy as np
import pytest

from hfnet_ros.evaluation.availability import measure_availability

S = 1_000_000_000


def at(*seconds):
    return [round(second * S) for second in seconds]


def test_a_run_counted_by_hand():
    # Lost until 2 s, known until 4 s, lost from the fix at 4 s to that at 9 s, known to the end.
    stamps = at(0, 1, 2, 3, 4, 5, 8, 9, 10)
    answers = [False, False, True, True, True, False, False, True, True]
    found = measure_availability(stamps, answers)
    assert found.recordings == 1
    assert found.duration_s == 10.0
    assert found.time_to_first_s == 2.0
    assert found.longest_lost_s == 5.0
    # Answers at 2, 3, 4 and 9 s hold for a second each.
    assert found.share_of_time == pytest.approx(0.4)


def test_the_end_of_a_run_counts_as_lost():
    found = measure_availability(at(0, 1, 2, 3), [True, False, False, False])
    assert (found.longest_lost_s, found.time_to_first_s) == (3.0, 0.0)


def test_a_pause_between_recordings_is_nobodys_fault():
    stamps = at(0, 1, 2, 3, 1000, 1001, 1002, 1003)
    found = measure_availability(stamps, [True, True, True, False, False, True, True, True])
    assert (found.recordings, found.duration_s) == (2, 6.0)
    assert found.time_to_first_s == 1.0
    assert found.longest_lost_s == 1.0


def test_all_or_nothing():
    every = measure_availability(at(0, 1, 2), [True] * 3)
    assert (every.share_of_time, every.longest_lost_s, every.time_to_first_s) == (1.0, 0.0, 0.0)
    none = measure_availability(at(0, 1, 2), [False] * 3)
    assert (none.share_of_time, none.longest_lost_s, none.time_to_first_s) == (0.0, 2.0, None)


def test_the_order_of_the_queries_does_not_matter():
    rng = np.random.default_rng(0)
    stamps, answers = np.arange(50) * S, rng.random(50) < 0.6
    order = rng.permutation(50)
    assert measure_availability(stamps, answers) == measure_availability(stamps[order], answers[order])


def test_nothing_and_one_query():
    assert measure_availability([], []).share_of_time is None
    single = measure_availability([5], [True])
    assert (single.duration_s, single.share_of_time, single.time_to_first_s) == (0.0, None, 0.0)


def test_lengths_must_fit():
    with pytest.raises(ValueError, match="2 stamps but 1"):
        measure_availability([1, 2], [True])
