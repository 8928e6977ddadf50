"""One call builds a map and tests it: from every kind of source, describing every image once, and once mirrored."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.errors import ImageError
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.sources import PosedImages, UnposedImages
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.trust import self_test
from hfnet_ros.trust.tested_build import build_map


class Counted:
    """A world's extractor that counts how often it saw each image, and how often it saw one in a mirror."""

    def __init__(self, extractor, upright):
        self.extractor_id = extractor.extractor_id
        self.seen, self.mirrored = Counter(), Counter()
        self._extractor, self._upright = extractor, upright

    def extract(self, image):
        is_mirrored = image[0, 1, 0] != self._upright
        (self.mirrored if is_mirrored else self.seen)[int(image[0, -1 if is_mirrored else 0, 0])] += 1
        return self._extractor.extract(image)


@pytest.fixture(scope="module")
def world(kit):
    return kit.make_world([kit.make_camera(focal=330.0)], num_views=24, num_points=250)


@pytest.fixture
def extractor(kit, world):
    return Counted(kit.make_extractor(world), kit.upright)


@pytest.fixture
def posed(kit, world):
    return PosedImages(kit.make_images(world), kit.poses_of(world), world.cameras)


def test_a_map_of_posed_images_is_tested_and_each_image_described_once(world, posed, extractor, config):
    stages = {}

    def note(stage, done, total):
        stages[stage] = (done, total)

    built = build_map(posed, extractor, config, BuildOptions(intrinsics="off", progress=note))
    assert built.consistency.num_keyframes >= 10
    assert built.consistency.residual_px < 1.0
    assert built.consistency.translation_m < 0.01
    assert extractor.seen == extractor.mirrored == dict.fromkeys(range(24), 1)
    assert list(stages) == [
        "check",
        "extract",
        "match",
        "check poses",
        "triangulate",
        "self-test, match",
        "self-test, triangulate",
        "self-test, localize",
        "mirror test",
    ]
    assert all(done == total for done, total in stages.values())
    assert built.build_info["duration_s"] > 0


@pytest.mark.slow
def test_a_map_without_poses_is_tested_too(kit, world, extractor, config):
    built = build_map(UnposedImages(kit.make_images(world), world.cameras), extractor, config)
    assert built.num_keyframes == 24
    assert built.consistency.num_keyframes >= 10
    assert set(extractor.seen.values()) == {1}


def test_the_self_test_can_be_left_out(posed, extractor, config):
    built = build_map(posed, extractor, config, BuildOptions(intrinsics="off", self_test=False))
    assert built.consistency.num_keyframes == 0


def test_the_self_test_asks_with_all_features_of_an_image(world, posed, extractor, config, monkeypatch):
    asked = []

    def measure(localizer, held_out, progress, two_frames):
        asked.extend(len(keyframe.features.local) for keyframe in held_out)
        return self_test.Differences([], [], [])

    monkeypatch.setattr(self_test, "compare_held_out", measure)
    few = replace(config, mapping=replace(config.mapping, max_keypoints=64))
    built = build_map(posed, extractor, few, BuildOptions(intrinsics="off"))
    assert np.diff(built.observation_offsets).max() <= 64
    assert len(asked) >= 10
    assert set(asked) <= {len(view.keypoints) for view in world.views}
    assert min(asked) > 64


def test_every_image_is_read_before_the_first_is_described(posed, extractor, config):
    def fail():
        raise ImageError("cannot be decoded")

    images = [*posed.images[:-1], MappingImage("broken.png", 23, 0, fail)]
    with pytest.raises(ImageError, match=r"broken.png: cannot be decoded"):
        build_map(replace(posed, images=images), extractor, config)
    assert not extractor.seen
