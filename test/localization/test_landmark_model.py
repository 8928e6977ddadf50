"""One way to open and close a localizer, for the node and for the command line."""

import sys

import numpy as np
import pytest
from generated_maps import CONFIG

from hfnet_ros.errors import EngineError, ExtractorMismatchError
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.localization import landmark_model
from hfnet_ros.localization.gpu_search import GpuSearch
from hfnet_ros.localization.landmark_model import LandmarkModel, searching
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.matching.landmark_matcher import MutualNearestMatcher
from hfnet_ros.retrieval.index import ExactIndex
from hfnet_ros.scene import query_walk


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
    monkeypatch.setattr(landmark_model, "create_extractor", lambda config, report: Watched(said))
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
