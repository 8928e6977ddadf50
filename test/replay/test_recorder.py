"""What a replay writes: messages of the live node, dated by the bag."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from hfnet_ros.bags import BagReader
from hfnet_ros.config import FramesConfig
from hfnet_ros.messages.headers import stamp_from_message
from hfnet_ros.messages.poses import rigid_from_pose, rigid_from_transform
from hfnet_ros.node.served_map import ServedMap
from hfnet_ros.replay import AnswerRecorder, Replay

TENTHS, ODOMETRY = [100 * index for index in range(5)], list(range(-100, 600, 20))


@pytest.fixture
def served(tmp_path):
    """A map as far as messages tell of it."""
    model = SimpleNamespace(
        frame_id="map",
        keyframe_names=("000.png",),
        extent=np.zeros((2, 3)),
        extractor_id="rootsift-1",
        sizes={"keyframes": 1, "landmarks": 0},
        residual_px=None,
    )
    return ServedMap(tmp_path / "some where" / "a.map", model, "0123")


def record(robot, bag, out, localizer, served, config, cost_s=None):
    with robot.sources(bag, config) as sources:
        replay = Replay(sources, localizer)
        answers = replay.in_order() if cost_s is None else replay.in_real_time(cost_s)
        with AnswerRecorder(
            out, sources.config, served, replay.clock.now_ns, in_order=cost_s is None
        ) as recorder:
            for answer in answers:
                recorder.record(answer)
    return out


@pytest.fixture
def bag(robot, tmp_path):
    return robot.write(tmp_path / "robot.bag", TENTHS, ODOMETRY)


def read(path):
    with BagReader(path) as bag:
        topics = {topic.name: topic for topic in bag.topics}
        messages = {name: [(m.stamp_ns, m.data) for m in bag.messages([name])] for name in topics}
    return topics, messages


def test_the_bag_holds_pose_status_map_and_transform_of_every_image(robot, bag, localizer, served, tmp_path):
    topics, messages = read(record(robot, bag, tmp_path / "out", localizer, served, robot.CONFIG))
    assert {name: len(found) for name, found in messages.items()} == {
        "/relocalizer/map_info": 1,
        "/relocalizer/pose": 5,
        "/relocalizer/status": 5,
        "/tf": 5,
    }
    assert "string outcome" in topics["/relocalizer/status"].definition.text, "readable without this package"
    assert topics["/relocalizer/pose"].latched
    assert messages["/relocalizer/map_info"][0][1].path == "a.map", "not where it lies on this machine"
    for index, (stamp_ns, status) in enumerate(messages["/relocalizer/status"]):
        assert stamp_ns == stamp_from_message(status.header.stamp) == robot.at(TENTHS[index])
        assert (status.outcome, status.verdict, status.state) == ("LOCALIZED", "ACCEPTED", "TRACKING")
        stages = dataclasses.asdict(status.timings)
        stages.pop("__msgtype__", None)
        assert set(stages.values()) == {0.0}
    for stamp_ns, pose in messages["/relocalizer/pose"]:
        assert stamp_from_message(pose.header.stamp) == stamp_ns
        assert rigid_from_pose(pose.pose.pose).translation_to(robot.map_from_base(stamp_ns)) < 1e-9
    for stamp_ns, message in messages["/tf"]:
        (transform,) = message.transforms
        assert stamp_from_message(transform.header.stamp) == stamp_ns, "of the image, not dated ahead"
        assert (transform.header.frame_id, transform.child_frame_id) == ("map", "odom")
        map_from_odom = rigid_from_transform(transform.transform)
        assert map_from_odom.translation.tolist() == pytest.approx([0.0, 2.0, 0.0], abs=1e-9)


def test_in_real_time_receipts_are_the_times_of_the_answers(robot, bag, localizer, served, tmp_path):
    config = dataclasses.replace(robot.CONFIG, frames=FramesConfig(transform_tolerance_s=0.5))
    _, messages = read(record(robot, bag, tmp_path / "out", localizer, served, config, cost_s=0.15))
    received = [round((stamp_ns - robot.START_NS) / 1e6) for stamp_ns, _ in messages["/relocalizer/status"]]
    assert received == [150, 300, 450, 600]
    totals = [status.timings.total for _, status in messages["/relocalizer/status"]]
    assert totals == pytest.approx([0.15, 0.2, 0.15, 0.2], abs=1e-8)
    stamp_ns, message = messages["/tf"][0]
    assert stamp_from_message(message.transforms[0].header.stamp) == stamp_ns + 500_000_000


def test_only_accepted_fixes_are_poses(robot, bag, scripted_localizer, served, tmp_path):
    _, messages = read(record(robot, bag, tmp_path / "out", scripted_localizer(), served, robot.CONFIG))
    assert len(messages["/relocalizer/status"]) == 5
    assert messages["/relocalizer/pose"] == messages["/tf"] == []
    assert {status.outcome for _, status in messages["/relocalizer/status"]} == {"NO_CONSENSUS"}


def test_a_replay_that_fails_leaves_nothing(robot, bag, served, tmp_path):
    class Failing:
        def localize(self, frame, prior=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(robot, bag, tmp_path / "out", Failing(), served, robot.CONFIG)
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["robot.bag"]
