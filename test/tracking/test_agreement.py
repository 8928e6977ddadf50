"""Which fixes count as agreeing."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.config import Config, GateConfig, StalenessConfig
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.agreement import Agreement, Support
from hfnet_ros.tracking.gate import InnovationGate
from hfnet_ros.tracking.motion import BasePose, Moment, MotionModel
from hfnet_ros.tracking.odometry import OdometrySample

S = 1_000_000_000
FIX = np.diag([0.02] * 3 + [0.01] * 3) ** 2


def agreement(**sections):
    config = dataclasses.replace(Config(), **sections)
    return Agreement(config, InnovationGate(config.gate), MotionModel(config.odometry))


def fix(index, x, odometry=True):
    """A fix at x m, of a robot that drives half a metre along x between two fixes."""
    stamp_ns, way = index * S, 0.5 * index
    begun = OdometrySample(0, Rigid3.identity(), run=0)
    sample = begun.moved_to(stamp_ns, Rigid3(np.eye(3), np.array([way, 0.0, 0.0])))
    pose = Rigid3(np.eye(3), np.array([x, 0.0, 0.0]))
    return BasePose(Moment(stamp_ns, sample if odometry else None), pose, FIX)


def right(index):
    return fix(index, 10.0 + 0.5 * index)


def twin(index):
    return fix(index, 17.0 + 0.5 * index)


def weigh_all(fixes, **sections):
    weighed = agreement(**sections)
    return [weighed.weigh(one, with_accepted=False) for one in fixes][-1]


def test_fixes_along_the_way_agree():
    assert weigh_all([right(0)]) == Support(1, 0)
    assert weigh_all([right(0), right(1), right(2)]) == Support(3, 0)


def test_fixes_in_one_spot_do_not_agree_while_the_robot_drives():
    assert weigh_all([fix(0, 10.0), fix(1, 10.0), fix(2, 10.0)]).num_agreeing == 1


def test_a_wrong_fix_in_between_does_not_block():
    support = weigh_all([right(0), fix(1, -40.0), right(2), fix(3, 70.0), right(4), right(5)])
    assert support == Support(4, 1)
    assert support.is_clear(3)


def test_of_two_places_neither_wins_while_both_are_seen():
    weighed = agreement()
    for index in range(20):
        support = weighed.weigh((right if index % 2 else twin)(index), with_accepted=False)
        assert not support.is_clear(3)
    assert support.num_rivals >= 3
    assert "on another place" in support.text(3)
    for index in range(20, 30):
        support = weighed.weigh(right(index), with_accepted=False)
    assert support.is_clear(3)


def test_the_same_image_twice_is_one_witness():
    assert weigh_all([right(0), right(0), right(0)]).num_agreeing == 1


def test_an_accepted_fix_takes_away_what_was_held_against_the_position():
    weighed = agreement()
    for index in range(4):
        weighed.weigh(twin(index), with_accepted=False)
    weighed.confirm(right(4))
    assert weighed.weigh(twin(5), with_accepted=False) == Support(1, 0)
    assert weighed.weigh(right(6), with_accepted=True).num_agreeing == 2


def test_vague_memories_are_dropped():
    staleness = StalenessConfig(position_sigma_m=0.1, lost_factor=1.0)
    late = right(100)  # 50 m on: odometry is sure to 0.35 m and more
    assert weigh_all([right(0), right(1), late], staleness=staleness) == Support(1, 0)
    assert weigh_all([right(0), right(1), late]).num_agreeing == 3


def test_without_odometry_nearby_is_what_the_robot_can_reach():
    """1.5 m/s: half a metre in a second is nothing, 30 m is too much."""
    assert weigh_all([fix(0, 0.0, False), fix(1, 0.5, False)]).num_agreeing == 2
    assert weigh_all([fix(0, 0.0, False), fix(1, 30.0, False)]).num_agreeing == 1


@pytest.mark.parametrize(
    ("agreeing", "rivals", "needed", "clear"),
    [
        (3, 0, 3, True),
        (2, 0, 3, False),
        (3, 1, 3, False),  # three against one is not enough, four are
        (4, 1, 3, True),
        (6, 3, 3, False),  # not more than twice as many
        (7, 3, 3, True),
        (1, 5, 1, True),  # nobody else was to be asked
    ],
)
def test_how_many_are_enough(agreeing, rivals, needed, clear):
    assert Support(agreeing, rivals).is_clear(needed) is clear


def test_one_fix_is_enough_where_that_is_asked_for():
    gate = GateConfig(agreement_fixes=1)
    assert weigh_all([twin(0), right(1)], gate=gate).is_clear(1)
