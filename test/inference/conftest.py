"""Machines with a simulated GPU, and networks of one or two nodes."""

import pytest
from fake_machine import Machine
from onnx import TensorProto, helper

from hfnet_ros.inference.engine import NetworkModel

FLOAT = TensorProto.FLOAT


def make_network(nodes, inputs, outputs, constants=(), name="tiny", opset=17):
    def values(tensors):
        return [helper.make_tensor_value_info(key, kind, shape) for key, (kind, shape) in tensors.items()]

    graph = helper.make_graph(nodes, name, values(inputs), values(outputs), list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return NetworkModel(name, model.SerializeToString())


@pytest.fixture
def network():
    return make_network


@pytest.fixture
def add_and_scale():
    """Two inputs [2, 3], two outputs: sum = a + b, twice = sum + sum."""
    return make_network(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Add", ["sum", "sum"], ["twice"])],
        {"a": (FLOAT, [2, 3]), "b": (FLOAT, [2, 3])},
        {"sum": (FLOAT, [2, 3]), "twice": (FLOAT, [2, 3])},
    )


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with a GPU and its driver, and nothing else."""
    return Machine(monkeypatch, tmp_path / "engines")


@pytest.fixture
def jetson(machine):
    """A machine with GPU, driver, pycuda and TensorRT 10.3, as JetPack 6 has it."""
    machine.install_cuda("pycuda")
    machine.install_tensorrt("10.3")
    return machine
