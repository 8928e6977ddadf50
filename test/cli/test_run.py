"""The verb `run` up to the point where it localizes; that is in test/contracts."""

import signal
import subprocess
import sys
import time

import pytest
from dds_domain import DOMAIN_ID

from hfnet_ros.cli.run import parse_remappings
from hfnet_ros.errors import ConfigError

pytest.importorskip("cyclonedds", reason="wheels of cyclonedds are for x86_64 only")

NETWORK = ("--domain", str(DOMAIN_ID), "--loopback")


@pytest.fixture
def start():
    """Return a function that runs the node in a process of its own."""
    processes = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "hfnet_ros", "run", *NETWORK, *map(str, arguments)],
            stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def client():
    from hfnet_ros.dds.participant import DdsNode

    with DdsNode("client", domain_id=DOMAIN_ID, loopback=True) as node:
        yield node


def call(client, name, type_name, **fields):
    service = client.create_client(f"/relocalizer/{name}", type_name)
    try:
        return service.call(client.messages.make(f"{type_name}_Request", **fields), 60.0)
    finally:
        service.close()


def state(client):
    return call(client, "get_state", "lifecycle_msgs/srv/GetState").current_state.label


def change(client, label):
    wanted = client.messages.make("lifecycle_msgs/msg/Transition", label=label)
    return call(client, "change_state", "lifecycle_msgs/srv/ChangeState", transition=wanted).success


def test_pairs_of_names_are_read():
    pairs = ["image:=/camera/image_raw", "~/pose:=amcl_pose"]
    assert parse_remappings(pairs) == {"image": "/camera/image_raw", "~/pose": "amcl_pose"}


@pytest.mark.parametrize("pair", ["image", "image:=", ":=/camera", "image=/camera", ""])
def test_other_pairs_are_refused(run, pair):
    assert "FROM:=TO" in run("run", "--remap", pair).error
    with pytest.raises(ConfigError):
        parse_remappings([pair])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--remap", "image:=/my-camera"], "'/my-camera' is no name ROS allows"),
        (["--name", "9lives"], "'9lives' is no node name"),
        (["--namespace", "a b"], "'a b' is no namespace"),
        (["--params", "none.yaml"], "none.yaml"),
    ],
)
def test_what_ros_does_not_allow_is_named(run, arguments, words):
    assert words in run("run", *NETWORK, *arguments).error


def test_a_map_that_is_missing_ends_it_with_one_line(start, tmp_path):
    process = start("--map", tmp_path / "none.map")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert (
        err == f"hfnet-ros: error: {tmp_path}/none.map: no such map; build one with `hfnet-ros map build`\n"
    )


@pytest.mark.slow
def test_inactive_it_waits_to_be_led(start, client, room_map):
    process = start("--inactive", "--map", room_map)
    assert state(client) == "unconfigured"
    assert change(client, "configure")
    assert state(client) == "inactive"
    assert change(client, "activate")
    assert state(client) == "active"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err


@pytest.mark.slow
def test_shut_down_by_service_it_ends_well(start, client, room_map):
    process = start("--map", room_map)
    until = time.monotonic() + 60.0
    while state(client) != "active":
        assert time.monotonic() < until
    assert change(client, "shutdown")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err


def test_told_to_end_while_it_starts_it_ends_well(start, client, room_map):
    process = start("--map", room_map)
    call(client, "get_state", "lifecycle_msgs/srv/GetState")  # it is there, and is loading
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
