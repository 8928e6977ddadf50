"""The history of odometry poses."""

import threading

import numpy as np
import pytest

from hfnet_ros.config import OdometryConfig
from hfnet_ros.errors import InputError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.odometry import NoOdometry, TransformHistory, interpolate

S = 1_000_000_000
MS = 1_000_000


def pose(x, y=0.0, yaw_deg=0.0):
    return Rigid3.from_rotvec([0.0, 0.0, np.deg2rad(yaw_deg)], [x, y, 0.0])


def history(*stamped, **config):
    filled = TransformHistory(OdometryConfig(**config))
    for stamp_ns, at in stamped:
        assert filled.add(stamp_ns, at)
    return filled


def pose_at(filled, stamp_ns):
    sample = filled.sample_at(stamp_ns)
    return sample.odom_from_base if sample is not None else None


def travelled(filled, from_ns, to_ns):
    """Length of the path and sum of turns between two times."""
    start, end = filled.sample_at(from_ns), filled.sample_at(to_ns)
    if start is None or end is None or start.run != end.run:
        return None
    return abs(end.distance_m - start.distance_m), abs(end.turn_rad - start.turn_rad)


def test_a_pose_between_two_is_interpolated():
    found = pose_at(history((0, pose(0.0)), (100 * MS, pose(1.0, 2.0, 90.0))), 25 * MS)
    np.testing.assert_allclose(found.translation, [0.25, 0.5, 0.0], atol=1e-12)
    np.testing.assert_allclose(np.rad2deg(found.rotvec), [0.0, 0.0, 22.5], atol=1e-9)


def test_interpolation_turns_about_a_fixed_axis_at_even_speed():
    start = Rigid3.from_rotvec([0.4, -1.0, 0.3], [1.0, 2.0, 3.0])
    end = start @ Rigid3.from_rotvec([0.2, 0.5, -0.9], [0.3, 0.0, -0.2])
    whole = start.rotation_to(end)
    for fraction in (0.0, 0.3, 1.0):
        between = interpolate(start, end, fraction)
        assert start.rotation_to(between) == pytest.approx(fraction * whole, abs=1e-9)
        assert between.rotation_to(end) == pytest.approx((1.0 - fraction) * whole, abs=1e-9)


def test_nothing_is_guessed_outside_or_in_a_gap():
    filled = history((S, pose(0.0)), (S + 100 * MS, pose(1.0)), (S + 400 * MS, pose(2.0)))
    assert pose_at(filled, S - 1) is None
    assert pose_at(filled, S + 400 * MS + 1) is None
    assert pose_at(filled, S + 200 * MS) is None  # 0.3 s between poses, 0.25 s allowed
    assert pose_at(filled, S + 400 * MS).translation[0] == pytest.approx(2.0)
    assert filled.last_before(S + 200 * MS).stamp_ns == S + 100 * MS
    assert filled.last_before(2 * S).stamp_ns == S + 400 * MS
    assert filled.last_before(S - 1) is None


def test_repetitions_and_late_poses_are_left_out():
    filled = history((S, pose(0.0)), (S + 100 * MS, pose(1.0)))
    assert not filled.add(S + 100 * MS, pose(7.0))
    assert not filled.add(S + 50 * MS, pose(7.0))
    assert pose_at(filled, S + 50 * MS).translation[0] == pytest.approx(0.5)
    assert filled.add(S + 150 * MS, pose(1.5))


def test_stamps_that_start_again_clear_the_history():
    filled = history((100 * S, pose(50.0)), (100 * S + 50 * MS, pose(50.1)))
    before = filled.latest()
    filled.add(3 * S, pose(0.0))
    filled.add(3 * S + 50 * MS, pose(0.1))
    assert pose_at(filled, 100 * S) is None
    assert pose_at(filled, 3 * S + 25 * MS).translation[0] == pytest.approx(0.05)
    assert filled.latest().run != before.run
    assert travelled(filled, 3 * S, 3 * S + 50 * MS)[0] == pytest.approx(0.1)


def test_a_single_stray_stamp_clears_nothing():
    filled = history((100 * S, pose(50.0)))
    assert not filled.add(0, pose(0.0))
    assert filled.add(100 * S + 50 * MS, pose(50.1))
    assert not filled.add(0, pose(0.0))
    assert pose_at(filled, 100 * S + 25 * MS).translation[0] == pytest.approx(50.05)


@pytest.mark.parametrize("jump", [pose(-3.0, 2.0, 118.0), pose(-0.6), pose(0.0, 0.0, 60.0)])
def test_a_step_that_no_robot_takes_begins_a_run(jump, caplog):
    """As when the filter behind odometry is reset, while its stamps go on."""
    filled = history(*((index * 50 * MS, pose(0.05 * index)) for index in range(20)))
    before = filled.latest()
    assert not filled.add(S, before.odom_from_base @ jump)
    assert filled.latest() is before
    assert filled.add(S + 50 * MS, before.odom_from_base @ jump @ pose(0.05))
    assert filled.latest().run != before.run
    assert filled.sample_at(S + 25 * MS).distance_m == pytest.approx(0.025)
    assert "odometry's pose jumped" in caplog.text


@pytest.mark.parametrize("pause_s", [0.6, 2.0, 30.0])
def test_a_base_that_is_restarted_begins_a_run(pause_s):
    """Odometry pauses and begins at its origin: nobody has driven there meanwhile, however much time there was."""
    filled = history(*((index * 20 * MS, pose(0.012 * index, 5.0)) for index in range(100)))
    before = filled.latest()
    restarted_ns = before.stamp_ns + round(pause_s * S)
    assert not filled.add(restarted_ns, pose(0.0))
    assert filled.add(restarted_ns + 20 * MS, pose(0.0))
    assert filled.latest().run != before.run


@pytest.mark.parametrize("pause_s", [0.3, 0.6, 1.0])
def test_a_robot_that_drives_over_the_origin_in_a_pause_begins_none(pause_s):
    steps = [index * 0.02 for index in range(100) if not 1.0 - pause_s < index * 0.02 < 1.0]
    filled = history(*((round(at_s * S), pose(0.6 * (at_s - 1.0), yaw_deg=40.0 * at_s)) for at_s in steps))
    assert filled.latest().distance_m == pytest.approx(0.6 * 1.98)


def test_a_single_stray_pose_is_left_out():
    filled = history(*((index * 50 * MS, pose(0.05 * index)) for index in range(20)))
    first = filled.latest()
    assert not filled.add(S, pose(30.0))
    assert filled.add(S + 50 * MS, pose(1.05))
    assert filled.latest().run == first.run
    assert travelled(filled, 0, S + 50 * MS)[0] == pytest.approx(1.05)


@pytest.mark.parametrize("speed_m_s", [0.0, 2.0, 30.0])
def test_jitter_dropouts_and_hard_braking_are_no_jump(speed_m_s):
    rng, stamp_ns, x_m = np.random.default_rng(0), 0, 0.0
    filled = history((0, pose(0.0)))
    run = filled.latest().run
    for index in range(1, 400):
        taken_ns = index * 20 * MS
        stamp_ns = max(stamp_ns + MS // 10, taken_ns + int(rng.uniform(-9.0, 9.0) * MS))
        braked = speed_m_s * min(1.0, max(0.0, (5.0 - index * 0.02) / 0.5))
        x_m += 0.02 * (speed_m_s if index < 225 else braked)
        if index % 97 > 30 or index % 97 < 20:  # some are lost
            assert filled.add(stamp_ns, pose(x_m, yaw_deg=2.0 * index))
    assert filled.latest().run == run


@pytest.mark.parametrize(
    "broken",
    [
        Rigid3(np.eye(3), np.array([0.0, np.nan, 0.0])),
        Rigid3(np.eye(3), np.array([np.inf, 0.0, 0.0])),
        Rigid3(np.full((3, 3), np.nan), np.zeros(3)),
        Rigid3(np.zeros((3, 3)), np.zeros(3)),
        Rigid3(np.diag([1.0, 1.0, -1.0]), np.zeros(3)),
    ],
)
def test_what_is_no_pose_is_refused(broken):
    filled = history((S, pose(0.0)))
    with pytest.raises(InputError, match="odometry"):
        filled.add(2 * S, broken)
    assert filled.latest().stamp_ns == S


def test_memory_is_bounded():
    filled = history(*((index * 20 * MS, pose(0.01 * index)) for index in range(5000)), history_s=1.0)
    assert filled.sample_at(98 * S) is None
    assert filled.sample_at(99 * S) is not None
    assert len(filled._samples) == 51


def test_the_way_is_longer_than_the_distance():
    corners = [(0, 0, 0), (1, 0, 90), (1, 1, 180), (0, 1, 270), (0, 0, 360)]
    filled = history(*((index * 200 * MS, pose(x, y, yaw)) for index, (x, y, yaw) in enumerate(corners)))
    distance_m, turn_rad = travelled(filled, 0, 800 * MS)
    assert distance_m == pytest.approx(4.0)
    assert turn_rad == pytest.approx(2.0 * np.pi)
    assert travelled(filled, 300 * MS, 500 * MS)[0] == pytest.approx(1.0)
    assert travelled(filled, 0, S) is None


def test_the_way_is_remembered_when_its_beginning_is_not():
    filled = history((0, pose(0.0)), history_s=1.0)
    first = filled.latest()
    for index in range(1, 200):
        filled.add(index * 100 * MS, pose(0.1 * (index % 2)))
    assert filled.latest().run == first.run
    assert filled.latest().distance_m - first.distance_m == pytest.approx(19.9)


def test_waiting_ends_when_the_pose_comes():
    filled = history((S, pose(0.0)))
    writer = threading.Thread(target=lambda: filled.add(2 * S, pose(1.0)))
    writer.start()
    assert filled.wait_for(2 * S, 30.0)
    writer.join()
    assert not filled.wait_for(2 * S + 1, 0.01)


@pytest.mark.parametrize("source", ["auto", "tf"])
def test_nobody_waits_for_what_never_came(source):
    assert not TransformHistory(OdometryConfig(source=source)).wait_for(S, 1e6)
    assert not NoOdometry().wait_for(S, 1e6)


def test_when_odometry_is_expected():
    assert not NoOdometry().is_expected
    assert TransformHistory(OdometryConfig(source="tf")).is_expected
    assert TransformHistory(OdometryConfig(source="topic")).is_expected
    automatic = TransformHistory(OdometryConfig(source="auto"))
    assert not automatic.is_expected
    automatic.add(S, pose(0.0))
    assert automatic.is_expected
    automatic.clear()
    assert not automatic.is_expected


def test_one_thread_writes_while_another_reads():
    filled, done = history((0, pose(0.0)), history_s=0.5), threading.Event()
    wrong = []

    def read():
        while not done.is_set():
            sample = filled.sample_at(filled.latest().stamp_ns - 5 * MS)
            if sample is not None and abs(sample.odom_from_base.translation[0] - sample.stamp_ns / S) > 1e-6:
                wrong.append(sample)

    reader = threading.Thread(target=read)
    reader.start()
    for index in range(1, 2000):
        filled.add(index * 10 * MS, pose(0.01 * index))
    done.set()
    reader.join()
    assert wrong == []
