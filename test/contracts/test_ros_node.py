"""What only the rclpy node has: parameters that change, topics that come and go, simulated time."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from dds_domain import DOMAIN_ID

from hfnet_ros.messages import topics
from hfnet_ros.messages.poses import transform_to_message

pytestmark = pytest.mark.ros
CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4


@pytest.fixture
def rig_kind():
    pytest.importorskip("rclpy", reason="rclpy cannot be imported: no ROS 2 here")
    return "ros"


def set_parameter(rig, name, value):
    from rclpy.parameter import Parameter

    return rig.node.set_parameters([Parameter(name, value=value)])[0]


def test_a_parameter_is_taken_while_active(rig):
    rig.localize()
    assert set_parameter(rig, "node.diagonal_covariance", True).successful
    status = rig.step()
    assert status.verdict == "ACCEPTED"
    rig.wait_for(lambda: rig.poses[-1].header.stamp == status.header.stamp, "its pose")
    assert sum(value != 0.0 for value in rig.poses[-1].pose.covariance) == 6


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("gate.probability", 2.0, "out of range"),
        ("gate.probability", "much", "expected float"),
        ("frames.base_from_camera", "1 2 3", "seven numbers"),
        ("node.image_transport", "compressed", "read when the node is configured"),
    ],
)
def test_a_parameter_that_cannot_be_taken_is_refused_with_a_reason(rig, name, value, words):
    before = rig.node.get_parameter(name).value
    result = set_parameter(rig, name, value)
    assert not result.successful
    assert words in result.reason
    assert rig.node.get_parameter(name).value == before
    rig.localize()


def test_a_request_survives_that_the_node_is_cleaned_up(rig):
    answers = []
    request = rig.request("hfnet_ros/srv/Relocalize", timeout=55.0)
    for _ in range(20):  # until the request is there before the end is
        thread = threading.Thread(target=lambda: answers.append(rig.call(topics.RELOCALIZE, request)))
        thread.start()
        rig.settle()
        rig.change_state(DEACTIVATE)
        rig.change_state(CLEANUP)
        thread.join(50.0)
        if answers[-1].message not in ("the node is not active", "the node is not configured"):
            break
        rig.change_state(CONFIGURE)
        rig.activate()
    assert answers[-1].message == "the node was deactivated during the request"
    answer = rig.call(topics.RELOCALIZE, request)
    assert (answer.success, answer.message) == (False, "the node is not configured")
    rig.change_state(CONFIGURE)
    rig.activate()
    rig.localize()


def test_nothing_is_left_behind_by_configuring_again_and_again(rig):
    def count():
        node = rig.node
        return [len(list(entities)) for entities in (node.publishers, node.subscriptions, node.timers)]

    before = count()
    for _ in range(3):
        for transition in (DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE):
            rig.change_state(transition)
    assert count() == before
    rig.localize()


def test_transforms_of_before_are_forgotten_when_simulated_time_begins_again(rig):
    """A bag that loops: tf2 would refuse all of the second round."""
    from rosgraph_msgs.msg import Clock

    from hfnet_ros.geometry import Rigid3

    clock = rig.robot.create_publisher(Clock, "/clock", 10)
    assert set_parameter(rig, "use_sim_time", True).successful
    transport = rig.node._transport

    def tell(seconds):
        message = Clock()
        message.clock.sec = seconds
        transform = transform_to_message(rig.factory, Rigid3.identity(), seconds * 10**9, "odom", "base_link")
        until = time.monotonic() + 60.0
        while transport.now_ns() != seconds * 10**9:
            assert time.monotonic() < until, "the node does not follow /clock"
            clock.publish(message)
            time.sleep(0.05)
        rig.send_transforms([transform], static=False)
        rig.settle()
        return transport.look_up_transform("odom", "base_link", None)[0]

    assert tell(1000) == 1000 * 10**9
    assert tell(10) == 10 * 10**9


def test_transforms_are_taken_when_the_clocks_of_the_robot_step_back(rig):
    """As by NTP, where no /clock tells of it: tf2's buffer refuses all that is older than its history."""
    from hfnet_ros.geometry import Rigid3

    for seconds in (1000, 1001, 500, 501):
        stamp_ns = seconds * 10**9
        transform = transform_to_message(rig.factory, Rigid3.identity(), stamp_ns, "odom", "base_link")
        rig.send_transforms([transform], static=False)
    rig.settle()
    assert rig.node._transport.look_up_transform("odom", "base_link", None)[0] == 501 * 10**9


def test_what_is_published_is_told_by_those_who_publish_it(rig):
    """A topic is known by the types of those who listen, too, this node's own among them."""
    import rclpy
    from sensor_msgs.msg import CompressedImage, Image

    context = rclpy.Context()
    context.init(domain_id=DOMAIN_ID)
    # Fast DDS allows one type of a topic in a process, but for nodes of different contexts.
    driver = rclpy.create_node("driver", context=context)
    driver.create_publisher(CompressedImage, "/odd", 1)
    subscription = rig.node.create_subscription(Image, "/odd", lambda _: None, 1)
    until = time.monotonic() + 60.0
    while not (odd := [found for found in rig.node._transport.published_topics() if found.name == "/odd"]):
        assert time.monotonic() < until, "the publisher is not found"
        time.sleep(0.05)
    assert [found.type_names for found in odd] == [(topics.COMPRESSED_IMAGE.type_name,)]
    rig.node.destroy_subscription(subscription)
    driver.destroy_node()
    context.try_shutdown()


def test_a_second_node_of_the_name_is_noticed_while_it_is_there(rig):
    import rclpy

    def wait_for(is_so):
        until = time.monotonic() + 60.0
        while not is_so(rig.node._namesakes):
            assert time.monotonic() < until, rig.node._namesakes
            rig.node._look_around()

    time.sleep(2.0)  # until the nodes of other tests of this process are discovered, or forgotten
    rig.node._look_around()
    before = rig.node._namesakes
    second = rclpy.create_node("relocalizer")
    wait_for(lambda namesakes: "nodes are called /relocalizer" in namesakes and namesakes != before)
    second.destroy_node()
    wait_for(lambda namesakes: namesakes == before)


def test_a_middleware_that_tells_of_lost_images_is_listened_to(rig):
    """Fast DDS does: what finds no room in its shared memory is dropped."""
    from types import SimpleNamespace

    def subscription(topic):
        name = "/" + topic.name
        return next(found for found in rig.node.subscriptions if found.topic_name == name)

    lost = [
        handler
        for handler in subscription(topics.IMAGE).event_handlers
        if "MESSAGE_LOST" in str(handler.event_type)
    ]
    assert len(lost) == 1
    lost[0].callback(SimpleNamespace(total_count=7, total_count_change=7))
    (health,) = rig.node._core._cameras.health(rig.node._core.config)
    assert health.num_lost == 7
    assert not any(
        "LOST" in str(handler.event_type) for handler in subscription(topics.ODOMETRY).event_handlers
    )


def test_a_middleware_that_cannot_tell_of_lost_images_delivers_them(rig, monkeypatch):
    from hfnet_ros.ros import relocalizer_node

    def refuse(message_lost=None, **options):
        if message_lost is not None:
            raise relocalizer_node.UnsupportedEventTypeError("cannot tell")
        return callbacks(**options)

    callbacks = relocalizer_node.SubscriptionEventCallbacks
    rig.deactivate()
    monkeypatch.setattr(relocalizer_node, "SubscriptionEventCallbacks", refuse)
    rig.activate()
    rig.localize()
    assert rig.step().verdict == "ACCEPTED"


def test_a_node_that_was_told_to_end_is_gone_for_its_peers(rig):
    """Else the next one of the name finds it, for as long as peers wait for one that has died."""

    def is_known():
        return "leaver" in rig.robot.get_node_names()

    program = "from hfnet_ros.ros.relocalizer_node import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--ros-args", "-r", "__node:=leaver"],
        env={**os.environ, "ROS_DOMAIN_ID": str(DOMAIN_ID)},
    )
    until = time.monotonic() + 60.0
    while not is_known():
        assert time.monotonic() < until, "it is not discovered"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30.0) == 0
    until = time.monotonic() + 3.0
    while is_known():
        assert time.monotonic() < until, "it is remembered"
        time.sleep(0.05)


@pytest.fixture
def begin_bond(rig, monkeypatch):
    """Return a function that activates the node anew and forms a bond with it, as Nav2's lifecycle manager does."""
    bondpy = pytest.importorskip("bondpy.bondpy", reason="bondpy cannot be imported: it is not installed")
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from hfnet_ros.ros.bond import NavBond

    monkeypatch.setattr("hfnet_ros.ros.bond._HEARTBEAT_TIMEOUT_S", 0.5)
    formed, note_formed = threading.Event(), NavBond._note_formed
    monkeypatch.setattr(NavBond, "_note_formed", lambda bond: (note_formed(bond), formed.set()))
    begun = []

    def begin():
        rig.deactivate()
        formed.clear()
        rig.activate()
        manager, executor = rclpy.create_node(f"manager{len(begun)}"), SingleThreadedExecutor()
        bond = bondpy.Bond(manager, "bond", "relocalizer")
        bond.set_heartbeat_period(0.1)
        bond.start()
        executor.add_node(manager)  # which must not see its subscriptions come and go
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        begun.append((manager, executor, thread, bond))
        assert bond.wait_until_formed(bondpy.Duration(seconds=30))
        assert formed.wait(30.0)  # the node's end of it
        time.sleep(1.0)  # bondpy waits for heartbeats from the second one on
        return bond

    yield begin
    for manager, executor, thread, bond in begun:
        executor.shutdown()
        thread.join(5.0)
        bond.shutdown()
        manager.destroy_node()


def said(capfd, words):
    text, until = "", time.monotonic() + 10.0
    while words not in text and time.monotonic() < until:
        time.sleep(0.05)
        text += capfd.readouterr().err
    return words in text


def test_a_manager_that_falls_silent_is_told_of_each_time(rig, begin_bond, capfd):
    for _ in range(2):  # bondpy's second time-out of a process had ended in an exception
        bond = begin_bond()
        bond._publish = lambda _active: None
        assert said(capfd, "lifecycle manager has sent no heartbeat")
    rig.localize()


def test_a_manager_that_ends_the_bond_is_not_complained_of(begin_bond, capfd):
    begin_bond().break_bond()
    time.sleep(3.0)  # longer than a bond takes to end
    assert "heartbeat" not in capfd.readouterr().err
