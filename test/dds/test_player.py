from types import SimpleNamespace

import pytest

from hfnet_ros.dds import player as player_module
from hfnet_ros.dds.player import PlayedMessage, PlayedTopic, Player
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.headers import stamp_from_message

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000


class Time:
    """A clock that goes on only while somebody waits."""

    def __init__(self):
        self.now_s = 50.0
        self.late_s = 0.0  # how much later than asked for a wait returns
        self.stolen_s = 0.0  # what other programs take between two looks at the clock

    def monotonic(self):
        self.now_s += self.stolen_s
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    time = Time()

    class Event:
        def __init__(self):
            self.flag = False

        def set(self):
            self.flag = True

        def is_set(self):
            return self.flag

        def wait(self, seconds):
            if not self.flag:
                time.now_s += seconds + time.late_s
            return self.flag

    monkeypatch.setattr(player_module, "time", time)
    monkeypatch.setattr(player_module, "threading", SimpleNamespace(Event=Event))
    return time


class Node:
    """Remembers what is published, and when."""

    def __init__(self, clock):
        self.messages = RosbagsMessages()
        self.clock = clock
        self.published = []  # (topic, seconds since the start, CDR or ns of /clock)
        self.announced = {}
        self.num_subscribers = 0

    def create_publisher(self, topic, type_name, qos):
        self.announced[topic] = (type_name, qos)
        node, start_s = self, self.clock.now_s

        class Publisher:
            @property
            def num_subscribers(self):
                return node.num_subscribers

            def publish_cdr(self, cdr):
                node.published.append((topic, node.clock.now_s - start_s, cdr))

            def publish(self, message):
                stamp_ns = stamp_from_message(message.clock)
                node.published.append((topic, node.clock.now_s - start_s, stamp_ns))

        return Publisher()

    def of(self, topic):
        return [(seconds, content) for name, seconds, content in self.published if name == topic]


@pytest.fixture
def recorder(clock):
    return Node(clock)


def messages(*stamps_ms, topic="/image"):
    return iter(
        [PlayedMessage(topic, START_NS + ms * MS, str(index).encode()) for index, ms in enumerate(stamps_ms)]
    )


def new_player(recorder, with_clock=False):
    return Player(recorder, [PlayedTopic("/image", "sensor_msgs/msg/Image")], with_clock=with_clock)


@pytest.mark.parametrize("rate", [1.0, 4.0, 0.5])
def test_messages_keep_their_distances(recorder, rate):
    seen = []
    count = new_player(recorder).play(messages(0, 100, 150, 1150), rate, seen.append)
    assert count == 4
    times = [seconds for seconds, _ in recorder.of("/image")]
    assert times == pytest.approx([0.0, 0.1 / rate, 0.15 / rate, 1.15 / rate])
    assert [cdr for _, cdr in recorder.of("/image")] == [b"0", b"1", b"2", b"3"]
    assert seen == [START_NS + ms * MS for ms in (0, 100, 150, 1150)]


def test_a_late_player_catches_up(recorder, clock):
    clock.late_s = 0.08
    new_player(recorder).play(messages(0, 100, 110, 120, 1000), 1.0)
    times = [seconds for seconds, _ in recorder.of("/image")]
    assert times == pytest.approx([0.0, 0.18, 0.18, 0.18, 1.08])


def test_messages_out_of_order_are_not_waited_for_twice(recorder):
    new_player(recorder).play(messages(0, 100, 50, 200), 1.0)
    assert [seconds for seconds, _ in recorder.of("/image")] == pytest.approx([0.0, 0.1, 0.1, 0.2])


@pytest.mark.parametrize(("late_s", "stolen_s"), [(0.0, 0.0), (0.003, 0.0), (0.7, 0.0), (0.0, 0.03)])
def test_the_clock_goes_with_the_messages_and_never_back(recorder, clock, late_s, stolen_s):
    clock.late_s, clock.stolen_s = late_s, stolen_s
    new_player(recorder, with_clock=True).play(messages(0, 5, 500, 900), 2.0)
    told = [stamp_ns for _, stamp_ns in recorder.of("/clock")]
    assert told[0] == START_NS
    assert told == sorted(told)
    assert told[-1] <= START_NS + 900 * MS
    assert told[-1] >= START_NS + 880 * MS
    last_told = None
    for topic, _, content in recorder.published:
        if topic == "/clock":
            last_told = content
        else:  # nothing is from the clock's future
            assert last_told >= START_NS + [0, 5, 500, 900][int(content)] * MS - 20 * MS


def test_the_clock_ticks_while_nothing_is_played(recorder):
    new_player(recorder, with_clock=True).play(messages(0, 1000), 1.0)
    assert len(recorder.of("/clock")) == pytest.approx(100, abs=3)


def test_without_being_asked_nobody_is_told_the_time(recorder):
    new_player(recorder).play(messages(0, 1000), 1.0)
    assert "/clock" not in recorder.announced


def test_it_can_be_stopped(recorder):
    player = new_player(recorder)
    played = player.play(
        messages(0, 100, 200, 300), 1.0, lambda stamp_ns: stamp_ns > START_NS and player.stop()
    )
    assert played == 2
    assert player.is_stopped
    assert player.play(messages(0), 1.0) == 0


def test_it_plays_again(recorder):
    player = new_player(recorder)
    assert [player.play(messages(0, 100), 1.0) for _ in range(3)] == [2, 2, 2]
    times = [seconds for seconds, _ in recorder.of("/image")]
    assert times == pytest.approx([0.0, 0.1, 0.1, 0.2, 0.2, 0.3])


def test_nothing_is_played_of_nothing(recorder):
    assert new_player(recorder, with_clock=True).play(iter(()), 1.0) == 0
    assert recorder.published == []


def test_topics_are_announced_before_anything_is_played(recorder):
    from hfnet_ros.dds import qos

    topics = [
        PlayedTopic("/tf_static", "tf2_msgs/msg/TFMessage", latched=True),
        PlayedTopic("/odom", "nav_msgs/msg/Odometry"),
    ]
    Player(recorder, topics, with_clock=True)
    assert recorder.announced == {
        "/tf_static": ("tf2_msgs/msg/TFMessage", qos.TF_STATIC),
        "/odom": ("nav_msgs/msg/Odometry", qos.RELIABLE),
        "/clock": ("rosgraph_msgs/msg/Clock", qos.CLOCK),
    }


def test_it_waits_for_a_subscriber_and_not_for_ever(recorder, clock):
    player = new_player(recorder)
    start_s = clock.now_s
    assert not player.wait_for_subscriber(["/image"], 3.0)
    assert clock.now_s - start_s >= 3.0
    recorder.num_subscribers = 1
    assert player.wait_for_subscriber(["/image"], 3.0)
    recorder.num_subscribers = 0
    player.stop()
    assert not player.wait_for_subscriber(["/image"], 1e9)
