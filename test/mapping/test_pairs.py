"""Which keyframes are matched."""

from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.geometry import Rigid3
from hfnet_ros.mapping.pair_matcher import NearestPairMatcher
from hfnet_ros.mapping.pairs import choose_pairs_by_pose, choose_pairs_by_similarity, estimate_scene_depth
from hfnet_ros.mapping.views import View

NEAREST = NearestPairMatcher()


def _featureless(kit, *poses: Rigid3) -> list[View]:
    return [
        kit.make_view(np.empty((0, 2), np.float32), np.empty((0, 8), np.float32), 0, pose) for pose in poses
    ]


def _depth(world, config):
    poses = [view.map_from_camera for view in world.views]
    distances = np.array([[a.translation_to(b) for b in poses] for a in poses])
    axes = np.array([pose.rotation[:, 2] for pose in poses])
    angles = np.degrees(np.arccos(np.clip(axes @ axes.T, -1.0, 1.0)))
    return estimate_scene_depth(world.views, world.cameras, distances, angles, NEAREST, config.mapping, 1)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_scene_depth_is_found_at_any_scale(kit, config, scale):
    # Points lie evenly between depths of 2 and 5; wide views see more of the far ones.
    depth = _depth(kit.make_world(scale=scale), config)
    assert 3.0 * scale < depth < 4.2 * scale


def test_pairs_do_not_depend_on_the_scale(kit, config):
    mapping = replace(config.mapping, num_neighbors=4)
    metric, huge = (kit.make_world(scale=scale, num_views=15) for scale in (1.0, 100.0))
    expected = choose_pairs_by_pose(metric.views, metric.cameras, NEAREST, mapping, 1)
    assert choose_pairs_by_pose(huge.views, huge.cameras, NEAREST, mapping, 1) == expected
    assert 15 * 2 <= len(expected) <= 15 * 4


def test_nearest_neighbours_are_chosen(kit, config):
    poses = [Rigid3(np.eye(3), np.array([float(place), 0.0, 0.0])) for place in (0, 1, 2, 10, 11)]
    mapping = replace(config.mapping, num_neighbors=1)
    pairs = choose_pairs_by_pose(_featureless(kit, *poses), [kit.make_camera()], NEAREST, mapping, 1)
    assert pairs == [(0, 1), (1, 2), (3, 4)]


def test_views_turned_away_are_no_partners(kit, config):
    poses = [Rigid3.from_rotvec([0.0, np.radians(angle), 0.0], np.zeros(3)) for angle in (0, 50, 100, 180)]
    pairs = choose_pairs_by_pose(_featureless(kit, *poses), [kit.make_camera()], NEAREST, config.mapping, 1)
    assert pairs == [(0, 1), (1, 2)]


def test_few_images_are_matched_with_all_others():
    descriptors = np.eye(5, dtype=np.float32)
    assert len(choose_pairs_by_similarity(descriptors, 2)) == 10


def test_many_images_are_matched_with_those_that_look_alike():
    angles = np.linspace(0.0, np.pi, 100)
    descriptors = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    pairs = choose_pairs_by_similarity(descriptors, 2)
    assert len(pairs) < 120
    assert all(0 < second - first <= 2 for first, second in pairs)
