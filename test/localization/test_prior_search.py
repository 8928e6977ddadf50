"""Searching where the camera is expected, on real images of generated scenes."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.scene import query_walk
from hfnet_ros.types import Outcome, PosePrior, Query, RigCamera, Search, View


def prior(map_from_camera, sigma_m=0.1, sigma_deg=2.0):
    return PosePrior(map_from_camera, np.diag([sigma_m**2] * 3 + [np.deg2rad(sigma_deg) ** 2] * 3))


def shifted(pose, x):
    return Rigid3(pose.rotation, pose.translation + np.array([x, 0.0, 0.0]))


def with_prior(place, config, **changes):
    changed = dataclasses.replace(config, prior=dataclasses.replace(config.prior, **changes))
    return Localizer(place.visual_map, SiftExtractor(config), changed)


@pytest.fixture(scope="module")
def query(apartment):
    truth = query_walk(apartment.scene)[12][1]
    return apartment.frame(truth, seed=700), truth


def test_it_is_found_where_it_is_expected(apartment, query):
    frame, truth = query
    result = apartment.localizer.localize(frame, prior(shifted(truth, 0.1)))
    assert (result.outcome, result.search) == (Outcome.LOCALIZED, Search.PRIOR)
    assert result.estimate.map_from_camera.translation_to(truth) < 0.03
    assert set(result.timings_s) == {"extract", "retrieve", "match", "pose", "total"}
    stages = sum(seconds for stage, seconds in result.timings_s.items() if stage != "total")
    assert stages <= result.timings_s["total"]


def test_elsewhere_it_is_found_all_the_same(apartment, query, config):
    frame, truth = query
    near = with_prior(apartment, config, margin_m=0.5)
    expected = apartment.localizer.localize(frame)
    center = 0.5 * (apartment.scene.rooms[0].lower + apartment.scene.rooms[0].upper)
    wrong = Rigid3(truth.rotation, 2.0 * center - truth.translation)
    assert wrong.translation_to(truth) > 1.0
    result = near.localize(frame, prior(wrong))
    assert (result.outcome, result.search) == (Outcome.LOCALIZED, Search.GLOBAL)
    np.testing.assert_array_equal(
        result.estimate.map_from_camera.matrix, expected.estimate.map_from_camera.matrix
    )


@pytest.mark.parametrize("why", ["switched off", "vague", "far away", "none"])
def test_without_a_region_nothing_changes(apartment, query, config, why):
    frame, truth = query
    localizer = with_prior(apartment, config, enabled=why != "switched off")
    given = {
        "switched off": prior(truth),
        "vague": prior(truth, sigma_m=20.0),
        "far away": prior(shifted(truth, 100.0)),
        "none": None,
    }[why]
    result, expected = localizer.localize(frame, given), apartment.localizer.localize(frame)
    assert result.search is Search.GLOBAL
    np.testing.assert_array_equal(
        result.estimate.map_from_camera.matrix, expected.estimate.map_from_camera.matrix
    )
    np.testing.assert_array_equal(result.estimate.covariance, expected.estimate.covariance)
    assert result.place == expected.place


def test_a_twin_out_of_reach_casts_no_doubt(corridor):
    for niche in ("twin_a", "twin_b"):
        truth = corridor.scene.viewpoints[niche]
        frame = corridor.frame(truth, seed=710)
        assert corridor.localizer.localize(frame).outcome is Outcome.ILL_CONDITIONED
        result = corridor.localizer.localize(frame, prior(shifted(truth, 0.2), sigma_m=0.2))
        assert (result.outcome, result.search) == (Outcome.LOCALIZED, Search.PRIOR)
        assert result.estimate.map_from_camera.translation_to(truth) < 0.1


def test_a_twin_within_reach_does(corridor):
    truth = corridor.scene.viewpoints["twin_a"]
    result = corridor.localizer.localize(corridor.frame(truth, seed=711), prior(truth, sigma_m=2.0))
    assert result.outcome is Outcome.ILL_CONDITIONED


def test_a_view_of_nothing_has_no_features(apartment, query, camera):
    frame, truth = query
    gray = dataclasses.replace(frame, image=np.full_like(frame.image, 127))
    result = apartment.localizer.localize(gray, prior(truth))
    assert (result.outcome, result.search) == (Outcome.NO_FEATURES, Search.GLOBAL)


def test_features_may_be_given(apartment, query, config):
    frame, truth = query
    features = SiftExtractor(config).extract(frame.image)
    result = apartment.localizer.localize_features(features, frame.camera, 5, prior(truth))
    assert (result.search, result.stamp_ns) == (Search.PRIOR, 5)


def test_a_camera_far_from_the_rigs_origin_is_found_near_the_prediction(apartment, query):
    """The prediction is of the rig; its camera is metres away, and it is the camera that sees keyframes."""
    frame, truth = query
    mounted = RigCamera(frame.camera, Rigid3.from_rotvec([0.0, 0.0, 0.0], [0.0, 0.0, 40.0]))
    rig = Query(9, (View(mounted, frame.image),))
    map_from_rig = truth @ mounted.rig_from_camera.inverse()
    result = apartment.localizer.localize(rig, prior(map_from_rig))
    assert (result.outcome, result.search) == (Outcome.LOCALIZED, Search.PRIOR)
    seen_from = result.estimate.map_from_camera @ mounted.rig_from_camera
    assert seen_from.translation_to(truth) < 0.03
