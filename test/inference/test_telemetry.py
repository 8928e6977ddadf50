"""ONNX Runtime, from 1.29 on, reports to its maker: not under this package."""

import os
import subprocess
import sys

import pytest
from onnx import TensorProto, helper

PROGRAM = """
import sys
from hfnet_ros.config import InferenceConfig
from hfnet_ros.inference.backend import create_engine
from hfnet_ros.inference.engine import NetworkModel

model = NetworkModel("tiny", open(sys.argv[1], "rb").read())
engine = create_engine(model, InferenceConfig(backend="onnxruntime"))
engine.close()
"""


@pytest.fixture
def network(tmp_path):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "tiny.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def fresh_user(tmp_path):
    """Return the environment of somebody who has never run anything, and was asked nothing."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ORT_", "CI", "GITHUB", "XDG"))
    }
    return {**kept, "HOME": str(home)}


def run_network(network, environment):
    command = [sys.executable, "-c", PROGRAM, str(network)]
    subprocess.run(command, env=environment, check=True, timeout=60)


def test_an_engine_leaves_nothing_in_the_users_home(network, fresh_user, tmp_path):
    run_network(network, fresh_user)
    assert list((tmp_path / "home").rglob("*")) == []


def test_a_program_that_loaded_it_before_hears_of_it_too(monkeypatch):
    import onnxruntime

    from hfnet_ros.inference.onnxruntime_library import load_onnxruntime

    calls = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: calls.append("off"))
    assert load_onnxruntime() is onnxruntime
    assert calls == ["off"]
