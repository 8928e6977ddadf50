"""Which cameras of a rig are believed alone."""

import numpy as np
import pytest

from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.tracking.camera_trust import CameraTrust
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

NAMES = ("front", "left", "right")
CAMERA = Camera(DistortionModel.NONE, (64, 64), [50.0, 50.0], [31.5, 31.5], [])


def query(count=3):
    return Query(1, (View(RigCamera(CAMERA), np.zeros((64, 64), np.uint8)),) * count)


def answer(*inliers, contradicting=(), is_valid=True):
    shares = tuple(
        ViewShare(500, 200, count, contradicts=index in contradicting) for index, count in enumerate(inliers)
    )
    estimate = PoseEstimate(Rigid3.identity(), np.eye(6), np.ones(20, np.bool_), 1.0) if is_valid else None
    outcome = Outcome.LOCALIZED if is_valid else Outcome.ILL_CONDITIONED
    return Localization(1, outcome, estimate, None, Evidence(), {}, views=shares)


def test_who_contradicted_is_marked_by_name_whichever_cameras_are_there():
    trust = CameraTrust()
    assert trust.marked(query(), NAMES).doubted == frozenset()
    trust.note(answer(90, 0, 80, contradicting=[1]), NAMES)
    assert trust.doubted == {"left"}
    assert trust.marked(query(), NAMES).doubted == {1}
    assert trust.marked(query(2), ("left", "right")).doubted == {0}
    assert trust.marked(query(1), ("left",)).doubted == frozenset(), "one view is nobody's rival"


@pytest.mark.parametrize("num_contradictions", [1, 3])
def test_it_is_believed_again_after_it_agreed_twice_as_often(num_contradictions):
    trust = CameraTrust()
    for _ in range(num_contradictions):
        trust.note(answer(90, 0, 80, contradicting=[1]), NAMES)
    for _ in range(2 * num_contradictions):
        assert trust.doubted == {"left"}
        trust.note(answer(90, 40, 0), NAMES)
    assert trust.doubted == frozenset()


def test_what_is_seen_alone_or_refused_proves_nothing():
    trust = CameraTrust()
    trust.note(answer(0, 0, 0, contradicting=[0, 1], is_valid=False), NAMES)
    for proof in (answer(0, 90, 2), answer(60, 90, 0, is_valid=False)):
        for _ in range(10):
            trust.note(proof, NAMES)
    assert trust.doubted == {"front", "left"}


def test_long_faults_are_forgotten_in_the_end():
    trust = CameraTrust()
    for _ in range(1000):
        trust.note(answer(90, 0, 80, contradicting=[1]), NAMES)
    for _ in range(10):
        trust.note(answer(90, 40, 0), NAMES)
    assert trust.doubted == frozenset()
