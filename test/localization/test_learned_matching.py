"""Which maps a learned matcher can be asked about, and when it is."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.config import Config, MatchingConfig
from hfnet_ros.errors import ConfigError, WeightsError
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.localization import matchers as matchers_module
from hfnet_ros.localization.learned_matching import create_learned_matcher
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.matching.landmark_matcher import MutualNearestMatcher
from hfnet_ros.scene import query_walk
from hfnet_ros.types import Outcome


def asking(method):
    return replace(Config(), matching=MatchingConfig(method=method))


def test_nearest_needs_none(apartment):
    assert create_learned_matcher(apartment.visual_map, asking("nearest")) is None


def test_maps_of_other_extractors_are_refused_or_left_to_nearest(apartment, caplog):
    with pytest.raises(
        ConfigError, match=r"descriptors of XFeat, found a map of 'rootsift-1'.*--extractor xfeat"
    ):
        create_learned_matcher(apartment.visual_map, asking("learned"))
    with caplog.at_level(logging.INFO):
        assert create_learned_matcher(apartment.visual_map, asking("auto")) is None
    assert "compares descriptors only" in caplog.text


def test_maps_without_observations_and_missing_weights_are_named(apartment, monkeypatch, tmp_path):
    of_xfeat = replace(apartment.visual_map, extractor_id="xfeat-0123456789ab")
    with pytest.raises(ConfigError, match="keep_observations"):
        create_learned_matcher(of_xfeat, asking("learned"))
    num_observations = len(of_xfeat.observation_landmark_idx)
    described = UnitVectors(np.ones((num_observations, of_xfeat.landmark_descriptors.shape[1]), np.int8))
    monkeypatch.setenv("HFNET_ROS_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"lighterglue_L3\.onnx.*weights fetch"):
        create_learned_matcher(replace(of_xfeat, observation_descriptors=described), asking("learned"))


class Sharp:
    """Stands for a learned matcher: compares as SIFT's ought to be compared, and counts how often it is asked."""

    def __init__(self):
        self.num_asked, self.is_closed = 0, False
        self._nearest = MutualNearestMatcher(MatchingConfig())

    def match(self, features, place):
        self.num_asked += 1
        return self._nearest.match(features, place)

    def close(self):
        self.is_closed = True


@pytest.fixture
def sharp(monkeypatch):
    matcher = Sharp()
    monkeypatch.setattr(matchers_module, "create_learned_matcher", lambda *_: matcher)
    return matcher


@pytest.fixture
def frame(apartment):
    return apartment.frame(query_walk(apartment.scene)[0][1])


def localizer(apartment, config, **matching):
    config = replace(config, matching=replace(config.matching, **matching))
    return Localizer(apartment.visual_map, SiftExtractor(config), config)


def test_auto_asks_it_only_where_nearest_finds_no_pose(apartment, config, sharp, frame):
    seeing = localizer(apartment, config, method="auto")
    answer = seeing.localize(frame)
    assert (answer.outcome, answer.matched_by, sharp.num_asked) == (Outcome.LOCALIZED, "nearest", 0)
    blind = localizer(apartment, config, method="auto", min_similarity=1.0)
    answer = blind.localize(frame)
    assert (answer.outcome, answer.matched_by, sharp.num_asked) == (Outcome.LOCALIZED, "learned", 1)


def test_learned_is_asked_first_and_closed(apartment, config, sharp, frame):
    there = localizer(apartment, config, method="learned", min_similarity=1.0)
    answer = there.localize(frame)
    assert (answer.outcome, answer.matched_by, sharp.num_asked) == (Outcome.LOCALIZED, "learned", 1)
    there.close()
    assert sharp.is_closed


def test_two_matchers_are_charged_to_the_evidence(apartment, config, sharp, frame):
    """The second of two looks has to carry log10(2) more evidence against chance."""
    alone = localizer(apartment, config, method="learned").localize(frame)
    second = localizer(apartment, config, method="auto", min_similarity=1.0).localize(frame)
    difference = alone.evidence.scores["evidence"] - second.evidence.scores["evidence"]
    assert difference == pytest.approx(np.log10(2.0), abs=1e-6)


def test_what_may_be_doubted_is_shared_among_both(apartment, config, sharp, frame):
    """The second of two looks may be wrong half as probably: what one alone would be given for is refused."""
    alone = localizer(apartment, config, method="learned").localize(frame)
    limit = 1.5 * alone.evidence.scores["false_probability"]
    strict = replace(config, verification=replace(config.verification, max_false_probability=limit))
    assert localizer(apartment, strict, method="learned").localize(frame).is_valid
    second = localizer(apartment, strict, method="auto", min_similarity=1.0).localize(frame)
    assert (second.outcome, second.matched_by) == (Outcome.ILL_CONDITIONED, "learned")
    assert f"{limit / 2.0:.3g} allowed" in second.evidence.reason
