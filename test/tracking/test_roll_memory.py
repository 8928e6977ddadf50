"""What a stream's last answers say of the camera's roll."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.config import Config
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.odometry import NoOdometry
from hfnet_ros.tracking.relocalizer import Relocalizer
from hfnet_ros.tracking.roll_memory import RollMemory
from hfnet_ros.types import Evidence, Frame, Localization, Outcome, PoseEstimate, Query

S = 1_000_000_000
START = 1000 * S
UPSIDE_DOWN = Rigid3.from_rotvec([0.0, 0.0, np.pi], [1.0, 2.0, 3.0])


def refused(stamp_ns, *, sought_roll):
    return Localization(stamp_ns, Outcome.NO_CONSENSUS, None, None, Evidence(), {}, sought_roll=sought_roll)


def found(stamp_ns, turn_rad=0.0):
    estimate = PoseEstimate(UPSIDE_DOWN, np.eye(6), np.ones(20, np.bool_), 1.0)
    return Localization(
        stamp_ns,
        Outcome.LOCALIZED,
        estimate,
        None,
        Evidence(),
        {},
        turn_rad=turn_rad,
        sought_roll=turn_rad != 0.0,
    )


@pytest.fixture
def memory():
    return RollMemory(3.0)


def test_a_search_in_vain_is_repeated_after_the_pause_only(memory, blank_frame):
    assert memory.marked(blank_frame(START)).stamp_ns == START
    memory.note(refused(START, sought_roll=True))
    within = memory.marked(blank_frame(START + 2 * S))
    assert isinstance(within, Query)
    assert (within.seeks_roll, within.rolled_as) == (False, None)
    memory.note(refused(START + 2 * S, sought_roll=False))
    assert isinstance(memory.marked(blank_frame(START + 3 * S)), Frame)


def test_a_bag_that_begins_again_is_looked_for_turned_at_once(memory, blank_frame):
    memory.note(refused(START, sought_roll=True))
    assert isinstance(memory.marked(blank_frame(START - 500 * S)), Frame)


def test_an_answer_ends_the_pause(memory, blank_frame):
    memory.note(refused(START, sought_roll=True))
    memory.note(found(START + S))
    assert isinstance(memory.marked(blank_frame(START + S)), Frame)


def test_images_without_a_stamp_are_never_paced(memory, blank_frame):
    memory.note(refused(0, sought_roll=True))
    assert isinstance(memory.marked(blank_frame(0)), Frame)


def test_the_roll_of_the_last_answer_is_told_until_it_is_old_or_upright(memory, blank_frame):
    memory.note(found(START, turn_rad=3.0))
    told = memory.marked(blank_frame(START + 9 * S))
    assert told.rolled_as is UPSIDE_DOWN
    assert told.seeks_roll
    memory.note(refused(START + 9 * S, sought_roll=True))
    assert memory.marked(blank_frame(START + 10 * S)).rolled_as is UPSIDE_DOWN
    assert isinstance(memory.marked(blank_frame(START + 12 * S)), Frame)
    memory.note(found(START + 12 * S))
    assert isinstance(memory.marked(blank_frame(START + 12 * S)), Frame)


def test_a_query_of_several_cameras_keeps_what_else_it_asks(memory, blank_frame):
    memory.note(refused(START, sought_roll=True))
    asked = dataclasses.replace(Query.of(blank_frame(START)), compares_views=True)
    assert memory.marked(asked).compares_views


class Lost:
    """Sees no map, also where it looks for it turned; notes which images it was asked about in full."""

    def __init__(self):
        self.in_full = []

    def localize(self, query, prior=None):
        query = Query.of(query)
        if query.seeks_roll:
            self.in_full.append((query.stamp_ns - START) / S)
        return refused(query.stamp_ns, sought_roll=query.seeks_roll)


def test_a_lost_robot_is_looked_for_turned_once_in_a_while(blank_frame):
    localizer = Lost()
    relocalizer = Relocalizer(localizer, Config(), NoOdometry())
    for tenth in range(0, 70):
        relocalizer.update(blank_frame(START + tenth * S // 10), Rigid3.identity())
    assert localizer.in_full == [0.0, 3.0, 6.0]
    relocalizer.update(blank_frame(START + 7 * S), Rigid3.identity(), ignore_prior=True)
    assert localizer.in_full[-1] == 7.0
    relocalizer.reinitialize()
    relocalizer.update(blank_frame(START + 71 * S // 10), Rigid3.identity())
    assert localizer.in_full[-1] == 7.1


def test_without_a_pause_every_image_is_looked_for_turned(blank_frame):
    localizer = Lost()
    config = Config.from_dict({"retrieval": {"roll_pause_s": 0.0}})
    relocalizer = Relocalizer(localizer, config, NoOdometry())
    for tenth in range(5):
        relocalizer.update(blank_frame(START + tenth * S // 10), Rigid3.identity())
    assert len(localizer.in_full) == 5
