import copy

import numpy as np
import pytest
import yaml

from hfnet_ros.errors import CalibrationError
from hfnet_ros.files.camera_yaml import read_camera_yaml, write_camera_yaml
from hfnet_ros.geometry.camera import Camera, DistortionModel

GOOD = {
    "image_width": 640,
    "image_height": 480,
    "camera_name": "front",
    "camera_matrix": {"rows": 3, "cols": 3, "data": [525.0, 0.0, 319.5, 0.0, 526.0, 239.5, 0.0, 0.0, 1.0]},
    "distortion_model": "plumb_bob",
    "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.1, -0.2, 0.001, -0.002, 0.03]},
}


def write(tmp_path, **change):
    document = copy.deepcopy(GOOD)
    for key, value in change.items():
        if value is None:
            del document[key]
        else:
            document[key] = value
    path = tmp_path / "camera.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def matrix(data, rows=3, cols=3):
    return {"rows": rows, "cols": cols, "data": data}


def coefficients(data):
    return matrix(data, rows=1, cols=len(data))


def test_reads_every_value(tmp_path):
    camera = read_camera_yaml(write(tmp_path))
    assert camera.model is DistortionModel.PLUMB_BOB
    assert camera.size_wh == (640, 480)
    np.testing.assert_array_equal(camera.focal, [525.0, 526.0])
    np.testing.assert_array_equal(camera.center, [319.5, 239.5])
    np.testing.assert_array_equal(camera.distortion, [0.1, -0.2, 0.001, -0.002, 0.03])


@pytest.mark.parametrize(
    ("name", "data", "model"),
    [
        ("plumb_bob", [0.1, 0.2, 0.0, 0.0], DistortionModel.PLUMB_BOB),
        ("rational_polynomial", [0.1] * 8, DistortionModel.RATIONAL_POLYNOMIAL),
        ("rational_polynomial", [0.1] * 8 + [0.0] * 4, DistortionModel.RATIONAL_POLYNOMIAL),
        ("equidistant", [0.1] * 4, DistortionModel.EQUIDISTANT),
        ("fisheye", [0.1] * 4, DistortionModel.EQUIDISTANT),
        ("none", [], DistortionModel.NONE),
    ],
)
def test_every_model_of_camera_info(tmp_path, name, data, model):
    path = write(tmp_path, distortion_model=name, distortion_coefficients=coefficients(data))
    assert read_camera_yaml(path).model is model


def test_numbers_as_yaml_cpp_writes_them(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(yaml.safe_dump(GOOD).replace("0.001", "1e-05"))
    assert read_camera_yaml(path).distortion[2] == 1e-5


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("none", []),
        ("plumb_bob", [0.1, -0.2, 1e-7, -2e-12, 1 / 3]),
        ("rational_polynomial", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]),
        ("equidistant", [-0.01, 0.002, -1e-5, 0.0]),
    ],
)
def test_round_trip_is_exact(tmp_path, model, data):
    camera = Camera(
        DistortionModel(model),
        (1280, 720),
        np.array([1000 / 3, 501.25]),
        np.array([640.1, 1 / 3e-3]),
        np.array(data),
    )
    path = tmp_path / "camera.yaml"
    write_camera_yaml(path, camera, "Küche: left")
    again = read_camera_yaml(path)
    assert again.model is camera.model
    assert again.size_wh == camera.size_wh
    for name in ("focal", "center", "distortion"):
        np.testing.assert_array_equal(getattr(again, name), getattr(camera, name))
    document = yaml.safe_load(path.read_text())
    assert document["camera_name"] == "Küche: left"
    assert document["projection_matrix"]["data"][:4] == [1000 / 3, 0.0, 640.1, 0.0]
    # Every reader must see numbers, also the small ones.
    assert all(isinstance(value, float) for value in document["distortion_coefficients"]["data"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["camera.yaml"]


K = GOOD["camera_matrix"]["data"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_width": None}, "image_width is missing"),
        ({"image_height": 0}, "image_height is 0, expected a positive integer"),
        ({"image_height": -480}, "image_height is -480"),
        ({"image_width": "wide"}, "image_width is 'wide'"),
        ({"image_width": 640.5}, "image_width is 640.5"),
        ({"image_width": True}, "image_width is True"),
        ({"camera_matrix": None}, "camera_matrix is missing"),
        (
            {"camera_matrix": [1, 2, 3]},
            "camera_matrix: found rows None, cols None and 3 numbers, expected 3x3 = 9",
        ),
        ({"camera_matrix": matrix(K[:8])}, "camera_matrix: found .* 8 numbers, expected 3x3 = 9"),
        ({"camera_matrix": matrix(K, rows=1, cols=9)}, "camera_matrix: found rows 1, cols 9"),
        ({"camera_matrix": matrix([0.0, *K[1:]])}, "the focal length is .0, 526. px, expected both positive"),
        ({"camera_matrix": matrix([-525.0, *K[1:]])}, "focal length"),
        ({"camera_matrix": matrix([525.0, 3.0, *K[2:]])}, "skew of 3 px, expected 0; recalibrate"),
        ({"camera_matrix": matrix([*K[:8], 2.0])}, "expected .*fx, 0, cx"),
        ({"camera_matrix": matrix([*K[:2], float("nan"), *K[3:]])}, r"camera_matrix: data\[2\] is nan"),
        (
            {"camera_matrix": matrix([*K[:2], "x", *K[3:]])},
            r"camera_matrix: data\[2\] is 'x', expected a number",
        ),
        ({"distortion_model": "ftheta"}, "'ftheta' is unknown; known are none, plumb_bob"),
        ({"distortion_model": 5}, "distortion_model is 5"),
        ({"distortion_coefficients": None}, "distortion_coefficients is missing"),
        (
            {"distortion_coefficients": coefficients([0.1, 0.2, 0.0])},
            "D has 3 coefficients, expected 0, 4, 5",
        ),
        ({"distortion_coefficients": matrix([0.1] * 5, 1, 4)}, "rows 1, cols 4 and 5 numbers"),
        ({"distortion_coefficients": coefficients([float("inf")] * 5)}, r"data\[0\] is inf"),
        (
            {"distortion_model": "rational_polynomial", "distortion_coefficients": coefficients([0.1] * 12)},
            "12 coefficients with a thin prism .* recalibrate with eight",
        ),
        ({"distortion_model": "equidistant"}, "D has 5 coefficients, expected 4 .*equidistant"),
    ],
)
def test_refused_with_file_and_key(tmp_path, change, words):
    path = write(tmp_path, **change)
    with pytest.raises(CalibrationError, match=words) as caught:
        read_camera_yaml(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("(option --camera)")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "found nothing"),
        (b"just words", "found str"),
        (b"- 1\n- 2\n", "found list"),
        (b"a: [1, 2\nb: }", "is not YAML"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is not YAML"),
        (b"a: 2001-99-99", "is not YAML"),
        (b"[" * 1200, "is not YAML"),
        (b"%YAML:1.0\n---\nK: !!opencv-matrix\n   rows: 3\n", "image_width is missing .found keys: K"),
        (b"a: !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_what_is_no_calibration(tmp_path, content, words):
    path = tmp_path / "camera.yaml"
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=words):
        read_camera_yaml(path)


def test_missing_file(tmp_path):
    with pytest.raises(CalibrationError, match=r"no\.yaml: cannot be read: No such file"):
        read_camera_yaml(tmp_path / "no.yaml")


@pytest.mark.parametrize("center", [(10.0, 230.0), (690.0, -40.0), (319.5, 470.0), (25.0, 17.0)])
def test_a_part_of_an_image_comes_back_as_it_was(center, tmp_path):
    """Its principal point is one that whole images do not have."""
    camera = Camera(
        DistortionModel.PLUMB_BOB,
        (640, 480),
        np.array([525.0, 526.0]),
        np.array(center),
        np.array([0.1, -0.2, 0.001, -0.002, 0.03]),
    )
    write_camera_yaml(tmp_path / "part.yaml", camera, "part")
    assert read_camera_yaml(tmp_path / "part.yaml").is_same_as(camera)
