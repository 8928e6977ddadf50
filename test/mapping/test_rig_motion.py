"""Metres from images alone, where two cameras of a rig see the same."""

import cv2
import numpy as np
import pytest

from hfnet_ros.errors import DatasetError, MappingError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.mapping import map_builder
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.sources import UnposedImages
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.trust.tested_build import build_map
from hfnet_ros.types import RigCamera

UNTESTED = BuildOptions(self_test=False)
RIGHT = Rigid3.from_rotvec([0.01, 0.04, -0.02], [0.12, 0.005, -0.01])


@pytest.fixture(scope="module")
def stereo(kit):
    """A world seen by two cameras at once, 8 frames."""
    cameras = [kit.make_camera(), kit.make_camera(focal=300.0)]
    return kit.make_world(cameras, num_views=16, num_points=250, mountings=[Rigid3.identity(), RIGHT])


@pytest.fixture(scope="module")
def recovered():
    """What motion was recovered, by the times of the images."""
    return {}


@pytest.fixture(autouse=True)
def recover_once(monkeypatch, recovered):
    """Recover motion of images of the same times once: the rig is asked after it."""
    recover = map_builder.recover_motion

    def once(keyframes, *given):
        times = tuple(keyframe.image.stamp_ns for keyframe in keyframes)
        if times not in recovered:
            recovered[times] = recover(keyframes, *given)
        return recovered[times]

    monkeypatch.setattr(map_builder, "recover_motion", once)


def _build(kit, world, config, mountings):
    images = [
        MappingImage(image.name, number // 2, image.camera_idx, image.read)
        for number, image in enumerate(kit.make_images(world))
    ]
    source = UnposedImages(images, world.cameras, mountings)
    return build_map(source, kit.make_extractor(world), config, UNTESTED)


def _distances(positions):
    return np.linalg.norm(positions[:, None] - positions[None], axis=2)


def test_a_rig_gives_metres_and_its_frames_the_shape_of_the_rig(kit, config, stereo):
    built = _build(kit, stereo, config, [Rigid3.identity(), RIGHT])
    assert built.num_keyframes == 16
    assert not built.has_arbitrary_scale
    truth = _distances(np.array([view.map_from_camera.translation for view in stereo.views]))
    found = _distances(built.keyframe_poses[:, :3])
    assert found.sum() / truth.sum() == pytest.approx(1.0, abs=0.01)
    poses = [Rigid3.from_quat(pose[3:], pose[:3]) for pose in built.keyframe_poses]
    for left, right in zip(poses[::2], poses[1::2], strict=True):
        between = left.inverse() @ right
        assert between.translation_to(RIGHT) < 1e-6
        assert between.rotation_to(RIGHT) < 1e-6
    (mounting,) = built.build_info["mountings"]
    assert mounting["camera"] == "camera 1"
    assert mounting["num_frames"] == 8
    assert np.linalg.norm(mounting["turned_deg"]) < 0.2
    assert np.linalg.norm(mounting["moved_m"]) < 0.01
    assert not mounting["corrected"]
    assert built.build_info["scale_estimate"]["num_frames"] == 8


def test_where_the_rig_sits_on_the_robot_does_not_matter(kit, config, stereo):
    base_from_left = Rigid3.from_rotvec([0.3, -1.2, 0.4], [0.5, -0.2, 0.8])
    built = _build(kit, stereo, config, [base_from_left, base_from_left @ RIGHT])
    truth = _distances(np.array([view.map_from_camera.translation for view in stereo.views]))
    assert _distances(built.keyframe_poses[:, :3]).sum() / truth.sum() == pytest.approx(1.0, abs=0.01)


def test_a_camera_that_was_turned_is_named_and_turned_back(kit, config, stereo, caplog):
    turned = RIGHT @ Rigid3.from_rotvec([0.0, np.radians(5.0), 0.0], np.zeros(3))
    built = _build(kit, stereo, config, [Rigid3.identity(), turned])
    (mounting,) = built.build_info["mountings"]
    assert mounting["corrected"]
    np.testing.assert_allclose(mounting["turned_deg"], [0.0, -5.0, 0.0], atol=0.3)
    assert "camera 1 is mounted 5.0" in caplog.text or "camera 1 is mounted 4.9" in caplog.text
    left, right = (Rigid3.from_quat(pose[3:], pose[:3]) for pose in built.keyframe_poses[:2])
    assert np.degrees((left.inverse() @ right).rotation_to(RIGHT)) < 0.3


@pytest.mark.slow
def test_images_of_other_times_contradict_the_rig(kit, config, stereo):
    """The right camera's images are paired with the next left ones."""
    images = [
        MappingImage(image.name, (number + number % 2 * 4) // 2 % 8, image.camera_idx, image.read)
        for number, image in enumerate(kit.make_images(stereo))
    ]
    source = UnposedImages(images, stereo.cameras, [Rigid3.identity(), RIGHT])
    with pytest.raises(MappingError, match=r"contradict the rig: of \d+ matches .* of one time paired"):
        build_map(source, kit.make_extractor(stereo), config, UNTESTED)


def test_cameras_in_one_place_give_no_scale(kit, config, stereo):
    with pytest.raises(MappingError, match=r"gives no scale: 8 of 8 frames .* model, 0 of them"):
        _build(kit, stereo, config, [Rigid3.identity(), Rigid3(RIGHT.rotation, np.zeros(3))])


@pytest.mark.slow
def test_images_of_different_times_give_no_scale(kit, config, stereo):
    images = kit.make_images(stereo)
    source = UnposedImages(images, stereo.cameras, [Rigid3.identity(), RIGHT])
    with pytest.raises(
        MappingError, match=r"0 of 16 frames have two cameras in the model, 0 of them .* expected 3"
    ):
        build_map(source, kit.make_extractor(stereo), config, UNTESTED)


def test_images_of_a_rig_pair_by_the_order_of_their_names(kit, tmp_path):
    for name, number in (("left", 5), ("right", 4)):
        (tmp_path / name).mkdir()
        for row in range(number):
            cv2.imwrite(str(tmp_path / name / f"{'abcde'[row]}.png"), np.full((4, 4), row, np.uint8))
    rig = {"left": RigCamera(kit.make_camera()), "right": RigCamera(kit.make_camera(), RIGHT)}
    folders = {name: tmp_path / name for name in rig}
    with pytest.raises(DatasetError, match=r"found 5 of 'left', 4 of 'right', expected as many"):
        UnposedImages.of_rig(folders, rig)
    with pytest.raises(DatasetError, match=r"'up' is not in the rig, which has left, right"):
        UnposedImages.of_rig({"up": tmp_path}, rig)
    (tmp_path / "left/e.png").unlink()
    source = UnposedImages.of_rig(folders, rig, every=2)
    assert [image.name for image in source.images] == [
        "left/a.png",
        "right/a.png",
        "left/c.png",
        "right/c.png",
    ]
    assert [image.camera_idx for image in source.images] == [0, 1, 0, 1]
    assert source.images[2].stamp_ns == source.images[3].stamp_ns != source.images[0].stamp_ns
    assert source.images[3].read()[0, 0].tolist() in (2, [2, 2, 2])
    assert source.rig_from_camera[1] is RIGHT
