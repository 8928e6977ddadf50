"""What a camera carries with it is in one place of all of its images, and no part of the scene."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.mapping.carried import without_carried
from hfnet_ros.mapping.map_builder import build_untested_map
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import Keyframe, MappingImage
from hfnet_ros.trust.tested_build import build_map

SIZE_WH = (320, 240)
NUM_ON_BODY = 200
KEEP = BuildOptions(intrinsics="off", refine_poses="off", self_test=False)


@pytest.fixture
def world(kit):
    return kit.make_world(num_views=12, num_points=300)


def with_body(features, rng, num=NUM_ON_BODY):
    """Put a body of rich texture into the lower third of an image; its keypoints come first."""
    fixed = np.random.default_rng(7)
    xy = fixed.uniform([0.0, 160.0], [319.0, 239.0], (num, 2)) + rng.normal(0.0, 0.1, (num, 2))
    looks = fixed.normal(size=(num, features.local.descriptors.shape[1]))
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    beside = features.local.keypoints[:, 1] < 160.0
    local = features.local.chosen(np.flatnonzero(beside))
    joined = type(local)(
        np.concatenate([xy, local.keypoints]).astype(np.float32),
        np.linspace(1.0, 0.1, num + len(local)).astype(np.float32),
        np.concatenate([looks, local.descriptors]).astype(np.float32),
    )
    return replace(features, local=joined, size_wh=SIZE_WH)


def keyframes_of(world, rows, num_on_body=NUM_ON_BODY, camera_idxs=None):
    rng, keyframes = np.random.default_rng(0), []
    for number, row in enumerate(rows):
        features = world.views[row].features
        features = replace(features, size_wh=SIZE_WH)
        if num_on_body:
            features = with_body(features, rng, num_on_body)
        image = MappingImage(
            f"{number:03d}.png",
            number,
            camera_idxs[number] if camera_idxs else 0,
            lambda: np.zeros((240, 320, 3), np.uint8),
        )
        colors = np.arange(len(features.local), dtype=np.uint8)[:, None].repeat(3, axis=1)
        keyframes.append(Keyframe(image, features, features, colors))
    return keyframes


def test_the_body_of_the_robot_is_left_out_and_nothing_else(world, caplog):
    keyframes = keyframes_of(world, range(12))
    with caplog.at_level(logging.WARNING):
        kept = without_carried(keyframes)
    for before, after in zip(keyframes, kept, strict=True):
        rest = before.features.local.chosen(np.arange(NUM_ON_BODY, len(before.features.local)))
        np.testing.assert_array_equal(after.features.local.keypoints, rest.keypoints)
        np.testing.assert_array_equal(after.colors, before.colors[NUM_ON_BODY:])
        assert after.extracted is before.extracted
    assert "of 000.png and the other images of its camera are where they are in all of them" in caplog.text


def test_images_without_anything_that_is_carried_stay_as_they_are(world, caplog):
    keyframes = keyframes_of(world, range(12), num_on_body=0)
    assert all(one is other for one, other in zip(without_carried(keyframes), keyframes, strict=True))
    assert not caplog.records


def test_the_scene_of_a_robot_that_waits_is_not_carried(world):
    keyframes = keyframes_of(world, [*range(3), *[4] * 40, *range(5, 12)], num_on_body=0)
    assert all(one is other for one, other in zip(without_carried(keyframes), keyframes, strict=True))


def test_the_body_is_told_from_the_scene_of_a_wait(world):
    keyframes = keyframes_of(world, [*range(3), *[4] * 20, *range(5, 12)])
    assert all(
        len(after.features.local) == len(before.features.local) - NUM_ON_BODY
        for before, after in zip(keyframes, without_carried(keyframes), strict=True)
    )


def test_a_few_images_tell_nothing_and_each_camera_is_asked_by_itself(world):
    few = keyframes_of(world, range(5))
    assert all(one is other for one, other in zip(without_carried(few), few, strict=True))
    of_two = keyframes_of(world, range(12), camera_idxs=[0] * 9 + [1] * 3)
    kept = without_carried(of_two)
    assert [
        len(one.features.local) < len(other.features.local) for one, other in zip(kept, of_two, strict=True)
    ] == ([True] * 9 + [False] * 3)


def test_right_poses_of_a_camera_that_sees_its_robot_make_a_map(world, config):
    poses = [view.map_from_camera for view in world.views]
    bodiless = build_untested_map(
        keyframes_of(world, range(12), num_on_body=0), poses, world.cameras, config, KEEP
    )
    keyframes = without_carried(keyframes_of(world, range(12)))
    built = build_untested_map(keyframes, poses, world.cameras, config, KEEP)
    assert built.num_keyframes == 12
    assert built.build_info["pose_faults"]["keyframes"] == []
    assert built.num_landmarks > 0.4 * bodiless.num_landmarks


def test_a_map_is_built_without_what_is_carried(world, config):
    features = iter(keyframe.features for keyframe in keyframes_of(world, range(12)))

    class Extractor:
        extractor_id = "synthetic-1"

        def extract(self, image):
            return next(features)

    images = [keyframe.image for keyframe in keyframes_of(world, range(12))]
    poses = [view.map_from_camera for view in world.views]
    built = build_map(PosedImages(images, poses, world.cameras), Extractor(), config, KEEP)
    assert built.num_keyframes == 12
    assert built.observation_xy[:][:, 1].max() < 160.0
