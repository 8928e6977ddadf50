import cv2
import numpy as np
import pytest

from hfnet_ros.errors import CalibrationError
from hfnet_ros.files.camera_yaml import read_calibration, read_camera_yaml
from hfnet_ros.geometry.camera import DistortionModel

K = np.array([[215.0, 0.0, 159.5], [0.0, 215.0, 119.5], [0.0, 0.0, 1.0]])
D = np.array([-0.12, 0.03, 0.0005, -0.0005, 0.0])
CAMERA_INFO = """header:
  stamp: {sec: 1700000000, nanosec: 1}
  frame_id: camera
height: 240
width: 320
distortion_model: plumb_bob
d: [-0.12, 0.03, 0.0005, -0.0005, 0.0]
k: [215.0, 0.0, 159.5, 0.0, 215.0, 119.5, 0.0, 0.0, 1.0]
r: [1, 0, 0, 0, 1, 0, 0, 0, 1]
p: [200.0, 0, 158.0, 0, 0, 200.0, 121.0, 0, 0, 0, 1, 0]
binning_x: 0
binning_y: 0
roi: {x_offset: 0, y_offset: 0, height: 0, width: 0, do_rectify: false}
---
header:
"""
KALIBR = """cam0:
  camera_model: pinhole
  distortion_coeffs: [-0.12, 0.03, 0.0005, -0.0005]
  distortion_model: radtan
  intrinsics: [215.0, 215.0, 159.5, 119.5]
  resolution: [320, 240]
"""
ORB_SLAM = """%YAML:1.0
Camera.type: "PinHole"
Camera1.fx: 215.0
Camera1.fy: 215.0
Camera1.cx: 159.5
Camera1.cy: 119.5
Camera1.k1: -0.12
Camera1.k2: 0.03
Camera1.p1: 0.0005
Camera1.p2: -0.0005
Camera.width: 320
Camera.height: 240
"""
VINS = """%YAML:1.0
---
model_type: PINHOLE
camera_name: camera
image_width: 320
image_height: 240
distortion_parameters: {k1: -0.12, k2: 0.03, p1: 0.0005, p2: -0.0005}
projection_parameters: {fx: 215.0, fy: 215.0, cx: 159.5, cy: 119.5}
"""
LISTS = """image_width: 320
image_height: 240
camera_matrix: [215.0, 0, 159.5, 0, 215.0, 119.5, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients: ["-0.12", 0.03, 5.0e-4, "-5e-4", 0.0]
"""
NESTED = """image_width: 320
image_height: 240
camera_matrix: {rows: 3, cols: 3, data: [[215.0, 0, 159.5], [0, 215.0, 119.5], [0, 0, 1]]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [[-0.12, 0.03, 0.0005, -0.0005, 0.0]]}
"""
INI = """# oST version 5.0 parameters

[image]

width
320

height
240

[narrow_stereo]

camera matrix
215.000000 0.000000 159.500000
0.000000 215.000000 119.500000
0.000000 0.000000 1.000000

distortion
-0.120000 0.030000 0.000500 -0.000500 0.000000

projection
200.0 0.0 158.0 0.0
0.0 200.0 121.0 0.0
0.0 0.0 1.0 0.0
"""
FORMATS = [
    CAMERA_INFO,
    CAMERA_INFO.replace("\nk:", "\nK:").replace("\nd:", "\nD:"),  # of ROS 1
    KALIBR,
    ORB_SLAM,
    VINS,
    LISTS,
    NESTED,
    INI,
]


def write(tmp_path, text):
    path = tmp_path / "camera.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", FORMATS)
def test_what_other_programs_write_is_the_same_camera(tmp_path, text):
    camera = read_camera_yaml(write(tmp_path, text))
    assert camera.model is DistortionModel.PLUMB_BOB
    assert camera.size_wh == (320, 240)
    np.testing.assert_allclose(camera.intrinsics, K)
    np.testing.assert_allclose(camera.distortion, D)
    assert camera.notes == ()


@pytest.mark.parametrize(
    "names", [("camera_matrix", "distortion_coefficients"), ("cameraMatrix", "distCoeffs"), ("K", "D")]
)
def test_what_opencv_writes(tmp_path, names):
    path = tmp_path / "camera.yml"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 320)
    storage.write("image_height", 240)
    storage.write(names[0], K)
    storage.write(names[1], D.reshape(5, 1))
    storage.release()
    camera = read_camera_yaml(path)
    np.testing.assert_allclose(camera.intrinsics, K)
    np.testing.assert_allclose(camera.distortion, D)
    assert "no distortion_model is named" in camera.notes[0]


def test_an_echoed_message_is_cut_and_binned_and_rectified_as_one_from_a_topic(tmp_path):
    text = CAMERA_INFO.replace("binning_x: 0", "binning_x: 2").replace("binning_y: 0", "binning_y: 2")
    assert read_camera_yaml(write(tmp_path, text)).size_wh == (160, 120)
    rectified = read_calibration(write(tmp_path, CAMERA_INFO)).camera(rectified=True)
    assert rectified.focal[0] == 200.0
    assert not rectified.has_distortion


def test_vins_equidistant(tmp_path):
    text = VINS.replace("PINHOLE", "KANNALA_BRANDT").replace("distortion_parameters", "unused").replace(
        "{fx: 215.0, fy: 215.0, cx: 159.5, cy: 119.5}",
        "{k2: 0.01, k3: 0.0, k4: 0.0, k5: 0.0, mu: 215.0, mv: 215.0, u0: 159.5, v0: 119.5}",
    )  # fmt: skip
    camera = read_camera_yaml(write(tmp_path, text))
    assert camera.model is DistortionModel.EQUIDISTANT
    assert (camera.focal[0], camera.center[1], camera.distortion[0]) == (215.0, 119.5, 0.01)


def test_kalibr_equidistant(tmp_path):
    camera = read_camera_yaml(write(tmp_path, KALIBR.replace("radtan", "equidistant")))
    assert camera.model is DistortionModel.EQUIDISTANT


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (KALIBR + KALIBR.replace("cam0", "cam1"), "2 cameras .cam0, cam1.; leave the one"),
        (
            KALIBR.replace("pinhole", "omni"),
            "camera_model is 'omni', expected pinhole; calibrate with Kalibr's pinhole-",
        ),
        (
            KALIBR.replace("[215.0, 215.0, 159.5, 119.5]", "[215.0]"),
            r"expected intrinsics \[fx, fy, cx, cy\]",
        ),
        (ORB_SLAM.replace("Camera1.fy", "Camera1.gy"), "Camera1.fy is missing"),
        (INI.replace("height", "depth"), "'height' with 1 numbers is missing"),
        (VINS.replace("PINHOLE", "MEI"), "model_type is 'MEI', expected PINHOLE or KANNALA_BRANDT"),
        (VINS.replace("fx: 215.0, ", ""), "projection_parameters: fx is None, expected a number"),
        ("<?xml version='1.0'?><opencv_storage></opencv_storage>", "is XML; let cv2.FileStorage write it"),
        (LISTS + LISTS, "'image_width' stands in lines 1 and 6; leave one calibration"),
        (NESTED.replace("rows: 3, cols: 3", "rows: 3, cols: 3, rows: 3"), "'rows' stands"),
        (
            LISTS.replace("159.5", "159,5"),
            "10 numbers, expected 3x3 = 9 numbers; is a comma used for the decimal point",
        ),
        (
            "fx: 215\nfy: 215\n",
            "found keys: fx, fy.; expected a file of ROS camera_calibration, OpenCV FileStorage, Kalibr",
        ),
        (
            LISTS.replace("215.0, 0, 159.5, 0, 215.0, 119.5", "215.0, 0, 119.5, 0, 215.0, 159.5"),
            "cx and cy are swapped",
        ),
    ],
)
def test_what_cannot_be_read_names_file_remedy_and_option(tmp_path, text, found):
    path = write(tmp_path, text)
    with pytest.raises(CalibrationError, match=found) as caught:
        read_camera_yaml(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("(option --camera)")


@pytest.mark.parametrize("text", [ORB_SLAM, VINS, LISTS, CAMERA_INFO])
def test_the_byte_order_mark_of_windows_editors_is_no_part_of_a_file(tmp_path, text):
    (tmp_path / "camera.yaml").write_text(text, encoding="utf-8-sig")
    assert read_camera_yaml(tmp_path / "camera.yaml").size_wh == (320, 240)


def test_the_sensor_yaml_of_euroc_is_read(tmp_path):
    file = tmp_path / "sensor.yaml"
    file.write_text(
        "sensor_type: camera\nT_BS: {cols: 4, rows: 4, data: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}\n"
        "rate_hz: 20\nresolution: [320, 240]\ncamera_model: pinhole\nintrinsics: [215.0, 214.0, 159.5, 119.5]\n"
        "distortion_model: radial-tangential\ndistortion_coefficients: [-0.28, 0.07, 0.0002, 1.7e-05]\n"
    )
    camera = read_camera_yaml(file)
    assert (camera.model, camera.size_wh) == (DistortionModel.PLUMB_BOB, (320, 240))
    np.testing.assert_array_equal([*camera.focal, *camera.center], [215.0, 214.0, 159.5, 119.5])
    np.testing.assert_allclose(camera.distortion, [-0.28, 0.07, 0.0002, 1.7e-05, 0.0])


@pytest.mark.parametrize("key", ["model", "camera_model", "model_type"])
def test_a_fisheye_is_told_by_other_names_too(tmp_path, key):
    file = tmp_path / "camera.yaml"
    file.write_text(
        f"%YAML:1.0\n---\nimage_width: 320\nimage_height: 240\n{key}: fisheye\n"
        "camera_matrix: [215, 0, 159.5, 0, 215, 119.5, 0, 0, 1]\n"
        "distortion_coefficients: [0.1, 0.02, 0.01, 0.005]\n"
    )
    camera = read_camera_yaml(file)
    assert camera.model is DistortionModel.EQUIDISTANT
    np.testing.assert_array_equal(camera.distortion, [0.1, 0.02, 0.01, 0.005])
    assert camera.notes == ()
