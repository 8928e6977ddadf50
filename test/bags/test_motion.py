import numpy as np
import pytest

from hfnet_ros.bags import (
    BagReader,
    read_ground_truth,
    read_odometry,
    read_transform,
)
from hfnet_ros.config import Config
from hfnet_ros.errors import BagError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.messages.poses import pose_to_message, transform_to_message
from hfnet_ros.replay.mounting import find_mounting

POSE = "geometry_msgs/msg/PoseStamped"
POSE_WITH_COVARIANCE = "geometry_msgs/msg/PoseWithCovarianceStamped"
ODOMETRY, TF = "nav_msgs/msg/Odometry", "tf2_msgs/msg/TFMessage"
TRANSFORM = "geometry_msgs/msg/TransformStamped"
TURNED = Rigid3.from_rotvec([0.0, 0.0, np.pi / 2], [1.0, 2.0, 3.0])


@pytest.fixture
def pose_message(messages):
    def pose_message(type_name, stamp_ns, pose, parent="map", child="base_link"):
        header = header_to_message(messages, stamp_ns, parent)
        if type_name == POSE:
            return messages.make(POSE, header=header, pose=pose_to_message(messages, pose))
        if type_name == TRANSFORM:
            return transform_to_message(messages, pose, stamp_ns, parent, child)
        covered = messages.make("geometry_msgs/msg/PoseWithCovariance", pose=pose_to_message(messages, pose))
        if type_name == ODOMETRY:
            return messages.make(ODOMETRY, header=header, child_frame_id=child, pose=covered)
        return messages.make(POSE_WITH_COVARIANCE, header=header, pose=covered)

    return pose_message


@pytest.fixture
def tf_entry(messages):
    def tf_entry(stamp_ns, parent, child, pose, topic="/tf"):
        transform = transform_to_message(messages, pose, stamp_ns, parent, child)
        return (topic, TF, stamp_ns, messages.make(TF, transforms=[transform]))

    return tf_entry


@pytest.fixture
def open_bag(tmp_path, write_bag):
    opened = []

    def open_bag(entries):
        opened.append(BagReader(write_bag(tmp_path / "bag", entries)).__enter__())
        return opened[0]

    yield open_bag
    for bag in opened:
        bag.__exit__()


def assert_same(pose, expected, tolerance=1e-12):
    assert pose is not None
    np.testing.assert_allclose(pose.matrix, expected.matrix, atol=tolerance)


@pytest.mark.parametrize(
    ("type_name", "child"),
    [(POSE, ""), (POSE_WITH_COVARIANCE, ""), (ODOMETRY, "base_link"), (TRANSFORM, "base_link")],
)
def test_true_poses_are_read_and_interpolated(open_bag, pose_message, type_name, child):
    entries = [
        ("/truth", type_name, 1_000_000_000, pose_message(type_name, 1_000_000_000, Rigid3.identity())),
        ("/truth", type_name, 1_200_000_000, pose_message(type_name, 1_200_000_000, TURNED)),
    ]
    truth = read_ground_truth(open_bag(entries), "/truth")
    assert (truth.parent_frame, truth.child_frame, len(truth)) == ("map", child, 2)
    assert_same(truth.at(1_200_000_000), TURNED)
    # A quarter of the way: a quarter of the line, a quarter of 90 degrees.
    assert_same(truth.at(1_050_000_000), Rigid3.from_rotvec([0, 0, np.pi / 8], [0.25, 0.5, 0.75]))


def test_nothing_is_extrapolated_nor_invented_in_gaps(open_bag, pose_message):
    entries = [
        ("/truth", POSE, stamp_ns, pose_message(POSE, stamp_ns, TURNED))
        for stamp_ns in (1_000_000_000, 1_200_000_000, 2_000_000_000)
    ]
    truth = read_ground_truth(open_bag(entries), "/truth")
    assert truth.at(999_999_999) is None
    assert truth.at(2_000_000_001) is None
    assert truth.at(1_500_000_000) is None  # 0.8 s between two samples
    assert truth.at(1_500_000_000, max_gap_s=1.0) is not None
    assert truth.at(1_100_000_000) is not None


def test_poses_are_sorted_and_unusable_ones_counted(open_bag, pose_message, messages):
    broken = pose_message(ODOMETRY, 1_300_000_000, TURNED)
    broken.pose.pose.orientation.w = float("nan")
    elsewhere = pose_message(ODOMETRY, 1_350_000_000, TURNED, parent="map2")
    at = [1_000_000_000, 1_200_000_000, 1_100_000_000, 1_100_000_000]
    moved = [Rigid3.from_rotvec(np.zeros(3), [float(x), 0, 0]) for x in (0, 2, 1, 9)]
    entries = [
        ("/odom", ODOMETRY, 1_000_000_000 + receipt, pose_message(ODOMETRY, stamp_ns, pose))
        for receipt, (stamp_ns, pose) in enumerate(zip(at, moved, strict=True))
    ]
    entries += [("/odom", ODOMETRY, 1_400_000_000, message) for message in (broken, elsewhere)]
    bag = open_bag(entries)
    odometry = read_odometry(bag)
    assert odometry.stamps_ns.tolist() == [1_000_000_000, 1_100_000_000, 1_200_000_000]
    assert odometry.translations[:, 0].tolist() == [0.0, 1.0, 2.0]  # of two at one time the first
    assert "2 poses cannot be used, the first because: pose is not finite" in bag.report()[0]


def test_poses_of_which_none_can_be_used_are_named_with_what_there_is(open_bag, pose_message, monkeypatch):
    """A recorder that found no publisher leaves a topic without messages."""
    bag = open_bag([("/pose", POSE, 1, pose_message(POSE, 1, TURNED))])
    monkeypatch.setattr(bag, "messages", lambda _: iter(()))
    with pytest.raises(
        BagError, match=r"/pose: no pose can be used: there is no message on it; (.|\n)*PoseStamped"
    ):
        read_ground_truth(bag, "/pose")


def test_a_bag_without_odometry_has_none(open_bag, pose_message):
    bag = open_bag([("/truth", POSE, 1, pose_message(POSE, 1, TURNED))])
    assert read_odometry(bag) is None
    with pytest.raises(BagError, match="no topic /odom"):
        read_odometry(bag, "/odom")
    with pytest.raises(BagError, match="no topic /pose for ground truth"):
        read_ground_truth(bag, "/pose")
    with pytest.raises(BagError, match=r"no transforms(.|\n)*; poses are on /truth"):
        read_ground_truth(bag, "map:base_link")


def test_a_pair_of_frames_is_followed_through_the_tree(open_bag, tf_entry):
    """map -> odom is given five times a second, odom -> base_link twenty times: both count."""
    lift = Rigid3.from_rotvec([0.0, 0.0, 0.3], [0.0, 0.0, 1.0])
    second = 1_000_000_000

    def odom_from_base(stamp_ns):
        return Rigid3.from_rotvec([0.0, 0.0, np.sin(stamp_ns / second)], [stamp_ns / second, 0.0, 0.0])

    entries = [tf_entry(second, "odom", "unrelated", TURNED)]
    for stamp_ns in range(2 * second, 4 * second + 1, second // 20):
        entries.append(tf_entry(stamp_ns, "odom", "base_link", odom_from_base(stamp_ns)))
        if stamp_ns % (second // 5) == 0:
            entries.append(tf_entry(stamp_ns, "map", "odom", lift))
    truth = read_ground_truth(open_bag(entries), "map:base_link")
    assert len(truth) == 41
    for stamp_ns in (2 * second, 3 * second + second // 20, 4 * second):
        assert_same(truth.at(stamp_ns), lift @ odom_from_base(stamp_ns))
    assert truth.at(2 * second - 1) is None


def test_the_mounting_of_a_camera_is_read(open_bag, tf_entry):
    arm = Rigid3.from_rotvec([0.1, 0.2, 0.3], [0.1, 0.0, 0.5])
    entries = [
        tf_entry(0, "base_link", "mast", TURNED, "/tf_static"),
        tf_entry(1_000_000_000, "mast", "camera", arm),  # fixed, but given again and again
        tf_entry(2_000_000_000, "mast", "camera", arm),
    ]
    bag = open_bag(entries)
    at_ns = 2_000_000_000
    assert_same(find_mounting(bag, "base_link", "camera", Config()).at(at_ns), TURNED @ arm)
    assert_same(find_mounting(bag, "/base_link", "mast", Config()).at(at_ns), TURNED)
    assert_same(find_mounting(bag, "camera", "camera", Config()).at(at_ns), Rigid3.identity())
    with pytest.raises(BagError, match="from 'lidar' to 'base_link'"):
        find_mounting(bag, "base_link", "lidar", Config())


def test_a_camera_that_turns_on_the_robot_has_no_fixed_mounting(open_bag, tf_entry):
    entries = [
        tf_entry(
            second * 1_000_000_000, "base_link", "camera", Rigid3.from_rotvec([0, 0, 0.1 * second], [0, 0, 1])
        )
        for second in (1, 2, 3)
    ]
    mounting = find_mounting(open_bag(entries), "base_link", "camera", Config())
    turned = [mounting.at(second * 1_000_000_000) for second in (1, 2, 3)]
    assert [pose.rotation_to(turned[0]) for pose in turned] == pytest.approx([0.0, 0.1, 0.2])
    assert mounting.at(500_000_000) is None


def test_transforms_that_never_overlap_give_no_pose(open_bag, tf_entry):
    entries = [
        tf_entry(1_000_000_000, "map", "odom", TURNED),
        tf_entry(2_000_000_000, "odom", "base_link", TURNED),
    ]
    with pytest.raises(BagError, match=r"ends .* before|begins .* after|at no time"):
        read_transform(open_bag(entries), "map", "base_link")


def drive_with_a_gap(tf_entry, tenths_in_gap, moves=True):
    """odom -> base_link but for some tenths of a second, map -> odom all the time."""
    tenth, entries = 100_000_000, []
    for count in range(100):
        stamp_ns = 1_000_000_000 + count * tenth
        entries.append(tf_entry(stamp_ns + tenth // 2, "map", "odom", Rigid3.identity()))
        if not 30 < count < 30 + tenths_in_gap:
            place = Rigid3.from_rotvec([0, 0, 0], [0.1 * count if moves else 0.0, 0, 0])
            entries.append(tf_entry(stamp_ns, "odom", "base_link", place))
    return entries


def test_no_pose_is_made_in_a_gap_of_one_transform_where_another_goes_on(open_bag, tf_entry):
    bag = open_bag(drive_with_a_gap(tf_entry, 50))
    poses = read_transform(bag, "map", "base_link")
    assert [poses.at(ns) is None for ns in (4_000_000_000, 4_500_000_000, 8_500_000_000, 9_000_000_000)] == [
        False, True, True, False
    ]  # fmt: skip
    assert bag.report() == [
        "the transform of 'base_link' in 'odom' is not given for 5.0 s from 4.000 s on: no pose is known there"
    ]


def test_a_transform_that_does_not_change_has_no_gap(open_bag, tf_entry):
    bag = open_bag(drive_with_a_gap(tf_entry, 50, moves=False))
    assert read_transform(bag, "map", "base_link").at(6_000_000_000) is not None
    assert not bag.report()


def test_a_transform_that_is_always_seldom_given_has_no_gap(open_bag, tf_entry):
    second = 1_000_000_000
    entries = [
        tf_entry(k * second, "map", "odom", Rigid3.from_rotvec([0, 0, 0], [0.01 * k, 0, 0]))
        for k in range(1, 9)
    ]
    entries += [
        tf_entry(stamp_ns, "odom", "base_link", Rigid3.identity())
        for stamp_ns in range(second, 8 * second + 1, second // 20)
    ]
    bag = open_bag(entries)
    poses = read_transform(bag, "map", "base_link")
    assert_same(poses.at(3 * second + second // 2), Rigid3.from_rotvec([0, 0, 0], [0.035, 0, 0]))
    assert not bag.report()


def test_a_fixed_mounting_that_is_given_once_a_second_is_known_in_between(open_bag, tf_entry):
    second = 1_000_000_000
    bag = open_bag([tf_entry(k * second, "base_link", "camera", TURNED) for k in range(1, 9)])
    mounting = find_mounting(bag, "base_link", "camera", Config())
    assert_same(mounting.at(3 * second + second // 2), TURNED)
    assert_same(mounting.at(9 * second), TURNED)
