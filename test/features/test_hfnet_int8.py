"""The int8 form of HF-Net that comes with the package: of the same file, and for the same maps."""

import shutil

import cv2
import numpy as np
import pytest

from hfnet_ros.config import Config
from hfnet_ros.errors import WeightsError
from hfnet_ros.features.hfnet import HFNetExtractor
from hfnet_ros.features.hfnet_int8 import quantize_hfnet
from hfnet_ros.features.weights import HFNET, shipped_folder
from hfnet_ros.inference.quantization import quantized_path

SHIPPED = shipped_folder() / HFNET.file_name


def extractor(precision, path=SHIPPED):
    return HFNetExtractor(path, Config.from_dict({"inference": {"cpu_precision": precision}}))


@pytest.fixture(scope="module")
def both(make_image):
    """Features of a picture, float32 and int8."""
    image, found = make_image((320, 256), seed=3), {}
    for precision in ("float32", "int8"):
        opened = extractor(precision)
        found[precision] = opened.extract(image), opened.backend
        opened.close()
    return found


def test_the_shipped_file_is_of_the_shipped_weights(both):
    (exact, backend), (bytewise, byte_backend) = both["float32"], both["int8"]
    assert (backend, byte_backend) == ("onnxruntime-cpu", "onnxruntime-cpu-int8")
    assert exact.extractor_id == bytewise.extractor_id


def test_it_finds_and_describes_the_same(both):
    """Painted boxes are nothing that activations were measured on."""
    exact, bytewise = both["float32"][0], both["int8"][0]
    assert float(exact.global_descriptor @ bytewise.global_descriptor) > 0.97
    distance = np.linalg.norm(exact.local.keypoints[:, None] - bytewise.local.keypoints[None], axis=2)
    same = distance.min(axis=1) < 1.5
    assert same.mean() > 0.8
    other = bytewise.local.descriptors[distance.argmin(axis=1)]
    cosine = np.einsum("nd,nd->n", exact.local.descriptors, other)[same]
    assert np.median(cosine) > 0.98


def test_it_is_not_the_float_file_under_another_name(both):
    assert not np.array_equal(both["float32"][0].global_descriptor, both["int8"][0].global_descriptor)


def test_int8_of_another_file_is_left_alone(tmp_path, caplog):
    import onnx

    own = tmp_path / "hfnet.onnx"
    model = onnx.load(SHIPPED)
    model.doc_string = "trained further"
    onnx.save(model, own)
    shutil.copy(quantized_path(SHIPPED), quantized_path(own))
    opened = extractor("int8", own)
    opened.extract(np.zeros((64, 64), np.uint8))
    assert opened.backend == "onnxruntime-cpu"
    opened.close()
    assert f"{quantized_path(own)} is not of {own}" in caplog.text


def test_one_can_be_made_of_ones_own_images(tmp_path, make_image):
    own = tmp_path / "hfnet.onnx"
    shutil.copy(SHIPPED, own)
    for number in range(8):
        cv2.imwrite(str(tmp_path / f"{number}.png"), make_image((160, 120), seed=number))
    quantize_hfnet(own, quantized_path(own), sorted(tmp_path.glob("*.png")))
    opened = extractor("int8", own)
    opened.extract(np.zeros((64, 64), np.uint8))
    assert opened.backend == "onnxruntime-cpu-int8"
    opened.close()
    with pytest.raises(WeightsError, match="is int8 already"):
        quantize_hfnet(quantized_path(own), tmp_path / "again.onnx", sorted(tmp_path.glob("*.png")))


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="0 images to measure activations on, expected at least 8"):
        quantize_hfnet(SHIPPED, tmp_path / "out.onnx", [])
