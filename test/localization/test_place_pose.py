"""One image in one place."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization import place_pose
from hfnet_ros.localization.place_pose import PlacePoseEstimator, PoseAttempt
from hfnet_ros.localization.timing import StageClock
from hfnet_ros.types import Correspondences, Outcome, Place, PoseEstimate

NO_MATCHES = Correspondences(
    np.empty((0, 2)), np.empty((0, 3)), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
)


ONE_MATCH = Correspondences(
    np.zeros((1, 2)),
    np.array([[0.0, 0.0, 4.0]]),
    np.zeros(1, np.int64),
    np.zeros(1, np.int64),
    np.ones(1, np.float32),
)


def attempt(outcome=Outcome.LOCALIZED, position=(0.0, 0.0, 0.0), turn_rad=0.0, sigma=0.01, score=1.0):
    pose = Rigid3.from_rotvec([0.0, 0.0, turn_rad], position)
    estimate = PoseEstimate(pose, sigma**2 * np.eye(6), np.ones(1, np.bool_), 0.5)
    return PoseAttempt(outcome, "", ONE_MATCH, estimate, score)


def test_a_verified_attempt_ranks_before_a_higher_score():
    refused, verified = attempt(Outcome.ILL_CONDITIONED, score=9.0), attempt(score=2.0)
    assert max([refused, verified], key=lambda found: found.rank) is verified
    better = attempt(score=3.0)
    assert max([verified, better, refused], key=lambda found: found.rank) is better


def test_the_clock_adds_up_stages_even_when_they_fail(monkeypatch):
    ticks = iter([0.0, 1.0, 3.0, 10.0, 14.0, 20.0, 21.0, 50.0])
    monkeypatch.setattr("hfnet_ros.localization.timing.time.perf_counter", lambda: next(ticks))
    clock = StageClock()
    with clock.stage("match"):
        pass
    with clock.stage("match"):
        pass
    with pytest.raises(RuntimeError), clock.stage("pose"):
        raise RuntimeError
    assert clock.seconds() == {"extract": 0.0, "retrieve": 0.0, "match": 6.0, "pose": 1.0, "total": 50.0}


def test_without_a_vocabulary_landmarks_are_matched_within_words_of_their_own(
    apartment, config, camera, monkeypatch
):
    """Maps of a network with a global head have no vocabulary; exhaustive matching is slower, not better."""
    visual_map = dataclasses.replace(apartment.visual_map, aggregation={})
    truth = visual_map.map_from_camera(4)
    local = SiftExtractor(config).extract(apartment.frame(truth).image).local
    place = Place(tuple(range(visual_map.num_keyframes)), 1.0, 1.0)
    found = {}
    for name, limit in (("words", 1), ("all", 10**9)):
        monkeypatch.setattr(place_pose, "_MIN_SORTED_LANDMARKS", limit)
        estimator = PlacePoseEstimator(visual_map, config)
        assert (estimator._words is not None) == (name == "words")
        found[name] = estimator.estimate(local, camera, place, [], StageClock())
        assert found[name].outcome is Outcome.LOCALIZED
        position = found[name].estimate.map_from_camera.translation
        assert np.linalg.norm(position - truth.translation) < 0.02
    inliers = {name: int(attempt.estimate.inlier_mask.sum()) for name, attempt in found.items()}
    assert inliers["words"] > 0.9 * inliers["all"]
