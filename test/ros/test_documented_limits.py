"""The figures of docs/lost_robot.md against the code that they describe."""

import re
from pathlib import Path

import numpy as np
import pytest

from hfnet_ros.config import Config
from hfnet_ros.geometry import Rigid3
from hfnet_ros.tracking.fix_judge import FixJudge
from hfnet_ros.tracking.motion import BasePose, Moment
from hfnet_ros.tracking.odometry import OdometrySample
from hfnet_ros.types import TrackingState, Verdict

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "lost_robot.md").read_text()
COVARIANCE = np.diag([0.02**2] * 3 + [np.deg2rad(0.3) ** 2] * 3)


def table_row(name):
    return [cell.strip() for cell in re.search(rf"^\| {name}.*", TEXT, re.MULTILINE)[0].split("|")[2:4]]


def moment(stamp_s, travelled_m):
    stamp_ns = int(stamp_s * 1e9)
    if travelled_m is None:
        return Moment(stamp_ns, None)
    begun = OdometrySample(0, Rigid3.identity(), run=0)
    return Moment(stamp_ns, begun.moved_to(stamp_ns, Rigid3(np.eye(3), np.array([travelled_m, 0.0, 0.0]))))


def judge_with_position(travelled_m):
    judge = FixJudge(Config())
    for stamp_s in (1.0, 1.2, 1.4):
        decision, _ = judge.judge(BasePose(moment(stamp_s, travelled_m), Rigid3.identity(), COVARIANCE))
    assert decision.verdict is Verdict.ACCEPTED
    return judge


def first_moment_in(state, judge, moments):
    order = [TrackingState.TRACKING, TrackingState.STALE, TrackingState.LOST]
    for value, now in moments:
        if order.index(judge.state_of(judge.belief(now).covariance)) >= order.index(state):
            return value
    return None


@pytest.mark.parametrize(("state", "column"), [(TrackingState.STALE, 0), (TrackingState.LOST, 1)])
def test_way_after_which_a_position_is_given_up(state, column):
    judge = judge_with_position(0.0)
    moments = [(way_m, moment(1.4 + way_m, way_m)) for way_m in np.arange(0.0, 200.0, 0.1)]
    found_m = first_moment_in(state, judge, moments)
    assert table_row("driving straight on")[column] == f"{found_m:.0f} m"


def test_standing_still_a_position_is_kept():
    judge = judge_with_position(0.0)
    assert first_moment_in(TrackingState.STALE, judge, [(0, moment(86400.0, 0.0))]) is None
    assert table_row("standing, with odometry") == ["never", "never"]


@pytest.mark.parametrize(("state", "column"), [(TrackingState.STALE, 0), (TrackingState.LOST, 1)])
def test_time_after_which_a_position_is_given_up_without_odometry(state, column):
    judge = judge_with_position(None)
    moments = [(after_s, moment(1.4 + after_s, None)) for after_s in np.arange(0.0, 10.0, 0.01)]
    found_s = first_moment_in(state, judge, moments)
    assert found_s == pytest.approx(float(table_row("without odometry")[column].removesuffix(" s")), abs=0.05)


def test_counts_of_fixes_are_the_defaults():
    gate = Config().gate
    assert f"`gate.agreement_fixes` = {gate.agreement_fixes} " in TEXT
    assert f"`gate.recovery_rejections` = {gate.recovery_rejections} " in TEXT
    at_5_hz = Config().node.max_rate_hz
    assert at_5_hz == pytest.approx(5.0)
    assert f"{gate.agreement_fixes / at_5_hz:.1f} s" in TEXT
