import pytest

from hfnet_ros.geometry import Rigid3
from hfnet_ros.node.map_odom_broadcast import MapOdomBroadcast


class Clock:
    """The time, s, which goes on when it is told to."""

    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock(transport, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(transport, "now_ns", lambda: round(clock.now_s * 1e9))
    # What a node sends on /tf it hears, too.
    transport.take_transforms = lambda sent: [transport.tree.add(each, static=False) for each in sent]
    return clock


@pytest.fixture
def broadcast_of(transport, configured, clock):
    def make(**changes):
        config = configured(**{"frames__publish_tf": True, "frames__tf_rate_hz": 20.0, **changes})
        return MapOdomBroadcast(config, transport, clock)

    return make


def send(broadcast, clock, times):
    for _ in range(times):
        clock.now_s += 0.05
        broadcast.send(Rigid3.identity(), "map")


def test_what_a_node_broadcasts_itself_is_no_rival(broadcast_of, clock):
    broadcast = broadcast_of()
    send(broadcast, clock, 250)  # more than are remembered
    assert broadcast.rival("map") == ""


@pytest.mark.parametrize("ahead_s", [-0.02, 0.01, 0.9])
@pytest.mark.parametrize("own", [0, 3, 200])
def test_another_broadcaster_is_named_with_what_to_do(broadcast_of, robot, clock, own, ahead_s):
    broadcast = broadcast_of()
    send(broadcast, clock, own)
    robot.send_transform("map", "odom", clock.now_s + 0.1 + ahead_s)
    send(broadcast, clock, min(own, 3))
    rival = broadcast.rival("map")
    assert "another node broadcasts map->odom while this one broadcasts map->odom" in rival
    assert "stop the other" in rival
    assert "frames.publish_tf" in rival


def test_the_parent_that_another_one_gives_is_named(broadcast_of, robot, clock):
    robot.send_transform("world", "odom", clock.now_s)
    assert "broadcasts world->odom while this one broadcasts map->odom" in broadcast_of().rival("map")


def test_a_rival_that_has_stopped_is_told_of_for_some_seconds_only(broadcast_of, robot, clock):
    broadcast = broadcast_of()
    robot.send_transform("map", "odom", clock.now_s)
    clock.now_s += 4.0
    assert broadcast.rival("map")
    clock.now_s += 4.0
    assert broadcast.rival("map")
    clock.now_s += 2.0
    assert broadcast.rival("map") == ""


def test_a_node_that_leaves_map_to_odom_to_others_has_no_rival(broadcast_of, robot, clock):
    robot.send_transform("map", "odom", clock.now_s)
    assert broadcast_of(frames__publish_tf=False).rival("map") == ""
