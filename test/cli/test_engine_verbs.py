"""`hfnet-ros engine` on a machine with a simulated GPU."""

import json
import re

import numpy as np
import onnx
import pytest
from fake_machine import Machine
from fake_tensorrt import RTX
from onnx import TensorProto, helper, numpy_helper

from hfnet_ros.cli.main import main


@pytest.fixture
def jetson(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    machine = Machine(monkeypatch, tmp_path / "cache" / "hfnet_ros" / "engines")
    machine.install_cuda("pycuda")
    machine.install_tensorrt("10.3")
    return machine


@pytest.fixture
def onnx_file(tmp_path):
    """A convolution for images of any size."""
    weight = numpy_helper.from_array(np.ones((2, 1, 3, 3), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w"], ["y"], pads=[1, 1, 1, 1])],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, "H", "W"])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    return str(path)


def run(capsys, *arguments):
    status = main(["engine", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_build_keeps_what_it_built(jetson, onnx_file, capsys):
    arguments = ("build", "--onnx", onnx_file, "--size", "32x16")
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    assert re.match(r"net-1x1x16x32: \d+ bytes in .*engines, ready after", out)
    assert run(capsys, *arguments)[0] == 0
    assert jetson.trt._builds == 1
    assert run(capsys, *arguments, "--force")[0] == 0
    assert run(capsys, *arguments, "--precision", "fp32")[0] == 0
    assert jetson.trt._builds == 3


def test_inspect_shows_engines_log_and_layers(jetson, onnx_file, capsys):
    assert "0 engines" in run(capsys, "inspect")[1]
    network = ("--onnx", onnx_file, "--size", "32x16")
    run(capsys, "build", *network)
    _, out, _ = run(capsys, "inspect")
    assert "1 engines" in out
    assert "TensorRT 10.3.0, Simulated GPU 8.7" in out
    assert "precision=fp16" in out
    assert run(capsys, "inspect", "--log", *network)[1].startswith("Global timing cache in use")
    layers = json.loads(run(capsys, "inspect", "--layers", *network)[1])
    assert layers["Layers"].count("Conv") == 1
    assert jetson.gpu.alive() == 0
    status, _, err = run(capsys, "inspect", "--log", "--onnx", onnx_file, "--size", "64x64")
    assert status == 1
    assert "no engine of network 'net-1x1x64x64'" in err


def test_bench_says_what_ran(jetson, onnx_file, capsys):
    network = ("--onnx", onnx_file, "--size", "32x16", "--runs", "3")
    assert run(capsys, "bench", *network)[1].startswith("net-1x1x16x32: tensorrt-10.3.0, ")
    assert "over 3 runs" in run(capsys, "bench", *network, "--backend", "onnxruntime")[1]
    assert jetson.gpu.alive() == 0


def test_export_writes_half_precision(jetson, onnx_file, capsys, tmp_path):
    out = tmp_path / "half.onnx"
    assert run(capsys, "export", "--onnx", onnx_file, "--size", "32x16", "--half", "--out", str(out))[0] == 0
    (weight,) = onnx.load(out).graph.initializer
    assert weight.data_type == TensorProto.FLOAT16


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("build", "--size", "640"), "--size is '640', expected WIDTHxHEIGHT"),
        (("build", "--size", "0x480"), "--size is '0x480'"),
        (
            ("build", "--size", "32x32", "--precision", "fp8"),
            "inference.precision is 'fp8', expected one of fp16",
        ),
        (("bench", "--size", "32x32", "--backend", "abacus"), "inference.backend is 'abacus'"),
        (("inspect", "--layers"), "--size is missing"),
    ],
)
def test_wrong_words_are_explained(jetson, onnx_file, capsys, arguments, words):
    status, _, err = run(capsys, *arguments, "--onnx", onnx_file)
    assert status == 1
    assert words in err


def test_build_without_a_gpu_says_so(jetson, onnx_file, capsys):
    jetson.remove_driver()
    status, _, err = run(capsys, "build", "--onnx", onnx_file, "--size", "32x16")
    assert status == 1
    assert "TensorRT needs a GPU: no NVIDIA driver (libcuda.so.1 not found); install the NVIDIA driver" in err


def test_build_makes_every_engine_of_the_extractor(jetson, monkeypatch, capsys):
    """The simulated TensorRT cannot hold a real network: what is built counts, and under which names."""
    built = []

    def note(model, config, **_):
        built.append(model.name)
        return b"plan"

    monkeypatch.setattr("hfnet_ros.inference.backend.build_cached_plan", note)
    status, out, _ = run(capsys, "build", "--size", "128x96")
    assert status == 0
    assert built == ["hfnet-1x1x96x128"]
    assert out.startswith("hfnet-1x1x96x128: 4 bytes in ")


def test_bench_times_the_default_extractor(capsys):
    status, out, _ = run(capsys, "bench", "--size", "128x96", "--runs", "2", "--backend", "onnxruntime")
    assert status == 0
    assert re.match("hfnet-1x1x96x128: onnxruntime-cpu(-int8)?, ", out)


def test_an_extractor_without_a_network_has_no_engine(jetson, capsys):
    status, _, err = run(capsys, "bench", "--size", "128x96", "--extractor", "sift")
    assert status == 1
    assert "extractor sift has no network" in err


# TensorRT for RTX


@pytest.fixture
def bare(jetson):
    """A machine without GPU and driver, with TensorRT for RTX."""
    jetson.remove_driver()
    jetson.remove("tensorrt")
    jetson.install_tensorrt(RTX)
    return jetson


def test_build_for_a_gpu_that_is_not_there(bare, onnx_file, capsys):
    arguments = ("build", "--onnx", onnx_file, "--size", "32x16", "--compute-capability", "8.6")
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    assert re.match(r"net-1x1x16x32: \d+ bytes in .*engines, ready after", out)
    assert [path.suffix for path in bare.cache.glob("*.*plan")] == [".rtxplan"]
    _, out, _ = run(capsys, "inspect")
    assert "TensorRT for RTX 1.7.1.116, compute capability 8.6, " in out
    status, out, _ = run(capsys, "inspect", "--log", "--onnx", onnx_file, "--size", "32x16")
    assert "timing cache in use" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--compute-capability", "8.7"),
            "does not build for compute capability 8.7, expected one of 7.5, 8.0, ",
        ),
        (("--compute-capability", "ampere"), "--compute-capability is 'ampere', expected two numbers"),
        (("--compute-capability", "8.6", "--backend", "tensorrt"), "builds for the GPU of this machine only"),
        (("--backend", "tensorrt-rtx"), "for another machine: hfnet-ros engine build --compute-capability"),
        (("--compute-capability", "8.6", "--precision", "int8"), "has no int8 form beside its file"),
    ],
)
def test_what_cannot_be_built_is_explained(bare, onnx_file, capsys, arguments, words):
    status, _, err = run(capsys, "build", "--onnx", onnx_file, "--size", "32x16", *arguments)
    assert status == 1
    assert words in err
    assert bare.trt._builds == 0
