"""Which images are of one time, by stamps and arrivals alone."""

import pytest

from hfnet_ros.tracking.image_groups import ImageGroups

MS = 1_000_000
START_MS = 1_000_000.0


class Cameras:
    """Three cameras; times are ms, and images are named by camera and stamp."""

    def __init__(self, num_cameras=3, tolerance_ms=20.0, wait_ms=100.0, **options):
        self.groups = ImageGroups(num_cameras, 1e-3 * tolerance_ms, 1e-3 * wait_ms, **options)

    def send(self, camera, stamp_ms, arrived_ms=None):
        arrived_ms = stamp_ms + 10.0 if arrived_ms is None else arrived_ms
        stamp_ns = round((START_MS + stamp_ms) * MS)
        return self.shown(
            self.groups.add("abc".index(camera), stamp_ns, 1e-3 * arrived_ms, f"{camera}{stamp_ms:g}")
        )

    def wait_until(self, now_ms):
        return self.shown(self.groups.take_due(1e-3 * now_ms))

    def all_at(self, stamp_ms, cameras="abc", **delays_ms):
        """Send one image of each camera in the order of their arrival; return the groups that went out."""
        arrivals = sorted((10.0 + delays_ms.get(camera, 0.0), camera) for camera in cameras)
        return [
            group
            for delay_ms, camera in arrivals
            for group in self.send(camera, stamp_ms, stamp_ms + delay_ms)
        ]

    @staticmethod
    def shown(groups):
        return [" ".join(image or "-" for image in group.images) for group in groups]


@pytest.fixture
def cameras():
    return Cameras()


def test_images_within_the_tolerance_are_a_group_as_soon_as_it_is_complete(cameras):
    assert cameras.send("b", 0) == []
    assert cameras.send("c", 20) == []
    assert cameras.send("a", -20) == ["a-20 b0 c20"]
    assert cameras.groups.due_s is None


def test_the_stamp_is_that_of_the_first_camera_in_order_and_the_arrival_that_of_the_first_image(cameras):
    for camera, stamp_ms, arrived_ms in (("c", 3, 30), ("b", 1, 40)):
        cameras.send(camera, stamp_ms, arrived_ms)
    (group,) = cameras.groups.take_due(10.0)
    assert (group.stamp_ns, group.arrived_s) == (round((START_MS + 1) * MS), pytest.approx(0.03))


def test_beyond_the_tolerance_is_another_time(cameras):
    cameras.send("a", 0)
    cameras.send("b", 21)
    assert cameras.send("c", 22) == []
    assert cameras.wait_until(999) == ["a0 - -", "- b21 c22"]


def test_an_incomplete_group_goes_out_when_its_first_image_has_waited(cameras):
    cameras.send("a", 0, 10)
    cameras.send("c", 0, 60)
    assert cameras.groups.due_s == pytest.approx(0.11)
    assert cameras.wait_until(109) == []
    assert cameras.wait_until(111) == ["a0 - c0"]
    assert cameras.groups.due_s is None


def test_an_arrival_finds_what_has_waited_long_enough(cameras):
    cameras.send("a", 0, 10)
    assert cameras.send("a", 500) == ["a0 - -"]


def test_older_groups_go_out_first_as_they_are(cameras):
    cameras.send("a", 0)
    cameras.send("b", 0)
    assert cameras.all_at(33) == ["a0 b0 -", "a33 b33 c33"]


def test_an_image_whose_group_is_gone_is_dropped(cameras):
    cameras.all_at(0, "ab")
    assert cameras.wait_until(120) == ["a0 b0 -"]
    assert cameras.send("c", 5, 130) == []
    assert cameras.wait_until(999) == []


def test_a_missing_camera_is_not_waited_for_after_some_groups_until_it_is_back(cameras):
    for number in range(5):
        assert cameras.all_at(200 * number, "ab") == []
        assert cameras.wait_until(200 * number + 150) == [f"a{200 * number} b{200 * number} -"]
    assert cameras.all_at(1000, "ab") == ["a1000 b1000 -"], "at once"
    # It comes last, when its group is gone, but would have been in time.
    assert cameras.all_at(1200, c=5) == ["a1200 b1200 -"]
    assert cameras.all_at(1400, c=5) == ["a1400 b1400 c1400"]


def test_a_camera_that_stays_late_is_not_waited_for_and_its_delay_is_known(cameras):
    for number in range(30):
        cameras.all_at(33 * number, c=300)
    timing = cameras.groups.timing(2)
    assert timing.behind_s == pytest.approx(0.3)
    assert timing.group_share == 0.0
    assert cameras.groups.timing(0).behind_s == pytest.approx(0.0)
    assert cameras.groups.timing(0).group_share == 1.0
    assert cameras.all_at(1000, "ab") == ["a1000 b1000 -"]


def test_patience_without_end_always_waits():
    cameras = Cameras(patience=None)
    for number in range(20):
        assert cameras.all_at(200 * number, "ab") == []
        assert len(cameras.wait_until(200 * number + 150)) == 1


@pytest.mark.parametrize("off_ms", [5000, -5000])
def test_a_clock_of_its_own_does_not_disturb_the_others(cameras, off_ms):
    groups = []
    for number in range(20):
        stamp_ms = 100 * number
        groups += cameras.send("c", stamp_ms + off_ms, stamp_ms + 9)
        groups += cameras.all_at(stamp_ms, "ab")
    groups += cameras.wait_until(9999)
    pairs = [f"a{100 * number} b{100 * number} -" for number in range(20)]
    # Before the others have spoken nobody knows whose clock is right.
    assert [group for group in groups if group in pairs] == pairs[-19:] or groups[-20:] == pairs
    assert len(groups) <= 21


@pytest.mark.parametrize("off_ms", [150, 400, 900])
def test_a_camera_whose_clock_is_ahead_does_not_shut_the_others_out(cameras, off_ms):
    groups = []
    for number in range(30):
        groups += cameras.wait_until(200 * number)
        groups += cameras.send("c", 200 * number + off_ms, 200 * number + 10)
        groups += cameras.all_at(200 * number, "ab")
    assert groups[-20:] == [f"a{200 * number} b{200 * number} -" for number in range(10, 30)]
    assert cameras.groups.timing(2).behind_s == pytest.approx(-1e-3 * off_ms, abs=0.02)
    assert cameras.groups.timing(0).group_share == 1.0


@pytest.mark.parametrize("rate", [0.12, 0.2, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("num_cameras", [2, 3])
def test_no_camera_of_a_replay_is_late_or_ahead(num_cameras, rate):
    groups, found = ImageGroups(num_cameras, 0.02, 0.1), []
    for number in range(30):
        for camera_idx in range(num_cameras):
            arrived_s = 0.2 * number / rate + 0.001 * camera_idx
            found += groups.add(camera_idx, round(1e9 * (1.0 + 0.2 * number)), arrived_s, "image")
    assert [None in group.images for group in found] == [False] * 30
    for camera_idx in range(num_cameras):
        assert groups.timing(camera_idx).behind_s == pytest.approx(0.0, abs=0.02)


def test_one_wild_stamp_is_dropped(cameras):
    cameras.all_at(0)
    assert cameras.send("a", 60_000, 105) == []
    assert cameras.all_at(100) == ["a100 b100 c100"]


def test_a_recording_that_begins_again_is_grouped_again(cameras):
    for number in range(10):
        cameras.all_at(10_000 + 100 * number)
    found = []
    for number in range(10):
        for camera in "abc":
            found += cameras.send(camera, 100 * number, 11_000 + 100 * number)
    assert found[-1] == "a900 b900 c900"
    assert len(found) >= 8


def test_two_cameras_of_which_one_is_late_belong_to_the_quicker_one():
    cameras = Cameras(2)
    for number in range(20):
        cameras.all_at(100 * number, "ab", a=500)
    assert cameras.groups.timing(0).behind_s == pytest.approx(0.5)
    assert cameras.groups.timing(1).behind_s == pytest.approx(0.0)


def test_a_late_camera_is_told_though_a_recording_is_played_slowly():
    """Stamps pass at half the speed of arrivals: an image is compared with what others sent at its time."""
    groups = ImageGroups(3, 0.02, 0.1)
    for number in range(20):
        for camera_idx, steps_late in ((0, 0), (1, 0), (2, 3)):
            stamp_s = 1.0 + 0.2 * (number - steps_late)
            groups.add(camera_idx, round(1e9 * stamp_s), 0.4 * number, "image")
    assert groups.timing(2).behind_s == pytest.approx(0.6)
    assert groups.timing(0).behind_s == pytest.approx(0.0)


def test_cameras_that_run_freely_are_paired_with_the_nearest(cameras):
    """Thirty a second each, a third of a period apart: within 20 ms of each other two by two."""
    found = []
    for number in range(30):
        for camera, phase_ms in (("a", 0.0), ("b", 11.0), ("c", 19.0)):
            found += cameras.send(camera, 33 * number + phase_ms)
    assert found == [f"a{33 * n} b{33 * n + 11} c{33 * n + 19}" for n in range(30)]


def test_images_without_a_stamp_are_of_no_time(cameras):
    assert cameras.groups.add(0, 0, 1.0, "a") == []
    assert cameras.groups.due_s is None


def test_an_image_that_is_sent_again_is_the_same(cameras):
    for _ in range(3):
        assert cameras.send("a", 0) == []
    assert cameras.all_at(0, "bc") == ["a0 b0 c0"]
    assert cameras.send("a", 0) == []
    assert cameras.wait_until(999) == []


def test_one_camera_is_always_a_group_of_its_own():
    groups = ImageGroups(1, 0.02, 0.1)
    for stamp_ns in (5, 0, 3, 5):
        (group,) = groups.add(0, stamp_ns, 1.0, "a")
        assert (group.stamp_ns, group.images) == (stamp_ns, ("a",))
    assert groups.timing(0).behind_s is None


def test_fresh_after_clearing(cameras):
    cameras.all_at(0)
    cameras.send("a", 33)
    cameras.groups.clear()
    assert cameras.groups.due_s is None
    assert cameras.all_at(0) == ["a0 b0 c0"]
