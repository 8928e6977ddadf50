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


def test_a_count_mismatch_names_both_counts(dataset):
    folder, tum = dataset
    (folder / "2.png").unlink()
    with pytest.raises(
        DatasetError, match=r"found 2 images in .*images \(1\.png to 10\.png\) but 3 poses in"
    ):
        pair_images_with_poses(folder, tum)
    tum.write_text("")
    with pytest.raises(DatasetError, match=r"found 2 images .* but 0 poses"):
        pair_images_with_poses(folder, tum)


def test_another_size_is_refused_and_not_resized(dataset):
    posed = pair_images_with_poses(*dataset)[0]
    with pytest.raises(ImageError, match=r"1\.png: found 64x48 px, expected the calibration's 128x96 px"):
        load_frame(posed, make_camera(128, 96))
    with pytest.raises(ImageError, match="turned by 90 degrees"):
        load_frame(posed, make_camera(48, 64))


def test_a_missing_image_is_refused(tmp_path):
    posed = PosedImage(tmp_path / "gone.png", 0, Rigid3.identity())
    with pytest.raises(ImageError, match=r"gone\.png"):
        load_frame(posed, make_camera(64, 48))
