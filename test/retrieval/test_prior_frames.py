"""How many keyframes are retrieved."""

from types import SimpleNamespace

import numpy as np

from hfnet_ros.config import RetrievalConfig
from hfnet_ros.retrieval.prior_frames import num_prior_frames


def test_vlad_needs_more_of_them_than_a_network():
    config = RetrievalConfig(num_prior_frames=7, num_prior_frames_vlad=19)
    assert num_prior_frames(SimpleNamespace(aggregation={}), config) == 7
    learned = {"vocabulary": np.zeros((4, 8), np.float32)}
    assert num_prior_frames(SimpleNamespace(aggregation=learned), config) == 19
