"""The launch files, by `ros2 launch`, from a workspace in which colcon has built this package."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hfnet_ros.map.map_io import save_map

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.name for path in (ROOT / "launch").glob("*.launch.py"))
COMMON = {"map", "params_file", "image", "camera_info", "odom", "pose", "image_transport", "base_frame"}
COMMON |= {"cameras", "publish_tf", "use_sim_time", "namespace", "log_level", "autostart"}
ENVIRONMENT = {
    **os.environ,
    "ROS_DOMAIN_ID": "91",
    "ROS_AUTOMATIC_DISCOVERY_RANGE": os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST"),
    "PYTHONUNBUFFERED": "1",
}
START_S = 60.0
DIRECTLY = ("--no-daemon", "--spin-time", "5")  # Fast DDS may take more than 3 s to discover all of a node

# Stands for a node of a package that need not be installed: says what it was given, and waits.
STUB = """#!/usr/bin/env python3
import json
import rclpy
rclpy.init()
node = rclpy.create_node("stub", automatically_declare_parameters_from_overrides=True)
given = {name: value.value for name, value in node.get_parameters_by_prefix("").items()}
given["set_pose"] = node.resolve_service_name("set_pose")
print("STUB", node.get_fully_qualified_name(), json.dumps(given), flush=True)
try:
    rclpy.spin(node)
except BaseException:
    pass
"""
STUBS = {
    "nav2_map_server": "map_server",
    "nav2_lifecycle_manager": "lifecycle_manager",
    "robot_localization": "ekf_node",
}


def ros2(*arguments):
    return subprocess.run(
        ["ros2", *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=START_S
    )


@pytest.fixture(scope="module", autouse=True)
def workspace():
    if shutil.which("ros2") is None:
        pytest.skip("ros2 is not on the path: no ROS 2 here")
    if ros2("pkg", "prefix", "hfnet_ros").returncode:
        pytest.skip("hfnet_ros is in no sourced workspace: build it with colcon")


@pytest.fixture(scope="module")
def arguments_of():
    shown = {}

    def read(file):
        if file not in shown:
            done = ros2("launch", "hfnet_ros", file, "--show-args")
            assert done.returncode == 0, done.stdout + done.stderr
            entries = re.findall(
                r"^    '(\w+)':\n        (.*)\n(?:        \(default: '?(.*?)'?\)\n)?",
                done.stdout,
                re.MULTILINE,
            )
            shown[file] = {name: (text, default) for name, text, default in entries}
        return shown[file]

    return read


@pytest.fixture(scope="module")
def room_map(apartment, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "room.map"
    save_map(apartment.visual_map, path)
    return path


@pytest.fixture
def launched():
    """Return a function that starts a launch file; what still runs in the end is ended."""
    started = []

    def start(file, *arguments, prefix=None):
        environment = dict(ENVIRONMENT)
        if prefix:
            for name, path in (("AMENT_PREFIX_PATH", prefix), ("PATH", prefix / "bin")):
                environment[name] = os.pathsep.join([str(path), environment[name]])
        process = subprocess.Popen(
            ["ros2", "launch", "hfnet_ros", file, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10.0)
        process.stdout.close()


@pytest.fixture
def stubs(tmp_path):
    """Return a prefix with stand-ins for the packages of others."""
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for package, executable in STUBS.items():
        (index / package).touch()
        path = tmp_path / "lib" / package / executable
        path.parent.mkdir(parents=True)
        path.write_text(STUB)
        path.chmod(0o755)
    return tmp_path


@pytest.fixture
def played(stubs):
    """Return a function that has `ros2 bag play` be a shell's lines, with the package of it."""
    (stubs / "share" / "ament_index" / "resource_index" / "packages" / "ros2bag").touch()
    path = stubs / "bin" / "ros2"

    def install(lines):
        real = shlex.quote(shutil.which("ros2"))
        path.write_text(f'#!/bin/bash\n[[ $1 == bag ]] || exec {real} "$@"\necho "PLAYED $*"\n{lines}\n')
        path.chmod(0o755)
        return stubs

    return install


def read_stubs(process, count):
    """What the stand-ins were given, by the name of the node."""
    found, lines, until = {}, [], time.monotonic() + START_S
    while len(found) < count:
        line = process.stdout.readline()
        lines.append(line)
        assert line, "".join(lines)
        assert time.monotonic() < until, "".join(lines)
        if match := re.search(r"STUB (\S+) (\{.*\})", line):
            found[match[1]] = json.loads(match[2])
    return found


def read_until(process, text):
    """Return what comes up to the first line with a text, and that line."""
    lines, until = [], time.monotonic() + START_S
    while text not in (line := process.stdout.readline()):
        lines.append(line)
        assert line, "".join(lines)
        assert time.monotonic() < until, "".join(lines)
    return "".join([*lines, line])


def wait_for_state(wanted, name="/relocalizer"):
    until = time.monotonic() + START_S
    while True:
        found = ros2("lifecycle", "get", *DIRECTLY, name).stdout.split(" ")[0]
        if found == wanted:
            return
        assert time.monotonic() < until, f"{name} is '{found}', expected '{wanted}'"


def end(process):
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30.0)
    return output


@pytest.mark.parametrize("file", FILES)
def test_every_argument_is_explained(file, arguments_of):
    arguments = arguments_of(file)
    assert set(arguments) >= COMMON
    for name, (text, _) in arguments.items():
        assert len(text) > 10, f"{name}: {text}"


def test_one_node_broadcasts_map_from_odom(arguments_of):
    assert arguments_of("nav2_localization.launch.py")["publish_tf"][1] == "true"
    assert arguments_of("robot_localization.launch.py")["publish_tf"][1] == "false"


def test_default_files_are_installed(arguments_of):
    for file in FILES:
        for name, (_, default) in arguments_of(file).items():
            if name.endswith("_file"):
                assert Path(default).is_file(), f"{file}: {name}"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], r"no map is named: give map:=FOLDER"),
        (["params_file:=/nowhere.yaml"], r"params_file /nowhere.yaml cannot be used"),
        (["map:=x", "params_file:=OTHERS"], r"none of its sections \('relocaliser'\)"),
        (["map:=x", "publish_tf:=perhaps"], r"publish_tf.*perhaps.*not valid"),
    ],
)
def test_unusable_arguments_are_an_error_that_says_so(arguments, sentence, tmp_path):
    others = tmp_path / "others.yaml"
    others.write_text("relocaliser: {ros__parameters: {}}")
    given = [argument.replace("OTHERS", str(others)) for argument in arguments]
    done = ros2("launch", "hfnet_ros", "relocalizer.launch.py", *given)
    assert done.returncode == 1
    assert re.search(sentence, done.stdout + done.stderr)
    assert "process started" not in done.stdout + done.stderr


def test_node_comes_up_with_its_topics_and_ends_cleanly(launched, room_map):
    process = launched(
        "relocalizer.launch.py",
        f"map:={room_map}",
        "image:=/camera/image_raw",
        "pose:=amcl_pose",
        "base_frame:=base_footprint",
    )
    wait_for_state("active")
    info = ros2("node", "info", *DIRECTLY, "/relocalizer").stdout
    for topic in ("/camera/image_raw", "/camera/camera_info", "/odom", "/initialpose", "/amcl_pose"):
        assert f"    {topic}: " in info
    base = ros2("param", "get", *DIRECTLY, "/relocalizer", "frames.base_frame").stdout
    assert "base_footprint" in base
    output = end(process)
    assert process.returncode == 0
    assert "process has finished cleanly" in output, output
    assert "Traceback" not in output, output


def test_arguments_go_before_the_file_in_a_namespace(launched, room_map, tmp_path):
    params = tmp_path / "robot.yaml"
    params.write_text(
        "/**:\n  ros__parameters:\n    node: {map: /nowhere, max_rate_hz: 2.5}\n"
        "/**/relocalizer:\n  ros__parameters:\n    node: {map: /nowhere.else}\n"
    )
    process = launched(
        "relocalizer.launch.py", f"map:={room_map}", f"params_file:={params}", "namespace:=robot1"
    )
    wait_for_state("active", "/robot1/relocalizer")
    rate = ros2("param", "get", *DIRECTLY, "/robot1/relocalizer", "node.max_rate_hz").stdout
    assert "2.5" in rate
    end(process)


def test_map_that_cannot_be_used_leaves_a_node_that_can_be_helped(launched, room_map):
    process = launched("relocalizer.launch.py", "map:=/nowhere/room.map", "namespace:=robot1")
    node = "/robot1/relocalizer"
    lines = read_until(process, "could not be configured")
    assert "/nowhere/room.map" in lines
    assert f"ros2 lifecycle set {node} configure" in lines.splitlines()[-1]
    wait_for_state("unconfigured", node)
    assert ros2("param", "set", *DIRECTLY, node, "node.map", str(room_map)).returncode == 0
    changed = ros2("lifecycle", "set", *DIRECTLY, node, "configure")
    assert changed.returncode == 0
    wait_for_state("active", node)
    end(process)


def test_autostart_false_leaves_the_node_unconfigured(launched, room_map):
    process = launched("relocalizer.launch.py", f"map:={room_map}", "autostart:=false")
    wait_for_state("unconfigured")
    assert "could not be" not in end(process)


@pytest.mark.parametrize("autostart", [True, False])
def test_nav2_manager_brings_up_map_server_and_relocalizer(launched, stubs, room_map, autostart):
    process = launched(
        "nav2_localization.launch.py",
        f"map:={room_map}",
        "grid:=/maps/floor.yaml",
        "namespace:=robot1",
        f"autostart:={str(autostart).lower()}",
        prefix=stubs,
    )
    given = read_stubs(process, 2)
    manager = given["/robot1/lifecycle_manager_localization"]
    assert manager["autostart"] is autostart
    assert manager["node_names"] == ["map_server", "relocalizer"]
    assert given["/robot1/map_server"]["yaml_filename"] == "/maps/floor.yaml"
    wait_for_state("unconfigured", "/robot1/relocalizer")
    published = ros2("param", "get", *DIRECTLY, "/robot1/relocalizer", "frames.publish_tf").stdout
    assert "True" in published
    assert ros2("lifecycle", "set", *DIRECTLY, "/robot1/relocalizer", "configure").returncode == 0
    topics = ros2("node", "info", *DIRECTLY, "/robot1/relocalizer").stdout
    # Where Nav2's own launch files put TF of a robot in a namespace.
    assert "/robot1/tf:" in topics
    assert "/robot1/tf_static:" in topics
    end(process)


def test_under_nav2_a_relocalizer_that_died_is_started_again_if_that_is_asked_for(launched, stubs, room_map):
    arguments = (f"map:={room_map}", "grid:=/maps/floor.yaml", "use_respawn:=true")
    process = launched("nav2_localization.launch.py", *arguments, prefix=stubs)
    started = r"relocalizer_node-1\]: process started with pid \[(\d+)\]"
    first = int(re.search(started, read_until(process, "relocalizer_node-1]: process started"))[1])
    os.kill(first, signal.SIGKILL)
    second = int(re.search(started, read_until(process, "relocalizer_node-1]: process started"))[1])
    assert second != first


def test_robot_localization_has_two_filters_that_do_not_collide(launched, stubs, room_map):
    process = launched("robot_localization.launch.py", f"map:={room_map}", "use_sim_time:=true", prefix=stubs)
    given = read_stubs(process, 2)
    assert given["/ekf_local"]["world_frame"] == "odom"
    assert given["/ekf_global"]["world_frame"] == "map"
    assert given["/ekf_global"]["pose0"] == "relocalizer/pose"
    for name, values in given.items():
        assert values["use_sim_time"] is True
        assert values["set_pose"] == f"{name}/set_pose"
    end(process)


def test_bag_is_played_once_however_often_the_node_is_activated(launched, played, room_map, tmp_path):
    prefix = played('trap "exit 0" TERM\nsleep 1000 & wait\n')
    process = launched("replay.launch.py", f"map:={room_map}", f"bag:={tmp_path}", "rate:=2.0", prefix=prefix)
    played_as = f"bag play {tmp_path} --clock 100 --rate 2.0 --start-offset 0.0"
    assert played_as in read_until(process, "PLAYED")
    for transition, state in (("deactivate", "inactive"), ("activate", "active")):
        changed = ros2("lifecycle", "set", *DIRECTLY, "/relocalizer", transition)
        assert changed.returncode == 0, changed.stderr
        wait_for_state(state)
    output = end(process)
    assert "PLAYED" not in output, output
    assert process.returncode == 0, output


@pytest.mark.parametrize(
    ("code", "sentence"),
    [(0, "the bag has ended"), (2, "not played to its end: `ros2 bag play` ended with exit code 2")],
)
def test_launch_ends_with_the_bag_and_says_how(launched, played, room_map, tmp_path, code, sentence):
    process = launched(
        "replay.launch.py", f"map:={room_map}", f"bag:={tmp_path}", prefix=played(f"exit {code}")
    )
    output, _ = process.communicate(timeout=2 * START_S)
    assert sentence in output, output
    assert ("the bag has ended" in output) is (code == 0), output
    assert process.returncode == int(code != 0)
    assert "process has finished cleanly" in output, output


def test_bag_that_is_not_there_is_named_before_anything_starts(launched, played, room_map):
    process = launched("replay.launch.py", f"map:={room_map}", "bag:=/nowhere", prefix=played("exit 0"))
    output, _ = process.communicate(timeout=START_S)
    assert process.returncode == 1
    assert "there is no bag /nowhere" in output, output
    assert "process started" not in output


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("nav2_localization.launch.py", "nav2_lifecycle_manager"),
        ("robot_localization.launch.py", "robot_localization"),
        ("replay.launch.py", "ros2bag"),
    ],
)
def test_missing_package_is_named_before_anything_starts(file, package, room_map):
    if ros2("pkg", "prefix", package).returncode == 0:
        pytest.skip(f"{package} is installed")
    done = ros2("launch", "hfnet_ros", file, f"map:={room_map}", "grid:=x", "bag:=x")
    assert done.returncode == 1
    assert re.search(rf"not installed: .*{package}; sudo apt install", done.stdout + done.stderr)
    assert "process started" not in done.stdout + done.stderr
