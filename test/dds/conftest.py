import logging
import subprocess
import sys
import time

import pytest
from dds_domain import DOMAIN_ID

cyclonedds = pytest.importorskip("cyclonedds")


@pytest.fixture(autouse=True)
def loopback(monkeypatch):
    """Keep everything on this machine, in this process and in those it starts."""
    from hfnet_ros.dds.domain import LOOPBACK_URI

    for name in ("ROS_LOCALHOST_ONLY", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS", "ROS_DISTRO"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CYCLONEDDS_URI", LOOPBACK_URI)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN_ID))


@pytest.fixture
def new_node():
    """Return a function that makes nodes, which are closed after the test."""
    from hfnet_ros.dds.participant import DdsNode

    nodes = []

    def make(name="tested", namespace="", **arguments):
        nodes.append(DdsNode(name, namespace, **arguments))
        return nodes[-1]

    yield make
    for node in reversed(nodes):
        node.close()


@pytest.fixture
def node(new_node):
    return new_node()


@pytest.fixture
def other(new_node):
    return new_node("other")


@pytest.fixture
def wait_until():
    """Return a function that waits for a condition and fails the test if it does not come true."""

    def wait(condition, timeout_s=60.0):
        until = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until, "it did not happen"
            time.sleep(0.005)

    return wait


@pytest.fixture
def peer():
    """Return a function that runs Python in another process; its input is open, so that it can wait for it."""
    processes = []

    def start(code):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()


@pytest.fixture
def image(node):
    """Return a function that makes a small image."""

    def make(stamp_ns=0, value=7):
        import numpy as np

        stamp = node.messages.make(
            "builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9
        )
        return node.messages.make(
            "sensor_msgs/msg/Image",
            header=node.messages.make("std_msgs/msg/Header", stamp=stamp, frame_id="camera"),
            height=3,
            width=5,
            encoding="mono8",
            step=5,
            data=np.full(15, value, np.uint8),
        )

    return make


@pytest.fixture(autouse=True)
def all_logs(caplog):
    caplog.set_level(logging.INFO, "hfnet_ros")
