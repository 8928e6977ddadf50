"""What the builder is told, on every version, and how it may fail."""

import numpy as np
import onnx
import pytest
from fake_tensorrt import VERSIONS
from onnx import TensorProto, helper, numpy_helper

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.build import build_plan

OLD = [version for version in VERSIONS if version.startswith("10.")]
NEW = [version for version in VERSIONS if not version.startswith("10.")]


@pytest.fixture
def convolution(network):
    weight = numpy_helper.from_array(np.ones((2, 1, 3, 3), np.float32), "w")
    return network(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, [1, 1, 8, 8])},
        {"y": (TensorProto.FLOAT, [1, 2, 8, 8])},
        [weight],
    )


@pytest.fixture
def quantized(network):
    constants = [
        numpy_helper.from_array(np.array(0.1, np.float32), "s"),
        numpy_helper.from_array(np.array(0, np.int8), "z"),
    ]
    return network(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, [4])},
        {"y": (TensorProto.FLOAT, [4])},
        constants,
    )


def built(machine, model, **options):
    result = build_plan(model, machine.config(**options))
    network, config = machine.trt._built_with[-1]
    return result, network, config


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_precision_in_the_file_is_strongly_typed_and_without_flags(machine, convolution, version, precision):
    trt = machine.install_tensorrt(version)
    _, network, config = built(machine, convolution, precision=precision, workspace_mib=64)
    assert network._flags == 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert config._flags == []
    assert config._pools == {"WORKSPACE": 64 << 20}
    types = {tensor.data_type for tensor in onnx.load_model_from_string(network._onnx).graph.initializer}
    assert types == {TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT}


@pytest.mark.parametrize("version", OLD)
def test_weak_precision_where_there_is_one(machine, convolution, quantized, version):
    machine.install_tensorrt(version)
    _, network, config = built(machine, convolution, precision="weak-fp16")
    assert (network._flags, config._flags) == (0, ["FP16"])
    _, network, config = built(machine, quantized, precision="weak-int8")
    assert (network._flags, config._flags) == (0, ["INT8", "FP16"])


@pytest.mark.parametrize("version", NEW)
def test_weak_precision_where_there_is_none(machine, convolution, version):
    machine.install_tensorrt(version)
    with pytest.raises(EngineError, match=rf"TensorRT {version}.* has no weak precision; set .* 'fp16'"):
        build_plan(convolution, machine.config(precision="weak-fp16"))


@pytest.mark.parametrize("version", VERSIONS)
def test_quantized_files_need_no_flags(machine, quantized, version):
    machine.install_tensorrt(version)
    _, network, config = built(machine, quantized, precision="fp32")
    assert config._flags == []
    assert network._onnx == quantized.onnx


def test_int8_needs_a_quantized_file(jetson, convolution):
    with pytest.raises(EngineError, match="holds no QuantizeLinear"):
        build_plan(convolution, jetson.config(precision="weak-int8"))


def test_an_accelerator_of_version_10(jetson, convolution):
    with pytest.raises(EngineError, match=r"weak precision only; set inference.precision to 'weak-fp16'"):
        build_plan(convolution, jetson.config(dla_core=0))
    _, _, config = built(jetson, convolution, dla_core=1, precision="weak-fp16")
    assert config.default_device_type.name == "DLA"
    assert config.DLA_core == 1
    assert config._flags == ["FP16", "GPU_FALLBACK"]


def test_an_accelerator_of_version_11(machine, convolution):
    machine.install_tensorrt("11.4")
    _, network, config = built(machine, convolution, dla_core=0, precision="fp16")
    assert config._flags == ["GPU_FALLBACK"]
    assert network._flags == 1


def test_an_accelerator_that_is_not_there(jetson, convolution):
    with pytest.raises(EngineError, match=r"inference\.dla_core is 3, but TensorRT .* finds 2 deep learning"):
        build_plan(convolution, jetson.config(dla_core=3, precision="weak-fp16"))


def test_what_was_measured_is_used_again(jetson, convolution):
    first = build_plan(convolution, jetson.config())
    second = build_plan(convolution, jetson.config(), timing_cache=first.timing_cache)
    assert first.timing_cache == b"measured;"
    assert second.timing_cache == b"measured;measured;"


def test_the_log_is_kept(jetson, convolution):
    assert build_plan(convolution, jetson.config()).log == (
        "Global timing cache in use. Profiling results in this builder pass will be stored.",
    )


def test_none_from_the_builder_is_an_error_with_its_reason(jetson, convolution):
    jetson.trt._faults.add("build")
    with pytest.raises(EngineError, match="cannot build network 'tiny': Could not find any implementation"):
        build_plan(convolution, jetson.config())


def test_a_builder_that_does_not_start_is_an_error(jetson, convolution):
    jetson.trt._faults.add("builder")
    with pytest.raises(
        EngineError, match="cannot make a builder: CUDA initialization failure with error: 35"
    ):
        build_plan(convolution, jetson.config())


def test_onnx_that_cannot_be_read_is_an_error_with_its_reason(jetson, convolution, network):
    model = network(
        [helper.make_node("NoSuchOperator", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, [4])},
        {"y": (TensorProto.FLOAT, [4])},
    )
    with pytest.raises(
        EngineError, match=r"cannot read the ONNX of network 'tiny': NoSuchOperator '': creator &&"
    ):
        build_plan(model, jetson.config())


def test_no_driver_is_noticed_before_tensorrt_is_touched(machine, convolution):
    machine.install_tensorrt("10.3")
    machine.remove_driver()
    with pytest.raises(EngineError, match="TensorRT needs a GPU: no NVIDIA driver"):
        build_plan(convolution, machine.config())
    assert machine.trt._builds == 0


@pytest.mark.parametrize("version", ["8.6.1", "10.2.0"])
def test_an_old_tensorrt_is_refused(jetson, convolution, version):
    jetson.trt.__version__ = version
    with pytest.raises(EngineError, match=rf"TensorRT is {version}, expected 10.3 or newer"):
        build_plan(convolution, jetson.config())


# Progress


@pytest.mark.parametrize("version", VERSIONS)
def test_progress_is_told(machine, convolution, version):
    machine.install_tensorrt(version)
    told = []
    build_plan(convolution, machine.config(), progress=told.append)
    assert told == [f"building tiny: Building engine, {percent} %" for percent in (0, 16, 33, 50, 66, 83)]


def test_an_exception_in_progress_stops_the_build_and_comes_out(jetson, convolution):
    def stop(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(convolution, jetson.config(), progress=stop)
    assert jetson.trt._builds == 1
