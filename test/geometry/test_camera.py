import cv2
import numpy as np
import pytest

from hfnet_ros.errors import CalibrationError
from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.pixels import colmap_from_pixels

SIZE_WH = (640, 480)


def make_camera(model: str, distortion: list[float], focal: float = 400.0) -> Camera:
    return Camera(
        DistortionModel(model),
        SIZE_WH,
        np.array([focal, focal * 1.02]),
        np.array([322.5, 236.25]),
        np.array(distortion),
    )


CAMERAS = {
    "none": make_camera("none", []),
    "plumb_bob": make_camera("plumb_bob", [-0.28, 0.09, 1.5e-3, -8e-4, -0.012]),
    "plumb_bob strong barrel": make_camera("plumb_bob", [-0.4, 0.15, 1e-3, -2e-3, 0.0], focal=300.0),
    "plumb_bob pincushion": make_camera("plumb_bob", [0.25, -0.05, 0.0, 0.0, -0.02]),
    "rational": make_camera("rational_polynomial", [8.0, 3.0, 1e-3, 1e-3, 0.1, 8.4, 5.0, 0.6], focal=300.0),
    "equidistant": make_camera("equidistant", [-0.02, 0.01, -0.003, 0.0005], focal=270.0),
    "equidistant ideal": make_camera("equidistant", [0.0, 0.0, 0.0, 0.0], focal=260.0),
}
every_camera = pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS.keys())


def points_in_front(count: int = 300, spread: float = 0.8) -> np.ndarray:
    rng = np.random.default_rng(11)
    depth = rng.uniform(0.3, 20.0, count)
    return np.stack(
        [rng.uniform(-spread, spread, count) * depth, rng.uniform(-spread, spread, count) * depth, depth], 1
    )


def grid_of_pixels() -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, 639, 33), np.linspace(0, 479, 25))
    return np.stack([x.ravel(), y.ravel()], axis=1)


def test_pinhole_by_hand():
    camera = Camera(
        DistortionModel.NONE, SIZE_WH, np.array([500.0, 400.0]), np.array([320.0, 240.0]), np.zeros(0)
    )
    np.testing.assert_allclose(camera.project(np.array([[1.0, -0.5, 2.0]])), [[570.0, 140.0]])
    np.testing.assert_allclose(camera.undistort(np.array([[570.0, 140.0]])), [[0.5, -0.25]])


def test_one_radial_coefficient_by_hand():
    camera = make_camera("plumb_bob", [0.1])
    # r² = 0.25, so x moves from 0.5 to 0.5 * 1.025.
    np.testing.assert_allclose(camera.project(np.array([[0.5, 0.0, 1.0]])), [[400 * 0.5125 + 322.5, 236.25]])


@every_camera
def test_projects_like_opencv(camera):
    points = points_in_front()
    zero = np.zeros(3)
    if camera.model is DistortionModel.EQUIDISTANT:
        expected, _ = cv2.fisheye.projectPoints(
            points[:, None], zero, zero, camera.intrinsics, camera.distortion
        )
    else:
        expected, _ = cv2.projectPoints(points, zero, zero, camera.intrinsics, camera.distortion)
    np.testing.assert_allclose(camera.project(points), expected.reshape(-1, 2), atol=1e-8)


@every_camera
def test_projects_like_colmap_half_a_pixel_apart(camera):
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap has no wheels for aarch64")
    (fx, fy), (cx, cy) = camera.focal, colmap_from_pixels(camera.center)
    if camera.model is DistortionModel.EQUIDISTANT:
        model, coefficients = "OPENCV_FISHEYE", camera.distortion
    else:
        model, coefficients = "FULL_OPENCV", np.pad(camera.distortion, (0, 8 - len(camera.distortion)))
    reference = pycolmap.Camera(
        model=model, width=SIZE_WH[0], height=SIZE_WH[1], params=[fx, fy, cx, cy, *coefficients]
    )
    points = points_in_front()
    expected = np.array([reference.img_from_cam(point) for point in points]).reshape(-1, 2)
    np.testing.assert_allclose(colmap_from_pixels(camera.project(points)), expected, atol=1e-8)


@every_camera
def test_rays_lead_back_to_their_pixels(camera):
    pixels = grid_of_pixels()
    rays = camera.unproject(pixels)
    assert np.isfinite(rays).all()
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(camera.project(rays), pixels, atol=1e-6)


@every_camera
def test_points_come_back_as_rays(camera):
    points = points_in_front(spread=0.7)
    directions = points / np.linalg.norm(points, axis=1, keepdims=True)
    np.testing.assert_allclose(camera.unproject(camera.project(points)), directions, atol=1e-8)


@every_camera
def test_nothing_behind_the_camera_has_a_pixel(camera):
    points = np.array([[0.1, 0.2, -1.0], [0.1, 0.2, 0.0], [np.nan, 0.0, 1.0], [0.1, 0.2, 1.0]])
    pixels, jacobian = camera.project_with_jacobian(points)
    for found in (pixels, camera.project(points)):
        assert np.isnan(found[:2]).all()
        assert np.isnan(found[2]).any()
        assert np.isfinite(found[3]).all()
    np.testing.assert_allclose(pixels[3], camera.project(points)[3])
    assert np.isfinite(jacobian[3]).all()


@every_camera
def test_jacobian_agrees_with_finite_differences(camera):
    points = points_in_front(50)
    _, jacobian = camera.project_with_jacobian(points)
    step = 1e-5 * points[:, 2:]
    for axis in range(3):
        offset = np.eye(3)[axis] * step
        difference = (camera.project(points + offset) - camera.project(points - offset)) / (2 * step)
        np.testing.assert_allclose(jacobian[:, :, axis], difference, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("model", ["plumb_bob", "rational_polynomial"])
def test_random_lenses_invert_up_to_their_fold(model):
    """Every ray before the first extremum of d(r) must be found again, also under pincushion."""
    rng = np.random.default_rng(2)
    azimuth = rng.uniform(0, 2 * np.pi, 60)
    for _ in range(40):
        k = rng.uniform(-0.5, 0.5, 3) * (1.0, 0.6, 0.15)
        more = np.zeros(0) if model == "plumb_bob" else k + rng.uniform(-0.1, 0.3, 3)
        camera = make_camera(model, [k[0], k[1], 0.0, 0.0, k[2], *more])
        radii = np.linspace(0.0, 1.5, 3001)
        ahead = camera.project(np.stack([radii, 0 * radii, 1 + 0 * radii], axis=1))[:, 0]
        falling = np.flatnonzero(np.diff(ahead) <= 0.0)
        last = radii[falling[0]] if len(falling) else radii[-1]
        radius = rng.uniform(0.0, 0.95 * last, 60)
        normalized = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth)], axis=1)
        pixels = camera.project(np.concatenate([normalized, np.ones((60, 1))], axis=1))
        np.testing.assert_allclose(camera.undistort(pixels), normalized, atol=1e-7)


def test_no_ray_from_beyond_the_fold():
    # d(r) = r (1 - 0.35 r² + 0.12 r⁴ - 0.02 r⁶) is greatest, about 0.89, near r = 1.55; beyond r = 2.3 it is
    # negative, so pixels on the left also solve for points far on the right.
    camera = make_camera("plumb_bob", [-0.35, 0.12, 0.0, 0.0, -0.02], focal=300.0)
    outside = np.array([[-600.0, 200.0], [1400.0, 200.0], [-100.0, -300.0]])
    assert np.isnan(camera.unproject(outside)).all()
    pixels = (grid_of_pixels() - camera.center) * 3.0 + camera.center
    normalized = camera.undistort(pixels)
    found = np.isfinite(normalized[:, 0])
    # A circle of 0.89 * 300 px.
    inside = np.linalg.norm((pixels - camera.center) / camera.focal, axis=1) < 0.88
    assert found[inside].all()
    assert np.linalg.norm(normalized[found], axis=1).max() < 1.56
    assert ((pixels - camera.center) * normalized >= 0.0)[found].all()


def test_no_ray_outside_a_fisheye_circle():
    camera = CAMERAS["equidistant ideal"]
    # 260 px per radian: 90 degrees are 408.4 px from the centre.
    rays = camera.unproject(camera.center + np.array([[408.0, 0.0], [409.0, 0.0], [3000.0, 0.0]]))
    assert np.isfinite(rays[0]).all()
    assert np.isnan(rays[1:]).all()
    folding = make_camera("equidistant", [-0.3, 0.0, 0.0, 0.0])
    angle = np.arctan(np.linalg.norm(folding.undistort(grid_of_pixels()), axis=1))
    # theta (1 - 0.3 theta²) stops growing at 1 / sqrt(0.9).
    assert np.nanmax(angle) <= 1 / np.sqrt(0.9)


@every_camera
@pytest.mark.filterwarnings("error")
def test_a_pixel_that_is_no_number_has_no_ray(camera):
    rays = camera.unproject(np.array([[np.nan, 100.0], [100.0, np.nan], [320.0, 240.0]]))
    assert np.isnan(rays[:2]).all()
    assert np.isfinite(rays[2]).all()
    assert camera.unproject(np.zeros((0, 2))).shape == (0, 3)


@every_camera
def test_resized_sees_the_same_directions(camera):
    small = camera.resized((320, 120))
    assert small.size_wh == (320, 120)
    # Corners of the picture (half a pixel outside the corner pixels) stay corners.
    corners = np.array([[-0.5, -0.5], [639.5, 479.5]])
    small_corners = np.array([[-0.5, -0.5], [319.5, 119.5]])
    np.testing.assert_allclose(small.unproject(small_corners), camera.unproject(corners), atol=1e-9)
    back = small.resized(SIZE_WH)
    np.testing.assert_allclose(back.focal, camera.focal)
    np.testing.assert_allclose(back.center, camera.center)


def test_missing_coefficients_are_zero_and_matrices_of_opencv_are_taken():
    np.testing.assert_array_equal(make_camera("plumb_bob", [-0.1, 0.02]).distortion, [-0.1, 0.02, 0, 0, 0])
    row = Camera(
        DistortionModel.PLUMB_BOB, SIZE_WH, np.ones(2), np.ones(2), np.array([[0.1, 0.2, 0.3, 0.4, 0.5]])
    )
    np.testing.assert_array_equal(row.distortion, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert len(make_camera("plumb_bob", [0.1, 0, 0, 0, 0, 0, 0, 0]).distortion) == 5


def test_inputs_are_not_modified_and_not_shared():
    focal = np.array([400.0, 400.0])
    camera = Camera(DistortionModel.NONE, SIZE_WH, focal, np.zeros(2), np.zeros(0))
    focal[0] = 1.0
    assert camera.focal[0] == 400.0
    pixels = grid_of_pixels()
    CAMERAS["plumb_bob"].undistort(pixels)
    np.testing.assert_array_equal(pixels, grid_of_pixels())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"focal": [0.0, 0.0]}, "focal"),
        ({"focal": [400.0, -1.0]}, "focal"),
        ({"focal": [400.0]}, "shapes"),
        ({"center": [np.nan, 0.0]}, "center"),
        ({"size_wh": (0, 480)}, "0x480"),
        ({"distortion": [0.1, 0, 0, 0, 0, 0.3]}, "at most 5"),
        ({"distortion": [0.1, -1e200]}, "expected at most 1e[+]06"),
        ({"distortion": [np.inf]}, "distortion"),
        ({"distortion": ["much"]}, "distortion"),
    ],
)
def test_unusable_calibrations_are_refused(change, words):
    good = {"focal": [400.0, 400.0], "center": [320.0, 240.0], "size_wh": SIZE_WH, "distortion": []}
    with pytest.raises(CalibrationError, match=words):
        Camera(DistortionModel.PLUMB_BOB, **{**good, **change})


def test_names_of_models():
    assert DistortionModel.from_ros("") is DistortionModel.NONE
    assert DistortionModel.from_ros("fisheye") is DistortionModel.EQUIDISTANT
    assert DistortionModel.from_ros("rational_polynomial") is DistortionModel.RATIONAL_POLYNOMIAL
    with pytest.raises(CalibrationError, match="ftheta"):
        DistortionModel.from_ros("ftheta")


@pytest.mark.parametrize("slip", [0.0, 1e-6])
def test_a_pole_that_a_zero_cancels_is_no_fold(slip):
    # (1 - 9 r^2) (1 - 0.1 r^2) / (1 - 9 r^2): the common factor vanishes at r = 1/3, inside the image.
    rational = np.array([-9.1, 0.9, 0.0, 0.0, 0.0, -9.0 - slip, 0.0, 0.0])
    plain = np.array([-0.1, 0.0, 0.0, 0.0, 0.0])
    size, focal, center = (640, 480), np.full(2, 525.0), np.array([319.5, 239.5])
    camera = Camera(DistortionModel.RATIONAL_POLYNOMIAL, size, focal, center, rational)
    pixels = np.random.default_rng(0).uniform([0, 0], [639, 479], (500, 2))
    expected = Camera(DistortionModel.PLUMB_BOB, size, focal, center, plain).undistort(pixels)
    np.testing.assert_allclose(camera.undistort(pixels), expected, atol=1e-3 if slip else 1e-6)


def test_a_pole_that_nothing_cancels_is_the_end_of_the_image():
    rational = np.array([-8.0, 0.0, 0.0, 0.0, 0.0, -9.0, 0.0, 0.0])
    camera = Camera(
        DistortionModel.RATIONAL_POLYNOMIAL, (640, 480), np.full(2, 525.0), np.array([319.5, 239.5]), rational
    )
    points = np.array([[0.32, 0.0, 1.0], [0.35, 0.0, 1.0]])
    back = camera.undistort(camera.project(points))
    np.testing.assert_allclose(back[0], [0.32, 0.0], atol=1e-6)
    assert not np.allclose(back[1], [0.35, 0.0], atol=1e-3)


@pytest.mark.parametrize("coefficient", [1e-300, 1e-30, 1e6])
@pytest.mark.parametrize("model", [DistortionModel.RATIONAL_POLYNOMIAL, DistortionModel.EQUIDISTANT])
def test_coefficients_of_absurd_size_bend_nothing_or_everything_but_raise_nothing(model, coefficient):
    for row in range(model.lens.num_coefficients):
        distortion = np.zeros(model.lens.num_coefficients)
        distortion[row] = coefficient
        camera = Camera(model, SIZE_WH, np.array([400.0, 400.0]), np.array([320.0, 240.0]), distortion)
        slopes = camera.undistort(np.array([[320.0, 240.0], [10.0, 10.0]], np.float32))
        np.testing.assert_allclose(slopes[0], 0.0, atol=1e-6)
