"""What cameras carry is left out of described batches as `without_carried` leaves it out of keyframes."""

import dataclasses
import logging

import numpy as np
import pytest

from hfnet_ros.building import stages
from hfnet_ros.building.execution import InProcess
from hfnet_ros.building.graph import Graph, Stage, Task
from hfnet_ros.building.keyframe_files import features_to_arrays, read_keyframes
from hfnet_ros.building.own_body import batches_without_carried
from hfnet_ros.config import Config
from hfnet_ros.mapping.carried import without_carried
from hfnet_ros.mapping.views import Keyframe, MappingImage
from hfnet_ros.types import ImageFeatures, LocalFeatures

TOY = Stage("toy", 1)
NUM_IMAGES, NUM_IN_BATCH, NUM_ON_BODY, NUM_BESIDE, MAX_KEYPOINTS = 40, 16, 60, 140, 190


def described(number, has_body):
    """An image of random keypoints, the upper ones; below them a body that is in every image of its camera."""
    rng, fixed = np.random.default_rng(number), np.random.default_rng(99)
    num_on_body = NUM_ON_BODY if has_body else 0
    keypoints = np.concatenate(
        [
            fixed.uniform([0, 180], [319, 239], (NUM_ON_BODY, 2))[:num_on_body],
            rng.uniform([0, 0], [319, 170], (NUM_BESIDE, 2)),
        ]
    )
    looks = np.concatenate(
        [fixed.normal(size=(NUM_ON_BODY, 16))[:num_on_body], rng.normal(size=(NUM_BESIDE, 16))]
    )
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    order = rng.permutation(len(keypoints))
    local = LocalFeatures(
        keypoints[order].astype(np.float32),
        np.linspace(1.0, 0.1, len(order)).astype(np.float32),
        looks[order].astype(np.float32),
    )
    features = ImageFeatures(local, None, "toy-1", (320, 240))
    used = features.strongest(MAX_KEYPOINTS)
    colors = np.arange(len(used.local), dtype=np.uint8)[:, None].repeat(3, axis=1)
    image = MappingImage(f"{number:03d}.png", number, number % 2, lambda: None)
    return Keyframe(image, features, used, colors)


@pytest.mark.parametrize("bodies", [(True, False), (False, False)])
def test_a_batch_is_written_anew_without_what_its_cameras_carry(tmp_path, monkeypatch, caplog, bodies):
    keyframes = [described(number, bodies[number % 2]) for number in range(NUM_IMAGES)]

    def describe(job):
        some = [keyframes[row] for row in job.parameters["rows"]]
        return features_to_arrays([one.extracted for one in some], [one.colors for one in some])

    def located(rows):
        where = np.stack([rows // NUM_IN_BATCH, rows % NUM_IN_BATCH], axis=1)
        images = [keyframes[row].image for row in rows.tolist()]
        return tuple(batches), {
            "where": where,
            "names": [image.name for image in images],
            "stamps_ns": [image.stamp_ns for image in images],
            "camera_idxs": [image.camera_idx for image in images],
        }

    monkeypatch.setitem(stages.RUN, "toy", describe)
    config = Config()
    config = dataclasses.replace(
        config, mapping=dataclasses.replace(config.mapping, max_keypoints=MAX_KEYPOINTS)
    )
    graph = Graph(tmp_path / "work", InProcess(), config)
    batches = [
        Task(TOY, str(start), {"rows": list(range(start, min(start + NUM_IN_BATCH, NUM_IMAGES)))})
        for start in range(0, NUM_IMAGES, NUM_IN_BATCH)
    ]
    graph.finish(batches)
    with caplog.at_level(logging.WARNING):
        anew = batches_without_carried(
            graph, [keyframe.image for keyframe in keyframes], batches, NUM_IN_BATCH, located
        )
    assert ("of 000.png and the other images of its camera are where they are" in caplog.text) == any(bodies)
    assert "of 001.png" not in caplog.text
    assert [one is other for one, other in zip(anew, batches, strict=True)] == [not any(bodies)] * 3
    rows = np.arange(NUM_IMAGES)
    made, (_, parameters) = graph.finish(anew), located(rows)
    found = read_keyframes(
        made,
        parameters["where"],
        parameters["names"],
        rows.tolist(),
        parameters["camera_idxs"],
        MAX_KEYPOINTS,
    )
    for one, expected, whole in zip(found, without_carried(keyframes), keyframes, strict=True):
        np.testing.assert_array_equal(one.features.local.keypoints, expected.features.local.keypoints)
        np.testing.assert_array_equal(one.colors, expected.colors)
        np.testing.assert_array_equal(one.extracted.local.keypoints, whole.extracted.local.keypoints)
        assert not bodies[one.image.camera_idx] or one.features.local.keypoints[:, 1].max() < 175
