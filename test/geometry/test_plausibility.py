import numpy as np
import pytest

from hfnet_ros.errors import CalibrationError
from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.plausibility import check_plausible, differs_from


def camera(size_wh, focal, center, distortion=(), model=DistortionModel.PLUMB_BOB):
    return Camera(
        model, size_wh, np.array(focal, np.float64), np.array(center, np.float64), np.array(distortion)
    )


# (size, focal, centre): webcams, stereo heads, phones, a telephoto lens, cut and binned images.
REAL = [
    ((640, 480), (525.0, 525.0), (319.5, 239.5)),
    ((640, 480), (585.0, 585.0), (320.0, 240.0)),
    ((752, 480), (458.654, 457.296), (367.215, 248.375)),
    ((848, 480), (421.7, 421.7), (424.2, 239.9)),
    ((1280, 720), (913.1, 912.4), (641.5, 371.8)),
    ((1920, 1080), (1380.0, 1378.0), (954.2, 530.1)),
    ((1080, 1920), (1512.0, 1512.0), (541.0, 953.0)),
    ((4000, 3000), (3100.0, 3098.0), (2010.0, 1480.0)),
    ((1241, 376), (718.856, 718.856), (607.193, 185.216)),
    ((1024, 1024), (5000.0, 5000.0), (500.0, 530.0)),
    ((512, 512), (191.0, 191.0), (255.0, 257.0)),
]


@pytest.mark.parametrize(("size_wh", "focal", "center"), REAL)
def test_cameras_that_there_are(size_wh, focal, center):
    given = camera(size_wh, focal, center, [-0.1, 0.01, 0.0, 0.0, 0.0])
    assert check_plausible(given) == []


@pytest.mark.parametrize(("size_wh", "focal", "center"), REAL)
@pytest.mark.parametrize("factor", [0.25, 0.5, 2 / 3, 1.5, 2.0, 3.0, 4.0])
def test_the_matrix_of_another_resolution_is_refused(size_wh, focal, center, factor):
    other = (np.array(center) + 0.5) * factor - 0.5
    with pytest.raises(CalibrationError, match=r"the principal point is .* expected near"):
        check_plausible(camera(size_wh, np.multiply(focal, factor), other))


@pytest.mark.parametrize(
    ("size_wh", "of_wh"),
    [
        ((640, 480), (1280, 720)),
        ((1280, 720), (640, 480)),
        ((320, 240), (848, 480)),
        ((1920, 1080), (640, 480)),
    ],
)
def test_the_matrix_of_another_shape_is_refused(size_wh, of_wh):
    with pytest.raises(CalibrationError, match="the principal point is"):
        check_plausible(camera(size_wh, (0.8 * of_wh[0],) * 2, (np.array(of_wh) - 1) / 2))


@pytest.mark.parametrize("size_wh", [(320, 240), (640, 480), (1280, 720), (1280, 1024), (1080, 1920)])
def test_swapped_coordinates_are_named(size_wh):
    swapped = (np.array(size_wh[::-1]) - 1) / 2 + [5, -4]
    with pytest.raises(CalibrationError, match="cx and cy are swapped, or width and height"):
        check_plausible(camera(size_wh, (0.8 * max(size_wh),) * 2, swapped))


@pytest.mark.parametrize(
    "center", [(0.0, 119.5), (159.5, 0.0), (0.0, 0.0), (159.5, 239.5), (-20.0, 119.5), (400.0, 119.5)]
)
def test_a_principal_point_at_the_edge_is_refused(center):
    with pytest.raises(CalibrationError, match=r"in an image of 320x240 px"):
        check_plausible(camera((320, 240), (215.0, 215.0), center))


@pytest.mark.parametrize("focal", [(3.6, 3.6), (0.67, 0.89), (40000.0, 40000.0), (100.0, 500.0)])
def test_a_focal_length_that_no_lens_has_is_refused(focal):
    with pytest.raises(CalibrationError, match="is it in mm, or of another camera"):
        check_plausible(camera((640, 480), focal, (319.5, 239.5)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"center": (319.5, 300.0)}, "13 % of the side from the middle"),
        ({"size_wh": (640, 360)}, "17 % of the side from the middle"),
        ({"focal": (100.0, 100.0)}, "which is unusual"),
        ({"focal": (525.0, 400.0)}, "seldom that far from square"),
        ({"distortion": [-0.9, 0.0, 0.0, 0.0]}, "no ray leads to"),
    ],
)
def test_what_is_only_odd_is_said(changes, said):
    usual = {"size_wh": (640, 480), "focal": (525.0, 525.0), "center": (319.5, 239.5)}
    notes = check_plausible(camera(**{**usual, **changes}))
    assert len(notes) == 1
    assert said in notes[0]


def test_a_fisheye_lens_is_wide():
    assert (
        check_plausible(
            camera((640, 480), (105.0,) * 2, (319.5, 239.5), [0.0] * 4, DistortionModel.EQUIDISTANT)
        )
        == []
    )


def test_beside_the_camera_of_a_map():
    known = camera((320, 240), (215.0, 215.0), (159.5, 119.5))
    assert differs_from(camera((320, 240), (218.0, 217.0), (162.0, 117.0)), known) == ""
    assert differs_from(camera((640, 480), (430.0, 430.0), (319.5, 239.5)), known) == ""
    assert "focal length of (430.0, 430.0) px" in differs_from(
        camera((320, 240), (430.0,) * 2, (159.5, 119.5)), known
    )
    assert "one of the two is wrong" in differs_from(camera((320, 240), (215.0,) * 2, (180.0, 119.5)), known)
