"""What matches two keyframes is chosen by name, and another project's matcher builds a map."""

from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.building.execution import InProcess
from hfnet_ros.building.graph import Graph
from hfnet_ros.building.map_graph import MapGraph
from hfnet_ros.config import PAIR_MATCHER_NAMES, Config, load_config
from hfnet_ros.errors import ConfigError
from hfnet_ros.mapping import pair_matcher
from hfnet_ros.mapping.matches import match_pairs
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pair_match import PairMatch
from hfnet_ros.mapping.pair_matcher import (
    NearestPairMatcher,
    create_pair_matcher,
    register_pair_matcher,
)
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.trust.tested_build import build_map

PLAIN = BuildOptions(intrinsics="off", refine_poses="off", self_test=False)


class EvenMatcher:
    """Takes half of the nearest neighbours, those of the even keypoints, and vouches for all of them."""

    def __init__(self):
        self.extractors = set()

    def match(self, first, second):
        self.extractors |= {first.extractor_id, second.extractor_id}
        rows = NearestPairMatcher().match(first, second).rows
        return PairMatch(rows[rows[:, 0] % 2 == 0])


@pytest.fixture
def registered(monkeypatch):
    """Register the toy for one test."""
    monkeypatch.setattr(pair_matcher, "_factories", dict(pair_matcher._factories))
    made = []

    def make(config):
        made.append(EvenMatcher())
        return made[-1]

    register_pair_matcher("even", make)
    yield made
    PAIR_MATCHER_NAMES.remove("even")


def test_nearest_is_the_default(kit):
    assert isinstance(create_pair_matcher(Config()), NearestPairMatcher)
    first, second = (view.features for view in kit.make_world(num_views=12).views[:2])
    found = NearestPairMatcher().match(first, second)
    cosine = (first.local.descriptors[found.rows[:, 0]] * second.local.descriptors[found.rows[:, 1]]).sum(1)
    np.testing.assert_allclose(found.similarity, cosine, atol=1e-6)


def test_a_matcher_of_another_project_builds_a_map_by_name(kit, config, registered):
    world = kit.make_world(num_views=8, num_points=300)
    source = PosedImages(kit.make_images(world), kit.poses_of(world), world.cameras)
    extractor = kit.make_extractor(world)
    chosen = replace(config, mapping=replace(config.mapping, matcher="even"))
    built, usual = (build_map(source, extractor, each, PLAIN) for each in (chosen, config))
    assert registered[0].extractors == {"synthetic-1"}
    assert 0.2 * usual.num_observations < built.num_observations < 0.9 * usual.num_observations
    nearest = np.linalg.norm(built.landmark_xyz[:, None] - world.points[None], axis=2).min(axis=1)
    assert np.median(nearest) < 0.03


def test_only_a_matcher_that_tells_similarities_is_cut_by_them(kit):
    features = [view.features for view in kit.make_world(num_views=12).views[:2]]
    assert match_pairs(NearestPairMatcher(), features, [(0, 1)], 1.1, 1) == {}
    assert len(match_pairs(EvenMatcher(), features, [(0, 1)], 1.1, 1)[0, 1]) > 50


def test_parameters_may_name_what_is_registered(registered, tmp_path):
    file = tmp_path / "parameters.yaml"
    file.write_text("mapping: {matcher: even}\n")
    assert isinstance(create_pair_matcher(load_config(file)), EvenMatcher)
    file.write_text("mapping: {matcher: unheard-of}\n")
    with pytest.raises(
        ConfigError, match=r"mapping\.matcher is 'unheard-of', expected one of nearest, .*even"
    ):
        load_config(file)


class UnusedExtractor:
    """Describes nothing."""

    extractor_id, backend = "hfnet-0123", "none"

    def extract(self, image):
        raise AssertionError("an image was described")


@pytest.mark.parametrize(
    ("matcher", "message"),
    [
        ("learned", r"'learned' knows descriptors of XFeat, found 'hfnet-0123'.*--extractor xfeat"),
        ("semidense", r"cells of extractor 'xfeat-star', extractor\.name is 'hfnet'"),
        ("even", r"even knows no 'hfnet-0123'"),
    ],
)
def test_what_cannot_match_these_descriptors_is_refused_before_the_first_image(
    kit, config, registered, tmp_path, matcher, message
):
    def refuse(config, extractor_id):
        raise ConfigError(f"even knows no '{extractor_id}'")

    register_pair_matcher("even", lambda config: EvenMatcher(), refuse)
    world = kit.make_world(num_views=8, num_points=300)
    source = PosedImages(kit.make_images(world), kit.poses_of(world), world.cameras)
    config = replace(
        config,
        mapping=replace(config.mapping, matcher=matcher),
        extractor=replace(config.extractor, name="hfnet"),
    )
    with pytest.raises(ConfigError, match=message):
        build_map(source, UnusedExtractor(), config, PLAIN)
    with pytest.raises(ConfigError, match=message):
        MapGraph(
            Graph(tmp_path, InProcess(), config), source, UnusedExtractor(), config, BuildOptions()
        ).build_one()
