"""The same graph on a Ray cluster of this machine, and what is said where there is none."""

import dataclasses
import importlib.util
import os
import socket

import cv2
import numpy as np
import pytest

from hfnet_ros.building import ray_cluster, stages
from hfnet_ros.building.artefacts import Artefact
from hfnet_ros.building.graph import Graph, Outcome, Task
from hfnet_ros.config import Config
from hfnet_ros.errors import BuildingError

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra cluster)"
)


def checks(folder, count):
    """Tasks that read images, and the last one a file that is none."""
    folder.mkdir()
    for row in range(count):
        cv2.imwrite(str(folder / f"{row}.png"), np.full((20, 30 + row), row, np.uint8))
    (folder / "bad.png").write_bytes(b"no image")
    files = [str(folder / f"{row}.png") for row in range(count)]
    return [
        Task(stages.CHECK, file, {"files": [file]}, files=(file,))
        for file in [*files, str(folder / "bad.png")]
    ]


@needs_ray
def test_jobs_run_on_workers_and_nothing_but_loopback_listens(tmp_path):
    *good, bad = checks(tmp_path / "images", 6)
    with ray_cluster.connected("2", Config(), tmp_path / "work", "none") as workers:
        graph = Graph(tmp_path / "work", workers, Config())
        widths = [int(made.read_arrays()["size_wh"][0, 0]) for made in graph.finish(good)]
        assert widths == [30, 31, 32, 33, 34, 35]
        assert graph.num_run == 6
        ray = importlib.import_module("ray")
        assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        # Made by others than this process.
        records = [path.read_text() for path in (tmp_path / "work").rglob("*.json")]
        assert not any(f" {os.getpid()}" in record for record in records)
        with pytest.raises(BuildingError, match=r"check of .*bad.png.*not an image"):
            graph.finish([bad])
    assert not ray.is_initialized()


@needs_ray
def test_no_cluster_is_said_at_once(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        pytest.raises(
            BuildingError, match=rf"no Ray cluster can be reached at '{address}'.*ray start --head"
        ),
        ray_cluster.connected(address, Config(), tmp_path, "none"),
    ):
        pass


@needs_ray
@pytest.mark.parametrize("address", ["somewhere", "host:", ":x", "-3"])
def test_what_is_no_address_is_refused(tmp_path, address):
    with (
        pytest.raises(BuildingError, match="expected HOST:PORT of a Ray head, auto, local or a number"),
        ray_cluster.connected(address, Config(), tmp_path, "none"),
    ):
        pass


class FakeRay:
    """A cluster whose machines come and go, and whose jobs all wait."""

    class exceptions:  # noqa: N801
        pass

    def __init__(self, *cpus):
        self.cpus, self.asked, self.cancelled = list(cpus), [], []

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": float(cpu), "memory": 1e9 * cpu}} for cpu in self.cpus]

    def remote(self, **_):
        return lambda function: self

    def options(self, **needed):
        self.asked.append(needed)
        return type("Call", (), {"remote": lambda _, job: f"handle {len(self.asked)}"})()

    def get_runtime_context(self):
        return type("Context", (), {"gcs_address": "127.0.0.1:1"})

    def wait(self, handles, **_):
        return [], handles

    def cancel(self, handle, force):
        self.cancelled.append(handle)


def job_of(tmp_path, stage, num_bytes=0):
    graph = Graph(tmp_path, None, Config())
    job = graph.job_of(Task(stage, "something", {}))
    return dataclasses.replace(job, inputs=(Artefact(tmp_path / "a", "0", num_bytes),))


def test_jobs_ask_for_threads_and_memory_but_for_no_more_than_there_is(tmp_path):
    ray = FakeRay(1, 4)
    workers = ray_cluster.RayWorkers(ray, Config())
    workers.submit(job_of(tmp_path, stages.DESCRIBE))
    workers.submit(job_of(tmp_path, stages.STRUCTURE, 500_000_000))
    workers.submit(job_of(tmp_path, stages.STRUCTURE, 50_000_000_000))
    assert [needed["num_cpus"] for needed in ray.asked] == [2, 1, 1]
    assert 2e9 < ray.asked[1]["memory"] < 2.5e9
    assert ray.asked[2]["memory"] == 4e9
    assert {needed["num_gpus"] for needed in ray.asked} == {0}


def test_only_networks_ask_for_a_gpu_and_only_if_one_is_named(tmp_path):
    config, ray = Config(), FakeRay(4)
    named = dataclasses.replace(config.inference, backend="onnxruntime-cuda")
    workers = ray_cluster.RayWorkers(ray, dataclasses.replace(config, inference=named))
    workers.submit(job_of(tmp_path, stages.DESCRIBE))
    workers.submit(job_of(tmp_path, stages.STRUCTURE))
    assert [needed["num_gpus"] for needed in ray.asked] == [1, 0]


def test_a_job_larger_than_what_is_left_of_the_cluster_is_handed_in_again(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "_listens", lambda *_: True)
    ray = FakeRay(1, 2)
    workers = ray_cluster.RayWorkers(ray, Config())
    job = job_of(tmp_path, stages.DESCRIBE)
    handle = workers.submit(job)
    ray.cpus = [1]
    gone, outcome = workers.wait()
    assert (gone, ray.cancelled) == (handle, [handle])
    assert "no machine of the cluster is as large any more" in outcome.killed
    workers.submit(job)
    assert [needed["num_cpus"] for needed in ray.asked] == [2, 1]


class ShortOfMemory(FakeRay):
    """A cluster whose jobs all end, the first ones because memory is at its end."""

    class exceptions:  # noqa: N801
        class OutOfMemoryError(Exception):
            pass

    def __init__(self, *cpus, outcomes):
        super().__init__(*cpus)
        self.outcomes = list(outcomes)

    def wait(self, handles, **_):
        return handles[:1], handles[1:]

    def get(self, handle):
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_what_memory_was_too_short_for_runs_beside_fewer_and_then_alone(tmp_path):
    """The largest memory of a machine with enough CPUs counts: more than that would wait forever."""
    killed = [
        ShortOfMemory.exceptions.OutOfMemoryError("killed"),
        Outcome(killed="bad_alloc", for_memory=True),
    ]
    for stage, most in ((stages.STRUCTURE, 4e9), (stages.DESCRIBE, 3e9)):
        ray = ShortOfMemory(1, 3, outcomes=[*killed, Outcome(killed="killed"), Outcome()])
        ray.nodes = lambda: [
            {"Alive": True, "Resources": {"CPU": float(cpus), "memory": memory}}
            for cpus, memory in ((1, 4e9), (3, 3e9), (3, 2e9))
        ]
        workers = ray_cluster.RayWorkers(ray, Config())
        job = job_of(tmp_path, stage, 50_000_000)
        outcomes = []
        for _ in range(4):
            workers.submit(job)
            outcomes.append(workers.wait()[1])
        asked = [needed["memory"] for needed in ray.asked]
        assert 5e8 < asked[0] < 6e8
        assert asked[1:] == [most / 2, most, most]
        assert [outcome.for_memory for outcome in outcomes] == [True, True, False, False]
        other = dataclasses.replace(job, artefact=Artefact(tmp_path / "other"))
        workers.submit(other)
        assert ray.asked[-1]["memory"] == asked[0]


def test_a_head_that_is_gone_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "_listens", lambda *_: False)
    workers = ray_cluster.RayWorkers(FakeRay(2), Config())
    workers.submit(job_of(tmp_path, stages.CHECK))
    with pytest.raises(
        BuildingError, match=r"head of the cluster at 127.0.0.1:1 is gone; start the same command"
    ):
        workers.wait()


def test_a_missing_ray_is_named_with_what_brings_it(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with (
        pytest.raises(
            BuildingError, match=r"needs Ray, which is not installed; `pip install hfnet_ros\[cluster\]`"
        ),
        ray_cluster.connected("local", Config(), tmp_path, "none"),
    ):
        pass


def test_machines_are_compared_with_this_one(tmp_path):
    with pytest.raises(BuildingError, match=r"machine a has hfnet_ros 1.0, expected 2.0 as here"):
        ray_cluster._compare("machine a", "hfnet_ros", "1.0", "2.0")
    with pytest.raises(BuildingError, match=r"machine a does not share the work folder .* --work a folder"):
        ray_cluster._refuse_invisible(tmp_path / "note", "machine a", tmp_path, {})
    with pytest.raises(BuildingError, match="Permission denied"):
        ray_cluster._refuse_invisible(tmp_path / "note", "a", tmp_path, {"unwritten": "Permission denied"})


def test_a_machine_says_what_it_has_and_leaves_a_note(tmp_path):
    values = Config().to_dict()
    values["extractor"]["name"] = "sift"
    said = ray_cluster.answer("node", str(tmp_path / "note"), values)
    assert (tmp_path / "note-node").read_text() == "node"
    assert said["extractor_id"] == "rootsift-1"
    assert said["code"] == ray_cluster.code_digest()
    values["extractor"] |= {"name": "hfnet", "weights": "/nowhere.onnx"}
    assert "no such weights file" in ray_cluster.answer("node", str(tmp_path / "note"), values)["problem"]
