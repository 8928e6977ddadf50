"""Answers of a map with two frames: decided among refined poses, given where costmaps live."""

from dataclasses import replace

import numpy as np
import pytest
from generated_maps import CONFIG

from hfnet_ros.errors import MapFormatError
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry.covariance import is_valid_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.map.given_frame import GivenFrame
from hfnet_ros.map.visual_map import MapCamera
from hfnet_ros.scene import query_walk
from hfnet_ros.types import Outcome

DRIFT = Rigid3.from_rotvec(np.array([0.0, 0.0, 0.02]), np.array([0.3, -0.1, 0.05]))


def rows(poses):
    return np.array([[*pose.translation, *pose.quat_xyzw] for pose in poses])


def two_framed(apartment, noise_m=0.0, arm=(0.0, 0.0, 0.0), camera=None):
    """The apartment's map, whose poses were given elsewhere: moved as a whole, and each by noise."""
    rng, made = np.random.default_rng(0), apartment.visual_map
    given = [
        Rigid3(np.eye(3), noise_m * rng.normal(size=3))
        @ DRIFT
        @ made.map_from_camera(row)
        @ Rigid3(np.eye(3), np.array(arm))
        for row in range(made.num_keyframes)
    ]
    cameras = made.cameras if camera is None else (MapCamera(camera, camera),)
    return replace(made, cameras=cameras, given=GivenFrame(rows(given), np.array([arm])))


def localizer(apartment, visual_map, answer_frame="given"):
    config = replace(CONFIG, pose=replace(CONFIG.pose, answer_frame=answer_frame))
    return Localizer(visual_map, SiftExtractor(config), config)


@pytest.fixture(scope="module")
def truths(apartment):
    return [pose for _, pose in query_walk(apartment.scene)][::12]


def test_answers_are_where_the_given_poses_are(apartment, truths):
    there = localizer(apartment, two_framed(apartment))
    for index, truth in enumerate(truths):
        frame = apartment.frame(truth, seed=300 + index)
        plain, moved = apartment.localizer.localize(frame), there.localize(frame)
        assert moved.outcome is plain.outcome is Outcome.LOCALIZED
        expected = DRIFT @ plain.estimate.map_from_camera
        np.testing.assert_allclose(moved.estimate.map_from_camera.matrix, expected.matrix, atol=1e-6)
        assert moved.estimate.num_inliers == plain.estimate.num_inliers


def test_matches_project_as_they_did(apartment, truths):
    """Points are moved with the camera, so that pictures of matches show what was decided."""
    frame = apartment.frame(truths[0])
    plain = apartment.localizer.localize(frame)
    moved = localizer(apartment, two_framed(apartment, 0.02)).localize(frame)
    for answer in (plain, moved):
        inliers = answer.correspondences.points3d[answer.estimate.inlier_mask]
        seen = apartment.visual_map.cameras[0].refined.project(
            answer.estimate.map_from_camera.inverse() @ inliers
        )
        off = np.linalg.norm(seen - answer.correspondences.points2d[answer.estimate.inlier_mask], axis=1)
        assert np.median(off) < 2.0


def test_what_keyframes_disagree_about_is_in_the_covariance(apartment, truths):
    frame = apartment.frame(truths[0])
    exact = localizer(apartment, two_framed(apartment)).localize(frame).estimate
    noisy = localizer(apartment, two_framed(apartment, 0.05)).localize(frame).estimate
    assert is_valid_covariance(noisy.covariance)
    grown = np.sqrt(np.diag(noisy.covariance - exact.covariance)[:3])
    assert (grown > 0.015).all()
    assert (grown < 0.12).all()


def test_a_map_without_a_self_test_counts_along_all_axes_what_keyframes_disagree_about(apartment, truths):
    """Keyframes that were moved along x had said nothing of the other axes, of which nothing else told either."""
    frame, tested = apartment.frame(truths[0]), two_framed(apartment)
    untested = replace(tested, consistency=replace(tested.consistency, num_keyframes=0))
    poses = tested.given.keyframe_poses.copy()
    poses[:, 0] += 0.05 * np.random.default_rng(1).normal(size=len(poses))
    grown = []
    for made in (untested, tested):
        moved = replace(made, given=GivenFrame(poses, made.given.lever_arms_m))
        before, after = (
            localizer(apartment, asked).localize(frame).estimate.covariance for asked in (made, moved)
        )
        grown.append(np.diag(after - before))
    assert grown[0][0] > grown[0][1] > 0.005**2
    assert grown[0][2] == pytest.approx(grown[0][1])
    np.testing.assert_allclose(grown[1][1:3], 0.0, atol=1e-9)


def test_the_refined_frame_can_be_asked_for(apartment, truths):
    frame = apartment.frame(truths[0])
    plain = apartment.localizer.localize(frame).estimate
    refined = localizer(apartment, two_framed(apartment, 0.05), "refined").localize(frame).estimate
    np.testing.assert_allclose(refined.map_from_camera.matrix, plain.map_from_camera.matrix, atol=1e-9)


def test_a_lever_arm_is_that_of_the_cameras_own(apartment, truths):
    """The poses given were of a point beside the camera; another camera is answered for its own optical centre."""
    arm = (0.0, 0.0, 0.1)
    frame = apartment.frame(truths[0])
    plain = apartment.localizer.localize(frame).estimate.map_from_camera
    known = localizer(apartment, two_framed(apartment, 0.0, arm, frame.camera)).localize(frame)
    unknown = localizer(apartment, two_framed(apartment, 0.0, arm)).localize(frame)
    expected = DRIFT @ plain @ Rigid3(np.eye(3), np.array(arm))
    np.testing.assert_allclose(known.estimate.map_from_camera.translation, expected.translation, atol=1e-6)
    expected = DRIFT @ plain
    np.testing.assert_allclose(unknown.estimate.map_from_camera.translation, expected.translation, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, 0.0], ids=["not finite", "no quaternion"])
def test_a_damaged_given_pose_is_named(apartment, truths, value):
    """A large map is not checked before it is read; no answer comes of numbers that are no pose."""
    damaged = two_framed(apartment)
    poses = damaged.given.keyframe_poses.copy()
    poses[:, 3:] = value
    damaged = replace(damaged, given=GivenFrame(poses, damaged.given.lever_arms_m))
    with pytest.raises(MapFormatError, match=r"given_keyframe_poses.*no pose in row .*damaged"):
        localizer(apartment, damaged).localize(apartment.frame(truths[0]))
