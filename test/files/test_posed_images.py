import cv2
import numpy as np
import pytest

from hfnet_ros.errors import DatasetError, ImageError
from hfnet_ros.files.posed_images import PosedImage, load_frame, pair_images_with_poses
from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.rigid3 import Rigid3


def make_camera(width: int, height: int) -> Camera:
    return Camera(DistortionModel.NONE, (width, height), np.array([50.0, 50.0]), np.zeros(2), np.zeros(0))


@pytest.fixture
def dataset(tmp_path):
    """Three images whose gray value is their number, and a pose at x = number for each."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (1, 2, 10):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 64), number, np.uint8))
    tum = tmp_path / "images.tum"
    tum.write_text("# header\n" + "".join(f"{number} {number} 0 0 0 0 0 1\n" for number in (1, 2, 10)))
    return folder, tum


def test_sorted_files_meet_lines_in_order(dataset):
    posed_images = pair_images_with_poses(*dataset)
    assert [posed.path.name for posed in posed_images] == ["1.png", "2.png", "10.png"]
    assert [posed.stamp_ns for posed in posed_images] == [10**9, 2 * 10**9, 10**10]
    for posed in posed_images:
        frame = load_frame(posed, make_camera(64, 48), "optical")
        assert frame.image[0, 0] == posed.map_from_camera.translation[0]
        assert frame.stamp_ns == posed.stamp_ns
        assert frame.camera_frame_id == "optical"


def write_images(folder, names):
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return folder


def write_poses(path, seconds):
    """Write poses whose x is their time since the first."""
    first = float(seconds[0])
    path.write_text("".join(f"{text} {float(text) - first:.6f} 0 0 0 0 0 1\n" for text in seconds))
    return path


def paired(folder, tum):
    return {
        posed.path.name: posed.map_from_camera.translation[0] for posed in pair_images_with_poses(folder, tum)
    }


T0 = 1_700_000_000


@pytest.mark.parametrize(
    "name",
    [
        lambda k: f"{T0 + k}.000000000.png",
        lambda k: f"left-{T0 + k}000000000.png",
        lambda k: f"{T0 + k}000_cam0.png",
        lambda k: f"frame_{k:04d}_{T0 + k}_000000000.png",
    ],
    ids=["seconds", "nanoseconds", "milliseconds", "seconds and nanoseconds"],
)
def test_names_that_are_times_are_paired_by_time(tmp_path, name, caplog):
    # As many images as poses, but of other times: pairing in order would shift all between.
    folder = write_images(tmp_path / "images", [name(k) for k in range(12) if k != 3])
    tum = write_poses(tmp_path / "poses.tum", [str(T0 + k) for k in range(12) if k != 8])
    assert paired(folder, tum) == {name(k): k for k in range(12) if k not in (3, 8)}
    assert f"1 of 11 images have no pose of their time in {tum} and are left out: {name(8)}" in caplog.text


def test_frame_numbers_are_paired_by_number(tmp_path):
    folder = write_images(tmp_path / "images", [f"frame{k}.color.jpg" for k in range(0, 20, 5)])
    assert paired(folder, write_poses(tmp_path / "poses.tum", [str(k) for k in range(20)])) == {
        f"frame{k}.color.jpg": k for k in range(0, 20, 5)
    }


def test_frame_numbers_beyond_the_poses_are_paired_in_order(tmp_path):
    folder = write_images(tmp_path / "images", [f"{k}_left.jpg" for k in range(1, 12)])
    assert paired(folder, write_poses(tmp_path / "poses.tum", [str(k) for k in range(11)])) == {
        f"{k}_left.jpg": k - 1 for k in range(1, 12)
    }


def test_dense_poses_are_interpolated(tmp_path):
    folder = write_images(tmp_path / "images", [f"{T0}.{k}50.png" for k in range(8)])
    tum = write_poses(tmp_path / "poses.tum", [f"{T0}.{k}" for k in range(10)])
    assert paired(folder, tum) == pytest.approx(
        {f"{T0}.{k}50.png": 0.1 * k + 0.05 for k in range(8)}, abs=1e-5
    )


@pytest.mark.parametrize(
    "name", ["{s}_{ns}.png", "{s}_{ns:09d}.png", "left_{s}_{us:06d}.png", "{idx}-{s}-{ms:03d}.png"]
)
def test_parts_of_a_second_count_beside_dense_poses(tmp_path, name):
    """The whole seconds lie between two poses as well, up to a second from where the camera was."""
    parts_ms = [712, 85, 940, 303]
    names = [
        name.format(idx=idx, s=T0 + 2 * idx, ms=ms, us=1_000 * ms, ns=1_000_000 * ms)
        for idx, ms in enumerate(parts_ms)
    ]
    poses = write_poses(tmp_path / "poses.tum", [f"{T0 + tenth / 10:.1f}" for tenth in range(90)])
    found = paired(write_images(tmp_path / "images", names), poses)
    expected = {
        text: 2 * idx + ms / 1_000 for idx, (text, ms) in enumerate(zip(names, parts_ms, strict=True))
    }
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("num_poses", [6, 19])
def test_images_are_not_paired_in_order_with_poses_of_other_times(tmp_path, num_poses):
    """Poses at 1 Hz beside images at 10 Hz; also if there happen to be as many."""
    folder = write_images(tmp_path / "images", [f"{T0 + k // 10}{k % 10}00000000.png" for k in range(19)])
    tum = write_poses(tmp_path / "poses.tum", [f"{T0 + k}.05" for k in range(num_poses)])
    with pytest.raises(
        DatasetError, match=r"are times of the poses' clock, but 0 have .* 1\.00 s apart, and gaps of more"
    ):
        pair_images_with_poses(folder, tum)


def test_times_a_little_off_are_paired_in_order_with_a_warning(tmp_path, caplog):
    names = [f"{T0 + k}.000.png" for k in range(12)]
    folder = write_images(tmp_path / "images", names)
    tum = write_poses(tmp_path / "poses.tum", [f"{T0 + k}.2" for k in range(12)])
    assert paired(folder, tum) == {name: k for k, name in enumerate(names)}
    assert "up to 0.20 s, by their names, from the poses they are paired with in order" in caplog.text


def test_times_of_another_clock_are_paired_in_order(tmp_path, caplog):
    names = [f"{T0 + 3600 + k}.png" for k in range(12)]
    folder = write_images(tmp_path / "images", names)
    assert paired(folder, write_poses(tmp_path / "poses.tum", [f"{T0 + k}" for k in range(12)])) == {
        name: k for k, name in enumerate(names)
    }
    assert caplog.text == ""


def test_a_count_mismatch_names_both_counts(dataset):
    folder, tum = dataset
    for number in (1, 2, 10):
        (folder / f"{number}.png").rename(folder / f"{number + 100}.png")
    (folder / "102.png").unlink()
    with pytest.raises(
        DatasetError,
        match=r"found 2 images in .*images \(101\.png to 110\.png\) but 3 poses in .* \(stamps 1\.0+ to 10\.0+\)",
    ):
        pair_images_with_poses(folder, tum)
    tum.write_text("")
    with pytest.raises(DatasetError, match=r"found 2 images .* but 0 poses"):
        pair_images_with_poses(folder, tum)


def test_another_size_is_refused_and_not_resized(dataset):
    posed = pair_images_with_poses(*dataset)[0]
    with pytest.raises(
        ImageError, match=r"1\.png: the image is 64x48 px, expected the calibration's 128x96 px"
    ):
        load_frame(posed, make_camera(128, 96))
    with pytest.raises(ImageError, match="turned by 90 degrees"):
        load_frame(posed, make_camera(48, 64))


def test_a_missing_image_is_refused(tmp_path):
    posed = PosedImage(tmp_path / "gone.png", 0, Rigid3.identity())
    with pytest.raises(ImageError, match=r"gone\.png"):
        load_frame(posed, make_camera(64, 48))
