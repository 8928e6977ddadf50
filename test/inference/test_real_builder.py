"""The real builder and parser of TensorRT for RTX, which need no GPU, and the simulated ones held to them."""

import logging
from pathlib import Path

import numpy as np
import pytest
from fake_tensorrt import RTX
from onnx import TensorProto, helper, numpy_helper
from random_weights import make_random_weights

import hfnet_ros
from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import EngineError
from hfnet_ros.features.lighterglue import LighterGlue
from hfnet_ros.features.onnx_network import OnnxNetwork
from hfnet_ros.features.xfeat_network import build_xfeat
from hfnet_ros.inference.build import build_plan
from hfnet_ros.inference.engine import NetworkModel
from hfnet_ros.inference.tensorrt_library import TENSORRT_RTX, tensorrt_log

SHIPPED = sorted((Path(hfnet_ros.__file__).parent / "weights").glob("*.onnx"))
SIZE = (1, 1, 256, 320)


def real_library():
    if not TENSORRT_RTX.module:
        pytest.skip("needs TensorRT for RTX: HFNET_ROS_EXTRAS=rtx scripts/test installs it (x86_64 Linux)")
    return TENSORRT_RTX.load_builder()


# Every network of the package


@pytest.fixture(scope="module")
def plans():
    """Build once what several tests look at; returns a function."""
    real_library()
    built = {}

    def plan(name, precision, capability=(8, 6)):
        key = (name, precision, capability)
        if key not in built:
            config = InferenceConfig(precision=precision)
            model = build_xfeat(make_random_weights(), (320, 256)) if name == "xfeat" else shipped(name)
            built[key] = build_plan(model, config, library=TENSORRT_RTX, capability=capability)
        return built[key]

    return plan


def shipped(name):
    (path,) = (path for path in SHIPPED if path.stem == name)
    return OnnxNetwork(path, InferenceConfig()).model(SIZE)


def weights_bytes(plan):
    """Return what the builder said of the weights' size."""
    (line,) = (line for line in plan.log if line.startswith("Total Weights Memory"))
    return int(line.split()[3])


NETWORKS = [path.stem for path in SHIPPED if not path.stem.endswith("-int8")]
IN_BYTES = [path.stem for path in SHIPPED if path.stem.endswith("-int8")]


def test_what_the_package_ships_is_found():
    assert {"hfnet"} <= set(NETWORKS)
    assert {f"{name}-int8" for name in NETWORKS} >= set(IN_BYTES) >= {"hfnet-int8"}


@pytest.mark.rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_that_is_shipped_is_built(plans, name, precision):
    assert len(plans(name, precision).plan) > weights_bytes(plans(name, precision))


@pytest.mark.rtx
@pytest.mark.parametrize("name", IN_BYTES)
def test_every_int8_form_is_built_by_itself_and_beside_its_network(plans, name):
    alone, beside = plans(name, "int8"), plans(name.removesuffix("-int8"), "int8")
    assert weights_bytes(alone) == weights_bytes(beside) < len(beside.plan)


@pytest.mark.rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_xfeat_is_built(plans, precision):
    plan = plans("xfeat", precision)
    assert len(plan.plan) > weights_bytes(plan) > 1_000_000


@pytest.mark.rtx
@pytest.mark.shared
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_lighterglue_is_built(precision):
    """As it is cut: the published end, as many matches as there are, has no shape that an engine could have."""
    real_library()
    path = Path(__file__).resolve().parents[3] / "shared" / "weights" / "lighterglue_L3.onnx"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    config = InferenceConfig(precision=precision)
    model = LighterGlue(path, config).model((512, 256))
    assert len(build_plan(model, config, library=TENSORRT_RTX, capability=(8, 6)).plan) > 1_000_000


@pytest.mark.rtx
def test_weights_take_half_and_a_third(plans):
    """The head's product of 4.2 million numbers is most of them: it must not stay float32."""
    full, half, small = (weights_bytes(plans("hfnet", precision)) for precision in ("fp32", "fp16", "int8"))
    assert half < 0.56 * full
    assert small < 0.31 * full


@pytest.mark.rtx
def test_int8_convolutions_are_recognised(plans):
    """The builder tells of each convolution of bytes whose scales it turns to float32."""
    told = [line for line in plans("hfnet", "int8").log if "Converting conv weight scales" in line]
    assert len(told) == 34


@pytest.mark.rtx
@pytest.mark.parametrize("capability", TENSORRT_RTX.capabilities, ids=str)
def test_every_target_is_built_for(plans, capability):
    plan = plans("hfnet", "fp16", capability).plan
    assert all(
        plan != plans("hfnet", "fp16", other).plan
        for other in TENSORRT_RTX.capabilities
        if other != capability
    )


@pytest.mark.rtx
def test_ort_s_bytes_are_not_read_and_the_error_says_where():
    real_library()
    with pytest.raises(EngineError, match=r"cannot read the ONNX.*DequantizeLinear '/network.*type of UINT8"):
        build_plan(
            shipped("hfnet-int8"),
            InferenceConfig(precision="fp32"),
            library=TENSORRT_RTX,
            capability=(8, 6),
        )


@pytest.mark.rtx
def test_progress_is_told_and_stops_the_real_builder():
    real_library()
    told = []

    def stop(text):
        told.append(text)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(
            shipped("hfnet"), InferenceConfig(), library=TENSORRT_RTX, capability=(8, 6), progress=stop
        )
    assert told[0] == "building hfnet-1x1x256x320: Building engine, 0 %"


# What the simulated one promises, asked of both


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.rtx)])
def trt(request):
    if request.param == "real":
        return real_library()
    return request.getfixturevalue("machine").install_tensorrt(RTX)


class Said:
    """What the library says during a test."""

    def __init__(self, log):
        self._log, self._start, self.sink = log, log.count, log.sink

    def errors(self):
        return [text for level, text in self._log.since(self._start) if level >= logging.ERROR]


@pytest.fixture
def log(trt):
    return Said(tensorrt_log(trt))


@pytest.fixture
def builder(trt, log):
    return trt.Builder(log.sink)


def one_node(operator, constants=()):
    names = [tensor.name for tensor in constants] or ["x"]
    graph = helper.make_graph(
        [helper.make_node(operator, names, ["y"], name="the_node")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        list(constants),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()


def parsed(trt, builder, log, content):
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log.sink)
    return parser.parse(content), network, parser


def test_enums_are_no_numbers(trt):
    flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert int(flag) == 0
    assert flag != 0
    with pytest.raises(TypeError):
        1 << flag


def test_an_operator_that_is_not_known(trt, builder, log):
    read, _, parser = parsed(trt, builder, log, one_node("NoSuchOperator"))
    assert not read
    assert parser.num_errors == 1
    error = parser.get_error(0)
    assert (error.node_operator(), error.node_name()) == ("NoSuchOperator", "the_node")
    assert "Plugin not found" in error.desc()
    assert "While parsing node number 0" in log.errors()[0]
    assert "Plugin not found" in log.errors()[-1]


def test_bytes_without_sign(trt, builder, log):
    values = {"bytes": np.zeros(4, np.uint8), "scale": np.float32(1), "zero": np.uint8(0)}
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    read, _, parser = parsed(trt, builder, log, one_node("DequantizeLinear", constants))
    assert not read
    assert parser.get_error(0).desc().endswith("Found unsupported input type of UINT8")


@pytest.mark.parametrize("content", [b"", b"hello" * 30])
def test_what_is_no_onnx_is_a_network_of_nothing(trt, builder, log, content):
    read, network, parser = parsed(trt, builder, log, content)
    assert (read, parser.num_errors, network.num_outputs) == (True, 0, 0)
    assert builder.build_serialized_network(network, builder.create_builder_config()) is None
    assert "Network must have at least one output" in log.errors()[0]
    with pytest.raises(EngineError, match="cannot read the ONNX of network 'nothing': it has no outputs"):
        build_plan(
            NetworkModel("nothing", content),
            InferenceConfig(precision="fp32"),
            library=TENSORRT_RTX,
            capability=(8, 6),
        )


def test_a_capability_beyond_their_number(trt, builder, log):
    options = builder.create_builder_config()
    assert options.num_compute_capabilities == 0
    assert options.set_compute_capability(trt.ComputeCapability.SM86, 0) is False
    assert "IBuilderConfig::setComputeCapability: Error Code 3" in log.errors()[0]
    options.num_compute_capabilities = 1
    assert options.set_compute_capability(trt.ComputeCapability.SM86, 0) is True


def test_a_plan_is_bytes_and_what_is_none_is_refused(trt, builder, log):
    read, network, _ = parsed(trt, builder, log, one_node("Relu"))
    assert (read, network.num_outputs) == (True, 1)
    options = builder.create_builder_config()
    options.num_compute_capabilities = 1
    options.set_compute_capability(trt.ComputeCapability.SM86, 0)
    plan = builder.build_serialized_network(network, options)
    assert len(bytes(plan)) == plan.nbytes > 100


def test_a_timing_cache_does_nothing_and_warns(builder):
    options = builder.create_builder_config()
    cache = options.create_timing_cache(b"")
    with pytest.warns(DeprecationWarning, match="no-ops in TensorRT-RTX"):
        options.set_timing_cache(cache, ignore_mismatch=False)
