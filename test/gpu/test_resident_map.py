"""A map on the GPU: who owns it, when it is used, and that poses stay what they were."""

import dataclasses
import functools
import logging
import threading

import numpy as np
import pytest
from fake_machine import Machine
from host_cuda import HostMemory, install_kernels, open_host_module

from hfnet_ros.cli.opening import open_for_images
from hfnet_ros.config import MATCHER_NAMES, Config, InferenceConfig, MatchingConfig, RetrievalConfig
from hfnet_ros.errors import EngineError
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.gpu.resident_map import ResidentMap
from hfnet_ros.localization import query_extractor
from hfnet_ros.localization.gpu_search import GpuSearch, open_gpu_search
from hfnet_ros.localization.landmark_model import LandmarkModel
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.node.served_map import ServedMap
from hfnet_ros.scene import query_walk
from hfnet_ros.types import Outcome, Place


@pytest.fixture
def machine(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Machine(monkeypatch, tmp_path / "engines")


@pytest.fixture
def config(config):
    return dataclasses.replace(config, inference=InferenceConfig(gpu_matching="auto"))


@pytest.fixture
def emulated():
    """Put a map on the emulated GPU."""
    searches = []

    def make(visual_map, config):
        open_map = functools.partial(ResidentMap, open_memory=HostMemory, open_kernels=open_host_module)
        search = open_gpu_search(visual_map, config, "tensorrt-10.3", open_map)
        searches.append(search)
        return search

    yield make
    for search in searches:
        search.close()


def test_poses_are_those_of_the_cpu(apartment, config, emulated):
    # A few keypoints only: the emulation is slow.
    config = Config(
        extractor=config.extractor,
        inference=config.inference,
        retrieval=RetrievalConfig(vocabulary_size=32, num_prior_frames_vlad=4),
        matching=MatchingConfig(min_similarity=0.8, max_query_keypoints=256, words_per_keypoint=32),
    )
    extractor = SiftExtractor(config)
    search = emulated(apartment.visual_map, config)
    on_gpu = Localizer(apartment.visual_map, extractor, config, search)
    on_cpu = Localizer(apartment.visual_map, extractor, config)
    poses = [pose for _, pose in query_walk(apartment.scene)]
    frame = apartment.frame(poses[0])
    ours, theirs = on_gpu.localize(frame), on_cpu.localize(frame)
    assert ours.outcome is theirs.outcome is Outcome.LOCALIZED
    assert isinstance(ours.place, Place)
    assert sorted(ours.place.keyframe_idxs) == sorted(theirs.place.keyframe_idxs)
    pairs = set(zip(ours.correspondences.keypoint_idxs, ours.correspondences.landmark_idxs, strict=True))
    wanted = set(zip(theirs.correspondences.keypoint_idxs, theirs.correspondences.landmark_idxs, strict=True))
    assert len(wanted) > 50
    assert len(pairs & wanted) >= 0.99 * len(pairs | wanted)
    np.testing.assert_allclose(
        ours.estimate.map_from_camera.translation, theirs.estimate.map_from_camera.translation, atol=0.01
    )


@pytest.mark.parametrize("library", ["pycuda", "cuda-bindings"])
def test_nothing_of_it_stays_on_the_gpu(apartment, config, machine, monkeypatch, library):
    machine.install_cuda(library)
    install_kernels(monkeypatch, machine, (library,))
    query = apartment.visual_map.global_descriptors[3]
    for _ in range(20):
        search = open_gpu_search(apartment.visual_map, config, "onnxruntime-cuda")
        assert isinstance(search, GpuSearch)
        assert search.index.search(query, 2)[0].keyframe_idx == 3
        search.close()
        search.close()
        assert machine.gpu.alive() == 0
        assert machine.gpu.modules == {}


def test_it_is_used_and_closed_by_its_own_thread_only(apartment, config, machine, monkeypatch):
    machine.install_cuda()
    install_kernels(monkeypatch, machine)
    resident, errors = ResidentMap(apartment.visual_map, config), []
    query = apartment.visual_map.global_descriptors[0]

    def attempt(call):
        try:
            call()
        except EngineError as error:
            errors.append(str(error))  # its traceback would keep the stream alive

    for call in (resident.close, lambda: resident.keyframes.search(query, 1)):
        thread = threading.Thread(target=attempt, args=(call,))
        thread.start()
        thread.join()
    assert len(errors) == 2
    assert "another thread" in errors[0]
    assert resident.keyframes.search(query, 1)[0].tolist() == [0]
    resident.close()
    assert machine.gpu.alive() == 0


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda machine: None, "no CUDA library"),
        (lambda machine: machine.install_cuda(), "compile"),
        (lambda machine: (machine.install_cuda(), machine.remove_driver()), "no NVIDIA driver"),
    ],
)
def test_what_is_missing_is_one_line_and_the_cpu_does_it(
    apartment, config, machine, monkeypatch, caplog, prepare, reason
):
    install_kernels(monkeypatch, machine, ())
    prepare(machine)
    with caplog.at_level(logging.INFO, "hfnet_ros.localization"):
        assert open_gpu_search(apartment.visual_map, config, "tensorrt-10.3") is None
    assert len(caplog.records) == 1
    assert reason in caplog.text
    assert "on the CPU" in caplog.text
    assert machine.gpu.alive() == 0


def test_a_matcher_that_the_gpu_does_not_know_is_not_passed_over(apartment, config, machine, caplog):
    machine.install_cuda()
    MATCHER_NAMES.append("another")
    try:
        chosen = dataclasses.replace(config, matching=MatchingConfig(method="another"))
    finally:
        MATCHER_NAMES.remove("another")
    with caplog.at_level(logging.INFO, "hfnet_ros.localization"):
        assert open_gpu_search(apartment.visual_map, chosen, "tensorrt-10.3") is None
    assert "matching.method is 'another'" in caplog.text


def test_a_map_that_does_not_fit_leaves_nothing_behind(apartment, config, machine, monkeypatch, caplog):
    machine.install_cuda()
    machine.gpu.memory = 257 << 20
    install_kernels(monkeypatch, machine)
    with caplog.at_level(logging.INFO, "hfnet_ros.localization"):
        assert open_gpu_search(apartment.visual_map, config, "tensorrt-10.3") is None
    assert "MiB" in caplog.text
    assert machine.gpu.alive() == 0
    assert machine.gpu.modules == {}


@pytest.mark.parametrize(
    ("backend", "choice"),
    [
        ("onnxruntime-cpu", "auto"),
        ("opencv", "auto"),
        ("tensorrt-10.3", "off"),
        ("tensorrt-10.3", InferenceConfig().gpu_matching),
    ],
)
def test_it_is_not_tried_without_need(apartment, backend, choice, caplog):
    def fail(visual_map, config):
        raise EngineError("tried")

    config = Config(inference=InferenceConfig(gpu_matching=choice))
    with caplog.at_level(logging.INFO, "hfnet_ros.localization"):
        assert open_gpu_search(apartment.visual_map, config, backend, fail) is None
    assert caplog.records == []


class OnGpu(SiftExtractor):
    """Says that its network runs on a GPU."""

    closed = False

    @property
    def backend(self):
        return "onnxruntime-cuda"

    def close(self):
        self.closed = True


def test_a_served_map_goes_to_the_gpu_and_is_freed_with_the_extractor(
    apartment, config, machine, monkeypatch, tmp_path
):
    machine.install_cuda()
    install_kernels(monkeypatch, machine)
    extractor = OnGpu(config)
    monkeypatch.setattr(query_extractor, "create_extractor", lambda config, report: extractor)
    served = ServedMap(tmp_path, LandmarkModel(apartment.visual_map), "digest")
    _, close = served.opener(config)(lambda text: None)
    assert len(machine.gpu.modules) == 2
    assert served.backend == "onnxruntime-cuda"
    close()
    assert machine.gpu.alive() == 0
    assert extractor.closed


def test_the_command_line_searches_where_the_node_does(apartment, config, machine, monkeypatch):
    machine.install_cuda()
    install_kernels(monkeypatch, machine)
    extractor = OnGpu(config)
    monkeypatch.setattr(query_extractor, "create_extractor", lambda config, report: extractor)
    camera = apartment.visual_map.cameras[0].refined
    opened = open_for_images(LandmarkModel(apartment.visual_map), config, camera, extractor_given=False)
    assert len(machine.gpu.modules) == 2
    assert opened.backend == "onnxruntime-cuda"
    opened.close()
    assert machine.gpu.alive() == 0
    assert extractor.closed
