"""Localizing by a map's scene network, alone and as a guide."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from memorised_scenes import looking_up, memorised_scene

from hfnet_ros.config import Config, LocalizationConfig, VerificationConfig
from hfnet_ros.errors import ConfigError, ExtractorMismatchError
from hfnet_ros.features.scene_hybrid import HybridNetwork
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.localization.scene_matching import method_of
from hfnet_ros.map.scene_points import ScenePoints
from hfnet_ros.map.visual_map import CovarianceCalibration, MapConsistency
from hfnet_ros.pose.scene_doubt import SCENE_SCORE
from hfnet_ros.pose.verification import doubt_of, with_false_probability
from hfnet_ros.retrieval.index import create_index
from hfnet_ros.scene import build_apartment, query_walk
from hfnet_ros.types import Correspondences, Outcome

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def with_scene(apartment):
    return replace(apartment.visual_map, scene=memorised_scene(apartment.visual_map))


def localizer(visual_map, config, method):
    config = replace(config, localization=LocalizationConfig(method=method))
    return Localizer(visual_map, SiftExtractor(config), config)


def frames(apartment, count=6):
    return [(pose, apartment.frame(pose)) for _, pose in query_walk(apartment.scene)[:: 40 // count][:count]]


def test_a_map_says_what_it_can_be_asked_by(apartment, with_scene):
    plain, asked = apartment.visual_map, lambda method: Config(localization=LocalizationConfig(method=method))
    assert [method_of(plain, asked(method)) for method in ("auto", "landmarks")] == ["landmarks"] * 2
    assert [method_of(with_scene, asked(method)) for method in ("auto", "landmarks", "scene", "both")] == [
        "both",
        "landmarks",
        "scene",
        "both",
    ]
    for method in ("scene", "both"):
        with pytest.raises(
            ConfigError, match=rf"'{method}', but the map has no scene-coordinate network; train one"
        ):
            method_of(plain, asked(method))


def test_the_network_alone_localizes_with_points_of_no_landmark(apartment, config, with_scene):
    alone = localizer(with_scene, config, "scene")
    for pose, frame in frames(apartment):
        answer = alone.localize(frame)
        assert (answer.outcome, answer.matched_by) == (Outcome.LOCALIZED, "scene")
        assert set(answer.correspondences.landmark_idxs) == {-1}
        assert answer.estimate.map_from_camera.translation_to(pose) < 0.1
        assert np.linalg.eigvalsh(answer.estimate.covariance)[0] > 0.0
        assert answer.evidence.scores["scene"] == 1.0
    alone.close()


def test_with_landmarks_of_its_own_a_network_that_is_off_is_exact(apartment, config, with_scene):
    visual_map = apartment.visual_map
    descriptors, points = visual_map.landmark_descriptors[:], visual_map.landmark_xyz.astype(np.float32)
    leaves = np.arange(len(points)) * 25 // len(points)
    # Of what it says a third is off by 12 cm to each side, as in no pose.
    shift = np.array([0.0, 0.12, -0.12])[np.arange(len(points)) % 3, None] * np.ones(3)
    off = replace(with_scene.scene, network=looking_up(descriptors, points + shift, leaves))
    kept = ScenePoints(points, visual_map.landmark_descriptors, leaves.astype(np.int32))
    exact = replace(
        off,
        arrays={**off.arrays, **kept.arrays(), "scales": np.full(25, 0.15, np.float32)},
    )
    inliers, errors = {}, {}
    for name, scene in (("off", off), ("exact", exact)):
        asked = localizer(replace(visual_map, scene=scene), config, "scene")
        answers = [(pose, asked.localize(frame)) for pose, frame in frames(apartment, 3)]
        asked.close()
        inliers[name] = sum(answer.evidence.num_inliers for _, answer in answers)
        errors[name] = [
            answer.estimate.map_from_camera.translation_to(pose)
            for pose, answer in answers
            if answer.is_valid
        ]
    assert inliers["exact"] > 1.5 * inliers["off"]
    assert len(errors["exact"]) == 3 and max(errors["exact"]) < 0.05


@pytest.mark.slow
def test_another_apartment_is_refused(apartment, config, with_scene):
    other = build_apartment(77)
    alone = localizer(with_scene, config, "scene")
    answers = [
        alone.localize(replace(apartment, scene=other).frame(pose)) for _, pose in query_walk(other)[::40]
    ]
    assert answers and not any(answer.is_valid for answer in answers)


def test_points_that_are_none_are_left_out(apartment, config):
    visual_map = apartment.visual_map
    descriptors, points = visual_map.landmark_descriptors[:], visual_map.landmark_xyz.astype(np.float32)
    points[::2] = np.nan
    network = looking_up(descriptors, points, np.zeros(len(points), np.int64))
    scene = replace(memorised_scene(visual_map), network=network)
    alone = localizer(replace(visual_map, scene=scene), config, "scene")
    pose, frame = frames(apartment, 1)[0]
    answer = alone.localize(frame)
    assert answer.outcome == Outcome.LOCALIZED
    assert np.isfinite(answer.correspondences.points3d).all()
    assert answer.estimate.map_from_camera.translation_to(pose) < 0.1
    alone.close()


def test_its_own_test_says_how_far_it_can_be_trusted(apartment, config, with_scene):
    _, frame = frames(apartment, 1)[0]
    unsure = MapConsistency(2.0, 0.3, 0.02, 20, tuple(np.diag([0.09] * 3 + [1e-6] * 3).ravel()))
    doubted = replace(with_scene, scene=replace(with_scene.scene, consistency=unsure))
    sigma = [
        float(np.sqrt(localizer(visual_map, config, "scene").localize(frame).estimate.covariance[0, 0]))
        for visual_map in (with_scene, doubted)
    ]
    assert sigma[1] > 0.29 > sigma[0]
    untested = replace(with_scene.scene, consistency=MapConsistency(0.0, 0.0, 0.0, 0))
    unknown = (
        localizer(replace(with_scene, scene=untested), config, "scene").localize(frame).estimate.covariance
    )
    assert np.sqrt(unknown[0, 0]) >= untested.radius_m and np.sqrt(unknown[5, 5]) >= 0.25 * untested.radius_m
    # As a guide it finds landmarks, whose errors are the map's.
    as_guide = localizer(doubted, config, "both").localize(frame).estimate.covariance
    assert np.sqrt(as_guide[0, 0]) < 0.29


class Blind:
    """Finds no matches."""

    def match(self, features, place):
        nothing = np.empty(0, np.int64)
        return Correspondences(np.empty((0, 2)), np.empty((0, 3)), nothing, nothing, np.empty(0, np.float32))


def test_as_a_guide_it_is_asked_only_where_nearest_finds_no_pose(apartment, config, with_scene):
    pose, frame = frames(apartment, 1)[0]
    seeing = localizer(with_scene, config, "both").localize(frame)
    assert seeing.matched_by == "nearest"
    index = create_index(with_scene.global_descriptors, None, config.retrieval)
    blind = Localizer(
        with_scene, SiftExtractor(config), config, SimpleNamespace(index=index, matcher=Blind())
    )
    answer = blind.localize(frame)
    assert (answer.outcome, answer.matched_by) == (Outcome.LOCALIZED, "guided")
    assert answer.estimate.map_from_camera.translation_to(pose) < 0.05
    assert answer.correspondences.landmark_idxs.min() >= 0
    # The second of two ways is charged for both.
    assert blind._matchers.more[0].num_tried == 2
    blind.close()


def test_where_one_keyframe_does_not_do_three_are_asked(apartment, config, with_scene, monkeypatch):
    _, frame = frames(apartment, 1)[0]
    alone, asked = localizer(with_scene, config, "scene"), []
    predict = HybridNetwork.predict

    def remember(network, features, keyframe_idx):
        asked.append(keyframe_idx)
        found = predict(network, features, keyframe_idx)
        # The first and the last keyframe know nothing.
        lowered = found.confidence * (0.1 if len(asked) in (1, 2, 4) else 1.0)
        return replace(found, confidence=lowered.astype(np.float32))

    monkeypatch.setattr(HybridNetwork, "predict", remember)
    answer = alone.localize(frame)
    assert answer.is_valid and answer.matched_by == "scene"
    first = asked[0]
    # Once alone, then with two others.
    assert asked.count(first) >= 2 and len(set(asked)) >= 3
    alone.close()


def test_a_pose_of_a_network_is_doubted_by_its_own_scores():
    weak = {"evidence": 20.0, "lead_over_rival": 0.6, "rival_ratio": 0.99, "twin_ratio": 0.5}
    strong = weak | {"evidence": 90.0, "lead_over_rival": 5.0}
    found = [
        with_false_probability({**scores, SCENE_SCORE: 1.0})["false_probability"] for scores in (weak, strong)
    ]
    assert found[0] > 0.5 > 0.1 > found[1]
    # What rivals it has is another matter where points are keypoints'.
    assert with_false_probability(strong)["false_probability"] > 0.25
    said = doubt_of({**weak, SCENE_SCORE: 1.0, "false_probability": found[0]}, VerificationConfig())
    assert "most of the doubt is evidence 20" in said


def test_a_calibration_counts_for_the_method_that_it_was_made_of(apartment, config, with_scene):
    _, frame = frames(apartment, 1)[0]
    tight = CovarianceCalibration(1.0, tuple(np.diag([1e-6] * 6).ravel()), 20, {"method": "landmarks"})
    loose = MapConsistency(2.0, 0.3, 0.02, 20, tuple(np.diag([0.09] * 3 + [1e-6] * 3).ravel()))
    scene = replace(with_scene.scene, consistency=loose)
    sigmas = {}
    for of in ("landmarks", "scene"):
        calibrated = replace(with_scene, scene=scene, calibration=replace(tight, source={"method": of}))
        covariance = localizer(calibrated, config, "scene").localize(frame).estimate.covariance
        sigmas[of] = float(np.sqrt(covariance[0, 0]))
    assert sigmas["landmarks"] > 0.29 > 0.05 > sigmas["scene"]


def test_features_without_coordinates_are_refused_where_pixels_are_asked(apartment, config, with_scene):
    dense = replace(with_scene, scene=replace(with_scene.scene, takes="image"))
    asked = localizer(dense, config, "scene")
    features = SiftExtractor(config).extract(frames(apartment, 1)[0][1].image)
    with pytest.raises(ExtractorMismatchError, match="give the image"):
        asked.localize_features(features, apartment.visual_map.cameras[0].refined, 0)
