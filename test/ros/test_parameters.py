"""ROS parameters of the node, on stand-ins for the two modules of rclpy that they need."""

import dataclasses
import sys
from types import ModuleType, SimpleNamespace

import pytest

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError


class Node:
    """What rclpy's node does with parameters, and what it was given on start."""

    def __init__(self, **overrides):
        self._parameter_overrides = {name.replace("__", "."): value for name, value in overrides.items()}
        self.values, self.descriptors, self.warned = {}, {}, []

    def declare_parameter(self, name, default, descriptor):
        self.values[name] = self._parameter_overrides.get(name, default)
        self.descriptors[name] = descriptor

    def has_parameter(self, name):
        return name in self.values

    def get_parameter(self, name):
        return SimpleNamespace(value=self.values[name])

    def get_logger(self):
        return SimpleNamespace(warning=self.warned.append)


@pytest.fixture
def parameters(monkeypatch):
    """The module, imported on stand-ins."""
    names = {
        "rclpy": (),
        "rclpy.node": ("Node",),
        "rclpy.parameter": ("Parameter",),
        "rcl_interfaces": (),
        "rcl_interfaces.msg": ("FloatingPointRange", "IntegerRange", "ParameterDescriptor"),
    }
    for name, content in names.items():
        module = ModuleType(name)
        for entry in content:
            setattr(module, entry, SimpleNamespace)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "hfnet_ros.ros.parameters", raising=False)
    import hfnet_ros.ros.parameters as module

    yield module
    sys.modules.pop("hfnet_ros.ros.parameters", None)


def test_all_are_declared_with_their_level_and_read_back(parameters):
    node = Node(pose__seed=7, matching__ratio=1)
    parameters.declare_parameters(node)
    expected = Config.from_dict({"pose": {"seed": 7}, "matching": {"ratio": 1.0}})
    assert parameters.read_config(node) == expected
    for section in dataclasses.fields(Config):
        for entry in dataclasses.fields(getattr(Config(), section.name)):
            descriptor = node.descriptors[f"{section.name}.{entry.name}"]
            assert descriptor.description.startswith(entry.metadata["sentence"])
            assert descriptor.description.endswith(f"({entry.metadata['level']})")
    change = SimpleNamespace(name="pose.seed", value=8)
    assert parameters.read_config(node, [change]).pose.seed == 8
    assert node.warned == []


@pytest.mark.parametrize("name", ["pose.sead", "poes.seed", "map"])
def test_a_name_that_does_not_exist_is_an_error(parameters, name):
    with pytest.raises(ConfigError, match=rf"no parameter {name};"):
        parameters.declare_parameters(Node(**{name: 7}))


def test_what_every_node_has_is_none_of_ours(parameters):
    node = Node(use_sim_time=True, **{"qos_overrides./clock.subscription.depth": 1})
    parameters.declare_parameters(node)
    assert parameters.read_config(node) == Config()


def test_a_file_of_other_nodes_only_is_an_error(parameters, tmp_path):
    ours, others = tmp_path / "ours.yaml", tmp_path / "others.yaml"
    ours.write_text("/robot/relocalizer: {ros__parameters: {}}")
    others.write_text("relocaliser: {ros__parameters: {}}\nrobot: {amcl: {ros__parameters: {}}}")
    given = ["node", "--ros-args", "--params-file", str(others)]
    with pytest.raises(
        ConfigError, match=r"others.yaml: none of its sections \('relocaliser', 'robot/amcl'\)"
    ):
        parameters.refuse_files_of_others(given, "/robot/relocalizer")
    parameters.refuse_files_of_others([*given, "--params-file", str(ours)], "/robot/relocalizer")
    parameters.refuse_files_of_others(["node"], "/robot/relocalizer")


def test_a_former_name_is_an_error_that_says_the_new_one(parameters):
    node = Node(extractor__nms_radius_px=3)
    parameters.declare_parameters(node)
    assert node.warned == []
    with pytest.raises(ConfigError, match=r"extractor\.nms_radius_px is now xfeat\.nms_radius_px"):
        parameters.read_config(node)
