"""Images that are stamped at their arrival: noticed by odometry, told, and allowed for."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.config import Config
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.image_delay import ImageDelay
from hfnet_ros.tracking.motion import BasePose, Moment
from hfnet_ros.tracking.odometry import NoOdometry, TransformHistory
from hfnet_ros.tracking.relocalizer import Relocalizer
from hfnet_ros.types import Verdict

S = 1_000_000_000
FIX = np.diag([0.02] * 3 + [0.01] * 3) ** 2
ODOM_FROM_MAP = Rigid3.from_rotvec([0.0, 0.0, 1.0], [30.0, -20.0, 0.0])
SECONDS = 20


def driven(way_scale=1.0, turn_scale=1.0):
    """A robot that turns this way and that for two seconds each, at 20 Hz: where it is, and odometry."""
    path, odom = [Rigid3.identity()], [ODOM_FROM_MAP]
    for number in range(20 * SECONDS):
        turn = (0.0, 0.8, 0.0, -0.6)[number // 40 % 4] / 20.0
        path.append(path[-1] @ Rigid3.from_rotvec([0.0, 0.0, turn], [0.03, 0.0, 0.0]))
        odom.append(
            odom[-1] @ Rigid3.from_rotvec([0.0, 0.0, turn * turn_scale], [0.03 * way_scale, 0.0, 0.0])
        )
    history = TransformHistory(dataclasses.replace(Config().odometry, history_s=100.0))
    for number, pose in enumerate(odom):
        history.add(S + number * S // 20, pose)
    return path, history


def fixes(path, history, delay_s, noise=1.0):
    """At 5 Hz, each of where the robot was a little earlier."""
    rng = np.random.default_rng(0)
    for number in range(20, len(path), 4):
        error = noise * rng.multivariate_normal(np.zeros(6), FIX)
        seen = path[number - round(20 * delay_s)]
        turned = Rigid3.from_rotvec(error[3:], np.zeros(3)).rotation @ seen.rotation
        stamp_ns = S + number * S // 20
        moment = Moment(stamp_ns, history.last_before(stamp_ns))
        yield path[number], BasePose(moment, Rigid3(turned, seen.translation + error[:3]), FIX)


@pytest.mark.parametrize("delay_s", [0.1, 0.4])
def test_a_delay_is_found_told_and_taken_out(delay_s):
    path, history = driven()
    delay = ImageDelay(Config())
    seen = list(fixes(path, history, delay_s))
    for _, fix in seen:
        delay.note(fix, history)
    truth, fix = seen[-1]
    assert delay.delay_s == pytest.approx(delay_s, abs=0.02)
    assert f"{delay.delay_s:.2f} s too late" in delay.text
    corrected = delay.corrected(fix, history)
    assert corrected.moment is fix.moment
    assert corrected.map_from_base.translation_to(truth) < 0.08
    assert fix.map_from_base.translation_to(truth) > 0.4 * delay_s


@pytest.mark.parametrize("late_s", [0.1, 0.4])
def test_odometry_that_is_late_is_found_told_and_put_into_covariances(late_s):
    path, history = driven()
    ahead = round(20 * late_s)
    delay = ImageDelay(Config())
    # Odometry at each stamp is of where the robot was a little before.
    late_path = path[ahead:]
    seen = list(fixes(late_path, history, 0.0))
    for _, fix in seen:
        delay.note(fix, history)
    assert delay.delay_s == pytest.approx(-late_s, abs=0.03)
    assert f"odometry is stamped {late_s:.2f} s too late" in delay.text.replace(
        f"{-delay.delay_s:.2f}", f"{late_s:.2f}"
    )
    widened = delay.corrected(fix, history)
    assert widened.map_from_base is fix.map_from_base
    forward = fix.map_from_base.rotation[:, 0]
    added = widened.covariance - fix.covariance
    np.testing.assert_allclose(widened.common, added)
    assert np.sqrt(forward @ added[:3, :3] @ forward) == pytest.approx(0.6 * late_s, rel=0.3)


@pytest.mark.parametrize(
    ("way_scale", "turn_scale", "noise"),
    [(1.0, 1.0, 3.0), (0.7, 1.0, 1.0), (1.0, 0.7, 1.0), (0.0, 0.0, 1.0)],
)
def test_odometry_that_is_off_and_bad_fixes_are_no_delay(way_scale, turn_scale, noise):
    path, history = driven(way_scale, turn_scale)
    delay = ImageDelay(Config())
    for _, fix in fixes(path, history, 0.0, noise):
        delay.note(fix, history)
        assert (delay.delay_s, delay.text) == (0.0, "")
    assert delay.corrected(fix, history) is fix


def test_without_odometry_nothing_is_known():
    path, history = driven()
    delay = ImageDelay(Config())
    for _, fix in fixes(path, history, 0.3):
        delay.note(fix, NoOdometry())
    assert delay.delay_s == 0.0


def test_a_robot_that_is_carried_shows_no_delay():
    path, history = driven()
    delay, carried = ImageDelay(Config()), Rigid3.from_rotvec([0.0, 0.0, 2.0], [5.0, 1.0, 0.0])
    for number, (_, fix) in enumerate(fixes(path, history, 0.0)):
        moved = carried if number // 20 % 2 else Rigid3.identity()
        delay.note(dataclasses.replace(fix, map_from_base=moved @ fix.map_from_base), history)
        assert delay.delay_s == 0.0


def test_a_robot_whose_images_are_stamped_late_is_where_it_is_said_to_be(scripted_localizer, blank_frame):
    path, history = driven()
    localizer = scripted_localizer()
    relocalizer = Relocalizer(localizer, Config(), history)
    for number in range(20, len(path), 4):
        stamp_ns = S + number * S // 20
        localizer.answers[stamp_ns] = path[number - 6]
        result = relocalizer.update(blank_frame(stamp_ns), Rigid3.identity())
        if number > 20 * 16:
            assert result.decision.verdict is Verdict.ACCEPTED
            assert result.map_from_base.translation_to(path[number]) < 0.05
            assert result.belief.map_from_base.translation_to(path[number]) < 0.05
    assert any("0.30 s too late" in warning for warning in result.warnings)
    assert not any("odometry is off" in warning for warning in result.warnings)
