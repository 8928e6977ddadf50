"""A box that is moved between two passes: its landmarks are found out, the room's stay.

The scene is rendered twice, with the box in another place, and mapped as one drive with exact
poses, so that nothing but time speaks against the landmarks on the box.
"""

import cv2
import numpy as np
import pytest

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import create_extractor
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pruning import drop_moved
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.scene import Rectangle, Scene, demo_camera, look_at, render
from hfnet_ros.trust.tested_build import build_map

pytestmark = pytest.mark.slow  # test_map_builder.py drops landmarks, too

# m: the wall stands at y = 4, the box's front at y = 2.6, the camera walks along y = 0.
WALL_Y, BOX_Y = 4.0, 2.6
BOX_SIZE = 0.9
BOX_X = (-0.8, 0.9)


def blobs(width, height, seed):
    """A picture with corners of many sizes."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 128, np.uint8)
    for _ in range(width * height // 250):
        corner = rng.integers(0, [width, height])
        size = rng.integers(3, 26, 2)
        color = tuple(int(value) for value in rng.integers(20, 236, 3))
        cv2.rectangle(picture, corner.tolist(), (corner + size).tolist(), color, -1)
    return picture


WALL = Rectangle(
    np.array([-4.0, WALL_Y, 3.0]), np.array([8.0, 0, 0]), np.array([0, 0, -3.0]), blobs(960, 360, 1)
)
FRONT = blobs(120, 120, 2)


def scene_with_box(x):
    corner = np.array([x - BOX_SIZE / 2, BOX_Y, 1.5 + BOX_SIZE / 2])
    box = Rectangle(corner, np.array([BOX_SIZE, 0, 0]), np.array([0, 0, -BOX_SIZE]), FRONT)
    return Scene((WALL, box), ())


@pytest.fixture(scope="module")
def recording():
    """Two passes of ten images, 320x240."""
    camera = demo_camera((320, 240))
    images, poses = [], []
    for number, (box_x, height) in enumerate(zip(BOX_X, (1.5, 1.42), strict=True)):
        scene = scene_with_box(box_x)
        for step, x in enumerate(np.linspace(-1.2, 1.2, 10)):
            pose = look_at(np.array([x, 0.0, height]), np.array([0.3 * x, WALL_Y, 1.5]))
            picture = render(scene, camera, pose)
            row = 10 * number + step
            images.append(MappingImage(f"{row:03d}.png", row * 10**9, 0, lambda picture=picture: picture))
            poses.append(pose)
    return images, poses, camera


def build(recording):
    images, poses, camera = recording
    config = Config.from_dict({"extractor": {"name": "sift"}})
    options = BuildOptions(intrinsics="off", self_test=False)
    return build_map(PosedImages(images, poses, [camera]), create_extractor(config), config, options)


def on_box(visual_map):
    """Tell which landmarks lie on the front of the box, in either place."""
    x, y, z = visual_map.landmark_xyz.T
    near = (np.abs(y - BOX_Y) < 0.15) & (np.abs(z - 1.5) < BOX_SIZE / 2 + 0.05)
    return near & (np.min([np.abs(x - place) for place in BOX_X], axis=0) < BOX_SIZE / 2 + 0.05)


def test_landmarks_of_the_moved_box_are_dropped_and_those_of_the_wall_stay(recording):
    plain = build(recording)
    cleaned = drop_moved(plain)
    moving, kept = on_box(plain), on_box(cleaned)
    assert moving.sum() > 100, "the box is mapped in both places"
    assert kept.mean() < 0.1 * moving.mean()
    assert np.sum(~kept) > 0.97 * np.sum(~moving)
    assert cleaned.build_info["landmarks_seen_through"] == plain.num_landmarks - cleaned.num_landmarks


@pytest.mark.slow
def test_a_box_that_stays_is_kept(recording):
    images, poses, camera = recording
    first_pass = (images[:10], poses[:10], camera)
    plain = build(first_pass)
    cleaned = drop_moved(plain)
    assert on_box(plain).sum() > 50
    assert on_box(cleaned).sum() > 0.97 * on_box(plain).sum()
