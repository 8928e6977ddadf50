"""The rules of the relocalizer, with prescribed answers of the localizer along a simulated drive."""

import dataclasses
import logging

import numpy as np
import pytest

from hfnet_ros.config import Config, GateConfig, OdometryConfig
from hfnet_ros.errors import EngineError, InputError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.motion import Moment, base_pose
from hfnet_ros.tracking.odometry import NoOdometry, TransformHistory
from hfnet_ros.tracking.relocalizer import Relocalizer
from hfnet_ros.types import PoseEstimate, TrackingState, Verdict

S = 1_000_000_000
START = 1000 * S
STEP = S // 5
CONFIG = Config()
MOUNTED = Rigid3.identity()
HINT = np.diag([0.25, 0.25, 1.0, 0.1, 0.1, 0.07])
ELSEWHERE = Rigid3(np.eye(3), np.array([0.0, 7.0, 0.0]))  # a twin place, seven metres to the left


def stamp(index):
    return START + index * STEP


def truth(index):
    """0.5 m/s along a wide circle."""
    yaw = 0.1 * index / 10.0
    return Rigid3.from_rotvec([0, 0, yaw], [10.0 * np.sin(yaw), 10.0 * (1.0 - np.cos(yaw)), 0.0])


def odometry(indices=range(200), config=CONFIG.odometry):
    """Perfect odometry with another origin, at 50 Hz."""
    odom_from_map = Rigid3.from_rotvec([0, 0, 1.0], [30.0, -20.0, 0.0])
    filled = TransformHistory(dataclasses.replace(config, history_s=600.0))
    for index in indices:
        for part in range(10):
            filled.add(stamp(index) + part * STEP // 10, odom_from_map @ truth(index + part / 10))
    return filled


class Drive:
    """A relocalizer fed with one image per fifth of a second."""

    def __init__(self, localizer, frame, history=None, config=CONFIG):
        self.localizer, self.frame = localizer, frame
        self.relocalizer = Relocalizer(localizer, config, history or odometry())

    def see(self, index, answer=None, base_from_camera=MOUNTED, **options):
        """One image; `answer` is the pose that the localizer finds, or "right" or "twin"."""
        answers = {"right": truth(index), "twin": ELSEWHERE @ truth(index)}
        found = answers.get(answer, answer) if answer is None or isinstance(answer, str) else answer
        if found is not None and base_from_camera is not None:
            found = found @ base_from_camera
        self.localizer.answers[stamp(index)] = found
        return self.relocalizer.update(self.frame(stamp(index)), base_from_camera, **options)

    def settle(self, count=5):
        for index in range(count):
            result = self.see(index, "right")
        assert result.state is TrackingState.TRACKING
        return count


@pytest.fixture
def drive(scripted_localizer, blank_frame):
    return Drive(scripted_localizer(), blank_frame)


@pytest.fixture
def new_drive(scripted_localizer, blank_frame):
    return lambda history=None, config=CONFIG: Drive(scripted_localizer(), blank_frame, history, config)


def off(result, index):
    return result.belief.map_from_base.translation_to(truth(index))


def test_a_position_is_found_when_three_fixes_agree(drive):
    verdicts = []
    for index in range(3):
        result = drive.see(index, "right")
        verdicts.append(result.decision.verdict)
        if index < 2:
            assert (result.state, result.belief) == (TrackingState.LOST, None)
            assert f"{index + 1} of 3 fixes agree" in result.decision.reason
    assert verdicts == [Verdict.AWAITING_AGREEMENT] * 2 + [Verdict.ACCEPTED]
    assert result.state is TrackingState.TRACKING
    assert off(result, 2) < 1e-9
    assert (result.age_s, result.distance_m, result.relocated) == (0.0, 0.0, False)


def test_one_fix_is_enough_if_so_configured(new_drive):
    drive = new_drive(config=dataclasses.replace(CONFIG, gate=GateConfig(agreement_fixes=1)))
    assert drive.see(0, "right").decision.verdict is Verdict.ACCEPTED


def test_map_from_odom_is_what_odometry_needs(drive):
    index = drive.settle()
    result = drive.see(index, "right")
    odom_from_base = odometry().sample_at(stamp(index)).odom_from_base
    np.testing.assert_allclose(
        (result.belief.map_from_odom @ odom_from_base).matrix, truth(index).matrix, atol=1e-6
    )


def test_images_that_are_not_localized_decide_nothing(drive):
    index = drive.settle()
    result = drive.see(index)
    assert (result.decision, result.map_from_base, result.base_covariance) == (None, None, None)
    assert result.state is TrackingState.TRACKING
    assert result.age_s == pytest.approx(0.2)
    assert result.distance_m == pytest.approx(0.1, rel=1e-3)
    assert off(result, index) < 1e-6


def test_the_pose_is_that_of_the_base(new_drive):
    """A camera 2 m ahead of the base: turned by its error, the base swings."""
    drive = new_drive()
    base_from_camera = Rigid3.from_rotvec([-np.pi / 2, 0.0, -np.pi / 2], [2.0, 0.0, 0.5])
    for index in range(3):
        result = drive.see(index, "right", base_from_camera)
    np.testing.assert_allclose(result.map_from_base.matrix, truth(2).matrix, atol=1e-9)
    assert result.base_covariance[1, 1] == pytest.approx(4e-4 + (2.0**2 + 0.5**2) * 1e-4, rel=1e-3)
    drive.see(3, "right", base_from_camera)
    expected = truth(3) @ base_from_camera
    assert drive.localizer.priors[stamp(3)].map_from_camera.translation_to(expected) < 1e-6


def test_without_a_known_mounting_nothing_is_accepted(drive):
    index = drive.settle()
    result = drive.see(index, "right", None)
    assert result.decision.verdict is Verdict.NO_EXTRINSIC
    assert result.map_from_base is None
    assert result.state is TrackingState.TRACKING
    assert result.age_s == pytest.approx(0.2)
    assert drive.localizer.priors[stamp(index)] is None


def test_what_fixes_have_in_common_is_that_of_the_base(drive):
    """Of a camera two metres before the base: a turn of the sub-map moves the base."""
    mounted = Rigid3.from_rotvec([0.0, 0.0, 0.3], [2.0, 0.0, 0.0])
    common = np.diag([0.1, 0.1, 0.1, 0.01, 0.01, 0.05]) ** 2
    estimate = PoseEstimate(
        truth(0) @ mounted, drive.localizer.covariance + common, np.ones(9, np.bool_), 1.0, common
    )
    alone = base_pose(Moment(START, None), dataclasses.replace(estimate, covariance=common), mounted)
    fix = base_pose(Moment(START, None), estimate, mounted)
    np.testing.assert_allclose(fix.common, alone.covariance)
    assert fix.common[1, 1] == pytest.approx(0.1**2 + 0.1**2)


def test_a_wrong_fix_is_rejected(drive):
    index = drive.settle()
    result = drive.see(index, "twin")
    assert result.decision.verdict is Verdict.REJECTED_INNOVATION
    assert result.decision.mahalanobis_sq > result.decision.threshold
    np.testing.assert_allclose(result.decision.innovation[:3], [0.0, 7.0, 0.0], atol=1e-6)
    assert off(result, index) < 1e-6
    assert drive.see(index + 1, "right").decision.verdict is Verdict.ACCEPTED


def test_wrong_fixes_at_the_start_do_not_block(drive):
    answers = ["right", Rigid3(np.eye(3), np.array([-30.0, 9.0, 0.0])), "right", "twin", "right", "right"]
    verdicts = [drive.see(index, answer).decision.verdict for index, answer in enumerate(answers)]
    assert verdicts == [Verdict.AWAITING_AGREEMENT] * 5 + [Verdict.ACCEPTED]


def test_a_carried_robot_is_found_again(drive, caplog):
    """From image 5 on everything is seen seven metres further left; odometry noticed nothing."""
    index, verdicts = drive.settle(), []
    with caplog.at_level(logging.WARNING):
        for step in range(5):
            result = drive.see(index + step, "twin")
            verdicts.append(result.decision.verdict)
    assert verdicts == [Verdict.REJECTED_INNOVATION] * 4 + [Verdict.ACCEPTED]
    assert result.relocated
    assert "given up" in result.decision.reason
    assert "given up" in caplog.text
    belief = result.belief.map_from_base
    assert belief.translation_to(ELSEWHERE @ truth(index + 4)) < 1e-6
    again = drive.see(index + 5, "twin")
    assert (again.decision.verdict, again.relocated) == (Verdict.ACCEPTED, False)


@pytest.mark.parametrize("turn_deg", [180.0, 90.0])
def test_a_robot_does_not_stand_on_its_head_because_images_are_turned(drive, turn_deg):
    """As from a camera whose driver begins to turn its images, or that has slipped in its clamp."""
    settled = drive.settle()
    turned = Rigid3.from_rotvec([np.deg2rad(turn_deg), 0.0, 0.0], [0.0, 0.0, 0.0])
    for index in range(settled, settled + 12):
        result = drive.see(index, truth(index) @ turned)
        assert (result.decision.verdict, result.relocated) == (Verdict.REJECTED_INNOVATION, False)
        assert "tipped over" in result.decision.reason
        assert not any("odometry is" in warning for warning in result.warnings)
    assert off(result, index) < 0.1
    assert drive.see(index + 1, "right").decision.verdict is Verdict.ACCEPTED


def test_a_robot_that_began_on_its_head_is_put_right(drive):
    turned = Rigid3.from_rotvec([np.pi, 0.0, 0.0], [0.0, 0.0, 0.0])
    for index in range(4):
        drive.see(index, truth(index) @ turned)
    for index in range(4, 12):
        result = drive.see(index, "right")
    assert result.decision.verdict is Verdict.ACCEPTED
    assert off(result, index) < 0.1


def test_a_wrong_fix_among_the_rejected_ones_does_not_hinder_recovery(drive):
    index = drive.settle()
    wrong = Rigid3(np.eye(3), np.array([-30.0, 9.0, 0.0]))
    answers = ["twin", "twin", wrong, "twin", None, "twin", "twin", "twin"]
    results = [drive.see(index + step, answer) for step, answer in enumerate(answers)]
    assert [result.relocated for result in results] == [False] * 7 + [True]


def test_a_twin_seen_in_between_never_wins(drive):
    index = drive.settle()
    for step in range(60):
        answer = "right" if step % 5 == 4 else "twin"
        result = drive.see(index + step, answer)
        assert not result.relocated
        assert (result.decision.verdict is Verdict.ACCEPTED) == (answer == "right")
        assert off(result, index + step) < 0.01


def test_rejected_fixes_all_over_the_place_never_win(drive):
    index, rng = drive.settle(), np.random.default_rng(0)
    for step in range(60):
        anywhere = Rigid3.from_rotvec(rng.normal(size=3), rng.uniform(-50, 50, 3))
        result = drive.see(index + step, anywhere)
        assert result.decision.verdict is Verdict.REJECTED_INNOVATION
        assert off(result, index + step) < 0.01


def test_a_robot_that_odometry_says_stands_still_is_followed(new_drive, caplog):
    """A wheel slips or an encoder is broken: no two right fixes agree by odometry, each being further on."""
    stuck = TransformHistory(dataclasses.replace(CONFIG.odometry, history_s=600.0))
    for index in range(0, 101):
        for part in range(10):
            stuck.add(stamp(index) + part * STEP // 10, truth(min(index + part / 10, 5.0)))
    drive = new_drive(stuck)
    index = drive.settle()
    with caplog.at_level(logging.WARNING):
        results = [drive.see(step, "right") for step in range(index, 100)]
    assert max(off(result, step) for step, result in enumerate(results, index)) < 0.6
    found = next(result for result in results if result.relocated)
    assert "not of the one that odometry tells of" in found.decision.reason
    assert "position given up" in caplog.text


@pytest.mark.parametrize("scale", [0.0, 2.5])
def test_a_robot_is_found_though_odometry_is_wrong_from_the_start(new_drive, scale):
    """At 1.5 m/s, so that no two fixes agree by odometry; and it is known at once that it is wrong."""
    wrong = TransformHistory(dataclasses.replace(CONFIG.odometry, history_s=600.0))
    for index in range(90):
        for part in range(10):
            wrong.add(stamp(index) + part * STEP // 10, truth(scale * 3.0 * (index + part / 10)))
    drive = new_drive(wrong)
    for index in range(8):
        drive.localizer.answers[stamp(index)] = truth(3.0 * index)
        result = drive.relocalizer.update(drive.frame(stamp(index)), MOUNTED)
    assert result.state is TrackingState.TRACKING
    assert result.belief.map_from_base.translation_to(truth(3.0 * 7)) < 0.1
    assert "by the fixes of the last drive odometry is" in result.warnings[-1]


@pytest.mark.parametrize(
    ("every", "is_known"),
    [(2, False), *(pytest.param(every, True, marks=pytest.mark.slow) for every in (1, 2)), (3, True)],
)
def test_wrong_fixes_of_no_drive_never_win_against_odometry(drive, every, is_known):
    """In a room of two metres, so that many are near each other, at 5, 2.5 and 1.7 Hz."""
    index, rng = drive.settle() if is_known else 0, np.random.default_rng(0)
    room = truth(index)
    for step in range(100 if is_known else 30):
        away = room @ Rigid3.from_rotvec([0, 0, rng.uniform(-np.pi, np.pi)], [*rng.uniform(-1, 1, 2), 0.0])
        result = drive.see(index + step * every, away)
        assert not result.relocated
        assert is_known or result.state is TrackingState.LOST


def test_without_odometry_at_the_stamp_a_fix_is_not_used(new_drive):
    drive = new_drive(odometry([*range(6), *range(9, 20)]))
    index = drive.settle()
    for late in (7, 8):
        result = drive.see(late, "right")
        assert result.decision.verdict is Verdict.NO_ODOMETRY
        assert "older" in result.decision.reason
        assert result.age_s > 0.0
    assert drive.see(9, "right").decision.verdict is Verdict.ACCEPTED
    assert index == 5


@pytest.mark.parametrize(
    ("source", "verdict"), [("tf", Verdict.NO_ODOMETRY), ("auto", Verdict.AWAITING_AGREEMENT)]
)
def test_odometry_that_never_came(new_drive, source, verdict):
    drive = new_drive(TransformHistory(OdometryConfig(source=source, wait_s=0.0)))
    assert drive.see(0, "right").decision.verdict is verdict


def test_a_robot_without_odometry_is_tracked_by_its_speed_limit(new_drive):
    drive = new_drive(NoOdometry())
    verdicts = [drive.see(index, "right").decision.verdict for index in range(10)]
    assert verdicts == [Verdict.AWAITING_AGREEMENT] * 2 + [Verdict.ACCEPTED] * 8
    result = drive.see(10, "twin")
    assert result.decision.verdict is Verdict.REJECTED_INNOVATION
    assert (result.belief.map_from_odom, result.distance_m) == (None, None)


def test_odometry_that_comes_late_is_used_from_then_on(new_drive):
    history = TransformHistory(dataclasses.replace(CONFIG.odometry, wait_s=0.0))
    drive = new_drive(history)
    for index in range(4):
        drive.see(index, "right")
    assert drive.relocalizer.belief_at(stamp(3)).map_from_odom is None
    history.add(stamp(4), truth(4))
    result = drive.see(4, "right")
    assert result.decision.verdict is Verdict.ACCEPTED
    assert result.belief.map_from_odom is not None
    assert off(result, 4) < 0.01


def test_what_is_known_decays_with_time_where_there_is_no_odometry(new_drive):
    slow = OdometryConfig(max_speed_m_s=1.5, max_turn_deg_s=20.0)
    drive = new_drive(NoOdometry(), dataclasses.replace(CONFIG, odometry=slow))
    drive.settle()
    states, sigmas = [], []
    for seconds in (0.1, 1.0, 3.0, 6.0, 7.0):
        tracking = drive.relocalizer.tracking_at(stamp(4) + round(seconds * S))
        states.append(tracking.state)
        assert tracking.age_s == pytest.approx(seconds)
        if tracking.belief is not None:
            sigmas.append(np.sqrt(tracking.belief.covariance[0, 0]))
    stale, lost = TrackingState.STALE, TrackingState.LOST
    assert states == [TrackingState.TRACKING, stale, stale, stale, lost]
    np.testing.assert_allclose(sigmas[1:], [0.75, 2.25, 4.5], rtol=0.01)
    # Looking changes nothing: asked about the past, the answer is as before.
    assert drive.relocalizer.tracking_at(stamp(4)).state is TrackingState.TRACKING


def test_what_is_known_decays_with_the_way_travelled(new_drive):
    noisy = dataclasses.replace(
        CONFIG, odometry=dataclasses.replace(CONFIG.odometry, translation_sigma_m=0.2)
    )
    drive = new_drive(odometry(config=noisy.odometry), noisy)
    drive.settle()
    sigmas = []
    for index in range(5, 180):
        result = drive.see(index)
        if result.belief is not None:
            sigmas.append(np.sqrt(np.linalg.eigvalsh(result.belief.covariance[:3, :3])[-1]))
    assert sigmas == sorted(sigmas)
    assert result.state is TrackingState.STALE
    assert result.distance_m == pytest.approx(0.1 * 175, rel=0.01)


def test_a_stale_position_is_not_confirmed_by_a_single_fix(new_drive):
    drive = new_drive(NoOdometry())
    drive.settle()
    later = 14  # 2 s without a fix: sure to 1.5 m
    result = drive.see(later, "right")
    assert (result.state, result.decision.verdict) == (TrackingState.STALE, Verdict.AWAITING_AGREEMENT)
    assert drive.see(later + 1, "right").decision.verdict is Verdict.AWAITING_AGREEMENT
    result = drive.see(later + 2, "right")
    assert (result.state, result.decision.verdict) == (TrackingState.TRACKING, Verdict.ACCEPTED)


def test_a_position_lost_for_long_is_found_anew_by_agreement(new_drive, caplog):
    drive = new_drive(NoOdometry())
    drive.settle()
    with caplog.at_level(logging.WARNING):
        result = drive.see(100, "twin")
    assert (result.state, result.decision.verdict) == (TrackingState.LOST, Verdict.AWAITING_AGREEMENT)
    assert result.age_s == pytest.approx(19.2)
    assert "vague" in caplog.text
    assert not any(drive.see(index, "twin").relocated for index in (101, 102))
    assert drive.see(103, "twin").state is TrackingState.TRACKING


@pytest.mark.parametrize("offset", [-60, 600])
def test_a_single_stray_stamp_costs_no_position(new_drive, offset):
    drive = new_drive(odometry(range(60, 200)))
    for index in range(80, 85):
        drive.see(index, "right")
    stray = drive.see(85 + offset, "right")
    assert (stray.state, stray.decision.verdict) == (TrackingState.TRACKING, Verdict.NO_ODOMETRY)
    result = drive.see(86, "right")
    assert (result.state, result.decision.verdict) == (TrackingState.TRACKING, Verdict.ACCEPTED)


def test_an_image_after_a_pause_may_come_a_little_before_its_odometry(new_drive):
    config = dataclasses.replace(CONFIG, odometry=dataclasses.replace(CONFIG.odometry, wait_s=30.0))
    history, complete = odometry(range(5)), odometry()
    wait = history.wait_for

    def wait_until_it_comes(stamp_ns, timeout_s):
        if stamp_ns > stamp(10):
            for index in (25, 26):
                history.add(stamp(index), complete.sample_at(stamp(index)).odom_from_base)
        return wait(stamp_ns, timeout_s)

    history.wait_for = wait_until_it_comes
    drive = new_drive(history, config)
    drive.settle(4)
    assert drive.see(25, "right").decision.verdict is Verdict.ACCEPTED


def test_a_second_image_confirms_that_odometry_stays_behind(new_drive):
    drive = new_drive(odometry(range(60, 100)))
    for index in range(80, 85):
        drive.see(index, "right")
    assert drive.see(2000, "right").state is TrackingState.TRACKING
    assert drive.see(2001, "right").state is TrackingState.LOST


def test_a_bag_that_begins_again_is_a_new_start(drive, caplog):
    drive.settle(10)
    with caplog.at_level(logging.WARNING):
        result = drive.see(2, "right")
    assert (result.state, result.decision.verdict) == (TrackingState.LOST, Verdict.AWAITING_AGREEMENT)
    assert "went back by 1.4 s" in caplog.text
    assert result.age_s is None


def test_an_image_a_little_late_is_no_new_start(drive):
    drive.settle(10)
    result = drive.see(8, "right")
    assert result.decision.verdict is Verdict.ACCEPTED
    assert drive.see(10, "right").decision.verdict is Verdict.ACCEPTED


def test_images_without_a_stamp_do_no_harm(drive, blank_frame):
    index = drive.settle()
    drive.localizer.answers[0] = truth(index)
    result = drive.relocalizer.update(blank_frame(0), MOUNTED)
    assert result.decision.verdict is Verdict.NO_ODOMETRY
    assert "no stamp" in result.decision.reason
    assert result.state is TrackingState.TRACKING
    assert drive.see(index, "right").decision.verdict is Verdict.ACCEPTED
    fresh = Relocalizer(drive.localizer, CONFIG, NoOdometry())
    for _ in range(5):
        result = fresh.update(blank_frame(0), MOUNTED)
        assert (result.state, result.belief) == (TrackingState.LOST, None)


def test_the_prediction_narrows_the_search(drive):
    index = drive.settle()
    drive.see(index)
    prior = drive.localizer.priors[stamp(index)]
    assert prior.map_from_camera.translation_to(truth(index)) < 1e-6
    assert np.sqrt(prior.covariance[0, 0]) < 0.1
    drive.see(index + 1, "right", ignore_prior=True)
    assert drive.localizer.priors[stamp(index + 1)] is None


def test_a_hint_directs_the_search_and_is_no_position(drive):
    drive.relocalizer.set_initial_pose(truth(0), HINT, stamp(0))
    assert drive.relocalizer.belief_at(stamp(0)) is None
    result = drive.see(5)
    assert (result.state, result.belief) == (TrackingState.LOST, None)
    prior = drive.localizer.priors[stamp(5)]
    assert prior.map_from_camera.translation_to(truth(5)) < 1e-6  # carried along by odometry
    assert prior.covariance[0, 0] >= HINT[0, 0]


def test_a_hint_counts_as_one_of_the_fixes_that_agree(drive):
    drive.relocalizer.set_initial_pose(truth(0), HINT, stamp(0))
    assert drive.see(1, "right").decision.verdict is Verdict.AWAITING_AGREEMENT
    assert drive.see(2, "right").decision.verdict is Verdict.ACCEPTED


def test_a_vague_hint_says_where_to_look_and_counts_for_nothing(drive):
    """A position by wifi, 20 m, no heading: in a building each fix agrees with it."""
    wifi = np.diag([400.0, 400.0, 400.0, 10.0, 10.0, 10.0])
    drive.relocalizer.set_initial_pose(truth(0), wifi, stamp(0))
    verdicts = [drive.see(index, "right").decision.verdict for index in range(1, 4)]
    assert verdicts == [Verdict.AWAITING_AGREEMENT] * 2 + [Verdict.ACCEPTED]
    assert drive.localizer.priors[stamp(3)].covariance[0, 0] > 399.0


def test_a_hint_of_another_clock_is_dropped_and_its_stamp_named(drive, caplog):
    """As of RViz beside a recording that is played without its clock."""
    drive.relocalizer.set_initial_pose(truth(0), HINT, stamp(0) + 1_000_000 * S)
    with caplog.at_level(logging.WARNING):
        drive.see(0, "right")
    assert "1000000.0 s after the image" in caplog.text
    drive.see(1, "right")
    assert drive.localizer.priors[stamp(1)] is None


def test_a_wrong_hint_does_not_help_a_fix(drive):
    drive.relocalizer.set_initial_pose(ELSEWHERE @ truth(0), HINT, stamp(0))
    verdicts = [drive.see(index, "right").decision.verdict for index in range(3)]
    assert verdicts == [Verdict.AWAITING_AGREEMENT] * 2 + [Verdict.ACCEPTED]
    drive.see(3, "right")
    assert drive.localizer.priors[stamp(3)].map_from_camera.translation_to(truth(3)) < 0.01


def test_a_carried_robot_listens_to_a_hint(drive):
    index = drive.settle()
    drive.relocalizer.set_initial_pose(ELSEWHERE @ truth(index), HINT, stamp(index))
    first = drive.see(index, "twin")
    assert drive.localizer.priors[stamp(index)].map_from_camera.translation[1] > 6.0
    assert first.decision.verdict is Verdict.REJECTED_INNOVATION
    second = drive.see(index + 1, "twin")
    assert (second.decision.verdict, second.relocated) == (Verdict.ACCEPTED, True)


def test_a_confident_robot_is_not_misled_by_a_wrong_hint(drive):
    index = drive.settle()
    drive.relocalizer.set_initial_pose(ELSEWHERE @ truth(index), HINT, stamp(index))
    result = drive.see(index, "right")
    assert (result.decision.verdict, result.relocated) == (Verdict.ACCEPTED, False)
    drive.see(index + 1, "right")
    prior = drive.localizer.priors[stamp(index + 1)]
    assert prior.map_from_camera.translation_to(truth(index + 1)) < 0.01


@pytest.mark.parametrize(
    ("pose", "covariance"),
    [
        (Rigid3(np.eye(3), np.array([np.nan, 0, 0])), HINT),
        (truth(0), np.zeros((6, 6))),
        (truth(0), np.full((6, 6), np.nan)),
        (truth(0), -HINT),
    ],
)
def test_a_hint_that_means_nothing_is_refused(drive, pose, covariance):
    with pytest.raises(InputError, match="initial pose"):
        drive.relocalizer.set_initial_pose(pose, covariance, stamp(0))


def test_everything_is_forgotten_on_request(drive):
    index = drive.settle()
    drive.relocalizer.reinitialize()
    assert drive.relocalizer.belief_at(stamp(index)) is None
    result = drive.see(index, "right")
    assert (result.state, result.decision.verdict) == (TrackingState.LOST, Verdict.AWAITING_AGREEMENT)
    assert drive.localizer.priors[stamp(index)] is None


def test_another_map_is_a_new_start(drive, scripted_localizer):
    index = drive.settle()
    other = scripted_localizer({stamp(index): truth(index)})
    drive.relocalizer.replace_map(other)
    result = drive.see(index)
    assert (result.state, result.decision.verdict) == (TrackingState.LOST, Verdict.AWAITING_AGREEMENT)
    assert other.priors == {stamp(index): None}


def test_other_parameters_keep_the_position(drive):
    index = drive.settle()
    strict = dataclasses.replace(CONFIG, gate=GateConfig(probability=0.5, systematic_translation_m=0.3))
    drive.relocalizer.set_config(strict)
    result = drive.see(index, "right")
    assert result.decision.verdict is Verdict.ACCEPTED
    assert result.decision.threshold == pytest.approx(5.348, abs=1e-3)
    assert np.sqrt(result.belief.covariance[0, 0]) > 0.3


def test_another_rate_forgets_no_fix(drive):
    """As from a program that saves power: it may set the rate more often than images come."""
    for index in range(3):
        rate = dataclasses.replace(CONFIG.node, max_rate_hz=1.0 + index)
        drive.relocalizer.set_config(dataclasses.replace(CONFIG, node=rate))
        result = drive.see(index, "right")
    assert result.decision.verdict is Verdict.ACCEPTED


def test_errors_of_the_engine_reach_the_caller(drive, blank_frame):
    def fail(frame, prior=None):
        raise EngineError("no memory")

    drive.localizer.localize = fail
    with pytest.raises(EngineError, match="no memory"):
        drive.relocalizer.update(blank_frame(START), MOUNTED)
    del drive.localizer.localize
    drive.settle()


def test_the_same_drive_gives_the_same_bits(new_drive):
    def run():
        drive, rng, numbers = new_drive(), np.random.default_rng(1), []
        for index in range(60):
            answer = rng.choice(["right", "right", "twin", ""])
            result = drive.see(index, answer or None)
            drive.relocalizer.tracking_at(stamp(index) + 12345)
            if result.belief is not None:
                odom = result.belief.map_from_odom.matrix
                numbers += [result.belief.map_from_base.matrix, result.belief.covariance, odom]
        return np.concatenate([array.ravel() for array in numbers]).tobytes()

    assert run() == run()


def test_nothing_is_accepted_in_a_map_without_a_scale_unless_that_is_allowed(new_drive):
    def unscaled(drive):
        localize = drive.localizer.localize
        drive.localizer.localize = lambda frame, prior=None: dataclasses.replace(
            localize(frame, prior), is_metric=False, warnings=("it was built of images alone",)
        )
        return [drive.see(index, "right") for index in range(5)]

    for result in unscaled(new_drive()):
        assert result.decision.verdict is Verdict.NO_SCALE
        assert "gate.allow_arbitrary_scale" in result.decision.reason
        assert (result.map_from_base, result.state) == (None, TrackingState.LOST)
        assert result.warnings[0] == "it was built of images alone"
    allowed = dataclasses.replace(CONFIG, gate=dataclasses.replace(CONFIG.gate, allow_arbitrary_scale=True))
    last = unscaled(new_drive(config=allowed))[-1]
    assert (last.decision.verdict, last.state) == (Verdict.ACCEPTED, TrackingState.TRACKING)
    assert last.warnings[0] == "it was built of images alone"
