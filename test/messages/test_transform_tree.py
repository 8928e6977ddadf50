import threading

import numpy as np
import pytest

from hfnet_ros.errors import TransformError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.poses import transform_to_message
from hfnet_ros.messages.transform_tree import TransformTree

S = 1_000_000_000


@pytest.fixture
def tree():
    return TransformTree(history_s=10.0)


@pytest.fixture
def add(factory, tree):
    def add(parent, child, parent_from_child, seconds=0.0, static=False):
        message = transform_to_message(factory, parent_from_child, round(seconds * S), parent, child)
        tree.add(message, static=static)

    return add


def at(x, yaw=0.0):
    return Rigid3.from_rotvec([0.0, 0.0, yaw], [x, 0.0, 0.0])


def test_half_way_between_two_transforms(tree, add):
    add("odom", "base", at(1.0, 0.2), 10.0)
    add("odom", "base", at(2.0, 0.6), 11.0)
    odom_from_base = tree.look_up("odom", "base", round(10.5 * S))
    np.testing.assert_allclose(odom_from_base.translation, [1.5, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(odom_from_base.rotvec, [0.0, 0.0, 0.4], atol=1e-12)


def test_interpolation_takes_the_short_way_round(tree, add):
    add("odom", "base", at(0.0, 3.0), 10.0)
    add("odom", "base", at(0.0, -3.0), 11.0)
    turned = tree.look_up("odom", "base", round(10.5 * S))
    assert turned.rotation_to(at(0.0, np.pi)) < 1e-9


def test_the_ends_of_the_history_are_known_exactly(tree, add, random_rigid):
    first, last = random_rigid(), random_rigid()
    add("odom", "base", first, 10.0)
    add("odom", "base", last, 11.0)
    np.testing.assert_allclose(tree.look_up("odom", "base", 10 * S).matrix, first.matrix, atol=1e-12)
    np.testing.assert_allclose(tree.look_up("odom", "base", 11 * S).matrix, last.matrix, atol=1e-12)


def test_a_chain_over_a_common_ancestor(tree, add, random_rigid):
    odom_from_base, base_from_mast, mast_from_camera, base_from_arm = (random_rigid() for _ in range(4))
    add("odom", "base", odom_from_base, 10.0)
    add("base", "mast", base_from_mast, 10.0)
    add("mast", "camera", mast_from_camera, static=True)
    add("base", "arm", base_from_arm, static=True)
    arm_from_camera = tree.look_up("arm", "camera", 10 * S)
    expected = base_from_arm.inverse() @ base_from_mast @ mast_from_camera
    np.testing.assert_allclose(arm_from_camera.matrix, expected.matrix, atol=1e-12)
    camera_from_odom = tree.look_up("camera", "odom", 10 * S)
    expected = (odom_from_base @ base_from_mast @ mast_from_camera).inverse()
    np.testing.assert_allclose(camera_from_odom.matrix, expected.matrix, atol=1e-12)


def test_looking_up_both_ways_gives_inverses(tree, add, random_rigid):
    for second in range(5):
        add("odom", "base", random_rigid(), 10.0 + second)
    add("base", "camera", random_rigid(), static=True)
    for stamp_ns in np.random.default_rng(0).integers(10 * S, 14 * S, 20).tolist():
        there, back = tree.look_up("odom", "camera", stamp_ns), tree.look_up("camera", "odom", stamp_ns)
        np.testing.assert_allclose((there @ back).matrix, np.eye(4), atol=1e-9)


def test_a_static_transform_that_changes_is_told_once(add, caplog):
    add("base", "camera", at(0.3), static=True)
    add("base", "camera", at(0.3), static=True)
    assert caplog.text == ""
    for _ in range(3):
        add("base", "camera", at(0.6, 0.1), static=True)
        add("base", "camera", at(0.3), static=True)
    assert caplog.text.count("transform of 'camera' in 'base' changed by 0.300 m and 5.73 deg") == 1


def test_static_transforms_hold_at_any_time(tree, add):
    add("base", "camera", at(0.3), static=True)
    for stamp_ns in (0, 1, 10**18):
        np.testing.assert_allclose(tree.look_up("base", "camera", stamp_ns).translation, [0.3, 0, 0])
    add("base", "camera", at(0.4), static=True)
    np.testing.assert_allclose(tree.look_up("base", "camera", 5).translation, [0.4, 0, 0])


def test_leading_slashes_do_not_matter(tree, add):
    add("/odom", "/base", at(1.0), 10.0)
    assert tree.look_up("odom", "/base", 10 * S).translation[0] == pytest.approx(1.0)


def test_the_newest_time_all_is_known_at(tree, add):
    add("base", "camera", at(0.3), static=True)
    assert tree.look_up_latest("base", "camera")[0] == 0
    for second in (10.0, 11.0, 12.0):
        add("odom", "base", at(second), second)
    for second in (10.5, 11.5):
        add("map", "odom", at(0.0), second)
    stamp_ns, map_from_camera = tree.look_up_latest("map", "camera")
    assert stamp_ns == round(11.5 * S)
    np.testing.assert_allclose(map_from_camera.translation, [11.8, 0.0, 0.0])


# What is missing is said


def test_data_that_may_still_come(tree, add):
    add("odom", "base", at(1.0), 10.0)
    with pytest.raises(TransformError, match=r"'base' in 'odom' ends 0\.250 s before the time") as caught:
        tree.look_up("odom", "base", round(10.25 * S))
    assert caught.value.ahead_s == pytest.approx(0.25)


def test_data_that_is_gone(tree, add):
    add("odom", "base", at(1.0), 10.0)
    with pytest.raises(TransformError, match=r"begins 2\.000 s after the time") as caught:
        tree.look_up("odom", "base", 8 * S)
    assert caught.value.ahead_s is None


def test_gaps_are_not_bridged_beyond_what_is_allowed(tree, add):
    add("odom", "base", at(1.0), 10.0)
    add("odom", "base", at(2.0), 10.5)
    assert tree.look_up("odom", "base", round(10.2 * S), max_gap_s=0.5).translation[0] == pytest.approx(1.4)
    with pytest.raises(TransformError, match=r"a gap of 0\.500 s .* expected 0\.25 s at most"):
        tree.look_up("odom", "base", round(10.2 * S), max_gap_s=0.25)
    tree.look_up("odom", "base", round(10.5 * S), max_gap_s=0.25)


def test_unknown_frames(tree, add):
    with pytest.raises(TransformError, match="'base' is unknown; known are none"):
        tree.look_up("base", "camera", 0)
    add("base", "laser", at(0.1), static=True)
    with pytest.raises(TransformError, match="'camera' is unknown; known are base, laser"):
        tree.look_up("base", "camera", 0)


def test_frames_that_are_not_connected(tree, add):
    add("odom", "base", at(1.0), 10.0)
    add("rig", "camera", at(1.0), static=True)
    with pytest.raises(
        TransformError, match=r"'camera' \(below 'rig'\) and 'base' \(below 'odom'\) are not conn"
    ):
        tree.look_up("base", "camera", 10 * S)


def test_loops_end(tree, add):
    add("a", "b", at(1.0), static=True)
    add("b", "c", at(1.0), static=True)
    add("c", "a", at(1.0), static=True)
    with pytest.raises(TransformError, match="frames form a loop: a -> c -> b -> a"):
        tree.look_up("map", "a", 0)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda m: setattr(m.transform.translation, "x", float("nan")), "is not finite"),
        (lambda m: setattr(m.transform.rotation, "z", float("inf")), "is not finite"),
        (lambda m: setattr(m.transform.translation, "y", -1e200), "expected at most 1e[+]09 m"),
        (lambda m: setattr(m.transform.rotation, "w", 0.0), "quaternion of length 0, expected 1"),
        (lambda m: setattr(m, "child_frame_id", "odom"), "expected two different names"),
        (lambda m: setattr(m, "child_frame_id", ""), "expected two different names"),
        (lambda m: setattr(m.header, "frame_id", "/"), "expected two different names"),
        (lambda m: setattr(m.header.stamp, "sec", 0), "has stamp 0"),
        (lambda m: setattr(m.header.stamp, "sec", -3), "stamp is -3 s"),
    ],
)
def test_transforms_that_cannot_be_used_change_nothing(factory, tree, add, change, found):
    add("odom", "base", at(1.0), 10.0)
    bad = transform_to_message(factory, at(0.0), 11 * S, "odom", "base")
    change(bad)
    with pytest.raises(TransformError, match=found):
        tree.add(bad, static=False)
    assert tree.look_up_latest("odom", "base")[0] == 10 * S


def test_one_bad_transform_does_not_take_the_others_with_it(factory, tree):
    messages = [transform_to_message(factory, at(1.0), 5 * S, "base", name) for name in ("a", "b", "c")]
    messages[1].transform.rotation.w = float("nan")
    refused = tree.add_all(factory.make("tf2_msgs/msg/TFMessage", transforms=messages), static=False)
    assert len(refused) == 1
    assert "'b' in 'base' is not finite" in refused[0]
    tree.look_up("a", "c", 5 * S)


# Time and memory


def test_transforms_out_of_order_are_sorted_in(tree, add):
    for second in (10.0, 10.4, 10.2, 10.4):
        add("odom", "base", at(second), second)
    assert tree.look_up("odom", "base", round(10.3 * S)).translation[0] == pytest.approx(10.3)
    add("odom", "base", at(7.0), 10.2)
    assert tree.look_up("odom", "base", round(10.2 * S)).translation[0] == pytest.approx(7.0)


def test_a_bag_that_starts_again_drops_the_old_run(tree, add):
    add("base", "camera", at(0.3), static=True)
    for tenth in range(50):
        add("odom", "base", at(tenth), 10.0 + 0.1 * tenth)
        add("base", "arm", at(tenth), 10.0 + 0.1 * tenth)
    add("odom", "base", at(100.0), 12.0)
    add("odom", "base", at(101.0), 12.1)
    with pytest.raises(TransformError, match="ends"):
        tree.look_up("odom", "base", 13 * S)
    with pytest.raises(TransformError, match="'arm' is unknown"):
        tree.look_up("base", "arm", 12 * S)
    assert tree.look_up("odom", "camera", round(12.1 * S)).translation[0] == pytest.approx(101.3)


def test_one_stray_stamp_of_the_past_changes_nothing(tree, add):
    for tenth in range(10):
        add("odom", "base", at(tenth), 10.0 + 0.1 * tenth)
        if tenth == 5:
            add("odom", "base", at(-50.0), 3.0)
    assert tree.look_up("odom", "base", round(10.25 * S)).translation[0] == pytest.approx(2.5)


def test_one_stray_stamp_of_the_future_is_overcome(tree, add):
    add("odom", "base", at(0.0), 10.0)
    add("odom", "base", at(9.0), 5000.0)
    for second in (10.1, 10.2, 10.3):
        add("odom", "base", at(second), second)
    assert tree.look_up("odom", "base", round(10.25 * S)).translation[0] == pytest.approx(10.25)


def test_a_new_parent_starts_a_new_history(tree, add, caplog):
    add("odom", "base", at(1.0), 10.0)
    add("footprint", "base", at(2.0), 11.0)
    with pytest.raises(TransformError, match="begins"):
        tree.look_up("footprint", "base", 10 * S)
    with pytest.raises(TransformError, match="'odom' is unknown"):
        tree.look_up("odom", "base", 11 * S)
    assert "do two nodes publish it?" in caplog.text
    caplog.clear()
    add("odom", "base", at(1.0), 12.0)
    assert caplog.text == ""


@pytest.mark.parametrize("known", ["odom", "mast"])
def test_a_frame_that_another_node_puts_elsewhere_is_named_where_the_way_ends(tree, add, known):
    """All was said to be unknown that the frame had been in: odometry was looked for."""
    add("mast", "arm", at(1.0), static=True)
    add("odom", "base", at(1.0), 10.0)
    add("odom", "base", at(1.1), 10.1)
    add("footprint", "base", at(0.0), static=True)
    with pytest.raises(
        TransformError, match="'base' is in 'footprint' now and was in 'odom', as where two nodes"
    ):
        tree.look_up_latest(known, "base")


def test_only_the_last_seconds_are_kept(tree, add):
    for tenth in range(300):
        add("odom", "base", at(tenth), 100.0 + 0.1 * tenth)
    newest = 100.0 + 29.9
    tree.look_up("odom", "base", round((newest - 9.9) * S))
    with pytest.raises(TransformError, match="begins"):
        tree.look_up("odom", "base", round((newest - 10.2) * S))


def test_the_number_of_transforms_is_bounded(factory, tree):
    message = transform_to_message(factory, at(0.0), S, "odom", "base")
    for nanosec in range(30_000):
        message.header.stamp.nanosec = nanosec
        tree.add(message, static=False)
    with pytest.raises(TransformError, match="begins"):
        tree.look_up("odom", "base", S + 9_000)
    tree.look_up("odom", "base", S + 11_000)


def test_the_number_of_frames_is_bounded(factory, tree):
    message = transform_to_message(factory, at(0.0), S, "odom", "base")
    with pytest.raises(TransformError, match="one too many"):
        for number in range(20_000):
            message.child_frame_id = f"frame{number}"
            tree.add(message, static=False)
    tree.look_up("odom", "frame3", S)


def test_clearing_keeps_static_transforms(tree, add):
    add("odom", "base", at(1.0), 10.0)
    add("base", "camera", at(0.3), static=True)
    tree.clear()
    tree.look_up("base", "camera", 0)
    with pytest.raises(TransformError, match="'odom' is unknown"):
        tree.look_up("odom", "base", 10 * S)


def test_readers_and_writers_do_not_disturb_each_other(factory, tree, add):
    add("base", "camera", at(0.0), static=True)
    add("odom", "base", at(0.0), 1.0)
    problems = []
    finished = threading.Event()

    def write():
        message = transform_to_message(factory, at(0.0), S, "odom", "base")
        for step in range(1, 3000):
            message.header.stamp.nanosec = step * 100_000
            message.transform.translation.x = step * 1e-4
            tree.add(message, static=False)
        finished.set()

    def read():
        while not finished.is_set():
            try:
                stamp_ns, odom_from_camera = tree.look_up_latest("odom", "camera")
            except Exception as error:
                problems.append(error)
                return
            if abs(odom_from_camera.translation[0] - (stamp_ns - S) / S) > 1e-9:
                problems.append((stamp_ns, odom_from_camera.translation))

    threads = [threading.Thread(target=target) for target in (write, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60.0)
    assert problems == []
    assert finished.is_set()


# What others broadcast


def test_the_stamps_of_a_moving_frame_are_known_with_its_parent(tree, add):
    add("odom", "base", at(1.0), 10.0)
    add("odom", "/base", at(2.0), 11.0)
    add("base", "camera", at(0.3), static=True)
    assert tree.stamps_of("base") == ("odom", (10 * S, 11 * S))
    assert tree.stamps_of("camera") == tree.stamps_of("nobody") == ("", ())


def test_what_is_heard_and_refused_is_logged_once(factory, tree, caplog):
    bad = transform_to_message(factory, at(0.0), 0, "odom", "base")
    for _ in range(3):
        tree.hear(factory.make("tf2_msgs/msg/TFMessage", transforms=[bad]), static=False)
    assert [record.getMessage() for record in caplog.records] == [
        "moving transform of 'base' in 'odom' has stamp 0"
    ]
