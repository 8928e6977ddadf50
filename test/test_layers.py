"""The layers of docs/architecture.md, checked on the imports of every module."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import hfnet_ros

PACKAGE = Path(hfnet_ros.__file__).parent

# Imports go from higher to lower numbers.
LAYERS = {
    "errors": 1, "geometry": 1,
    "types": 2, "config": 2,
    "files": 3, "messages": 3,
    "inference": 4, "map": 4, "scene": 4, "bags": 4,
    "features": 5, "retrieval": 5, "matching": 5, "pose": 5, "gpu": 5,
    "localization": 6, "mapping": 6, "tracking": 6,
    "node": 7,
    "evaluation": 8,
    "report": 9, "trust": 9,
    "replay": 10, "building": 10,
    "ros": 11, "dds": 11, "training": 11,
    "cli": 12, "__main__": 12,
}  # fmt: skip
COMMAND_LINE = ("cli", "__main__")

# Within a layer nothing imports a neighbour, but for these.
NEIGHBOURS = {
    ("geometry", "errors"), ("types", "config"), ("messages", "files"),
    ("features", "gpu"), ("retrieval", "gpu"), ("matching", "gpu"),
}  # fmt: skip

# What is generated beside the package by a ROS build.
GENERATED = ("msg", "srv")

# Top-level names of other projects, and the only packages (or modules) that may import them.
RESERVED = {
    "onnxruntime": ("inference.onnxruntime_library",),
    "tensorrt": ("inference",),
    "tensorrt_rtx": ("inference",),
    "tensorrt_rtx_bindings": ("inference",),
    "onnxruntime_ep_nv_tensorrt_rtx": ("inference",),
    "pycuda": ("inference", "gpu.compiler"),
    "cuda": ("inference", "gpu.compiler"),
    "torch": ("training",),
    "torchvision": ("training",),
    "rclpy": ("ros",),
    "tf2_ros": ("ros",),
    "tf2_py": ("ros",),
    "builtin_interfaces": ("ros",),
    "cyclonedds": ("dds",),
    "cv_bridge": ("ros",),
    "rosbags": ("bags", "messages.factory", "dds"),
    "pycolmap": ("mapping",),
    "poselib": ("pose",),
    "faiss": ("retrieval",),
    "ray": ("building.ray_cluster",),
    "dask": (),
    "distributed": (),
    "pickle": ("features.torch_archive",),
    "_pickle": (),
    "cPickle": (),
    "cloudpickle": (),
    "dill": (),
    "joblib": (),
    "marshal": (),
    "shelve": (),
}


def nodes_of(source):
    """Return what is looked at of a module, walked through once."""
    kinds = (ast.Import, ast.ImportFrom, ast.Call, ast.keyword)
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


def imported_names(nodes, package):
    """Return the dotted names that a module of `package` (dotted) imports, wherever it does so."""
    names = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            start = ".".join(parts[: len(parts) - node.level + 1]) + "." if node.level else ""
            module = (start + (node.module or "")).rstrip(".")
            names += [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                names.append(str(node.args[0].value))
    return names


def violations(module, nodes, is_package=False):
    """Return what a module (dotted, without `hfnet_ros.`) may not import."""
    own = module.split(".")[0]
    full = f"hfnet_ros.{module}"
    found = []
    for name in imported_names(nodes, full if is_package else full.rpartition(".")[0]):
        parts = name.split(".")
        if parts[0] == "hfnet_ros":
            other = parts[1] if len(parts) > 1 else ""
            if (other in LAYERS and not may_import(own, other)) or (other in GENERATED and own != "ros"):
                found.append(f"{module} imports {name}")
        elif not may_import_foreign(module, parts[0]):
            found.append(f"{module} imports {name}")
    return found


def may_import(own, other):
    if own == other or own in COMMAND_LINE:
        return True
    if other in COMMAND_LINE:
        return False
    if other == "inference" and own not in ("features", "gpu"):
        return False
    if LAYERS[own] == LAYERS[other]:
        return (own, other) in NEIGHBOURS
    return LAYERS[own] > LAYERS[other]


def may_import_foreign(module, name):
    if name.endswith("_msgs") or name.startswith("tf2_"):
        return module.split(".")[0] == "ros"
    allowed = RESERVED.get(name)
    return allowed is None or any(f"{module}.".startswith(f"{owner}.") for owner in allowed)


def modules():
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        if name:
            yield name, file, is_package


@pytest.fixture(scope="module")
def parsed():
    """Name, nodes and whether it is a package of every module."""
    found = [(name, nodes_of(file.read_bytes()), is_package) for name, file, is_package in modules()]
    assert len(found) > 400
    return found


def test_imports_go_downward_only(parsed):
    named = {name.split(".")[0] for name, _, _ in parsed}
    assert named <= set(LAYERS), "what belongs to no layer gets one here and in the docs"
    found = [fault for name, nodes, is_package in parsed for fault in violations(name, nodes, is_package)]
    assert found == []


def test_no_module_needs_itself(parsed):
    """Also not by way of others, nor by what is imported late or for annotations only."""
    known = {name for name, _, is_package in parsed if not is_package}
    order = graphlib.TopologicalSorter()
    for name, nodes, is_package in parsed:
        if is_package:
            continue
        parent = f"hfnet_ros.{name}".rpartition(".")[0]
        full = [other.removeprefix("hfnet_ros.") for other in imported_names(nodes, parent)]
        # A name of a module, or a module of a package.
        order.add(name, *(known & {*full, *(other.rpartition(".")[0] for other in full)} - {name}))
    assert len(list(order.static_order())) > 400  # or an error that names the modules of a circle


def test_nothing_unpickles_arrays(parsed):
    for name, nodes, _ in parsed:
        for node in nodes:
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), name
                assert node.value.value is False, name


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("geometry.camera", "from hfnet_ros.types import Frame"),
        ("geometry.camera", "import hfnet_ros.config"),
        ("config", "from hfnet_ros.types import Frame"),
        ("files.tum", "from hfnet_ros.map.visual_map import VisualMap"),
        ("map.map_io", "from hfnet_ros.scene import model"),
        ("map.map_io", "from hfnet_ros.inference.engine import Engine"),
        ("features.xfeat", "from hfnet_ros.pose import ransac"),
        ("matching.ratio", "def f():\n    from hfnet_ros.features.xfeat import XFeatExtractor"),
        ("pose.ransac", "from hfnet_ros.inference.engine import Engine"),
        ("localization.localizer", "from hfnet_ros.mapping import views"),
        ("localization.localizer", "from ..inference import engine"),
        ("mapping.views", "from hfnet_ros import evaluation"),
        ("mapping.views", "from .. import localization"),
        ("evaluation.report", "from hfnet_ros.cli.main import main"),
        ("dds.node", "from hfnet_ros.inference.engine import Engine"),
        ("dds.node", "from hfnet_ros.msg import Status"),
        ("features.xfeat", "import onnxruntime as ort"),
        ("cli.engine", "import tensorrt"),
        ("inference.probe", "import onnxruntime"),
        ("features.weights", "import torch.nn"),
        ("evaluation.bags", "from sensor_msgs.msg import Image"),
        ("dds.node", "import tf2_ros"),
        ("features.weights", "import pickle"),
        ("map.map_io", "from pickle import loads"),
        ("features.torch_archive_more", "import pickle"),
        ("pose.ransac", "import importlib\nimportlib.import_module('torch')"),
        ("bags.reader", "from hfnet_ros.tracking.odometry import Odometry"),
        ("tracking.gate", "from hfnet_ros.localization.localizer import Localizer"),
        ("evaluation.metrics", "from hfnet_ros.report.page import write_page"),
        ("trust.self_test", "from hfnet_ros.report.page import write_page"),
        ("replay.driver", "from hfnet_ros.dds.transport import Transport"),
        ("dds.node", "from hfnet_ros.training.trainer import Trainer"),
        ("localization.localizer", "import pycolmap"),
        ("mapping.pairs", "import poselib"),
        ("matching.ratio", "import faiss"),
        ("building.graph", "import ray"),
        ("trust.self_test", "from hfnet_ros.building.graph import Graph"),
        ("building.graph", "from hfnet_ros.replay.driver import x"),
        ("replay.driver", "from rosbags.highlevel import AnyReader"),
        ("node.core", "from cv_bridge import CvBridge"),
        ("pose.ransac", "if TYPE_CHECKING:\n    from hfnet_ros.mapping import views"),
    ],
)
def test_the_check_finds_what_is_forbidden(module, source):
    assert len(violations(module, nodes_of(source))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("geometry.camera", "from hfnet_ros.errors import CalibrationError"),
        ("geometry.camera", "from .pixels import rescale_pixels"),
        ("features.xfeat", "from hfnet_ros.inference.engine import Engine"),
        ("features.torch_archive", "import pickle"),
        ("localization.localizer", "from hfnet_ros.features.extractor import FeatureExtractor"),
        ("evaluation.replay", "from hfnet_ros.localization.localizer import Localizer"),
        ("cli.engine", "from hfnet_ros.inference.backend import create_engine"),
        ("cli.main", "from hfnet_ros.report.run_report import write_report"),
        ("cli.main", "from hfnet_ros import __version__"),
        ("ros.node", "import rclpy\nfrom nav_msgs.msg import Odometry\nfrom hfnet_ros.msg import Status"),
        ("training.train", "import torch"),
        ("bags.reader", "from rosbags.typesys import Stores"),
        ("replay.driver", "from hfnet_ros.trust.self_test import x\nfrom hfnet_ros.tracking.live import y"),
        ("inference.tensorrt_engine", "import tensorrt"),
    ],
)
def test_the_check_lets_through_what_is_allowed(module, source):
    assert violations(module, nodes_of(source)) == []


def test_relative_imports_are_resolved():
    assert imported_names(nodes_of("from . import a"), "hfnet_ros.map") == ["hfnet_ros.map.a"]
    assert imported_names(nodes_of("from ..pose.b import c"), "hfnet_ros.map") == ["hfnet_ros.pose.b.c"]


HEAVY = (
    "cv2",
    "faiss",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "pycolmap",
    "rclpy",
    "scipy",
    "tensorrt",
    "tensorrt_rtx",
    "tensorrt_rtx_bindings",
    "torch",
)


def loaded_by(statement):
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in result.stdout.split()}


def test_importing_the_package_is_cheap():
    assert loaded_by("import hfnet_ros") & {*HEAVY, "numpy"} == set()


def test_importing_the_inner_layers_loads_no_runtime():
    statement = "import hfnet_ros.types, hfnet_ros.config, hfnet_ros.map.map_io, hfnet_ros.inference.backend"
    assert loaded_by(statement) & (set(HEAVY) - {"scipy"}) <= {"cv2"}


def test_localizing_waits_for_no_library_that_it_does_not_need():
    """Scipy alone is a quarter of a second of the first answer."""
    loaded = loaded_by("import hfnet_ros.localization.landmark_model, hfnet_ros.cli.localize")
    assert "numpy" in loaded
    assert loaded & {"scipy", "pycolmap", "poselib", "torch", "matplotlib", "faiss"} == set()
