"""Which cameras of a rig are believed alone."""

import dataclasses
import functools
import re

import numpy as np
import pytest

from hfnet_ros.config import Config
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.localization.answers import without_doubted
from hfnet_ros.tracking.camera_faults import twist_of
from hfnet_ros.tracking.camera_trust import CameraTrust
from hfnet_ros.tracking.motion import Excess, Moment
from hfnet_ros.tracking.odometry import NoOdometry, TransformHistory
from hfnet_ros.types import (
    Evidence,
    Localization,
    Outcome,
    PoseEstimate,
    Query,
    RigCamera,
    View,
    ViewShare,
)

S = 1_000_000_000
NAMES = ("front", "left", "right")
CAMERA = Camera(DistortionModel.NONE, (64, 64), [50.0, 50.0], [31.5, 31.5], [])
TEXTURE = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
SIGMAS = np.diag(np.square([0.02] * 3 + [0.005] * 3))
KNOCKED = Rigid3.from_rotvec([0.0, 0.0, np.deg2rad(10.0)], np.zeros(3))


def way(t):
    """A robot that drives on a circle of one metre, 0.6 m/s."""
    return Rigid3.from_rotvec([0.0, 0.0, 0.6 * t], [np.sin(0.6 * t), 1.0 - np.cos(0.6 * t), 0.0])


@functools.cache
def winding_poses(steps_hz=50, seconds=21):
    poses = [Rigid3.identity()]
    for step in range(steps_hz * seconds):
        now = step / steps_hz
        speed, turn = 0.42 * (1.0 + np.sin(now)), 0.8 * np.sin(0.9 * now)
        poses.append(
            poses[-1] @ Rigid3.from_rotvec([0.0, 0.0, turn / steps_hz], [speed / steps_hz, 0.0, 0.0])
        )
    return poses


def winding(t):
    """A robot that stops and goes, and turns left and right."""
    return winding_poses()[round(50 * t)]


def still(t):
    return Rigid3.identity()


class Rig:
    """Cameras that are asked what a script says."""

    def __init__(self, moves=way, with_odometry=True, drives=None):
        """`drives` is what odometry tells of instead."""
        self.moves, self.drives, self.trust = moves, drives or moves, CameraTrust(Config())
        self.odometry = TransformHistory(Config().odometry) if with_odometry else NoOdometry()
        self.known_s = 0.0

    def ask(self, t, *seeing, fault=None, contradicting=(), dark=(), is_valid=True):
        """Answer at a time by cameras that see the map; `fault` is what the pose is turned by."""
        if isinstance(self.odometry, TransformHistory):
            for step in range(round(50 * self.known_s), round(50 * t) + 1):
                self.odometry.add(S + step * S // 50, self.drives(step / 50))
        self.known_s, stamp_ns = t, S + round(t * S)
        images = [np.zeros_like(TEXTURE) if name in dark else TEXTURE for name in NAMES]
        query = Query(stamp_ns, tuple(View(RigCamera(CAMERA), image) for image in images))
        later = self.odometry.last_before(stamp_ns)
        twist = twist_of(later and self.odometry.sample_at(later.stamp_ns - S // 10), later)
        query = self.trust.marked(query, NAMES, twist)
        shares = tuple(
            ViewShare(500, 200, 80, agrees=name in seeing, contradicts=name in contradicting)
            for name in NAMES
        )
        pose = self.moves(t) @ (fault or Rigid3.identity())
        estimate = PoseEstimate(pose, SIGMAS, np.ones(20, np.bool_), 1.0) if is_valid else None
        outcome = Outcome.LOCALIZED if is_valid else Outcome.ILL_CONDITIONED
        answer = Localization(stamp_ns, outcome, estimate, None, Evidence(), {}, views=shares)
        if is_valid:
            answer = without_doubted(answer, query.doubted)
        found = self.trust.judged(answer, query, NAMES, Moment(stamp_ns, later), twist, Rigid3.identity())
        assert found.is_valid or found.evidence.reason or not is_valid
        return found


def test_nobody_is_believed_alone_before_it_agreed_with_another_one():
    rig = Rig()
    first = rig.ask(0.5, "left")
    assert first.outcome is Outcome.ILL_CONDITIONED
    assert "view 1" in first.evidence.reason
    assert first.views[1].alone is not None
    assert rig.ask(1.0, "left", "front").is_valid
    assert rig.ask(1.5, "left").is_valid
    assert rig.ask(2.0, "front").is_valid
    assert rig.trust.doubted == frozenset()


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_odometry_that_is_known_to_be_off_accuses_no_camera(scale):
    """Cameras that see the map in turn had all been accused, and kept back, by an odometry of another scale."""
    rig, names = Rig(drives=lambda t: way(scale * t)), ("front", "left", "right")
    for step in range(5):
        rig.ask(0.2 * step, "front", "left")
        rig.ask(0.2 * step + 0.1, "left", "right")
    rig.trust.trust_odometry(Excess(per_metre=1.0, turn_per_path=0.5))
    assert all(rig.ask(1.2 + 0.2 * step, names[step % 3]).is_valid for step in range(15))
    assert rig.trust.doubted == frozenset()


def test_cameras_that_see_the_map_in_turn_agree_by_odometry():
    rig = Rig()
    assert not rig.ask(0.5, "left").is_valid
    answers = [rig.ask(1.0, "front"), rig.ask(1.5, "left"), rig.ask(2.0, "front")]
    assert answers[-1].is_valid
    assert all(not share.doubt for share in answers[-1].views)


def test_of_two_that_contradict_each_other_by_odometry_none_is_believed_until_a_third_one_agrees():
    rig = Rig()
    rig.ask(0.5, "left", fault=KNOCKED)
    answer = rig.ask(1.0, "front")
    assert not answer.is_valid
    assert [bool(share.doubt) for share in answer.views] == [True, True, False]
    rig.ask(1.5, "front", "right")
    assert rig.trust.doubted == {"left"}
    assert rig.ask(2.0, "front").is_valid
    assert not rig.ask(2.5, "left", fault=KNOCKED).is_valid
    assert rig.trust.doubted == {"left"}


def test_who_contradicts_those_that_agree_is_to_blame():
    rig = Rig()
    rig.ask(0.5, "front", "right")
    answer = rig.ask(1.0, "left", fault=KNOCKED)
    assert not answer.is_valid
    assert rig.trust.doubted == {"left"}
    assert "contradicts" in answer.views[1].doubt


def test_a_camera_is_proven_right_by_its_own_way_and_a_turned_one_is_found():
    found = {}
    for fault in (None, KNOCKED):
        rig = Rig(winding)
        found[fault] = [rig.ask(0.5 * step, "left", fault=fault) for step in range(1, 41)]
    assert not found[None][0].is_valid
    assert found[None][-1].is_valid
    assert not any(answer.is_valid for answer in found[KNOCKED])
    doubt = found[KNOCKED][-1].views[1].doubt
    turned = float(re.search(r"z (-?[0-9.]+) \+- ", doubt).group(1))
    assert turned == pytest.approx(10.0, abs=0.5)


def test_a_late_camera_that_agreed_standing_is_not_believed_on_the_way():
    def stops_first(t):
        return way(max(t - 2.0, 0.0))

    rig = Rig(stops_first)
    rig.ask(1.0, "left", "front")
    assert rig.ask(1.5, "left").is_valid
    late = stops_first(3.0).inverse() @ stops_first(2.7)
    assert not rig.ask(3.0, "left", fault=late).is_valid
    assert rig.trust.doubted == {"left"}


def test_without_odometry_a_camera_that_nobody_objects_to_is_believed_in_the_end():
    rig = Rig(still, with_odometry=False)
    answers = [rig.ask(float(t), "left") for t in range(1, 40)]
    assert not answers[20].is_valid
    assert answers[-1].is_valid
    rig.ask(40.0, contradicting=["left", "front"], is_valid=False)
    assert not rig.ask(41.0, "left").is_valid


def test_where_the_others_have_long_been_dark_a_camera_is_believed_as_one_that_is_alone():
    others = ["front", "right"]
    assert Rig().ask(0.5, "left", dark=others).is_valid
    assert not Rig().ask(0.5, "left", dark=others[:1]).is_valid
    rig = Rig(still)
    rig.ask(0.5, "front", "right", contradicting=["left"])
    assert not rig.ask(1.0, "left", dark=others).is_valid, "they may look at a blank wall"
    assert rig.ask(32.0, "left", dark=others).is_valid


def late_rig():
    """A rig whose front camera is late and was believed; it contradicts the left one, until its own way betrays it."""
    rig, doubted = Rig(winding), []
    rig.ask(0.5, "front", "right")
    for step in range(2, 29):
        t = 0.5 * step
        late = winding(t).inverse() @ winding(t - 0.2)
        accused, seeing = (["left"], ["front", "right"]) if step < 4 else ([], ["front"])
        rig.ask(t, *seeing, fault=late, contradicting=accused)
        doubted.append(rig.trust.doubted)
    return rig, doubted


def test_whom_a_camera_accused_that_is_found_faulty_itself_is_cleared():
    rig, doubted = late_rig()
    assert doubted[0] == {"left"}
    assert doubted[-1] == {"front"}
    rig.ask(14.5, "left", "right")
    assert rig.ask(14.8, "left").is_valid


def accusing_rig():
    """A rig whose front camera contradicts each of the others, and nobody knows who is right."""
    rig = Rig()
    rig.ask(0.1, contradicting=["front", "right"], is_valid=False)
    rig.ask(0.2, "front", "left")
    rig.ask(0.3, contradicting=["front", "left"], is_valid=False)
    assert rig.trust.doubted == {"front", "left", "right"}
    return rig


@pytest.mark.parametrize("agree_at", [[("left", "right")], [("left",), ("right",)]])
def test_two_that_agree_outvote_the_one_that_accused_both(agree_at):
    """At one time, or one soon after the other, by odometry."""
    rig = accusing_rig()
    for step, seeing in enumerate(agree_at):
        rig.ask(1.0 + 0.5 * step, *seeing)
    assert rig.trust.doubted == {"front"}
    assert rig.ask(2.0, "left", "right").is_valid


def test_two_that_agree_long_after_each_other_outvote_nobody():
    rig = accusing_rig()
    rig.ask(1.0, "left")
    rig.ask(5.0, "right")
    assert rig.trust.doubted == {"front", "left", "right"}


def test_of_two_that_contradict_each_other_the_one_that_is_known_to_be_faulty_is_to_blame():
    rig, _ = late_rig()
    rig.ask(14.8, contradicting=["front", "left"], is_valid=False)
    assert rig.trust.doubted == {"front"}


def test_who_contradicts_a_pose_that_is_refused_is_not_to_blame():
    rig = Rig()
    rig.ask(0.5, contradicting=["left"], is_valid=False)
    assert rig.trust.doubted == frozenset()
    rig.ask(1.0, contradicting=["left", "front"], is_valid=False)
    assert rig.trust.doubted == {"left", "front"}


def test_it_says_why_a_camera_cannot_be_checked():
    rig = Rig()
    first = rig.ask(0.5, "left")
    assert "cannot be checked yet" in first.views[1].unproven
    assert first.views[0].unproven == "cannot be checked: it has not seen anything of the map"
    agreed = rig.ask(1.0, "left", "front")
    assert [bool(share.unproven) for share in agreed.views] == [False, False, True]
    rig = Rig()
    rig.ask(0.5, "left")
    assert "for 12 s" in rig.ask(12.5, is_valid=False).views[1].unproven


@pytest.mark.parametrize("num_contradictions", [1, 3])
def test_it_is_believed_again_after_it_agreed_twice_as_often(num_contradictions):
    rig = Rig()
    for step in range(num_contradictions):
        rig.ask(0.1 * (step + 1), "front", "right", contradicting=["left"])
    for step in range(2 * num_contradictions):
        assert rig.trust.doubted == {"left"}
        rig.ask(1.0 + 0.1 * step, "front", "left")
    assert rig.trust.doubted == frozenset()


def test_long_faults_are_forgotten_in_the_end():
    rig = Rig(still)
    for step in range(100):
        rig.ask(0.02 * (step + 1), "front", "right", contradicting=["left"])
    for step in range(10):
        rig.ask(3.0 + 0.1 * step, "front", "left")
    assert rig.trust.doubted == frozenset()


def test_views_are_compared_twice_a_second_however_many_images_come():
    trust = CameraTrust(Config())
    views = tuple(View(RigCamera(CAMERA), TEXTURE) for _ in NAMES)
    asked = [Query(S + step * S // 30, views) for step in range(31)]
    compared = [
        step for step, query in enumerate(asked) if trust.marked(query, NAMES, np.zeros(6)).compares_views
    ]
    assert compared == [0, 15, 30]
    # A bag that begins again is compared at once.
    assert trust.marked(dataclasses.replace(asked[0], stamp_ns=S // 10), NAMES, np.zeros(6)).compares_views
