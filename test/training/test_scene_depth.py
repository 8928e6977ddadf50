"""Depth images of a second camera: found where it is by what a map knows, and seen from the first."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hfnet_ros.errors import DatasetError  # noqa: E402
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3  # noqa: E402
from hfnet_ros.geometry.rotations import rotations_from_rotvecs  # noqa: E402
from hfnet_ros.scene import build_apartment, mapping_walk, render_depth  # noqa: E402
from hfnet_ros.training.scene_depth import DepthSource, depth_folder, find_offset, registered  # noqa: E402

pytestmark = pytest.mark.torch


def pinhole(focal, center):
    return Camera(DistortionModel.NONE, (160, 120), np.array([focal, focal]), np.array(center), np.zeros(0))


COLOR, DEPTH = pinhole(130.0, [80.0, 59.0]), pinhole(146.0, [79.0, 60.0])
DEPTH_FROM_COLOR = Rigid3(rotations_from_rotvecs(np.deg2rad([1.0, -1.5, 0.8])), np.array([0.02, -0.04, 0.01]))


@pytest.fixture(scope="module")
def seen():
    """A map's landmarks, as far as they are asked for here, and depth images from beside its keyframes."""
    scene = build_apartment(3, num_rooms=1)
    poses = [pose for _, pose in mapping_walk(scene)][::4][:12]
    rng = np.random.default_rng(0)
    landmarks, observed = [], []
    for pose in poses:
        depth = render_depth(scene, COLOR, pose)
        pixels = rng.uniform(4, [155, 115], (250, 2)).round()
        z = depth[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
        points = COLOR.unproject(pixels)
        points *= (z / points[:, 2])[:, None]
        noisy = points * (1.0 + 0.01 * rng.normal(size=(250, 1)))
        wrong = rng.random(250) < 0.2
        noisy[wrong] *= rng.uniform(0.5, 1.5, (int(wrong.sum()), 1))
        noisy = noisy[np.isfinite(noisy).all(axis=1)]
        observed.append(np.arange(len(noisy)) + sum(map(len, landmarks)))
        landmarks.append(pose @ noisy)
    visual_map = SimpleNamespace(
        landmark_xyz=np.concatenate(landmarks),
        track_lengths=np.full(sum(map(len, landmarks)), 9),
        landmarks_seen_by=observed.__getitem__,
        map_from_camera=poses.__getitem__,
        keyframe_names=[f"{row:03}.jpg" for row in range(len(poses))],
    )
    depths = [render_depth(scene, DEPTH, pose @ DEPTH_FROM_COLOR.inverse()) for pose in poses]
    return scene, poses, visual_map, depths


def test_the_depth_camera_is_found_and_its_images_are_moved(seen):
    scene, poses, visual_map, depths = seen
    found = find_offset(visual_map, DepthSource(depths.__getitem__, DEPTH), np.arange(len(poses)))
    assert found.depth_from_color.translation_to(DEPTH_FROM_COLOR) < 0.01
    assert np.rad2deg(found.depth_from_color.rotation_to(DEPTH_FROM_COLOR)) < 0.3
    assert found.share > 0.75 and found.focal_scale == 1.0
    moved = registered(depths[3], DEPTH, COLOR, found.depth_from_color, (80, 60))
    expected = render_depth(scene, COLOR, poses[3])
    x, y = np.meshgrid(np.arange(10, 150, 3), np.arange(10, 110, 3))
    pixels = np.column_stack([x.ravel(), y.ravel()]).astype(float)
    off = moved.at(pixels) / expected[y.ravel(), x.ravel()] - 1.0
    assert np.isfinite(off).mean() > 0.8
    assert np.nanmedian(np.abs(off)) < 0.01
    assert np.isnan(moved.at(np.array([[-3.0, 5.0], [5.0, 400.0]]))).all()


def test_the_calibration_of_the_other_camera_is_refused(seen):
    _, poses, visual_map, depths = seen
    with pytest.raises(DatasetError, match=r"1\.1 times the depth camera's focal length"):
        find_offset(visual_map, DepthSource(depths.__getitem__, COLOR), np.arange(len(poses)))


@pytest.mark.slow
def test_depth_of_other_images_is_refused(seen):
    _, poses, visual_map, depths = seen
    with pytest.raises(DatasetError, match=r"agree with .*% of .* landmarks, 50% needed"):
        find_offset(
            visual_map, DepthSource(lambda row: depths[(row + 4) % len(depths)], DEPTH), np.arange(len(poses))
        )
    with pytest.raises(DatasetError, match="0 landmarks observed"):
        find_offset(visual_map, DepthSource(lambda row: None, DEPTH), np.arange(len(poses)))


def test_a_folder_of_depth_images_is_read_by_names(seen, tmp_path):
    _, _, visual_map, _ = seen
    with pytest.raises(DatasetError, match="none named as a keyframe"):
        depth_folder(visual_map, tmp_path, DEPTH)
    image = np.full((120, 160), 1500, np.uint16)
    image[0, 0], image[0, 1] = 0, 65535
    cv2.imwrite(str(tmp_path / "002.png"), image)
    cv2.imwrite(str(tmp_path / "003.png"), np.zeros((120, 160, 3), np.uint8))
    source = depth_folder(visual_map, tmp_path, DEPTH)
    assert source.read(0) is None
    found = source.read(2)
    assert np.isnan(found[0, :2]).all() and found[5, 5] == np.float32(1.5) and found.dtype == np.float32
    with pytest.raises(DatasetError, match="no depth image, expected PNG of one channel of 16 bit"):
        source.read(3)
