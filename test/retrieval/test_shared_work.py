"""Work that is shared among threads: every job once, in order, and nothing goes on after an error."""

import threading

import pytest

from hfnet_ros.retrieval.shared_work import SharedWork


@pytest.mark.parametrize("num_threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_results_are_in_the_order_of_the_jobs(num_threads, count):
    done = []
    assert SharedWork(num_threads).do(lambda job: done.append(job) or 2 * job, range(count)) == [
        2 * job for job in range(count)
    ]
    assert sorted(done) == list(range(count))


def test_the_caller_and_others_work_at_once():
    both = threading.Barrier(2, timeout=10.0)
    threads = SharedWork(2).do(lambda _: both.wait() is not None and threading.get_ident(), [0, 1])
    assert threading.get_ident() in threads
    assert len(set(threads)) == 2


@pytest.mark.parametrize("num_threads", [1, 3])
def test_an_error_ends_it_and_the_next_call_works(num_threads):
    shared = SharedWork(num_threads)

    def fail(job):
        if job == 3:
            raise ValueError("job 3")
        return job

    with pytest.raises(ValueError, match="job 3"):
        shared.do(fail, range(50))
    assert shared.do(fail, range(3)) == [0, 1, 2]
