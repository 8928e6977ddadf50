"""LighterGlue between keyframes: in one thread whoever asks, and for descriptors it knows only."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError
from hfnet_ros.mapping import learned_pairs
from hfnet_ros.mapping.learned_pairs import LearnedPairMatcher
from hfnet_ros.types import ImageFeatures, LocalFeatures


class Network:
    """Matches equal rows of both images, and notes the threads that asked, and the sizes of what they gave."""

    def __init__(self):
        self.threads, self.sizes = set(), []

    def match(self, first, second, max_keypoints):
        self.threads.add(threading.get_ident())
        self.sizes.append((len(first), len(second), first.size_wh, max_keypoints))
        rows = np.arange(min(len(first), len(second)))
        return np.stack([rows, rows], axis=1), np.ones(len(rows), np.float32)


@pytest.fixture
def network(monkeypatch):
    found = Network()
    monkeypatch.setattr(learned_pairs, "load_lighterglue", lambda _: found)
    return found


def described(count, extractor_id="xfeat-0123", size_wh=(640, 480)):
    keypoints = np.full((count, 2), 99.0, np.float32)
    local = LocalFeatures(keypoints, np.ones(count, np.float32), np.ones((count, 64), np.float32))
    return ImageFeatures(local, None, extractor_id, size_wh)


def test_many_threads_ask_and_one_answers(network):
    matcher = LearnedPairMatcher(Config())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda count: matcher.match(described(count), described(50)), range(40, 60)))
    assert len(network.threads) == 1
    assert sorted(len(pair.rows) for pair in found) == sorted(min(count, 50) for count in range(40, 60))
    assert all(pair.similarity is None for pair in found)  # doubtful ones are left out already


def test_no_more_than_a_thousand_are_shown_of_all(network):
    LearnedPairMatcher(Config()).match(described(2048), described(100, size_wh=None))
    assert network.sizes == [(2048, 100, (640, 480), 1024)]


def test_an_image_whose_size_is_forgotten_is_as_large_as_its_keypoints_reach():
    assert described(3, size_wh=None).extent_wh == (100, 100)
    assert described(3).extent_wh == (640, 480)


def test_descriptors_of_another_extractor_are_refused(network):
    with pytest.raises(
        ConfigError, match=r"knows descriptors of XFeat, found 'hfnet-0123'.*--extractor xfeat"
    ):
        LearnedPairMatcher(Config()).match(described(40), described(40, "hfnet-0123"))
