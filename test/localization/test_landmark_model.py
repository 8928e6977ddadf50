"""One way to open and close a localizer, for the node and for the command line."""

import dataclasses
import sys

import numpy as np
import pytest
from generated_maps import CONFIG
from memorised_scenes import colours_as_points, memorised_scene

from hfnet_ros.config import LocalizationConfig
from hfnet_ros.errors import ConfigError, EngineError, ExtractorMismatchError
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.localization import landmark_model, query_extractor
from hfnet_ros.localization.gpu_search import GpuSearch
from hfnet_ros.localization.landmark_model import LandmarkModel, searching
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.localization.scene_model import asked_by
from hfnet_ros.map.scene_map import without_landmarks
from hfnet_ros.map.scene_network import IMAGE, SceneNetwork
from hfnet_ros.map.visual_map import MapConsistency
from hfnet_ros.matching.landmark_matcher import MutualNearestMatcher
from hfnet_ros.retrieval.descriptor_index import ExactIndex
from hfnet_ros.scene import query_walk
from hfnet_ros.types import Frame, Outcome


class Watched(SiftExtractor):
    """Says what is done with it."""

    def __init__(self, events):
        super().__init__(CONFIG)
        self.events = events

    def extract(self, image):
        self.events.append(f"extract {image.shape[1]}x{image.shape[0]}")
        return super().extract(image)

    def close(self):
        self.events.append("close extractor")


class Search(GpuSearch):
    """A search on the CPU that stands for one on the GPU."""

    def __init__(self, visual_map, events):
        self.index = ExactIndex(visual_map.global_descriptors)
        self.matcher = MutualNearestMatcher(CONFIG.matching)
        self.close = lambda: events.append("close search")


@pytest.fixture
def events(monkeypatch):
    said = []
    monkeypatch.setattr(query_extractor, "create_extractor", lambda config, report: Watched(said))
    return said


@pytest.fixture
def on_gpu(events, monkeypatch):
    monkeypatch.setattr(landmark_model, "open_gpu_search", lambda visual_map, *_: Search(visual_map, events))
    return events


def test_on_the_cpu_nothing_is_left_anywhere(apartment, events):
    before = set(sys.modules)
    opened = LandmarkModel(apartment.visual_map).open(CONFIG, (200, 100))
    assert (events, opened.backend) == (["extract 200x100"], "opencv-cpu")
    frame = apartment.frame(next(iter(query_walk(apartment.scene)))[1])
    found, expected = opened.localizer.localize(frame), apartment.localizer.localize(frame)
    assert found.outcome is expected.outcome
    np.testing.assert_array_equal(
        found.estimate.map_from_camera.translation, expected.estimate.map_from_camera.translation
    )
    opened.close()
    opened.close()
    assert events[2:] == ["close extractor"]
    assert not [name for name in set(sys.modules) - before if name.startswith(("cuda", "pycuda", "tensorrt"))]


def test_on_the_gpu_everything_is_undone_before_the_extractor_is_closed(apartment, on_gpu):
    opened = LandmarkModel(apartment.visual_map).open(CONFIG)
    width, height = apartment.visual_map.cameras[0].refined.size_wh
    assert on_gpu == [f"extract {width}x{height}"]
    opened.close()
    opened.close()
    assert on_gpu[1:] == ["close search", "close extractor"]


def test_an_extractor_that_is_lent_lives_on(apartment, on_gpu):
    def use():
        with searching(apartment.visual_map, Watched(on_gpu), CONFIG) as localizer:
            assert isinstance(localizer, Localizer)
            raise EngineError("in between")

    with pytest.raises(EngineError, match="in between"):
        use()
    assert [event for event in on_gpu if not event.startswith("extract")] == ["close search"]


def test_an_extractor_of_another_map_runs_on_no_image(apartment, events, monkeypatch):
    monkeypatch.setattr(Watched, "extractor_id", "other-1")
    with pytest.raises(ExtractorMismatchError):
        LandmarkModel(apartment.visual_map).open(CONFIG)
    assert events == ["close extractor"]


def test_what_fails_while_opening_is_closed(apartment, on_gpu, monkeypatch):
    def fail(*_):
        raise EngineError("no memory left")

    monkeypatch.setattr(landmark_model, "Localizer", fail)
    with pytest.raises(EngineError, match="no memory left"):
        LandmarkModel(apartment.visual_map).open(CONFIG)
    assert on_gpu[1:] == ["close search", "close extractor"]


@pytest.fixture
def dense_map(apartment):
    """A map of kind scene whose network takes the colour of a cell, in shares of 255, for its place in m."""
    visual_map = apartment.visual_map
    arrays = {
        "centers": np.full((1, 3), 128.0, np.float32),
        "parents": np.zeros(1, np.int32),
        "scales": np.full(1, 50.0, np.float32),
        "confidence_levels": np.array([0.0, 1.0], np.float32),
        "confidence_sigmas": np.array([0.5, 0.5], np.float32),
    }
    measured = MapConsistency(2.0, 0.05, 0.01, 20)
    scene = SceneNetwork(IMAGE, colours_as_points((320, 240)), arrays, {}, measured)
    return without_landmarks(dataclasses.replace(visual_map, scene=scene))


def test_a_dense_network_is_asked_through_the_extractor(dense_map, events):
    """The picture of a hilly ground whose colours are its coordinates, with speckles for the extractor."""
    camera = Camera(DistortionModel.NONE, (320, 240), [300.0, 300.0], [159.5, 119.5], [])
    x, y = np.meshgrid(np.arange(320.0), np.arange(240.0))
    depth = 180.0 + 50.0 * np.sin(x / 40.0) * np.cos(y / 30.0)
    rays = np.stack([(x - 159.5) / 300.0, (y - 119.5) / 300.0, np.ones_like(x)], axis=-1)
    seen_from = np.array([125.0, 130.0, -60.0])
    image = np.rint(rays * depth[..., None] + seen_from).clip(0, 255).astype(np.uint8)
    image[::16, ::16] = 0
    opened = LandmarkModel(dense_map).open(CONFIG, (320, 240))
    try:
        answer = opened.localizer.localize(Frame(0, image, camera))
    finally:
        opened.close()
    assert (answer.outcome, answer.matched_by) == (Outcome.LOCALIZED, "scene")
    assert np.linalg.norm(answer.estimate.map_from_camera.translation - seen_from) < 2.0
    assert events[-1] == "close extractor"


def test_what_a_map_does_not_have_is_refused_before_anything_is_made(apartment, dense_map, events):
    for visual_map, method in ((apartment.visual_map, "scene"), (dense_map, "landmarks")):
        asked = dataclasses.replace(CONFIG, localization=LocalizationConfig(method=method))
        with pytest.raises(ConfigError, match=f"localization.method is '{method}'"):
            LandmarkModel(visual_map).open(asked)
    assert events == []


def test_its_self_test_is_of_what_localizes(apartment):
    of_network, of_landmarks = MapConsistency(7.0, 0.1, 0.1, 9), MapConsistency(2.0, 0.1, 0.1, 9)
    scene = dataclasses.replace(memorised_scene(apartment.visual_map), consistency=of_network)
    both = dataclasses.replace(apartment.visual_map, scene=scene, consistency=of_landmarks)
    for visual_map, method, residual_px in (
        (both, "auto", 2.0),
        (both, "scene", 7.0),
        (without_landmarks(both), "auto", 7.0),
        (dataclasses.replace(both, scene=None), "scene", 2.0),
    ):
        config = dataclasses.replace(CONFIG, localization=LocalizationConfig(method=method))
        asked = asked_by(LandmarkModel(visual_map), config)
        assert asked.residual_px == residual_px
        assert asked.facts["self_test"]["residual_px"] == residual_px
        assert asked_by(asked, CONFIG).residual_px == (2.0 if visual_map.num_landmarks else 7.0)


def test_a_map_of_kind_scene_says_what_it_is(dense_map):
    model = LandmarkModel(dense_map)
    assert model.kind == "scene"
    assert model.sizes["leaves"] == 1
    assert "landmarks" not in model.sizes
    assert model.residual_px == 2.0
    np.testing.assert_allclose(model.points.landmark_xyz, [[128.0, 128.0, 128.0]])


@pytest.mark.parametrize(("num_asked", "is_tested"), [(0, 1.0), (18, 1.0), (19, 0.0)])
def test_answers_of_a_map_that_failed_its_own_test_are_doubted_as_untested(apartment, num_asked, is_tested):
    measured = MapConsistency(2.0, 0.05, 0.01, 9, tuple(np.zeros(36).tolist()), num_asked=num_asked)
    visual_map = dataclasses.replace(apartment.visual_map, consistency=measured)
    opened = LandmarkModel(visual_map).open(CONFIG)
    try:
        answer = opened.localizer.localize(apartment.frame(next(iter(query_walk(apartment.scene)))[1]))
    finally:
        opened.close()
    assert answer.evidence.scores["self_tested"] == is_tested


@pytest.mark.parametrize(("share", "is_refused"), [(0.2, False), (0.46, True)])
def test_answers_are_as_doubtful_as_what_the_images_of_the_map_saw_alike(apartment, share, is_refused):
    consistency = dataclasses.replace(apartment.visual_map.consistency, contradicted_share=share)
    opened = LandmarkModel(dataclasses.replace(apartment.visual_map, consistency=consistency)).open(CONFIG)
    try:
        answer = opened.localizer.localize(apartment.frame(next(iter(query_walk(apartment.scene)))[1]))
    finally:
        opened.close()
    assert answer.evidence.scores["false_probability"] == share
    assert answer.is_valid != is_refused
    assert is_refused == ("a share of 0.46 of what looked like this place" in answer.evidence.reason)
