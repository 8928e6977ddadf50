"""Odometry that is not in metres is named with its unit."""

import numpy as np
import pytest

from hfnet_ros.config import Config
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.motion import BasePose, Moment
from hfnet_ros.tracking.odometry import OdometrySample, TransformHistory
from hfnet_ros.tracking.odometry_unit import OdometryUnit
from hfnet_ros.tracking.path import Path
from hfnet_ros.tracking.relocalizer import Relocalizer

S = 1_000_000_000


def said(scales, run_of=lambda number: 1):
    """Return what is said after ways of 0.25 m by fixes, each with the scale of odometry."""
    unit, odom_m = OdometryUnit(), 0.0
    rng = np.random.default_rng(0)
    for number, scale in enumerate(scales):
        odom_m += 0.25 * scale
        sample = OdometrySample(
            number + 1, Rigid3(np.eye(3), np.array([odom_m, 0, 0])), run_of(number), Path(odom_m)
        )
        place = np.array([0.25 * number, 0.0, 0.0]) + rng.normal(0.0, 0.02, 3)
        unit.note(BasePose(Moment(number + 1, sample), Rigid3(np.eye(3), place), np.eye(6)))
    return unit.text


@pytest.mark.parametrize(("scale", "unit"), [(1000.0, "millimetres"), (100.0, "centimetres")])
def test_the_unit_of_odometry_is_named(scale, unit):
    assert f"is it in {unit}?" in said([scale] * 12)


@pytest.mark.parametrize("scales", [[1.0] * 12, [0.0] * 12, [5.0] * 12, [1.0, 1.0, 90.0] * 4, [1000.0] * 4])
def test_metres_slipping_wheels_and_too_little_say_nothing(scales):
    assert said(scales) == ""


def test_ways_across_a_restart_of_odometry_do_not_count():
    assert said([1000.0] * 12, run_of=lambda number: number) == ""


def test_the_reason_of_an_image_names_millimetres(scripted_localizer, blank_frame):
    localizer = scripted_localizer()
    history = TransformHistory(Config().odometry)
    for number in range(60):
        history.add(S + number * S // 20, Rigid3(np.eye(3), np.array([30.0 * number, 0.0, 0.0])))
    relocalizer = Relocalizer(localizer, Config(), history)
    for number in range(0, 60, 4):
        stamp_ns = S + number * S // 20
        localizer.answers[stamp_ns] = Rigid3(np.eye(3), np.array([0.03 * number, 0.0, 0.0]))
        result = relocalizer.update(blank_frame(stamp_ns), Rigid3.identity())
    assert any("1000 times too long: is it in millimetres?" in warning for warning in result.warnings)
    assert not any("odometry is off" in warning for warning in result.warnings)
