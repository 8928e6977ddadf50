from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from hfnet_ros.errors import DatasetError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.scene import SensorModel, build_plane_wall, demo_camera, look_at, write_dataset

GRADIENT = np.tile(np.linspace(20, 230, 64).astype(np.uint8)[None, :, None], (48, 1, 3))


def test_a_written_sequence_reads_back(tmp_path: Path) -> None:
    scene, camera = build_plane_wall(0), demo_camera((160, 120))
    eye = np.array([5.0, 2.5, 1.5])
    poses = [
        (1_700_000_000_123_456_789 + i, look_at(eye, eye + np.array([0.1 * i, 2.0, 0.1]))) for i in range(3)
    ]
    seen = []
    folders = write_dataset(
        tmp_path,
        scene,
        camera,
        poses,
        poses[:1],
        image_format="png",
        progress=lambda *state: seen.append(state),
    )
    assert [folder.name for folder in folders] == ["mapping", "query"]
    assert seen == [("mapping", 1, 3), ("mapping", 2, 3), ("mapping", 3, 3), ("query", 1, 1)]
    lines = (folders[0] / "poses.tum").read_text().splitlines()
    images = sorted((folders[0] / "images").iterdir())
    assert [path.name for path in images] == ["000000.png", "000001.png", "000002.png"]
    assert cv2.imread(str(images[0])).shape == (120, 160, 3)
    assert lines[1].split()[0] == "1700000000.123456790"
    numbers = np.array(lines[1].split()[1:], float)
    read = Rigid3.from_quat(numbers[3:], numbers[:3])
    assert read.translation_to(poses[1][1]) < 1e-8
    assert read.rotation_to(poses[1][1]) < 1e-7
    calibration = yaml.safe_load((folders[1] / "camera.yaml").read_text())
    assert (calibration["image_width"], calibration["distortion_model"]) == (160, "plumb_bob")
    assert calibration["camera_matrix"]["data"] == camera.intrinsics.ravel().tolist()
    assert calibration["distortion_coefficients"]["data"] == camera.distortion.tolist()
    with pytest.raises(DatasetError, match="not empty"):
        write_dataset(tmp_path, scene, camera, poses, poses)


def test_a_sequence_without_poses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no poses"):
        write_dataset(tmp_path, build_plane_wall(0), demo_camera(), [], [])


def test_a_perfect_sensor_changes_nothing() -> None:
    assert np.array_equal(SensorModel.perfect().expose(GRADIENT, np.random.default_rng(0)), GRADIENT)


def test_noise_has_the_stated_deviation_and_repeats_with_the_seed() -> None:
    sensor = SensorModel(4.0, (1.0, 1.0), (1.0, 1.0), 0.0, 0.0)
    gray = np.full((200, 200, 3), 128, np.uint8)
    first, again, other = (sensor.expose(gray, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.std() == pytest.approx(4.0, rel=0.03)
    assert first.mean() == pytest.approx(128.0, abs=0.1)


def test_exposure_changes_from_frame_to_frame() -> None:
    sensor, rng = SensorModel(0.0, (0.5, 2.0), (1.0, 1.0), 0.0, 0.0), np.random.default_rng(0)
    means = [sensor.expose(GRADIENT, rng).mean() for _ in range(8)]
    assert max(means) / min(means) > 1.3


def test_motion_blur_does_not_move_the_image() -> None:
    dot = np.zeros((41, 41, 3), np.uint8)
    dot[18:23, 18:23] = 250
    blurred = SensorModel(0.0, (1.0, 1.0), (1.0, 1.0), 0.0, 9.0).expose(dot, np.random.default_rng(3))[..., 0]
    rows, columns = np.indices(blurred.shape)
    weights = blurred / blurred.sum()
    assert (blurred > 0).sum() > 40
    assert abs((rows * weights).sum() - 20) < 0.1
    assert abs((columns * weights).sum() - 20) < 0.1


def test_an_impossible_sensor_is_refused() -> None:
    with pytest.raises(ValueError, match="exposure_gain_range"):
        SensorModel(exposure_gain_range=(1.2, 0.8))
