"""Rigs of cameras read of a file."""

import numpy as np
import pytest

from hfnet_ros.errors import CalibrationError
from hfnet_ros.files.camera_yaml import write_camera_yaml
from hfnet_ros.files.rig_yaml import read_rig, write_rig
from hfnet_ros.scene import demo_camera, demo_rig


@pytest.fixture
def folder(tmp_path):
    for name in ("left", "right"):
        write_camera_yaml(tmp_path / f"camera_{name}.yaml", demo_camera(), name)
    return tmp_path


def test_named_cameras_keep_their_order_and_poses(folder):
    (folder / "rig.yaml").write_text(
        "cameras:\n"
        "  right: {calibration: camera_right.yaml, rig_from_camera: [0.11, 0, 0, 0, 0, 0.7071068, 0.7071068]}\n"
        "  left: {calibration: camera_left.yaml, rig_from_camera: [0, 0, 0, 0, 0, 0, 1]}\n"
    )
    rig = read_rig(folder / "rig.yaml")
    assert list(rig) == ["right", "left"]
    np.testing.assert_allclose(
        rig["right"].rig_from_camera @ np.array([1.0, 0.0, 0.0]), [0.11, 1.0, 0.0], atol=1e-6
    )
    assert rig["left"].rig_from_camera.is_identity
    assert rig["left"].camera.size_wh == demo_camera().size_wh


def test_relative_poses_make_the_first_camera_the_rig(folder):
    (folder / "rig.yaml").write_text("left_from_right: [0.11, 0, 0, 0, 0, 0, 1]\n")
    rig = read_rig(folder / "rig.yaml")
    assert list(rig) == ["left", "right"]
    assert rig["left"].rig_from_camera.is_identity
    np.testing.assert_allclose(rig["right"].rig_from_camera.translation, [0.11, 0.0, 0.0])


def test_what_is_written_is_read(tmp_path):
    written = demo_rig(4)
    write_rig(tmp_path / "rig.yaml", written)
    rig = read_rig(tmp_path / "rig.yaml")
    assert list(rig) == ["front", "left", "right", "rear"]
    for name, mounted in rig.items():
        assert mounted.camera.model == written[name].camera.model
        np.testing.assert_array_equal(mounted.camera.distortion, written[name].camera.distortion)
        assert mounted.rig_from_camera.translation_to(written[name].rig_from_camera) < 1e-9
        assert mounted.rig_from_camera.rotation_to(written[name].rig_from_camera) < 1e-6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no rig"),
        ("[1, 2]", "holds no rig"),
        ("cameras: {}", "names no camera"),
        ("cameras: {left: camera_left.yaml}", "camera 'left' is 'camera_left.yaml'"),
        ("left_from_right: [0, 0, 0, 0, 0, 0, 2]", "'left_from_right' is .*quaternion of length 1"),
        ("left_from_right: [0, 0, 0]", "expected seven numbers"),
        ("left_from_right: 3", "expected seven numbers"),
        ("baseline: 0.11", "has baseline"),
        ("{left_from_right: [0, 0, 0, 0, 0, 0, 1], front_from_left: [0, 0, 0, 0, 0, 0, 1]}", "all of one A"),
        ("left_from_back: [0, 0, 0, 0, 0, 0, 1]", r"camera_back\.yaml"),
        ("cameras: {left: ", "rig.yaml"),
    ],
)
def test_what_is_no_rig_is_named(folder, text, said):
    (folder / "rig.yaml").write_text(text)
    with pytest.raises(CalibrationError, match=said):
        read_rig(folder / "rig.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CalibrationError, match=r"nowhere\.yaml: cannot be read"):
        read_rig(tmp_path / "nowhere.yaml")
