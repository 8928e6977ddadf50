"""Whole drives over real images of generated scenes: carried away unnoticed, and two places alike."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.config import VerificationConfig
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.scene import look_at, query_walk
from hfnet_ros.tracking.odometry import TransformHistory
from hfnet_ros.tracking.relocalizer import Relocalizer
from hfnet_ros.types import Search, TrackingState, Verdict

S = 1_000_000_000
START = 3600 * S
STEP = S // 5
CREDULOUS = VerificationConfig(
    max_false_probability=1.0,
    max_rival_ratio=1.0,
    min_lead_over_rival=0.0,
    max_twin_ratio=1.0,
    max_rematch_ratio=1.0,
)
BASE_FROM_CAMERA = Rigid3.from_rotvec([-np.pi / 2, 0.0, -np.pi / 2], [0.2, 0.05, 1.2])


def drive(place, config, truth, carried_at=(), seed=0):
    """Feed the images along camera poses; odometry does not notice the steps in `carried_at`.

    Yields (index, Relocalization, true map_from_base).
    """
    rng, history = np.random.default_rng(seed), TransformHistory(config.odometry)
    relocalizer = Relocalizer(place.localizer, config, history)
    camera_from_base = BASE_FROM_CAMERA.inverse()
    odom_from_base = Rigid3.from_rotvec([0.0, 0.0, 2.0], [40.0, 7.0, 0.0])
    for index, map_from_camera in enumerate(truth):
        if index > 0 and index not in carried_at:
            step = (truth[index - 1] @ camera_from_base).inverse() @ map_from_camera @ camera_from_base
            noise = Rigid3.from_rotvec(0.002 * rng.normal(size=3), 0.004 * rng.normal(size=3))
            odom_from_base = odom_from_base @ step @ noise
        stamp_ns = START + index * STEP
        history.add(stamp_ns, odom_from_base)
        frame = dataclasses.replace(place.frame(map_from_camera, seed=900 + index), stamp_ns=stamp_ns)
        yield index, relocalizer.update(frame, BASE_FROM_CAMERA), map_from_camera @ camera_from_base


def accepted_errors(results):
    """Distance of every accepted fix, and of the position after it, to the truth."""
    errors = []
    for _, result, truth in results:
        if result.decision is not None and result.decision.verdict is Verdict.ACCEPTED:
            errors.append(result.map_from_base.translation_to(truth))
            errors.append(result.belief.map_from_base.translation_to(truth))
    return errors


def test_carried_away_the_robot_accepts_nothing_wrong_and_is_back_within_two_seconds(apartment, config):
    walk = [pose for _, pose in query_walk(apartment.scene)]
    truth = walk[:8] + walk[len(walk) // 2 : len(walk) // 2 + 14]
    assert truth[7].translation_to(truth[8]) > 1.0
    results = list(drive(apartment, config, truth, carried_at={8}))
    errors = accepted_errors(results)
    assert max(errors) < 0.5
    assert len(errors) >= 2 * 12
    assert results[7][1].state is TrackingState.TRACKING
    relocated = [index for index, result, _ in results if result.relocated]
    assert len(relocated) == 1
    assert 8 <= relocated[0] < 8 + 10
    between = [result.decision.verdict for index, result, _ in results if 8 <= index < relocated[0]]
    assert Verdict.ACCEPTED not in between
    _, last, truth_at_end = results[-1]
    assert last.belief.map_from_base.translation_to(truth_at_end) < 0.05


@pytest.fixture(scope="module")
def way_into_a_niche(corridor):
    """Down the corridor, then a turn into the first of two niches that look the same, and about in there."""
    along = [look_at(np.array([0.8 + 0.05 * i, 0.9, 1.35]), np.array([7.0, 1.1, 1.2])) for i in range(5)]
    turning = [
        look_at(
            np.array([1.0 + 0.38 * i, 0.9 + 0.15 * i, 1.35]), np.array([7.0 - 0.6 * i, 1.1 + 0.53 * i, 1.2])
        )
        for i in range(1, 6)
    ]
    niche = corridor.scene.viewpoints["twin_a"]
    inside = [
        Rigid3(
            Rigid3.from_rotvec([0.0, 0.0, 0.05 * np.sin(i)], np.zeros(3)).rotation @ niche.rotation,
            niche.translation + np.array([0.15 * np.sin(0.5 * i), -0.02 * i, 0.0]),
        )
        for i in range(12)
    ]
    return along + turning + inside


def test_of_two_niches_alike_the_one_the_robot_is_in_is_believed(corridor, config, way_into_a_niche):
    results = list(drive(corridor, config, way_into_a_niche))
    errors = accepted_errors(results)
    assert max(errors) < 0.2
    inside = [result for index, result, _ in results if index >= 10]
    found = [result for result in inside if result.localization.search is Search.PRIOR]
    assert len(found) >= 10
    assert all(result.decision.verdict is Verdict.ACCEPTED for result in found)
    assert not any(result.relocated for _, result, _ in results)


class Confused:
    """Knows both niches, but for some images only the second one, and doubts nothing."""

    def __init__(self, corridor, config, wrong):
        visual_map = corridor.visual_map
        seen = np.ones(visual_map.num_landmarks, np.bool_)
        seen[(visual_map.landmark_xyz[:, 0] < 6.5) & (visual_map.landmark_xyz[:, 1] > 2.05)] = False
        kept = seen[visual_map.observation_landmark_idx]
        counts = np.add.reduceat(np.append(kept, False), visual_map.observation_offsets[:-1])
        second_only = dataclasses.replace(
            visual_map,
            observation_landmark_idx=visual_map.observation_landmark_idx[kept],
            observation_xy=visual_map.observation_xy[kept],
            observation_offsets=np.concatenate([[0], np.cumsum(counts)]),
        )
        credulous = dataclasses.replace(config, verification=CREDULOUS)
        extractor = SiftExtractor(config)
        self.both = Localizer(visual_map, extractor, credulous)
        self.second_only = Localizer(second_only, extractor, credulous)
        self.wrong = wrong

    def localize(self, frame, prior=None):
        is_wrong = (frame.stamp_ns - START) // STEP in self.wrong
        return (self.second_only if is_wrong else self.both).localize(frame)


@pytest.mark.slow
def test_the_wrong_niche_is_kept_out_by_the_gate(corridor, config, way_into_a_niche):
    """What the niche's twin answers four times in a row, again and again, replaces nothing."""
    wrong = {10, 11, 12, 13, 15, 16, 17, 18, 20}
    place = dataclasses.replace(corridor, localizer=Confused(corridor, config, wrong))
    results = list(drive(place, config, way_into_a_niche))
    misled = [index for index, result, truth in results if result.map_from_base.translation_to(truth) > 5.0]
    assert len(misled) >= 7
    assert all(results[index][1].decision.verdict is Verdict.REJECTED_INNOVATION for index in misled)
    errors = accepted_errors(results)
    assert max(errors) < 0.2
    assert len(errors) >= 2 * 10
    assert not any(result.relocated for _, result, _ in results)


@pytest.mark.slow
def test_the_wrong_niche_is_kept_out_by_agreement(corridor, config, way_into_a_niche):
    """Woken up in a niche and told both: no position is better than either."""
    place = dataclasses.replace(corridor, localizer=Confused(corridor, config, {0, 2, 3, 5, 8, 9}))
    results = list(drive(place, config, way_into_a_niche[10:]))
    assert {round(result.map_from_base.translation_to(truth)) for _, result, truth in results} == {0, 7}
    verdicts = {result.decision.verdict for _, result, _ in results}
    assert verdicts == {Verdict.AWAITING_AGREEMENT}
    assert "on another place" in results[-1][1].decision.reason
