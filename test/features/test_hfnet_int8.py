"""The int8 form of HF-Net that comes with the package: of the same file, and for the same maps."""

import shutil

import cv2
import numpy as np
import onnx
import pytest

from hfnet_ros.config import Config
from hfnet_ros.errors import EngineError, WeightsError
from hfnet_ros.features.hfnet import HFNetExtractor
from hfnet_ros.features.hfnet_int8 import quantize_hfnet
from hfnet_ros.features.weights import HFNET, shipped_folder
from hfnet_ros.inference import backend
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


@pytest.fixture
def own(tmp_path):
    """A copy of the float file, alone in a folder."""
    (tmp_path / "own").mkdir()
    shutil.copy(SHIPPED, tmp_path / "own" / "hfnet.onnx")
    return tmp_path / "own" / "hfnet.onnx"


def damage(kind, own):
    beside = quantized_path(own)
    shutil.copy(quantized_path(SHIPPED), beside)
    if kind == "of another file":
        model = onnx.load(SHIPPED)
        model.doc_string = "trained further"
        onnx.save(model, own)
    elif kind == "cut off":
        beside.write_bytes(beside.read_bytes()[:200_000])
    elif kind == "empty":
        beside.write_bytes(b"")
    else:
        model = onnx.load(beside)
        model.graph.node[0].op_type = "NoSuchOperator"
        onnx.save(model, beside)


@pytest.fixture
def a_fast_processor(monkeypatch):
    monkeypatch.setattr(backend, "byte_products", lambda: "avx512_vnni")


@pytest.mark.parametrize("kind", ["of another file", "cut off", "empty", "another operator"])
def test_int8_that_is_of_no_use_is_float32_with_a_warning(kind, own, caplog, a_fast_processor):
    caplog.set_level("INFO", "hfnet_ros.inference.backend")
    damage(kind, own)
    opened = extractor("auto", own)
    opened.extract(np.zeros((64, 64), np.uint8))
    assert opened.backend == "onnxruntime-cpu"
    opened.close()
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "runs in float32: its int8 form is of no use" in warning
    assert "no instruction" not in caplog.text  # which this processor has
    assert (
        "another operator" in kind or "make it anew by 'hfnet-ros weights quantize', or remove it" in warning
    )
    opened = extractor("int8", own)
    with pytest.raises((WeightsError, EngineError)):
        opened.extract(np.zeros((64, 64), np.uint8))
    opened.close()
    opened = extractor("float32", own)
    opened.extract(np.zeros((64, 64), np.uint8))
    opened.close()


def test_int8_that_is_asked_for_and_not_there_is_said(own, caplog):
    opened = extractor("int8", own)
    opened.extract(np.zeros((64, 64), np.uint8))
    assert opened.backend == "onnxruntime-cpu"
    opened.close()
    assert "no int8 form of its file lies beside it" in caplog.text


def test_int8_is_no_weights_of_its_own():
    with pytest.raises(WeightsError, match="is the int8 form of a file; name that one"):
        extractor("auto", quantized_path(SHIPPED))


def test_the_file_names_no_operators_that_it_does_not_use():
    """Versions of ONNX Runtime refuse domains that they do not know, used or not."""
    assert [entry.domain for entry in onnx.load(quantized_path(SHIPPED)).opset_import] == [""]


@pytest.fixture
def photos(tmp_path, make_image):
    for number in range(8):
        cv2.imwrite(str(tmp_path / f"{number}.png"), make_image((160, 120), seed=number))
    return sorted(tmp_path.glob("*.png"))


@pytest.mark.slow
def test_one_can_be_made_of_ones_own_images_also_over_a_damaged_one(own, photos):
    damage("cut off", own)
    quantize_hfnet(own, quantized_path(own), photos)
    opened = extractor("int8", own)
    opened.extract(np.zeros((64, 64), np.uint8))
    assert opened.backend == "onnxruntime-cpu-int8"
    opened.close()
    with pytest.raises(WeightsError, match="is the int8 form of a file"):
        quantize_hfnet(quantized_path(own), own.with_name("again.onnx"), photos)


@pytest.mark.parametrize("name", ["hfnet.onnx", "photo.png"])
def test_no_weights_and_no_photos_are_written_over(name, own, photos):
    before = own.read_bytes()
    with pytest.raises(WeightsError, match=r"expected another \.onnx file"):
        quantize_hfnet(own, own.with_name(name), photos)
    assert own.read_bytes() == before


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="0 images to measure activations on, expected at least 8"):
        quantize_hfnet(SHIPPED, tmp_path / "out.onnx", [])
