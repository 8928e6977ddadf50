"""The filter: consistent, smooth where it is broadcast, never better than the map."""

import numpy as np
import pytest
from scipy.stats import chi2

from hfnet_ros.config import GateConfig, OdometryConfig
from hfnet_ros.geometry.covariance import is_valid_covariance
from hfnet_ros.geometry.rigid3 import Rigid3, pose_difference
from hfnet_ros.tracking.gate import systematic_covariance
from hfnet_ros.tracking.map_odom import MapOdomFilter
from hfnet_ros.tracking.motion import BasePose, Moment, MotionModel
from hfnet_ros.tracking.odometry import OdometrySample
from hfnet_ros.tracking.path import Path

S = 1_000_000_000
GATE = GateConfig(systematic_translation_m=0.04, systematic_rotation_deg=0.5, smoothing_s=1.0)
ODOMETRY = OdometryConfig(translation_sigma_m=0.06, rotation_sigma_deg=1.5)
FIX = np.diag([0.03, 0.02, 0.04, 0.01, 0.015, 0.02]) ** 2


def new_filter(gate=GATE, odometry=ODOMETRY):
    return MapOdomFilter(gate, MotionModel(odometry))


def moment(seconds, odom_from_base, path=None):
    stamp_ns = round(seconds * S)
    return Moment(stamp_ns, OdometrySample(stamp_ns, odom_from_base, 0, path or Path()))


def disturbed(pose, error):
    """R = exp(phi) R_true, t = t_true + tau."""
    turn = Rigid3.from_rotvec(error[3:], np.zeros(3))
    return Rigid3(turn.rotation @ pose.rotation, pose.translation + error[:3])


def at(x, y=0.0, yaw=0.0):
    return Rigid3.from_rotvec([0.0, 0.0, yaw], [x, y, 0.0])


class Walk:
    """A robot with odometry as noisy as the configuration says, and fixes that err in common too."""

    step_m, turn_rad = 0.1, 0.04

    def __init__(self, rng):
        self.rng = rng
        self.truth = Rigid3.from_rotvec(rng.normal(size=3), rng.normal(size=3) * 10.0)
        self.odom = Rigid3.from_rotvec(rng.normal(size=3), rng.normal(size=3) * 100.0)
        self.bias = rng.multivariate_normal(np.zeros(6), systematic_covariance(GATE))
        self.seconds, self.path = 0.0, Path()

    def step(self):
        true_step = Rigid3.from_rotvec([0.0, 0.0, self.turn_rad], [self.step_m, 0.0, 0.0])
        per_metre = ODOMETRY.translation_sigma_m * np.sqrt(self.step_m)
        per_turn = np.deg2rad(ODOMETRY.rotation_sigma_deg) * np.sqrt(self.step_m + self.turn_rad)
        noise = np.concatenate([self.rng.normal(size=3) * per_metre, self.rng.normal(size=3) * per_turn])
        self.truth = self.truth @ true_step
        before = self.odom.translation
        self.odom = self.odom @ disturbed(true_step, noise)
        self.seconds += 0.1
        self.path = self.path.extended(self.odom.translation - before, self.turn_rad)

    def moment(self):
        return moment(self.seconds, self.odom, self.path)

    def fix(self):
        error = self.bias + self.rng.multivariate_normal(np.zeros(6), FIX)
        return BasePose(self.moment(), disturbed(self.truth, error), FIX)


@pytest.mark.parametrize("steps_after_last_fix", [0, pytest.param(60, marks=pytest.mark.slow)])
def test_errors_are_as_large_as_promised(steps_after_last_fix):
    """NEES over 150 walks lies in the band that chi-square gives it (0.1 % outside)."""
    num_walks, total = 150, 0.0
    for seed in range(num_walks):
        walk, tracked = Walk(np.random.default_rng(seed)), new_filter()
        tracked.start(walk.fix())
        for step in range(1, 31):
            walk.step()
            tracked.advance(walk.moment())
            if step % 5 == 0:
                tracked.correct(walk.fix())
        for _ in range(steps_after_last_fix):
            walk.step()
            tracked.advance(walk.moment())
        belief = tracked.belief(walk.moment())
        assert is_valid_covariance(belief.covariance)
        error = pose_difference(walk.truth, belief.map_from_base)
        total += error @ np.linalg.solve(belief.covariance, error)
    low, high = chi2.ppf([0.0005, 0.9995], 6 * num_walks)
    assert low < total < high


def test_two_fixes_fuse_by_hand():
    """Variances 0.04 and 0.01 at rest: weights 1/5 and 4/5, variance 0.008, and the systematic part on top."""
    tracked, still = new_filter(), Rigid3.identity()
    tracked.start(BasePose(moment(0.0, still), at(1.0), 0.04 * np.eye(6)))
    tracked.correct(BasePose(moment(1.0, still), at(2.0, 0.5, 0.1), 0.01 * np.eye(6)))
    belief = tracked.belief(moment(1.0, still))
    np.testing.assert_allclose(belief.map_from_base.translation, [1.8, 0.4, 0.0], atol=1e-12)
    np.testing.assert_allclose(belief.map_from_base.rotvec, [0.0, 0.0, 0.08], atol=1e-12)
    expected = 0.008 * np.eye(6) + systematic_covariance(GATE)
    np.testing.assert_allclose(belief.covariance, expected, atol=1e-12)


def test_looking_again_does_not_beat_the_map():
    tracked, still = new_filter(), Rigid3.identity()
    tracked.start(BasePose(moment(0.0, still), at(0.0), FIX))
    for index in range(1, 1000):
        tracked.correct(BasePose(moment(0.2 * index, still), at(0.0), FIX))
    covariance = tracked.belief(moment(200.0, still)).covariance
    assert np.linalg.eigvalsh(covariance - systematic_covariance(GATE))[0] > 0.0
    assert np.sqrt(covariance[0, 0]) == pytest.approx(GATE.systematic_translation_m, rel=0.01)


def test_looking_again_does_not_tell_where_a_part_of_the_map_lies():
    """A sub-map's place in its set is off by the same in every fix there; the next sub-map is right."""
    place = np.diag([0.3, 0.2, 0.1, 0.01, 0.01, 0.05]) ** 2
    place[0, 1] = place[1, 0] = 0.5 * 0.3 * 0.2
    tracked, still, off = new_filter(), Rigid3.identity(), at(0.6, 0.2, 0.08)
    tracked.start(BasePose(moment(0.0, still), off, FIX + place, place))
    for index in range(1, 200):
        tracked.correct(BasePose(moment(0.2 * index, still), off, FIX + place, place))
    covariance = tracked.belief(moment(40.0, still)).covariance
    assert np.linalg.eigvalsh(covariance - systematic_covariance(GATE) - place)[0] > 0.0
    assert np.trace(covariance) < 1.1 * np.trace(systematic_covariance(GATE) + FIX + place)
    for index in range(200, 203):
        tracked.correct(BasePose(moment(0.2 * index, still), at(0.0), FIX))
    assert tracked.belief(moment(40.4, still)).map_from_base.translation_to(at(0.0)) < 0.01
    assert np.sqrt(tracked.belief(moment(40.4, still)).covariance[0, 0]) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("fixes", [10, 2000])
def test_a_robot_that_stood_for_long_is_followed_when_it_is_pushed(fixes):
    """By two standard deviations of the map: each fix passes a gate, and odometry knows nothing; 20 s at 5 Hz."""
    robot = new_filter()
    pushed_m = 2.0 * GATE.systematic_translation_m
    robot.start(BasePose(moment(0.0, at(0.0)), at(0.0), FIX))
    for index in range(1, fixes + 101):
        seen = at(0.0 if index < fixes else pushed_m)
        robot.correct(BasePose(moment(0.2 * index, at(0.0)), seen, FIX))
    assert robot.position(moment(0.2 * index, at(0.0))).map_from_base.translation[0] > 0.7 * pushed_m


def test_one_fix_that_claims_a_millimetre_is_outvoted():
    robot = new_filter()
    robot.start(BasePose(moment(0.0, at(0.0)), at(0.1), np.eye(6) * 1e-6))
    for index in range(1, 101):
        robot.correct(BasePose(moment(0.2 * index, at(0.0)), at(0.0), FIX))
    assert robot.position(moment(20.0, at(0.0))).map_from_base.translation[0] < 0.04


def test_it_does_not_matter_how_far_off_odometry_began():
    far = Rigid3.from_rotvec([0.0, 0.0, 2.0], [5000.0, -3000.0, 0.0])
    beliefs = []
    for odom_from_start in (Rigid3.identity(), far):
        tracked = new_filter()
        tracked.start(BasePose(moment(0.0, odom_from_start), at(1.0), FIX))
        begun = moment(0.0, odom_from_start).odometry
        later = Moment(S, begun.moved_to(S, odom_from_start @ at(0.5, 0.1, 0.2)))
        tracked.correct(BasePose(later, at(1.52, 0.12, 0.25), FIX))
        shown = Moment(2 * S, later.odometry.moved_to(2 * S, odom_from_start @ at(0.7, 0.1, 0.2)))
        beliefs.append((tracked.belief(shown), shown.odometry.odom_from_base))
    (near, _), (distant, _) = beliefs
    np.testing.assert_allclose(near.covariance, distant.covariance, atol=1e-10)
    bases = [belief.map_from_odom @ odom_from_base for belief, odom_from_base in beliefs]
    np.testing.assert_allclose(bases[0].matrix, bases[1].matrix, atol=1e-8)


def test_map_from_odom_goes_to_its_new_value_without_a_jump():
    tracked, still = new_filter(), at(10.0)
    vague = 100.0 * np.eye(6)
    tracked.start(BasePose(moment(0.0, still), at(0.0), vague))
    np.testing.assert_allclose((tracked.belief(moment(0.0, still)).map_from_odom @ still).matrix, np.eye(4))
    tracked.correct(BasePose(moment(1.0, still), at(1.0), SHARP))
    shown = [
        (tracked.belief(moment(seconds, still)).map_from_odom @ still).translation[0]
        for seconds in (1.0, 2.0, 3.0, 20.0)
    ]
    np.testing.assert_allclose(shown, [0.0, 1 - np.exp(-1), 1 - np.exp(-2), 1.0], atol=1e-6)
    # On the way there another fix: again no jump.
    before = tracked.belief(moment(2.0, still)).map_from_odom
    tracked.correct(BasePose(moment(2.0, still), at(1.2), SHARP))
    after = tracked.belief(moment(2.0, still)).map_from_odom
    np.testing.assert_allclose(after.matrix, before.matrix, atol=1e-12)
    # A new start is a jump, and meant to be one.
    tracked.start(BasePose(moment(3.0, still), at(7.0), SHARP))
    assert (tracked.belief(moment(3.0, still)).map_from_odom @ still).translation[0] == pytest.approx(7.0)


SHARP = 1e-10 * np.eye(6)


def test_without_smoothing_map_from_odom_is_the_filters():
    tracked, still = new_filter(GateConfig(smoothing_s=0.0)), at(10.0)
    tracked.start(BasePose(moment(0.0, still), at(0.0), np.eye(6)))
    tracked.correct(BasePose(moment(1.0, still), at(1.0), SHARP))
    belief = tracked.belief(moment(1.0, still))
    np.testing.assert_allclose((belief.map_from_odom @ still).matrix, belief.map_from_base.matrix, atol=1e-12)


def test_without_odometry_there_is_no_map_from_odom():
    tracked = new_filter()
    tracked.start(BasePose(Moment(0, None), at(0.0), FIX))
    tracked.correct(BasePose(Moment(S, None), at(0.1), FIX))
    belief = tracked.belief(Moment(2 * S, None))
    assert belief.map_from_odom is None
    later = tracked.belief(Moment(3 * S, None))
    assert later.covariance[0, 0] > belief.covariance[0, 0]


def test_without_a_position_nothing_is_predicted():
    tracked = new_filter()
    assert not tracked.is_started
    with pytest.raises(RuntimeError, match="no position"):
        tracked.predict(Moment(0, None))
