"""Replays whose times can be worked out by hand."""

import dataclasses
from itertools import islice

import numpy as np
import pytest

from hfnet_ros.bags import BagReader
from hfnet_ros.bags.make import LOOKING_AHEAD
from hfnet_ros.config import NodeConfig, OdometryConfig
from hfnet_ros.geometry import Rigid3
from hfnet_ros.replay import BagChoices, Replay, open_sources
from hfnet_ros.types import ImageCounters, TrackingState, Verdict

TENTHS = [100 * index for index in range(10)]
EVERY_20_MS = list(range(-100, 1200, 20))


def times_ms(robot, answers):
    return [round((answer.stamp_ns - robot.START_NS) / 1e6) for answer in answers]


@pytest.fixture
def bag(robot, tmp_path):
    return robot.write(tmp_path / "robot.bag", TENTHS, EVERY_20_MS)


def test_in_order_every_image_is_answered_and_nothing_measured_is_in_the_answers(robot, bag, localizer):
    with robot.sources(bag) as sources:
        replay = Replay(sources, localizer)
        for index, answer in enumerate(replay.in_order()):
            assert answer.stamp_ns == replay.clock.now_ns() == robot.at(TENTHS[index])
            assert answer.counters == ImageCounters(index + 1, 0, index + 1)
            assert (answer.wait_s, answer.decode_s, answer.gate_s, answer.total_s) == (0.0, 0.0, 0.0, 0.0)
            assert set(answer.relocalization.localization.timings_s.values()) == {0.0}
            assert answer.relocalization.decision.verdict is Verdict.ACCEPTED
    assert index == len(TENTHS) - 1


def test_measured_stages_are_kept_on_request(robot, bag, scripted_localizer):
    class Slow:
        def localize(self, frame, prior=None):
            found = scripted_localizer().localize(frame, prior)
            return dataclasses.replace(found, timings_s={"extract": 0.5, "total": 0.7})

    with robot.sources(bag) as sources:
        (answer,) = islice(Replay(sources, Slow()).in_order(timed=True), 1)
    assert answer.relocalization.localization.timings_s == {"extract": 0.5, "total": 0.7}
    assert answer.total_s == 0.0


def test_odometry_is_interpolated_at_images_between_its_samples(robot, tmp_path, localizer):
    path = robot.write(tmp_path / "bag", [10, 130, 251], EVERY_20_MS, odometry_delay_ms=500)
    with robot.sources(path) as sources:
        answers = list(Replay(sources, localizer).in_order())
    for answer in answers:
        belief = answer.relocalization.belief
        expected = robot.map_from_base(answer.stamp_ns) @ robot.odom_from_base(answer.stamp_ns).inverse()
        assert belief.map_from_odom.translation_to(expected) < 1e-9
        assert belief.map_from_base.translation_to(robot.map_from_base(answer.stamp_ns)) < 1e-9
    assert answers[1].relocalization.distance_m == pytest.approx(0.0), "the fix is of this very image"
    prior = localizer.priors[robot.at(251)]
    expected = robot.map_from_base(robot.at(251)).translation
    np.testing.assert_allclose(prior.map_from_camera.translation, expected, atol=1e-9)


def test_beyond_the_odometry_a_fix_is_not_used_and_time_does_not_pass(robot, tmp_path, localizer):
    path = robot.write(tmp_path / "bag", TENTHS, [ms for ms in EVERY_20_MS if 150 < ms < 750])
    with robot.sources(path) as sources:
        replay = Replay(sources, localizer)
        verdicts = []
        for answer in replay.in_order():
            verdicts.append(answer.relocalization.decision.verdict)
            assert replay.clock.now_ns() == answer.stamp_ns
    expected = [Verdict.NO_ODOMETRY] * 2 + [Verdict.ACCEPTED] * 6 + [Verdict.NO_ODOMETRY] * 2
    assert verdicts == expected


def test_without_odometry_the_speed_limit_carries_the_position(robot, tmp_path, localizer):
    path = robot.write(tmp_path / "bag", TENTHS)
    with robot.sources(path) as sources:
        answers = list(Replay(sources, localizer).in_order())
    assert answers[-1].relocalization.state is TrackingState.TRACKING
    assert answers[-1].relocalization.belief.map_from_odom is None


def test_in_real_time_the_newest_image_wins(robot, bag, localizer):
    """Work takes 250 ms: 0 is done at 250; 200 waited 50 ms, done at 500; 500 arrives just then; and so on."""
    with robot.sources(bag) as sources:
        replay, done_ms = Replay(sources, localizer), []
        answers = []
        for answer in replay.in_real_time(0.25):
            answers.append(answer)
            done_ms.append(round((replay.clock.now_ns() - robot.START_NS) / 1e6))
    assert times_ms(robot, answers) == [0, 200, 500, 700, 900]
    assert done_ms == [250, 500, 750, 1000, 1250]
    assert [answer.wait_s for answer in answers] == pytest.approx([0.0, 0.05, 0.0, 0.05, 0.1], abs=1e-8)
    assert [answer.total_s for answer in answers] == pytest.approx([0.25, 0.3, 0.25, 0.3, 0.35], abs=1e-8)
    assert answers[-1].counters == ImageCounters(10, 5, 5)


def test_in_real_time_the_rate_limit_of_the_live_node_holds(robot, tmp_path, localizer):
    """Slots at 5 Hz may be used half a period early; the last image waits for its slot at 1200."""
    path = robot.write(tmp_path / "bag", [40 * index for index in range(25)])
    config = dataclasses.replace(robot.CONFIG, node=NodeConfig(max_rate_hz=5.0))
    with robot.sources(path, config) as sources:
        answers = list(Replay(sources, localizer).in_real_time(0.0))
    assert times_ms(robot, answers) == [0, 120, 320, 520, 720, 920, 960]
    assert answers[-1].wait_s == pytest.approx(0.24, abs=1e-8)
    assert all(answer.wait_s == pytest.approx(0.0, abs=1e-8) for answer in answers[:-1])


def test_late_images_are_late(robot, tmp_path, localizer):
    path = robot.write(tmp_path / "bag", TENTHS, EVERY_20_MS, image_delay_ms=80)
    with robot.sources(path) as sources:
        replay = Replay(sources, localizer)
        first = next(replay.in_real_time(0.03))
    assert replay.clock.now_ns() == robot.at(110)
    assert first.total_s == pytest.approx(0.03, abs=1e-8), "from receipt, as in the live node"


@pytest.mark.parametrize(
    ("cost_s", "verdict", "waited_s"),
    [(0.0, Verdict.NO_ODOMETRY, 0.1), (0.1, Verdict.ACCEPTED, 0.05), (0.2, Verdict.ACCEPTED, 0.0)],
)
def test_odometry_that_comes_late_is_waited_for(robot, tmp_path, localizer, cost_s, verdict, waited_s):
    """It is 150 ms late; localizing takes some of that, and 100 ms more are waited."""
    path = robot.write(tmp_path / "bag", [0, 500], [-400, -200, 0, 200, 400, 500], odometry_delay_ms=150)
    config = dataclasses.replace(robot.CONFIG, odometry=OdometryConfig(wait_s=0.1))
    with robot.sources(path, config) as sources:
        first, second = Replay(sources, localizer).in_real_time(cost_s)
    for answer in (first, second):
        assert answer.relocalization.decision.verdict is verdict
        assert answer.gate_s == pytest.approx(waited_s, abs=1e-8)
        assert answer.total_s == pytest.approx(cost_s + waited_s, abs=1e-8)


def test_measured_costs_let_the_clock_advance(robot, bag, localizer):
    with robot.sources(bag) as sources:
        replay = Replay(sources, localizer)
        answer = next(replay.in_real_time())
    assert replay.clock.now_ns() > robot.at(0)
    assert answer.decode_s > 0.0
    assert answer.total_s >= answer.decode_s


def test_an_image_that_cannot_be_decoded_is_an_answer(robot, bag, localizer, tmp_path):
    from hfnet_ros.bags import BagReader, BagWriter

    with BagReader(bag) as source, BagWriter(tmp_path / "broken") as target:
        for message in source.messages():
            data = message.data
            if message.topic == "/camera/image_raw" and message.stamp_ns == robot.at(300):
                data = dataclasses.replace(data, encoding="smell")
            target.write(message.topic, message.type_name, message.stamp_ns, data)
    with robot.sources(tmp_path / "broken") as sources:
        answers = list(Replay(sources, localizer).in_order())
    assert len(answers) == 10
    assert [answer.stamp_ns for answer in answers if answer.relocalization is None] == [robot.at(300)]
    assert "smell" in answers[3].error


def test_on_demand_nobody_asks_a_replay(robot, bag, localizer):
    config = dataclasses.replace(robot.CONFIG, node=NodeConfig(mode="on_demand"))
    with robot.sources(bag, config) as sources:
        assert len(list(Replay(sources, localizer).in_order())) == 10
        assert len(list(Replay(sources, localizer).in_real_time(0.0))) > 0


def test_two_cameras_on_one_topic_have_each_their_mounting(robot, localizer, tmp_path):
    behind = Rigid3.from_rotvec([0.0, 0.0, np.pi], [-0.5, 0.2, 0.1]) @ LOOKING_AHEAD
    cameras, mountings = (
        (("front", LOOKING_AHEAD), ("/rear", behind)),
        {"front": LOOKING_AHEAD, "rear": behind},
    )
    path = robot.write(tmp_path / "two", [0, 100, 200, 300], [-50, 0, 100, 200, 300, 350], cameras=cameras)
    with robot.sources(path) as sources:
        answers = list(Replay(sources, localizer).in_order())
    for answer in answers:
        fix, mounting = answer.relocalization.map_from_base, mountings[answer.camera_frame_id]
        expected = robot.map_from_base(answer.stamp_ns) @ LOOKING_AHEAD @ mounting.inverse()
        assert fix.translation_to(expected) < 1e-9
        assert fix.rotation_to(expected) < 1e-9
    assert [answer.camera_frame_id for answer in answers] == ["front", "rear"] * 2


def test_a_camera_that_nobody_mounted_is_said_and_the_other_goes_on(robot, localizer, tmp_path):
    cameras = (("front", LOOKING_AHEAD), ("rear", None))
    path = robot.write(tmp_path / "two", [0, 100, 200, 300], [-50, 0, 100, 200, 300, 350], cameras=cameras)
    with BagReader(path) as bag:
        sources = open_sources(bag, BagChoices(), robot.CONFIG)
        answers = list(Replay(sources, localizer).in_order())
        (note,) = bag.report()
    refused = [answer.relocalization.decision.verdict is Verdict.NO_EXTRINSIC for answer in answers]
    assert refused == [False, True, False, True]
    assert note.startswith("the mounting of 'rear' on 'base_link' is unknown")


def test_a_body_frame_for_an_optical_one_is_said_with_every_image(robot, localizer, tmp_path):
    link = Rigid3(np.eye(3), LOOKING_AHEAD.translation)
    path = robot.write(tmp_path / "a", TENTHS, EVERY_20_MS, cameras=(("camera_link", link),))
    with robot.sources(path) as sources:
        answers = list(Replay(sources, localizer).in_order())
    for answer in answers:
        (said,) = answer.relocalization.warnings
        assert "the mounting of 'camera_link' is doubtful: the lens would look straight up" in said
    bodily = robot.write(tmp_path / "b", TENTHS, cameras=(("base_link", None),))
    with robot.sources(bodily) as sources:  # images that carry the robot's own frame
        answers = list(Replay(sources, localizer).in_order())
    assert all("the lens would look straight up" in answer.relocalization.warnings[0] for answer in answers)
    with robot.sources(path, base_frame="") as sources:  # the camera's own pose is asked for
        answers = list(Replay(sources, localizer).in_order())
    assert all(answer.relocalization.warnings == () for answer in answers)
