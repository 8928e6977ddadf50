"""COLMAP's cameras and models against our own, there and back."""

from dataclasses import replace

import cv2
import numpy as np
import pycolmap
import pytest

from hfnet_ros.errors import DatasetError, ImageError, MappingError
from hfnet_ros.files.camera_mask import CameraMask
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.geometry.pixels import colmap_from_pixels
from hfnet_ros.mapping import colmap_model
from hfnet_ros.mapping.colmap_convention import (
    camera_from_colmap,
    colmap_camera_from,
    colmap_pose_from,
    pose_from_colmap,
    quiet_colmap,
)
from hfnet_ros.mapping.colmap_model import read_colmap_model
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.sources import ColmapModel
from hfnet_ros.trust.tested_build import build_map

COLMAP_CAMERAS = {
    "SIMPLE_PINHOLE": [260.0, 160.0, 120.0],
    "PINHOLE": [260.0, 261.0, 160.0, 120.0],
    "SIMPLE_RADIAL": [260.0, 160.0, 120.0, -0.1],
    "RADIAL": [260.0, 160.0, 120.0, -0.1, 0.05],
    "OPENCV": [260.0, 261.0, 160.0, 120.0, -0.1, 0.05, 0.002, -0.003],
    "FULL_OPENCV": [260.0, 261.0, 160.0, 120.0, 0.1, 0.05, 0.002, -0.003, 0.01, 0.2, 0.03, 0.004],
    "SIMPLE_RADIAL_FISHEYE": [260.0, 160.0, 120.0, 0.05],
    "RADIAL_FISHEYE": [260.0, 160.0, 120.0, 0.05, -0.02],
    "OPENCV_FISHEYE": [260.0, 261.0, 160.0, 120.0, 0.05, -0.02, 0.01, -0.004],
}


def _colmap_camera(model, params, camera_id=1):
    return pycolmap.Camera(model=model, width=320, height=240, params=params, camera_id=camera_id)


def _points() -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 5), np.linspace(-0.4, 0.4, 5))
    return np.column_stack([x.ravel(), y.ravel(), np.ones(25)])


@pytest.mark.parametrize("model", COLMAP_CAMERAS)
def test_both_project_alike(model):
    theirs = _colmap_camera(model, COLMAP_CAMERAS[model])
    ours = camera_from_colmap(theirs)
    expected = np.array([theirs.img_from_cam(point) for point in _points()])
    np.testing.assert_allclose(colmap_from_pixels(ours.project(_points())), expected, atol=1e-9)


@pytest.mark.parametrize("model", COLMAP_CAMERAS)
def test_cameras_survive_the_round_trip(model):
    ours = camera_from_colmap(_colmap_camera(model, COLMAP_CAMERAS[model]))
    again = camera_from_colmap(colmap_camera_from(ours, 7))
    np.testing.assert_allclose(again.project(_points()), ours.project(_points()), atol=1e-9)


def test_sixth_order_plumb_bob_is_not_cut_off():
    distortion = np.array([0.26, -0.95, -0.005, 0.002, 1.16])
    ours = Camera(
        DistortionModel.PLUMB_BOB, (640, 480), np.array([517.0, 516.0]), np.array([318.0, 255.0]), distortion
    )
    theirs = colmap_camera_from(ours, 1)
    assert theirs.model.name == "FULL_OPENCV"
    expected = np.array([theirs.img_from_cam(point) for point in _points()])
    np.testing.assert_allclose(colmap_from_pixels(ours.project(_points())), expected, atol=1e-9)


def test_a_model_ros_cannot_express_is_refused():
    params = [260.0, 261.0, 160.0, 120.0, *np.zeros(8)]
    with pytest.raises(MappingError, match="camera 3 has COLMAP's model THIN_PRISM_FISHEYE"):
        camera_from_colmap(_colmap_camera("THIN_PRISM_FISHEYE", params, camera_id=3))


def test_a_model_colmap_does_not_have_is_refused(monkeypatch):
    monkeypatch.setattr(DistortionModel, "_known", dict(DistortionModel._known))
    model = DistortionModel.register("division", replace(DistortionModel.NONE.lens, num_coefficients=1))
    ours = Camera(model, (320, 240), np.array([260.0, 260.0]), np.array([159.5, 119.5]), np.array([0.1]))
    with pytest.raises(
        MappingError, match=r"no equal of the distortion model 'division'; known are none, plumb"
    ):
        colmap_camera_from(ours, 1)


def test_log_level_comes_back_after_an_error():
    before = pycolmap.logging.minloglevel
    with pytest.raises(KeyError), quiet_colmap():
        assert pycolmap.logging.minloglevel >= 2
        raise KeyError
    assert pycolmap.logging.minloglevel == before


def _write_model(folder, world, image_folder, suffix=".png"):
    """Write a model of the world with images in two subfolders; also the image files, if asked."""
    reconstruction = pycolmap.Reconstruction()
    for idx, camera in enumerate(world.cameras):
        reconstruction.add_camera_with_trivial_rig(colmap_camera_from(camera, 10 + idx))
    for number, view in enumerate(world.views):
        name = f"{'left' if view.camera_idx == 0 else 'right'}/{number:03d}{suffix}"
        image = pycolmap.Image(name=name, camera_id=10 + view.camera_idx, image_id=100 - number)
        reconstruction.add_image_with_trivial_frame(image, colmap_pose_from(view.map_from_camera))
        if image_folder is not None:
            (image_folder / name).parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((240, 320, 3), 50, np.uint8)
            pixels[0, 0, 0] = number
            cv2.imwrite(str(image_folder / name), pixels)
    folder.mkdir()
    reconstruction.write_text(folder)


@pytest.fixture
def world(kit):
    cameras = [kit.make_camera(distortion=(-0.1, 0.02, 0.0, 0.0)), kit.make_camera(focal=240.0)]
    return kit.make_world(cameras, num_views=8, num_points=300)


def test_images_of_a_model_have_its_mask(world, tmp_path):
    _write_model(tmp_path / "model", world, tmp_path / "images")
    plain = read_colmap_model(ColmapModel(tmp_path / "model", tmp_path / "images")).images[0]
    height, width = plain.read().shape[:2]
    mask = CameraMask(np.arange(height)[:, None] < np.full(width, height // 2))
    masked = read_colmap_model(ColmapModel(tmp_path / "model", tmp_path / "images", mask)).images[0]
    np.testing.assert_array_equal(masked.read(), mask.hide(plain.read()))
    assert (plain.file is None, masked.file is None) == (False, True)


def test_model_gives_images_poses_and_cameras(world, tmp_path):
    _write_model(tmp_path / "model", world, tmp_path / "images")
    found = read_colmap_model(ColmapModel(tmp_path / "model", tmp_path / "images"))
    assert [image.name for image in found.images] == sorted(image.name for image in found.images)
    assert [image.camera_idx for image in found.images] == [0, 0, 0, 0, 1, 1, 1, 1]
    for image, pose in zip(found.images, found.map_from_camera, strict=True):
        number = int(image.read()[0, 0, 0])
        np.testing.assert_allclose(pose.matrix, world.views[number].map_from_camera.matrix, atol=1e-9)
    np.testing.assert_allclose(found.cameras[0].distortion[:4], [-0.1, 0.02, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(found.cameras[1].center, [159.5, 119.5], atol=1e-12)


def test_images_of_a_rig_have_the_poses_of_their_cameras(world, tmp_path):
    """A model whose frames hold the pose of a rig, and whose rig says where the second camera sits on it."""
    right_from_left = Rigid3.from_rotvec([0.0, -0.4, 0.1], [0.2, 0.0, 0.05])
    model, rig = pycolmap.Reconstruction(), pycolmap.Rig(rig_id=1)
    for idx, camera in enumerate(world.cameras, 1):
        model.add_camera(colmap_camera_from(camera, idx))
    rig.add_ref_sensor(model.cameras[1].sensor_id)
    rig.add_sensor(model.cameras[2].sensor_id, colmap_pose_from(right_from_left.inverse()))
    model.add_rig(rig)
    for number, view in enumerate(world.views[:3], 1):
        frame = pycolmap.Frame(
            frame_id=number, rig_id=1, rig_from_world=colmap_pose_from(view.map_from_camera)
        )
        images = []
        for camera_id, name in enumerate(("left", "right"), 1):
            image = pycolmap.Image(
                name=f"{name}/{number}.png", camera_id=camera_id, image_id=10 * camera_id + number
            )
            image.frame_id = number
            frame.add_data_id(image.data_id)
            images.append(image)
            (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "images" / image.name), np.zeros((240, 320), np.uint8))
        model.add_frame(frame)
        for image in images:
            model.add_image(image)
    (tmp_path / "model").mkdir()
    model.write_binary(tmp_path / "model")
    found = read_colmap_model(ColmapModel(tmp_path / "model", tmp_path / "images"))
    assert [image.name for image in found.images] == [
        f"{name}/{n}.png" for n in (1, 2, 3) for name in ("left", "right")
    ]
    stamps = [image.stamp_ns for image in found.images]
    assert stamps[::2] == stamps[1::2] == sorted(set(stamps))
    left = [view.map_from_camera for view in world.views[:3]]
    mountings = [Rigid3.identity(), right_from_left.inverse()]
    expected = [pose @ mounting for pose in left for mounting in mountings]
    for pose, should_be in zip(found.map_from_camera, expected, strict=True):
        np.testing.assert_allclose(pose.matrix, should_be.matrix, atol=1e-9)


def test_names_with_spaces_are_read_whole(world, tmp_path):
    _write_model(tmp_path / "model", world, tmp_path / "images", suffix=" (left, wall).png")
    found = read_colmap_model(ColmapModel(tmp_path / "model", tmp_path / "images"))
    assert [image.name for image in found.images[:2]] == [
        "left/000 (left, wall).png",
        "left/002 (left, wall).png",
    ]
    assert int(found.images[1].read()[0, 0, 0]) == 2


def test_map_from_a_model(kit, world, config, tmp_path):
    _write_model(tmp_path / "model", world, tmp_path / "images")
    source = ColmapModel(tmp_path / "model", tmp_path / "images")
    built = build_map(source, kit.make_extractor(world), config)
    assert built.num_keyframes == 8
    assert built.num_landmarks > 150
    assert built.keyframe_names[0] == "left/000.png"
    assert len(built.cameras) == 2
    np.testing.assert_allclose(
        built.map_from_camera(1).matrix, world.views[2].map_from_camera.matrix, atol=1e-9
    )


def test_a_model_as_structure_from_motion_leaves_it_is_not_in_metres(kit, world, config, tmp_path):
    _write_model(tmp_path / "metric", world, tmp_path / "images")
    assert read_colmap_model(ColmapModel(tmp_path / "metric", tmp_path / "images")).is_metric
    reconstruction = pycolmap.Reconstruction(tmp_path / "metric")
    reconstruction.normalize()
    (tmp_path / "model").mkdir()
    reconstruction.write_text(tmp_path / "model")
    source = ColmapModel(tmp_path / "model", tmp_path / "images")
    assert not read_colmap_model(source).is_metric
    built = build_map(source, kit.make_extractor(world), config, BuildOptions(self_test=False))
    assert built.has_arbitrary_scale


def test_missing_images_are_counted_before_the_work(kit, world, config, tmp_path):
    _write_model(tmp_path / "model", world, tmp_path / "images")
    (tmp_path / "images/left/002.png").unlink()
    with pytest.raises(DatasetError, match=r"1 of 8 images .* first left/002.png"):
        build_map(ColmapModel(tmp_path / "model", tmp_path / "images"), kit.make_extractor(world), config)


def test_an_image_of_another_size_is_named(kit, world, config, tmp_path):
    _write_model(tmp_path / "model", world, tmp_path / "images")
    cv2.imwrite(str(tmp_path / "images/right/003.png"), np.zeros((100, 100, 3), np.uint8))
    with pytest.raises(
        ImageError, match=r"right/003.png: the image is 100x100 px, expected the calibration's 320x240"
    ):
        build_map(ColmapModel(tmp_path / "model", tmp_path / "images"), kit.make_extractor(world), config)


def test_folders_without_a_model_are_refused(world, tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        read_colmap_model(ColmapModel(tmp_path / "nowhere", tmp_path))
    (tmp_path / "sparse").mkdir()
    _write_model(tmp_path / "sparse" / "0", world, None)
    with pytest.raises(DatasetError, match="did you mean its subfolder 0"):
        read_colmap_model(ColmapModel(tmp_path / "sparse", tmp_path))


def test_a_damaged_model_is_refused(tmp_path):
    for name in ("cameras", "images", "points3D"):
        (tmp_path / f"{name}.bin").write_bytes(b"\x05\x00")
    with pytest.raises(DatasetError, match="cannot be read as a COLMAP model"):
        read_colmap_model(ColmapModel(tmp_path, tmp_path))


def test_a_file_that_is_cut_off_and_announces_any_length_is_refused(tmp_path, monkeypatch):
    for name in ("cameras.bin", "images.bin", "points3D.bin"):
        (tmp_path / name).write_bytes(bytes(8))

    def read(_):
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(colmap_model.pycolmap, "Reconstruction", read)
    with pytest.raises(DatasetError, match="cannot be read as a COLMAP model"):
        read_colmap_model(ColmapModel(tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("name", "length"),
    # Of the first camera the lens is missing, of the frames all but the first; of others all but their number.
    [
        ("cameras", 8 + 24),
        ("frames", 8 + 84),
        ("images", 8),
        ("points3D", 8),
        ("points3D", 0),
        ("rigs", 8 + 12),
    ],
)
def test_a_file_that_is_cut_off_is_named(world, tmp_path, name, length):
    """Read by COLMAP, the lens of one was made of zeros, and another did not return."""
    _write_model(tmp_path / "text", world, tmp_path / "images")
    model = pycolmap.Reconstruction(tmp_path / "text")
    model.add_point3D(np.zeros(3), pycolmap.Track())
    (tmp_path / "model").mkdir()
    model.write_binary(tmp_path / "model")
    assert len(read_colmap_model(ColmapModel(tmp_path / "model", tmp_path / "images")).images) == 8
    file = tmp_path / "model" / f"{name}.bin"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(DatasetError, match=rf"{name}.bin: cannot be read .* its {length} bytes are less"):
        read_colmap_model(ColmapModel(tmp_path / "model", tmp_path / "images"))


def test_a_text_that_ends_within_its_last_number_is_named(world, tmp_path):
    """COLMAP reads the rest as a smaller coefficient, and zero of a minus sign."""
    _write_model(tmp_path / "model", world, tmp_path / "images")
    file = tmp_path / "model/cameras.txt"
    whole = file.read_bytes()
    file.write_bytes(whole[:-2])
    with pytest.raises(DatasetError, match=r"cameras.txt: ends with .* and no end of line"):
        read_colmap_model(ColmapModel(tmp_path / "model", tmp_path / "images"))
    # By hand, without the comments that COLMAP writes, the last line may stay open.
    lines = [line for line in whole.split(b"\n") if line and not line.startswith(b"#")]
    file.write_bytes(b"\n".join(lines))
    assert len(read_colmap_model(ColmapModel(tmp_path / "model", tmp_path / "images")).images) == 8


def test_a_model_without_its_images_is_refused(world, tmp_path):
    _write_model(tmp_path / "model", world, tmp_path / "images")
    (tmp_path / "model/images.txt").write_text("", encoding="utf-8")
    with pytest.raises(DatasetError, match="as if a file of it were cut off"):
        read_colmap_model(ColmapModel(tmp_path / "model", tmp_path / "images"))


def test_poses_survive_the_round_trip():
    pose = Rigid3.from_rotvec([0.3, -0.2, 0.9], [1.0, 2.0, 3.0])
    reconstruction = pycolmap.Reconstruction()
    reconstruction.add_camera_with_trivial_rig(_colmap_camera("PINHOLE", COLMAP_CAMERAS["PINHOLE"]))
    image = pycolmap.Image(name="a", camera_id=1, image_id=1)
    reconstruction.add_image_with_trivial_frame(image, colmap_pose_from(pose))
    np.testing.assert_allclose(pose_from_colmap(reconstruction.images[1]).matrix, pose.matrix, atol=1e-12)
