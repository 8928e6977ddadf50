"""Images of generated scenes against maps of them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from generated_maps import CONFIG

from hfnet_ros.errors import ExtractorMismatchError, ImageError
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.covariance import is_valid_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.map.visual_map import MapCamera, with_search
from hfnet_ros.scene import build_apartment, mapping_walk, query_walk
from hfnet_ros.types import Frame, ImageFeatures, Outcome

CONFIG_OF = {
    weights: replace(CONFIG, pose=replace(CONFIG.pose, weights=weights))
    for weights in ("auto", "even", "by_depth")
}
STAGES = {"extract", "retrieve", "match", "pose", "total"}
NUMBERS_OF_A_POSE = {"inliers", "evidence", "rival_ratio", "twin_ratio", "sigma_translation_m"}


def errors(result, truth):
    """Position error, m, and orientation error, deg."""
    pose = result.estimate.map_from_camera
    return pose.translation_to(truth), np.rad2deg(pose.rotation_to(truth))


@pytest.fixture(scope="module")
def query_poses(apartment):
    return [pose for _, pose in query_walk(apartment.scene)][::6]


@pytest.fixture(scope="module")
def first_frame(apartment, query_poses):
    return apartment.frame(query_poses[0])


def test_new_views_are_localized_precisely(apartment, query_poses):
    for index, truth in enumerate(query_poses):
        result = apartment.localizer.localize(apartment.frame(truth, seed=200 + index))
        assert result.outcome is Outcome.LOCALIZED, result.evidence.reason
        distance_m, angle_deg = errors(result, truth)
        assert distance_m < 0.03
        assert angle_deg < 0.5
        assert is_valid_covariance(result.estimate.covariance)
        # The error is neither beyond what was promised nor was the promise empty.
        error = result.estimate.map_from_camera.translation - truth.translation
        assert error @ np.linalg.solve(result.estimate.covariance[:3, :3], error) < 36.0
        assert np.sqrt(np.trace(result.estimate.covariance[:3, :3])) < 0.02


def test_an_answer_says_how_it_was_found(apartment, first_frame):
    result = apartment.localizer.localize(first_frame)
    assert result.stamp_ns == first_frame.stamp_ns
    assert set(result.timings_s) == STAGES
    assert all(seconds > 0.0 for seconds in result.timings_s.values())
    assert sum(result.timings_s[stage] for stage in STAGES - {"total"}) <= result.timings_s["total"]
    assert set(result.evidence.scores) >= NUMBERS_OF_A_POSE
    assert result.evidence.num_keypoints >= result.evidence.num_matches == len(result.correspondences)
    assert result.evidence.num_inliers == result.estimate.num_inliers
    assert len(result.estimate.inlier_mask) == len(result.correspondences)
    inliers = result.estimate.inlier_mask
    seen = result.estimate.map_from_camera.inverse() @ result.correspondences.points3d[inliers]
    off = np.linalg.norm(first_frame.camera.project(seen) - result.correspondences.points2d[inliers], axis=1)
    assert np.sqrt(np.mean(off**2)) == pytest.approx(result.estimate.reprojection_rmse_px, abs=1e-6)
    assert result.place is not None
    assert result.place.keyframe_idxs[0] < apartment.visual_map.num_keyframes


def test_the_same_frame_gives_the_same_answer(apartment, first_frame):
    first = apartment.localizer.localize(first_frame)
    for localizer in (apartment.localizer, apartment.with_map()):
        again = localizer.localize(first_frame)
        np.testing.assert_array_equal(
            again.estimate.map_from_camera.matrix, first.estimate.map_from_camera.matrix
        )
        np.testing.assert_array_equal(again.estimate.covariance, first.estimate.covariance)
        np.testing.assert_array_equal(
            again.correspondences.landmark_idxs, first.correspondences.landmark_idxs
        )
        assert again.evidence.scores == first.evidence.scores


def test_the_frame_is_not_modified(apartment, first_frame):
    image = first_frame.image.copy()
    apartment.localizer.localize(first_frame)
    np.testing.assert_array_equal(first_frame.image, image)


def test_a_gray_image_will_do(apartment, query_poses, camera):
    gray = apartment.frame(query_poses[0]).image.mean(axis=2).astype(np.uint8)
    result = apartment.localizer.localize(Frame(0, gray, camera))
    assert result.outcome is Outcome.LOCALIZED
    assert errors(result, query_poses[0])[0] < 0.03


def test_an_image_of_nothing_has_no_features(apartment, camera):
    result = apartment.localizer.localize(Frame(5, np.full((192, 256, 3), 127, np.uint8), camera))
    assert result.outcome is Outcome.NO_FEATURES
    assert (result.stamp_ns, result.estimate, result.place) == (5, None, None)
    assert set(result.timings_s) == STAGES
    assert result.evidence.reason.startswith("no keypoint found; the image has next to no contrast")


def test_noise_is_never_localized(apartment, camera):
    rng = np.random.default_rng(0)
    for sigma in (0.0, 1.0, 3.0):
        image = rng.integers(0, 256, (192, 256, 3)).astype(np.float32)
        if sigma:
            image = 127.0 + 6.0 * sigma * (cv2.GaussianBlur(image, (0, 0), sigma) - 127.5)
        result = apartment.localizer.localize(Frame(0, np.clip(image, 0, 255).astype(np.uint8), camera))
        assert result.outcome not in (Outcome.LOCALIZED, Outcome.NO_FEATURES)
        assert result.estimate is None


def test_images_of_another_apartment_are_never_localized(apartment, take_picture, camera):
    elsewhere = build_apartment(17, num_rooms=1)
    poses = [pose for _, pose in mapping_walk(elsewhere)][::2][:20]
    outcomes = []
    for index, pose in enumerate(poses):
        result = apartment.localizer.localize(Frame(index, take_picture(elsewhere, pose, index), camera))
        assert result.estimate is None, f"view {index}: {result.evidence}"
        assert result.evidence.reason
        outcomes.append(result.outcome)
    assert len(outcomes) == 20
    assert Outcome.NO_FEATURES not in outcomes


def test_an_image_of_another_size_than_its_calibration_is_refused(apartment, first_frame, camera):
    frame = Frame(0, first_frame.image[:160], camera)
    with pytest.raises(ImageError, match=r"256x160 px, .* 256x192"):
        apartment.localizer.localize(frame)


def test_a_map_of_another_extractor_is_refused(apartment):
    with pytest.raises(ExtractorMismatchError, match=r"'xfeat-0123'.*'rootsift-1'"):
        apartment.with_map(extractor_id="xfeat-0123")


def test_features_of_another_extractor_are_refused(apartment, first_frame, config):
    features = replace(SiftExtractor(config).extract(first_frame.image), extractor_id="xfeat-0123")
    with pytest.raises(ExtractorMismatchError, match=r"'rootsift-1'.*'xfeat-0123'"):
        apartment.localizer.localize_features(features, first_frame.camera, 0)


def test_features_may_be_given_instead_of_an_image(apartment, first_frame, config):
    features = SiftExtractor(config).extract(first_frame.image)
    result = apartment.localizer.localize_features(features, first_frame.camera, 77)
    expected = apartment.localizer.localize(first_frame)
    assert result.stamp_ns == 77
    np.testing.assert_array_equal(
        result.estimate.map_from_camera.matrix, expected.estimate.map_from_camera.matrix
    )
    assert result.timings_s["extract"] == 0.0


def test_the_maps_calibration_replaces_the_users_own(apartment, query_poses, camera):
    """The user's camera is 8 % off; the map knows it under that calibration and has refined it."""
    given = Camera(camera.model, camera.size_wh, camera.focal * 1.08, camera.center + 3.0, camera.distortion)
    frame = replace(apartment.frame(query_poses[1]), camera=given)
    known = apartment.with_map(cameras=(MapCamera(given, camera),)).localize(frame)
    assert known.outcome is Outcome.LOCALIZED
    assert errors(known, query_poses[1])[0] < 0.03
    unknown = apartment.with_map(cameras=(MapCamera(None, camera),)).localize(frame)
    assert unknown.estimate is None or errors(unknown, query_poses[1])[0] > 0.05
    # A third calibration is another camera, and is used as it is.
    other = MapCamera(replace(given, focal=given.focal * 1.001), camera)
    as_given = apartment.with_map(cameras=(other,)).localize(frame)
    assert as_given.outcome is unknown.outcome
    if unknown.estimate is not None:
        np.testing.assert_array_equal(
            as_given.estimate.map_from_camera.matrix, unknown.estimate.map_from_camera.matrix
        )


def test_an_empty_map_has_no_candidates(apartment, first_frame):
    empty = apartment.with_map(
        keyframe_names=(),
        keyframe_poses=np.empty((0, 7)),
        observation_offsets=np.zeros(1, np.int64),
        observation_landmark_idx=np.empty(0, np.int32),
        global_descriptors=apartment.visual_map.global_descriptors[:0],
    )
    assert empty.localize(first_frame).outcome is Outcome.NO_CANDIDATES


def test_keyframes_that_see_nothing_do_no_harm(apartment, first_frame):
    """A place of such a keyframe alone has no landmarks to match with."""
    blind = apartment.with_map(
        observation_offsets=np.zeros(apartment.visual_map.num_keyframes + 1, np.int64),
        observation_landmark_idx=np.empty(0, np.int32),
    )
    result = blind.localize(first_frame)
    assert result.outcome is Outcome.TOO_FEW_MATCHES
    assert result.evidence.reason == "0 matches, 12 needed"


def test_the_maps_own_error_is_part_of_the_covariance(apartment, first_frame):
    consistency = apartment.visual_map.consistency
    error = np.diag([0.04, 0.01, 0.02, 1e-4, 2e-4, 3e-4])  # in camera axes
    uncertain = replace(consistency, pose_covariance=tuple(error.ravel().tolist()))
    result = apartment.with_map(consistency=uncertain).localize(first_frame)
    certain = replace(consistency, pose_covariance=())
    reference = apartment.with_map(consistency=certain).localize(first_frame)
    turn = np.kron(np.eye(2), result.estimate.map_from_camera.rotation)
    np.testing.assert_allclose(
        result.estimate.covariance - reference.estimate.covariance, turn @ error @ turn.T, atol=1e-9
    )


def test_an_uncertain_map_gives_no_pose(apartment, first_frame):
    consistency = apartment.visual_map.consistency
    vague = replace(consistency, pose_covariance=tuple(np.diag([1.0] * 6).ravel().tolist()))
    result = apartment.with_map(consistency=vague).localize(first_frame)
    assert result.outcome is Outcome.ILL_CONDITIONED
    assert result.estimate is None
    assert result.evidence.reason.startswith("position is sure to")


def test_turning_the_map_turns_the_answer(apartment, first_frame, query_poses):
    """Nothing depends on where the map's origin is or how its axes point."""
    new_from_map = Rigid3.from_rotvec([0.3, -1.1, 0.7], [100.0, -50.0, 7.0])
    visual_map = apartment.visual_map
    poses = [new_from_map @ visual_map.map_from_camera(idx) for idx in range(visual_map.num_keyframes)]
    turned = apartment.with_map(
        keyframe_poses=np.array([[*pose.translation, *pose.quat_xyzw] for pose in poses]),
        landmark_xyz=new_from_map @ visual_map.landmark_xyz,
        landmark_view_directions=(visual_map.landmark_view_directions @ new_from_map.rotation.T).astype(
            np.float32
        ),
    ).localize(first_frame)
    truth = new_from_map @ query_poses[0]
    assert turned.outcome is Outcome.LOCALIZED
    assert errors(turned, truth)[0] < 0.03
    assert errors(turned, truth)[1] < 0.5


def test_matching_within_words_loses_few_inliers(apartment, config):
    """Maps of a network with a global head learn words of their own; exhaustive matching is slower, not better."""
    visual_map = with_search(replace(apartment.visual_map, aggregation={}))
    assert len(visual_map.search.words) == 64
    every = replace(
        visual_map.search,
        words=visual_map.search.words[:0],
        landmark_words=np.zeros_like(visual_map.search.landmark_words),
    )
    truth = visual_map.map_from_camera(4)
    features = SiftExtractor(config).extract(apartment.frame(truth).image)
    features = ImageFeatures(features.local, visual_map.global_descriptors[4], features.extractor_id)
    inliers = {}
    for name, given in (("words", visual_map), ("all", replace(visual_map, search=every))):
        localizer = Localizer(given, SiftExtractor(config), config)
        found = localizer.localize_features(features, apartment.frame(truth).camera, 0)
        assert errors(found, truth)[0] < 0.02
        inliers[name] = found.estimate.num_inliers
    assert inliers["words"] > 0.9 * inliers["all"]


def test_an_image_much_larger_than_the_maps_is_localized_at_the_maps_scale(apartment, query_poses):
    small = apartment.frame(query_poses[0])
    width, height = small.camera.size_wh
    size_wh = (4 * width, 4 * height)
    image = cv2.resize(small.image, size_wh, interpolation=cv2.INTER_NEAREST)
    large = apartment.localizer.localize(Frame(1, image, small.camera.resized(size_wh)))
    assert large.outcome is Outcome.LOCALIZED, large.evidence.reason
    distance_m, angle_deg = errors(large, query_poses[0])
    assert distance_m < 0.03
    assert angle_deg < 0.5
    assert large.correspondences.points2d.max() > 2 * width, "in pixels of the image as it came"
    expected = apartment.localizer.localize(small)
    assert large.evidence.num_inliers == pytest.approx(expected.evidence.num_inliers, abs=2)


def test_a_refusal_says_that_an_image_has_no_contrast(apartment, first_frame):
    dark = replace(first_frame, image=(first_frame.image // 64 + 20).astype(np.uint8))
    result = apartment.localizer.localize(dark)
    assert not result.is_valid
    assert "the image has next to no contrast, gray 2" in result.evidence.reason
    turned_away = replace(first_frame, image=np.ascontiguousarray(first_frame.image[::-1]))
    assert "contrast" not in apartment.localizer.localize(turned_away).evidence.reason


def test_a_map_without_a_test_of_itself_weighs_points_by_their_depths(apartment, first_frame):
    """What the test found better is done in a tested map, and what is asked for in each."""

    def covariance(weights, **tested):
        visual_map = replace(
            apartment.visual_map, consistency=replace(apartment.visual_map.consistency, **tested)
        )
        localizer = Localizer(visual_map, SiftExtractor(CONFIG), CONFIG_OF[weights])
        return localizer.localize(first_frame).estimate.covariance

    even, by_depth = covariance("even"), covariance("by_depth")
    assert not np.allclose(even, by_depth, rtol=1e-3)
    np.testing.assert_array_equal(covariance("auto"), even)
    np.testing.assert_array_equal(covariance("auto", weighs_depths=True), by_depth)
    untested = {"num_keyframes": 0, "pose_covariance": ()}
    np.testing.assert_array_equal(covariance("auto", **untested), covariance("by_depth", **untested))
    assert np.trace(covariance("by_depth", **untested)) > 3.0 * np.trace(by_depth)
