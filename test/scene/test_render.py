import importlib

import cv2
import numpy as np
import pytest

from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.scene import Rectangle, Scene, build_apartment, demo_camera, look_at, render, render_depth

CAMERAS = {
    "pinhole": Camera(DistortionModel.NONE, (320, 240), [250, 250], [159.5, 119.5], []),
    "plumb_bob": Camera(
        DistortionModel.PLUMB_BOB, (320, 240), [250, 255], [150, 125], [-0.3, 0.1, 0.002, -0.001]
    ),
    "equidistant": Camera(
        DistortionModel.EQUIDISTANT, (320, 240), [150, 150], [160, 118], [0.05, -0.01, 0, 0]
    ),
}


def wall_scene(texture: np.ndarray) -> Scene:
    """One wall at x = 3 m, 4 m wide and 3 m high, seen when looking along +x."""
    origin = np.array([3.0, 2.0, 3.0])
    return Scene(
        (Rectangle(origin, np.array([0.0, -4.0, 0.0]), np.array([0.0, 0.0, -3.0]), texture),), rooms=()
    )


def oblique_view() -> Rigid3:
    return look_at(np.array([0.6, 0.5, 1.1]), np.array([3.0, 0.2, 1.6]), roll_rad=0.2)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_how_many_rows_are_looked_up_at_a_time_does_not_matter(monkeypatch, rows: int) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    scene, camera = wall_scene(texture), CAMERAS["plumb_bob"]
    drawing = importlib.import_module("hfnet_ros.scene.render")  # of whose name the package has a function
    monkeypatch.setattr(drawing, "_BLOCK_ROWS", 240)
    whole = render(scene, camera, oblique_view())
    monkeypatch.setattr(drawing, "_BLOCK_ROWS", rows)
    assert np.array_equal(render(scene, camera, oblique_view()), whole)


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS.keys())
@pytest.mark.parametrize("oversampling", [1, 2])
@pytest.mark.parametrize("uv", [(0.3, 0.4), (0.62, 0.55)])
def test_a_dot_lands_where_the_camera_projects_it(
    camera: Camera, oversampling: int, uv: tuple[float, float]
) -> None:
    texture = np.zeros((480, 640, 3), np.uint8)
    column, row = round(uv[0] * 640), round(uv[1] * 480)
    texture[row - 3 : row + 3, column - 3 : column + 3] = 255  # centred on a texel border, which is uv
    scene, map_from_camera = wall_scene(texture), oblique_view()
    image = render(scene, camera, map_from_camera, oversampling)[..., 0].astype(float)
    point = scene.rectangles[0].point_at(np.array([[column / 640, row / 480]]))
    expected = camera.project(map_from_camera.inverse() @ point)[0]
    rows, columns = np.indices(image.shape)
    centroid = np.array([(columns * image).sum(), (rows * image).sum()]) / image.sum()
    assert np.abs(centroid - expected).max() < 0.15


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS.keys())
def test_depth_is_that_of_the_plane(camera: Camera) -> None:
    map_from_camera = oblique_view()
    depth = render_depth(wall_scene(np.zeros((32, 32, 3), np.uint8)), camera, map_from_camera)
    assert depth.dtype == np.float32
    rows, columns = np.nonzero(np.isfinite(depth))
    assert len(rows) > 20000
    rays = camera.unproject(np.stack([columns, rows], axis=1).astype(float))
    points = map_from_camera @ (rays / rays[:, 2:] * depth[rows, columns, None])
    assert np.abs(points[:, 0] - 3.0).max() < 1e-4
    assert points[:, 1].min() > -2.001
    assert points[:, 2].max() < 3.001


def test_the_nearer_rectangle_hides_the_farther_and_backs_are_invisible() -> None:
    white, gray = np.full((32, 32, 3), 255, np.uint8), np.full((32, 32, 3), 90, np.uint8)
    near = Rectangle(np.array([2.0, 0.5, 2.0]), np.array([0.0, -1.0, 0]), np.array([0, 0, -1.0]), gray)
    back = Rectangle(np.array([1.5, -0.5, 2.0]), np.array([0.0, 1.0, 0]), np.array([0, 0, -1.0]), gray)
    view = look_at(np.array([0.0, 0.0, 1.5]), np.array([1.0, 0.0, 1.5]))
    scene = Scene((near, back, *wall_scene(white).rectangles), rooms=())
    image, depth = render(scene, CAMERAS["pinhole"], view), render_depth(scene, CAMERAS["pinhole"], view)
    assert image[120, 160, 0] == 90
    assert depth[120, 160] == pytest.approx(2.0, abs=1e-5)
    assert image[120, 20, 0] == 255
    assert depth[120, 20] == pytest.approx(3.0, abs=1e-5)


def test_pixels_without_ray_are_black() -> None:
    fisheye = Camera(DistortionModel.EQUIDISTANT, (320, 240), [90, 90], [159.5, 119.5], [])
    scene = wall_scene(np.full((32, 32, 3), 255, np.uint8))
    view = look_at(np.array([2.9, 0.0, 1.5]), np.array([3.0, 0.0, 1.5]))
    image = render(scene, fisheye, view)
    assert np.isnan(fisheye.unproject(np.zeros((1, 2)))).all()
    assert image[0, 0].max() == 0
    assert image[120, 160].min() == 255
    assert np.isnan(render_depth(scene, fisheye, view)[0, 0])


def test_a_fine_checkerboard_fades_to_gray_with_distance() -> None:
    checks = (np.indices((1024, 1024)).sum(axis=0) % 2 * 255).astype(np.uint8)
    scene = wall_scene(cv2.cvtColor(checks, cv2.COLOR_GRAY2BGR))
    view = look_at(np.array([-5.0, 0.0, 1.5]), np.array([3.0, 0.0, 1.5]))
    seen = render(scene, CAMERAS["pinhole"], view)[105:135, 145:175].astype(float)
    assert seen.std() < 8.0
    assert seen.mean() == pytest.approx(127.5, abs=3.0)


@pytest.mark.slow
def test_views_of_an_apartment_agree_through_depth_and_poses() -> None:
    scene, camera = build_apartment(3, num_rooms=1), demo_camera((320, 240))
    eye = scene.rooms[0].center * [1.0, 1.0, 0.0] + np.array([-0.9, 0.1, 1.4])
    map_from_a = look_at(eye, eye + np.array([2.0, 1.0, -0.3]))
    map_from_b = look_at(eye + np.array([0.1, -0.15, 0.05]), eye + np.array([2.0, 0.7, -0.2]), roll_rad=0.05)
    image_a, image_b = (
        render(scene, camera, view, 2).astype(np.float32) for view in (map_from_a, map_from_b)
    )
    depth_a, depth_b = (render_depth(scene, camera, view) for view in (map_from_a, map_from_b))
    columns, rows = np.meshgrid(np.arange(320), np.arange(240))
    rays = camera.unproject(np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(float))
    points_b = map_from_b.inverse() @ (map_from_a @ (rays / rays[:, 2:] * depth_a.reshape(-1, 1)))
    pixels = camera.project(points_b).astype(np.float32).reshape(240, 320, 2)
    warped = cv2.remap(image_b, pixels, None, cv2.INTER_LINEAR, borderValue=-1)
    seen_depth = cv2.remap(depth_b, pixels, None, cv2.INTER_NEAREST, borderValue=-1)
    visible = np.abs(seen_depth - points_b[:, 2].reshape(240, 320)) < 0.02
    error = np.abs(warped - image_a).mean(axis=2)[visible]
    unrelated = np.abs(image_b - image_a).mean(axis=2)[visible]
    assert visible.mean() > 0.6
    assert error.mean() < 5.0
    assert error.mean() < 0.25 * unrelated.mean()
