"""The self-test against known errors: keyframes whose given poses are off by a known noise."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from hfnet_ros.config import Config
from hfnet_ros.errors import MappingError
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.map.visual_map import MapCamera, MapConsistency, VisualMap
from hfnet_ros.mapping.views import Keyframe, MappingImage
from hfnet_ros.trust import self_test
from hfnet_ros.trust.self_test import (
    Differences,
    HeldOutKeyframe,
    compare_held_out,
    summarize_differences,
    with_self_test,
)
from hfnet_ros.types import (
    Correspondences,
    Evidence,
    ImageFeatures,
    LocalFeatures,
    Localization,
    Outcome,
    PoseEstimate,
)

CAMERA = Camera(
    DistortionModel.PLUMB_BOB,
    (640, 480),
    np.array([420.0, 420.0]),
    np.array([319.5, 239.5]),
    np.array([-0.1, 0.02, 0.0, 0.0]),
)
FEATURES = ImageFeatures(
    LocalFeatures(np.empty((0, 2), np.float32), np.empty(0, np.float32), np.empty((0, 4), np.float32)),
    None,
    "fake-1",
)
SIGMAS = np.array([0.01, 0.02, 0.05, 0.002, 0.004, 0.003])  # m, rad, camera axes
NO_NOISE = np.zeros(6)
NO_COLORS = np.empty((0, 3), np.uint8)


class FakeLocalizer:
    """Finds the n-th keyframe at the n-th pose, with landmarks seen up to some pixel noise."""

    def __init__(self, poses, noise_px=0.0):
        self._poses = poses
        self._noise_px = noise_px

    def localize_features(self, features, camera, stamp_ns):
        pose = self._poses[stamp_ns]
        if pose is None:
            return Localization(stamp_ns, Outcome.NO_CONSENSUS, None, None, Evidence(), {})
        rng = np.random.default_rng(stamp_ns)
        in_camera = rng.uniform([-1.5, -1.0, 3.0], [1.5, 1.0, 6.0], (80, 3))
        seen = camera.project(in_camera) + self._noise_px * rng.normal(size=(80, 2))
        # A fifth are wrong matches, which the estimate has found out.
        inliers = np.arange(80) % 5 > 0
        seen[~inliers] += 200.0
        idxs = np.arange(80)
        matches = Correspondences(seen, pose @ in_camera, idxs, idxs, np.ones(80, np.float32))
        estimate = PoseEstimate(pose, 1e-6 * np.eye(6), inliers, 1.0)
        return Localization(stamp_ns, Outcome.LOCALIZED, estimate, None, Evidence(), {}, matches)


def measured_by(localizer, held_out):
    positions = np.array([keyframe.map_from_camera.translation for keyframe in held_out])
    return summarize_differences(compare_held_out(localizer, held_out), positions)


def moved(pose, error):
    """Pose off by (translation, rotation) [6] in its own axes."""
    return pose @ Rigid3.from_rotvec(error[3:], error[:3])


def keyframes(count, sigmas=SIGMAS, seed=0):
    """Found poses all over the place, and held-out keyframes whose given poses are off by noise."""
    rng = np.random.default_rng(seed)
    found = [Rigid3.from_rotvec(rng.normal(size=3), 10.0 * rng.normal(size=3)) for _ in range(count)]
    given = [moved(pose, sigmas * rng.normal(size=6)) for pose in found]
    return found, [HeldOutKeyframe(FEATURES, CAMERA, pose) for pose in given]


def test_the_noise_of_given_poses_is_recovered():
    found, held_out = keyframes(1500)
    measured = measured_by(FakeLocalizer(found), held_out)
    assert measured.num_keyframes == 1500
    assert measured.translation_m == pytest.approx(np.sqrt(np.mean(SIGMAS[:3] ** 2)), rel=0.1)
    assert measured.rotation_rad == pytest.approx(np.sqrt(np.mean(SIGMAS[3:] ** 2)), rel=0.1)
    covariance = np.reshape(measured.pose_covariance, (6, 6))
    normalised = covariance / np.outer(SIGMAS, SIGMAS)
    np.testing.assert_allclose(normalised, np.eye(6), atol=0.12)
    np.testing.assert_array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0.0


def test_one_offset_by_hand():
    found, _ = keyframes(24)
    held_out = [
        HeldOutKeyframe(FEATURES, CAMERA, moved(pose, np.array([0, 0, -0.3, 0, 0.1, 0]))) for pose in found
    ]
    measured = measured_by(FakeLocalizer(found), held_out)
    # Seen from the answers, each is 0.3 m ahead of its given pose and turned back by 0.1 rad.
    expected = np.array([0.0, 0.0, 0.3, 0.0, -0.1, 0.0])
    covariance = np.reshape(measured.pose_covariance, (6, 6))
    np.testing.assert_allclose(covariance, np.outer(expected, expected), atol=1e-9)
    assert measured.rotation_rad == pytest.approx(0.1 / 0.67449 / np.sqrt(3.0), rel=1e-3)


@pytest.mark.parametrize(("num_found", "vouches"), [(11, False), (12, True), (24, True)])
def test_a_map_that_localizes_less_than_half_of_its_own_vouches_for_nothing(num_found, vouches):
    found, held_out = keyframes(24)
    lost = [pose if row < num_found else None for row, pose in enumerate(found)]
    measured = measured_by(FakeLocalizer(lost), held_out)
    assert (measured.num_keyframes, measured.num_asked) == (num_found, 24)
    assert measured.measured_residual_px is not None
    assert measured.vouches is vouches


@pytest.mark.slow
def test_a_few_wrong_answers_hardly_count():
    found, held_out = keyframes(600)
    wrong = [
        moved(pose, np.array([3.0, 0, 0, 0, 1.0, 0])) if n % 10 == 0 else pose for n, pose in enumerate(found)
    ]
    measured = measured_by(FakeLocalizer(wrong), held_out)
    assert measured.translation_m == pytest.approx(np.sqrt(np.mean(SIGMAS[:3] ** 2)), rel=0.25)
    deviations = np.sqrt(np.diag(np.reshape(measured.pose_covariance, (6, 6))))
    assert (deviations < 1.6 * SIGMAS).all()


def test_pixel_noise_is_stated_at_the_reference_focal_length():
    found, held_out = keyframes(60, NO_NOISE)
    measured = measured_by(FakeLocalizer(found, noise_px=1.6), held_out)
    # 1.6 px at 420 px are 2 px at 525 px.
    assert measured.residual_px == pytest.approx(2.0, rel=0.05)
    assert measured.translation_m < 1e-5
    covariance = np.reshape(measured.pose_covariance, (6, 6))
    assert np.isfinite(covariance).all()


def test_residuals_are_those_of_the_given_poses():
    """The poses found explain their matches exactly; the given ones, turned by 0.02 rad, do not."""
    found, _ = keyframes(20)
    held_out = [
        HeldOutKeyframe(FEATURES, CAMERA, moved(pose, np.array([0, 0, 0, 0, 0.02, 0]))) for pose in found
    ]
    measured = measured_by(FakeLocalizer(found), held_out)
    assert measured.residual_px * 1.17741 == pytest.approx(0.02 * 525.0, rel=0.15)


@pytest.mark.parametrize(("num_behind", "num_measured"), [(20, 0), (15, 15), (3, 27)])
def test_answers_that_look_the_other_way_are_counted_and_left_out(num_behind, num_measured):
    """An infinite residual could not be written into the map."""
    found, held_out = keyframes(30 if num_behind < 20 else 20)
    turned = np.array([0, 0, 0, 0, np.pi, 0])
    answers = [moved(pose, turned) if n < num_behind else pose for n, pose in enumerate(found)]
    measured = measured_by(FakeLocalizer(answers), held_out)
    assert measured.num_keyframes == num_measured
    assert (measured.num_asked, measured.num_elsewhere) == (len(found), num_behind)
    assert measured.elsewhere_share == num_behind / len(found)
    assert len(measured.look_alikes) == num_behind
    assert measured.residual_px < 5.0
    assert json.dumps(asdict(measured), allow_nan=False)


@pytest.mark.parametrize(
    ("off", "is_elsewhere"),
    [([0, 0, 8.0, 0, 0, 0], True), ([0, 0, 0.3, 0, 0, 0], False), ([0, 0, 0, 0, 0, 0.6], True)],
)
def test_another_place_in_front_of_the_camera_is_elsewhere_too(off, is_elsewhere):
    """Twins along the line of sight: what the answer saw is in front of the right pose as well."""
    found, held_out = keyframes(24, NO_NOISE)
    answers = [moved(pose, np.array(off)) if n < 4 else pose for n, pose in enumerate(found)]
    measured = measured_by(FakeLocalizer(answers), held_out)
    assert measured.num_elsewhere == (4 if is_elsewhere else 0)
    assert measured.num_keyframes == (20 if is_elsewhere else 24)
    for place, (*position, radius, share) in zip(answers, measured.look_alikes, strict=False):
        np.testing.assert_allclose(position, place.translation)
        assert radius > 0.0
        assert 0.0 < share <= 1.0


@pytest.mark.parametrize("num_found", [0, 9])
def test_too_few_answers_measure_nothing(num_found):
    found, held_out = keyframes(40)
    some = [pose if n < num_found else None for n, pose in enumerate(found)]
    assert measured_by(FakeLocalizer(some), held_out) == MapConsistency(0.0, 0.0, 0.0, 0, num_asked=40)


def test_refused_keyframes_are_left_out():
    found, held_out = keyframes(40)
    some = [pose if n % 4 == 0 else None for n, pose in enumerate(found)]
    assert measured_by(FakeLocalizer(some), held_out).num_keyframes == 10


def make_map(poses):
    """A map of keyframes without landmarks: the self-test looks at keyframes only."""
    count = len(poses)
    return VisualMap(
        frame_id="map",
        extractor_id="fake-1",
        cameras=(MapCamera(None, CAMERA),),
        keyframe_names=tuple(f"{number:03d}.png" for number in range(count)),
        keyframe_stamps_ns=np.arange(count),
        keyframe_camera_idx=np.zeros(count, np.int32),
        keyframe_poses=np.array([[*pose.translation, *pose.quat_xyzw] for pose in poses]),
        observation_offsets=np.zeros(count + 1, np.int64),
        observation_landmark_idx=np.empty(0, np.int32),
        observation_xy=np.empty((0, 2), np.float32),
        landmark_xyz=np.empty((0, 3)),
        landmark_descriptors=np.empty((0, 4), np.float32),
        landmark_view_directions=np.empty((0, 3), np.float32),
        landmark_distance_ranges=np.empty((0, 2), np.float32),
        landmark_colors=np.empty((0, 3), np.uint8),
        global_descriptors=np.full((count, 4), 0.5, np.float32),
        consistency=MapConsistency(0.0, 0.0, 0.0, 0),
    )


@pytest.fixture
def halves(monkeypatch):
    """Replace building and localizing; returns what was mapped and what was asked, by number."""
    seen = {"mapped": [], "asked": [], "mode": None, "folds": [], "off": {"even": 0.01, "by_depth": 0.01}}

    def build(keyframes, poses, cameras, config, options):
        seen["mapped"] = [int(keyframe.image.name[:3]) for keyframe in keyframes]
        seen["poses"] = poses
        seen["mode"] = options.intrinsics

    def measure(localizer, held_out, progress, two_frames):
        seen["asked"] = [round(keyframe.map_from_camera.translation[0]) for keyframe in held_out]
        if localizer == "even":
            seen["folds"].append((seen["mapped"], seen["asked"]))
        off = np.full(6, seen["off"][localizer])
        return Differences([off] * len(held_out), [], [1.0] * len(held_out))

    monkeypatch.setattr(self_test, "build_untested_map", build)
    monkeypatch.setattr(self_test, "compare_held_out", measure)
    monkeypatch.setattr(self_test, "Localizer", lambda part, extractor, config: config.pose.weights)
    return seen


def read():
    raise AssertionError("the image was described before")


def run_self_test(count, num_cameras=1, weights="auto", places=None):
    poses = [Rigid3.from_rotvec(np.zeros(3), [float(number), 0.0, 0.0]) for number in range(count)]
    # In another order than the keyframes: they are found by name.
    keyframes = [
        Keyframe(
            MappingImage(f"{number:03d}.png", number // num_cameras, 0, read), FEATURES, FEATURES, NO_COLORS
        )
        for number in reversed(range(count))
    ]
    visual_map = make_map(poses)
    if places is not None:
        visual_map = with_landmarks_at(visual_map, places)
    config = Config.from_dict({"pose": {"weights": weights}})
    return visual_map, with_self_test(visual_map, keyframes, None, config)


def with_landmarks_at(visual_map, places):
    """Have each keyframe see the 40 landmarks of its place and of the next one."""
    seen = [np.arange(40 * place, 40 * place + 80) for place in places]
    num_landmarks = 40 * (max(places) + 2)
    return replace(
        visual_map,
        observation_offsets=np.cumsum([0, *map(len, seen)]),
        observation_landmark_idx=np.concatenate(seen).astype(np.int32),
        observation_xy=np.zeros((sum(map(len, seen)), 2), np.float32),
        landmark_xyz=np.zeros((num_landmarks, 3)),
        landmark_descriptors=np.full((num_landmarks, 4), 0.5, np.float32),
        landmark_view_directions=np.tile(np.float32([0.0, 0.0, 1.0]), (num_landmarks, 1)),
        landmark_distance_ranges=np.ones((num_landmarks, 2), np.float32),
        landmark_colors=np.zeros((num_landmarks, 3), np.uint8),
    )


ROUND = list(range(30))


@pytest.mark.parametrize(
    ("places", "asked"),
    [
        # One round, whose blocks share little, is asked as it always was.
        (list(range(60)), [*range(15, 30), *range(45, 60)]),
        # Of two rounds the halves of each would be asked for what neither has mapped.
        (ROUND + ROUND, list(range(30, 60))),
        # There and back, and two rooms one after the other: every other block is known already.
        (ROUND + ROUND[::-1], [*range(15, 30), *range(45, 60)]),
        ([0] * 15 + [9] * 15 + [9] * 15 + [0] * 15, [*range(15, 30), *range(45, 60)]),
    ],
)
def test_halves_are_of_places_that_the_other_half_knows(halves, places, asked):
    run_self_test(60, places=places)
    assert halves["asked"] == asked


def test_halves_are_disjoint_blocks(halves):
    before, after = run_self_test(60)
    assert sorted(halves["mapped"] + halves["asked"]) == list(range(60))
    assert after.consistency.num_keyframes == len(halves["asked"]) >= 24
    assert before.consistency.num_keyframes == 0, "the map given is not changed"
    assert [int(pose.translation[0]) for pose in halves["poses"]] == halves["mapped"]
    assert halves["mode"] == "off"
    # Most held-out keyframes have no neighbour in the map: they would share its error.
    mapped = set(halves["mapped"])
    lonely = [number for number in halves["asked"] if not {number - 1, number + 1} & mapped]
    assert len(lonely) >= len(halves["asked"]) / 2


@pytest.mark.parametrize(("count", "num_cameras"), [(60, 4), (18, 3)])
def test_what_a_rig_saw_at_one_time_is_never_held_against_each_other(halves, count, num_cameras):
    run_self_test(count, num_cameras)
    assert halves["folds"]
    for mapped, asked in halves["folds"]:
        assert sorted(mapped + asked) == list(range(count))
        assert not {row // num_cameras for row in mapped} & {row // num_cameras for row in asked}


def test_a_small_map_is_asked_block_by_block(halves):
    _, after = run_self_test(13)
    asked = [number for _, block in halves["folds"] for number in block]
    assert sorted(asked) == list(range(13))
    for mapped, block in halves["folds"]:
        assert sorted(mapped + block) == list(range(13))
        assert len(block) <= 4
    assert after.consistency.num_keyframes == 13


@pytest.mark.parametrize(("by_depth", "is_kept"), [(0.0088, False), (0.0082, True), (0.02, False)])
def test_points_weigh_by_their_depths_where_that_localizes_held_out_keyframes_better(
    halves, by_depth, is_kept
):
    halves["off"]["by_depth"] = by_depth
    _, after = run_self_test(60)
    assert after.consistency.weighs_depths is is_kept
    expected = by_depth if is_kept else 0.01
    assert after.consistency.translation_m == pytest.approx(expected / 0.67449)


@pytest.mark.parametrize("weights", ["even", "by_depth"])
def test_weights_that_are_asked_for_are_the_only_ones_tested(halves, monkeypatch, weights):
    asked = []
    monkeypatch.setattr(
        self_test, "Localizer", lambda part, extractor, config: asked.append(config.pose.weights) or "even"
    )
    _, after = run_self_test(60, weights=weights)
    assert asked == [weights]
    assert after.consistency.weighs_depths is (weights == "by_depth")


def test_a_map_too_small_to_be_tested_is_left_as_it_is(halves):
    visual_map, answer = run_self_test(7)
    assert answer is visual_map
    assert halves["folds"] == []


def test_correlations_of_few_are_not_believed():
    """Twelve equal differences have a moment of rank 1; half of it is believed."""
    found = Differences([np.arange(1.0, 7.0)] * 12, [], [1.0] * 12)
    moment = np.reshape(summarize_differences(found, np.zeros((0, 3))).pose_covariance, (6, 6))
    assert moment[0, 1] == pytest.approx(0.5 * 1.0 * 2.0)
    assert moment[5, 5] == pytest.approx(36.0)
    assert np.linalg.matrix_rank(moment) == 6


def test_a_half_that_makes_no_map_is_no_error(halves, monkeypatch, caplog):
    def refuse(*_):
        raise MappingError("nothing in common")

    monkeypatch.setattr(self_test, "build_untested_map", refuse)
    visual_map, answer = run_self_test(30)
    assert answer is visual_map
    assert "nothing in common" in caplog.text
