"""package.xml, CMakeLists.txt and pyproject.toml against what is in the folder."""

import ast
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import hfnet_ros

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ElementTree.parse(ROOT / "package.xml").getroot()
CMAKE = (ROOT / "CMakeLists.txt").read_text()
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))

# Modules whose package has another name.
MODULES = {
    "cv2": "python3-opencv",
    "numpy": "python3-numpy",
    "yaml": "python3-yaml",
}
# Distributions whose rosdep key has another name than python3-<distribution>.
KEYS = {"opencv-python-headless": "python3-opencv", "pyyaml": "python3-yaml"}


def dependencies(*tags):
    return {element.text for tag in tags for element in PACKAGE.findall(tag)}


def at_run_time():
    return dependencies("depend", "exec_depend")


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def is_ours_or_pythons(module):
    return module == "hfnet_ros" or module in sys.stdlib_module_names


def test_version_and_name_are_those_of_the_python_package():
    assert PACKAGE.findtext("name") == hfnet_ros.__name__
    assert PACKAGE.findtext("version") == hfnet_ros.__version__


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / "hfnet_ros" / "ros").glob("*.py")), *LAUNCH_FILES], ids=lambda path: path.name
)
def test_everything_imported_beside_ros_is_a_dependency(path):
    needed = {MODULES.get(name, name) for name in imported_modules(path) if not is_ours_or_pythons(name)}
    assert needed <= at_run_time()


def test_every_package_of_message_types_is_a_dependency():
    sources = [*(ROOT / "hfnet_ros" / "messages").glob("*.py"), *(ROOT / "hfnet_ros" / "node").glob("*.py")]
    used = {name for path in sources for name in re.findall(r'"(\w+)/(?:msg|srv)/\w+"', path.read_text())}
    assert "sensor_msgs" in used
    # builtin_interfaces comes with std_msgs.
    assert used - {"hfnet_ros", "builtin_interfaces"} <= at_run_time()


def test_interface_packages_are_build_dependencies_in_both_files():
    files = [*(ROOT / "msg").glob("*.msg"), *(ROOT / "srv").glob("*.srv")]
    used = {name for path in files for name in re.findall(r"^(\w+)/\w+", path.read_text(), re.MULTILINE)}
    used.discard("hfnet_ros")
    listed = set(re.search(r"DEPENDENCIES ([\w ]+)", CMAKE)[1].split())
    assert used == listed
    assert used <= dependencies("depend")
    assert {"rosidl_default_runtime"} <= at_run_time()
    assert {"rosidl_default_generators"} <= dependencies("buildtool_depend")
    assert "rosidl_interface_packages" in dependencies("member_of_group")


def test_python_dependencies_come_from_rosdep_or_from_the_line_in_the_docs():
    text = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)[1]
    names = re.findall(r'^\s+"([\w.-]+)', block, re.MULTILINE)
    assert "numpy" in names
    line = re.search(r"pip install (.*onnxruntime.*)", (ROOT / "docs" / "ros2.md").read_text())[1]
    line = line.replace('"numpy<2"', "")  # rosdep's, and to stay so
    for name in names:
        by_rosdep = KEYS.get(name, f"python3-{name}") in at_run_time()
        by_pip = re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", line) is not None
        assert by_rosdep != by_pip, f"{name}: rosdep {by_rosdep}, pip {by_pip}"


def test_cmake_generates_every_interface_file():
    files = [f"{path.parent.name}/{path.name}" for path in [*ROOT.glob("msg/*"), *ROOT.glob("srv/*")]]
    assert sorted(files) == sorted(re.findall(r"^\s+((?:msg|srv)/\w+\.\w+)$", CMAKE, re.MULTILINE))


def test_cmake_installs_folders_and_entries():
    installed = re.findall(r"install\(\s*DIRECTORY ([\w/ ]+?)\s+DESTINATION", CMAKE)
    assert {"hfnet_ros/", "config", "launch"} <= {folder for line in installed for folder in line.split()}
    programs = re.search(r"install\(PROGRAMS ([^)]+) DESTINATION lib/", CMAKE)[1].split()
    for program in programs:
        path = ROOT / program
        assert path.read_text().startswith("#!/usr/bin/env python3\n")
        assert os.access(path, os.X_OK)
    executables = {
        found for file in LAUNCH_FILES for found in re.findall(r'"(relocalizer_\w+)"', file.read_text())
    }
    assert executables == {"relocalizer_node"}
    assert executables <= {Path(program).name for program in programs}


def test_colcon_runs_the_promises_of_the_rclpy_node_and_installs_a_program_on_the_path():
    tests = dict(re.findall(r"ament_add_pytest_test\((\w+) (test/[^)]+)\)", CMAKE))
    assert tests["contracts"].split()[0] == "test/contracts"
    assert "-m ros" in tests["contracts"]
    assert re.search(r"install\(PROGRAMS scripts/hfnet-ros DESTINATION bin\)", CMAKE)


def test_source_tree_has_no_folder_that_would_hide_the_generated_modules():
    assert not (ROOT / "hfnet_ros" / "msg").exists()
    assert not (ROOT / "hfnet_ros" / "srv").exists()


def test_weights_are_installed_by_pip_and_by_colcon():
    weights = sorted((ROOT / "hfnet_ros" / "weights").iterdir())
    assert [path.name for path in weights if path.suffix == ".onnx"] == ["hfnet-int8.onnx", "hfnet.onnx"]
    data = re.search(
        r"^\[tool\.setuptools\.package-data\]\nhfnet_ros = (.*)$",
        (ROOT / "pyproject.toml").read_text(),
        re.MULTILINE,
    )
    patterns = ast.literal_eval(data[1])
    assert all(any(path.match(pattern) for pattern in patterns) for path in weights)
    # CMake takes the whole folder but for this.
    assert re.findall(r'PATTERN "([^"]+)" EXCLUDE', CMAKE) == ["__pycache__"]
