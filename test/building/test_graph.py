"""What is run, what is found done, and what happens when tasks or their workers fail."""

import dataclasses

import pytest

from hfnet_ros.building import stages
from hfnet_ros.building.execution import InProcess, execute
from hfnet_ros.building.graph import Outcome
from hfnet_ros.config import Config
from hfnet_ros.errors import BuildingError


class Unreliable:
    """Runs jobs in the opposite order; the worker of some ends first, as often as is said."""

    num_at_once = 4

    def __init__(self, kills, for_memory=False):
        self.kills, self.for_memory, self.jobs = dict(kills), for_memory, []

    def submit(self, job):
        self.jobs.append(job)
        return job

    def wait(self):
        job = self.jobs.pop()
        if self.kills.get(job.of, 0):
            self.kills[job.of] -= 1
            return job, Outcome(killed="signal 9", for_memory=self.for_memory)
        return job, execute(job)

    def close(self):
        self.jobs.clear()


def two_sums(numbers, values=(1, 2, 3)):
    one, two, three = (numbers.number(value) for value in values)
    left, right = numbers.sum(one, two, of="left"), numbers.sum(two, three, of="right")
    return [left, right, numbers.sum(left, right, of="all")]


def test_each_task_is_run_once_and_then_found(numbers, value_of):
    graph = numbers.graph()
    assert [value_of(made) for made in graph.finish(two_sums(numbers))] == [3, 5, 8]
    assert set(numbers.runs.values()) == {1}
    assert (graph.num_run, graph.num_reused) == (6, 0)
    again = numbers.graph()
    assert [value_of(made) for made in again.finish(two_sums(numbers))] == [3, 5, 8]
    assert (again.num_run, again.num_reused) == (0, 6)


def test_only_what_depends_on_a_change_is_made_anew(numbers, value_of):
    numbers.graph().finish(two_sums(numbers))
    numbers.runs.clear()
    assert value_of(numbers.graph().finish(two_sums(numbers, (1, 2, 4)))[-1]) == 9
    assert set(numbers.runs) == {"4", "right", "all"}


def test_what_comes_out_the_same_changes_nothing_behind_it(numbers, value_of):
    numbers.graph().finish(two_sums(numbers))
    numbers.runs.clear()
    assert value_of(numbers.graph().finish(two_sums(numbers, (1, 2, -3)))[-1]) == 8
    assert set(numbers.runs) == {"-3"}


def test_parameters_matter_where_they_are_read(numbers):
    config = Config()
    numbers.graph().finish(two_sums(numbers))
    numbers.runs.clear()
    gate = dataclasses.replace(config.gate, axes="planar")
    numbers.graph(config=dataclasses.replace(config, gate=gate)).finish(two_sums(numbers))
    assert not numbers.runs
    pose = dataclasses.replace(config.pose, seed=config.pose.seed + 1)
    numbers.graph(config=dataclasses.replace(config, pose=pose)).finish(two_sums(numbers))
    assert set(numbers.runs) == {"left", "right", "all"}


def test_a_build_goes_on_after_a_task_failed(numbers, value_of):
    numbers.fails = {"right"}
    with pytest.raises(BuildingError, match=r"sum of right: right: Input/output error"):
        numbers.graph().finish(two_sums(numbers))
    numbers.fails = set()
    numbers.runs.clear()
    assert value_of(numbers.graph().finish(two_sums(numbers))[-1]) == 8
    assert set(numbers.runs) == {"right", "all"}


def test_a_damaged_artefact_is_made_anew_when_it_is_read(numbers, value_of, caplog):
    tasks = two_sums(numbers)
    numbers.graph().finish(tasks[:2])
    left = numbers.graph().finish(tasks[:1])[0]
    content = left.arrays_file.read_bytes()
    place = content.index(b"\x03\0\0\0\0\0\0\0", 128)
    left.arrays_file.write_bytes(content[:place] + b"\x07" + content[place + 1 :])
    numbers.runs.clear()
    assert value_of(numbers.graph().finish(two_sums(numbers))[-1]) == 8
    assert numbers.runs == {"all": 2, "left": 1}
    assert "damaged and made anew" in caplog.text


def test_an_artefact_that_is_damaged_again_and_again_ends_the_build(numbers):
    class Damaging(InProcess):
        def wait(self):
            job, outcome = super().wait()
            if job.of == "left":
                job.artefact.arrays_file.write_bytes(b"x" * job.artefact.arrays_file.stat().st_size)
            return job, outcome

    with pytest.raises(BuildingError, match="damaged again and again: look at the disk"):
        numbers.graph(Damaging()).finish(two_sums(numbers))


def test_what_the_program_itself_reads_is_made_anew_too(numbers):
    graph = numbers.graph()
    left, right, _ = two_sums(numbers)
    first = graph.finish([left])[0]
    first.arrays_file.write_bytes(b"x" * first.bytes)
    assert [int(arrays["value"]) for arrays in numbers.graph().read([left, right])] == [3, 5]
    assert numbers.runs["left"] == 2


def test_a_task_whose_worker_was_killed_is_run_again(numbers, value_of, caplog):
    graph = numbers.graph(Unreliable({"2": 3, "right": 9, "all": 1}))
    assert [value_of(made) for made in graph.finish(two_sums(numbers))] == [3, 5, 8]
    assert caplog.text.count("the task is run again") == 13


def test_a_task_that_ends_every_worker_ends_the_build(numbers):
    with pytest.raises(BuildingError, match=r"sum of left: its worker ended 10 times.*signal 9"):
        numbers.graph(Unreliable({"left": 99})).finish(two_sums(numbers))


def test_a_task_without_memory_is_named_with_what_to_do(numbers):
    with pytest.raises(
        BuildingError, match=r"sum of left: its worker was killed for memory 3 times.*--sub-maps"
    ):
        numbers.graph(Unreliable({"left": 99}, for_memory=True)).finish(two_sums(numbers))


def test_running_out_of_memory_in_this_process_is_named_too(numbers, monkeypatch):
    def refuse(job):
        raise MemoryError

    monkeypatch.setitem(stages.RUN, "sum", refuse)
    with pytest.raises(BuildingError, match="killed for memory"):
        numbers.graph().finish(two_sums(numbers))


def test_a_worker_with_another_version_says_so(numbers):
    graph = numbers.graph()
    job = dataclasses.replace(graph.job_of(numbers.number(1)), version="0.0.1")
    assert "expected 0.0.1: install the same" in execute(job).error
    assert not numbers.runs


def test_progress_counts_all_tasks_that_are_known(numbers):
    told = []
    graph = numbers.graph(progress=lambda *step: told.append(step))
    graph.expect(2)
    graph.finish(two_sums(numbers)[:1])
    graph.expect(-2)
    graph.finish(two_sums(numbers)[1:])
    assert told[0] == ("number", 1, 5)
    assert [done for _, done, _ in told] == list(range(1, len(told) + 1))
    assert told[-1][1] == told[-1][2]
