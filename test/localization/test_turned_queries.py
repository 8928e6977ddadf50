"""Queries of a camera that rolled, in a map whose extractor knows upright things only."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from generated_maps import CONFIG, build_map, picture

from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.localization.turning import _peaks
from hfnet_ros.scene import build_apartment, build_plane_wall, look_at, mapping_walk
from hfnet_ros.types import Frame, ImageFeatures, LocalFeatures, Outcome, PosePrior, Query, RigCamera, View


class UprightSift(SiftExtractor):
    """SIFT that takes every patch as it is, as networks do; counts what it describes."""

    extractor_id, num_described = "upright-1", 0

    def extract(self, image):
        self.num_described += 1
        found = super().extract(image).local
        keypoints = [cv2.KeyPoint(float(x), float(y), 8.0, 0.0) for x, y in found.keypoints]
        kept, descriptors = cv2.SIFT.create().compute(image, keypoints)
        descriptors = np.empty((0, 128), np.float32) if descriptors is None else descriptors
        points = np.array([keypoint.pt for keypoint in kept], np.float32).reshape(-1, 2)
        rooted = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-9))
        local = LocalFeatures(points, found.scores[: len(kept)], rooted.astype(np.float32))
        return ImageFeatures(local, None, self.extractor_id)


@dataclasses.dataclass
class Room:
    scene: object
    visual_map: object
    view: Rigid3


def rolled(pose, roll_deg):
    return pose @ Rigid3.from_rotvec([0.0, 0.0, np.deg2rad(roll_deg)], np.zeros(3))


def moved(pose):
    return Rigid3(pose.rotation, pose.translation + np.array([0.05, 0.03, 0.02]))


@pytest.fixture(scope="module")
def room():
    """A scene, a map of a few keyframes around one view, and that view."""
    scene = build_apartment(3, num_rooms=1)
    poses = [pose for _, pose in mapping_walk(scene)]
    return Room(scene, build_map(scene, poses[:12:2], extractor=UprightSift(CONFIG)), moved(poses[4]))


@pytest.fixture
def make(room):
    """Return a function that opens a localizer with its extractor."""

    def opened(max_turned=1):
        retrieval = dataclasses.replace(CONFIG.retrieval, max_turned=max_turned)
        extractor = UprightSift(CONFIG)
        return Localizer(
            room.visual_map, extractor, dataclasses.replace(CONFIG, retrieval=retrieval)
        ), extractor

    return opened


def frame(scene, pose, camera):
    return Frame(7, picture(scene, pose, 300), camera)


def prior(map_from_camera, sigma_deg=2.0):
    return PosePrior(map_from_camera, np.diag([0.01] * 3 + [np.deg2rad(sigma_deg) ** 2] * 3))


@pytest.mark.parametrize(
    "roll_deg", [70.0, *(pytest.param(roll, marks=pytest.mark.slow) for roll in (-100.0, 180.0))]
)
def test_a_rolled_camera_is_localized_and_the_answer_says_by_what_turn(room, make, camera, roll_deg):
    truth = rolled(room.view, roll_deg)
    asked = frame(room.scene, truth, camera)
    localizer, extractor = make()
    answer = localizer.localize(asked)
    assert answer.outcome is Outcome.LOCALIZED, answer.evidence.reason
    assert answer.stamp_ns == 7
    assert answer.estimate.map_from_camera.translation_to(truth) < 0.03
    assert np.rad2deg(answer.estimate.map_from_camera.rotation_to(truth)) < 0.5
    off_deg = (np.rad2deg(answer.turn_rad) - roll_deg + 180.0) % 360.0 - 180.0
    assert abs(off_deg) < 20.0
    assert extractor.num_described == 9  # as it is, at the other seven angles, where these peak
    switched_off, extractor = make(max_turned=0)
    refused = switched_off.localize(asked)
    assert not refused.is_valid
    assert (refused.turn_rad, extractor.num_described) == (0.0, 1)


def test_an_upright_query_is_described_once_and_answered_as_without_turning(room, make, camera):
    asked = frame(room.scene, room.view, camera)
    localizer, extractor = make()
    answer, expected = localizer.localize(asked), make(max_turned=0)[0].localize(asked)
    assert (answer.outcome, answer.turn_rad, extractor.num_described) == (Outcome.LOCALIZED, 0.0, 1)
    np.testing.assert_array_equal(
        answer.estimate.map_from_camera.matrix, expected.estimate.map_from_camera.matrix
    )
    assert answer.evidence.scores == expected.evidence.scores


def test_a_predicted_roll_is_tried_first_and_alone(room, make, camera):
    truth = rolled(room.view, 120.0)
    localizer, extractor = make()
    answer = localizer.localize(frame(room.scene, truth, camera), prior(rolled(truth, 4.0)))
    assert answer.outcome is Outcome.LOCALIZED, answer.evidence.reason
    assert extractor.num_described == 1
    assert np.rad2deg(answer.turn_rad) == pytest.approx(124.0, abs=5.0)


def test_where_the_roll_is_known_no_other_is_tried(room, make, camera):
    asked = frame(room.scene, rolled(room.view, 180.0), camera)
    localizer, extractor = make()
    assert not localizer.localize(asked, prior(room.view)).is_valid
    assert extractor.num_described == 1
    assert localizer.localize(asked, prior(room.view, sigma_deg=60.0)).is_valid


def test_the_roll_of_a_streams_last_answer_is_tried_first(room, make, camera):
    last, truth = rolled(room.view, 150.0), rolled(room.view, 165.0)
    asked = Query.of(frame(room.scene, truth, camera))
    localizer, extractor = make()
    answer = localizer.localize(dataclasses.replace(asked, rolled_as=last))
    assert answer.outcome is Outcome.LOCALIZED, answer.evidence.reason
    assert answer.estimate.map_from_camera.translation_to(truth) < 0.03
    assert (extractor.num_described, answer.sought_roll) == (1, False)
    assert np.rad2deg(answer.turn_rad) == pytest.approx(150.0, abs=5.0)


def test_a_camera_that_was_turned_back_is_known_as_it_is(room, make, camera):
    asked = Query.of(frame(room.scene, room.view, camera))
    localizer, extractor = make()
    answer = localizer.localize(dataclasses.replace(asked, rolled_as=rolled(room.view, 90.0)))
    assert (answer.outcome, answer.turn_rad, extractor.num_described) == (Outcome.LOCALIZED, 0.0, 2)


def test_who_does_not_seek_the_roll_says_so(room, make, camera):
    asked = Query.of(frame(room.scene, rolled(room.view, 180.0), camera))
    localizer, extractor = make()
    answer = localizer.localize(dataclasses.replace(asked, seeks_roll=False))
    assert (answer.is_valid, answer.sought_roll, extractor.num_described) == (False, False, 1)
    assert localizer.localize(asked).sought_roll


def test_another_place_stays_refused(make, camera):
    wall = build_plane_wall(0)
    pose = rolled(look_at(np.array([4.0, 2.0, 1.4]), np.array([4.5, 5.0, 1.5])), 90.0)
    localizer, extractor = make()
    answer = localizer.localize(frame(wall, pose, camera))
    assert not answer.is_valid
    assert answer.estimate is None
    assert extractor.num_described >= 8
    assert answer.evidence.reason


def test_what_is_blank_is_not_turned(make, camera):
    localizer, extractor = make()
    blank = np.full((camera.size_wh[1], camera.size_wh[0]), 90, np.uint8)
    assert localizer.localize(Frame(1, blank, camera)).outcome is Outcome.NO_FEATURES
    assert extractor.num_described == 1


def test_features_that_are_given_cannot_be_turned(room, make, camera):
    localizer, extractor = make()
    asked = frame(room.scene, rolled(room.view, 180.0), camera)
    answer = localizer.localize_features(extractor.extract(asked.image), camera, 3)
    assert not answer.is_valid
    assert extractor.num_described == 1


@pytest.mark.slow
def test_the_views_of_a_rig_are_turned_together(room, make, camera):
    """In these pictures no sampled pose explains 14 chance matches before they are turned, which ends the search."""
    truth = rolled(room.view, 90.0)
    beside = Rigid3.from_rotvec([0.0, 0.1, 0.0], [0.1, 0.0, 0.0])
    views = tuple(
        View(RigCamera(camera, mounting), picture(room.scene, truth @ mounting, 340 + row))
        for row, mounting in enumerate((Rigid3.identity(), beside))
    )
    answer = make()[0].localize(Query(9, views))
    assert answer.outcome is Outcome.LOCALIZED, answer.evidence.reason
    assert answer.estimate.map_from_camera.translation_to(truth) < 0.03


def test_a_camera_that_is_mounted_on_its_side_is_turned_upright(room, make, camera):
    """The first camera sees nothing here, but says what is up; one image of each is described."""
    localizer, extractor = make()
    on_its_side = rolled(Rigid3.from_rotvec([0.0, 0.0, 0.0], [0.1, 0.0, 0.0]), 90.0)
    blank = np.full((camera.size_wh[1], camera.size_wh[0]), 90, np.uint8)
    seen = picture(room.scene, room.view @ on_its_side, 341)
    answer = localizer.localize(
        Query(9, (View(RigCamera(camera), blank), View(RigCamera(camera, on_its_side), seen)))
    )
    assert answer.outcome is Outcome.LOCALIZED, answer.evidence.reason
    assert answer.estimate.map_from_camera.translation_to(room.view) < 0.03
    assert extractor.num_described == 2


def test_all_angles_are_charged_to_the_evidence(room, make, camera):
    localizer, extractor = make()
    asked = frame(room.scene, room.view, camera)
    features = extractor.extract(asked.image)
    matches = localizer._matchers.compare(
        [features], localizer._landmarks.of(localizer.localize(asked).place)
    )
    cones, cameras = localizer._landmarks.cones(matches), [RigCamera(camera)]
    once = localizer._judges.of(0).solver.solve(matches, cameras, cones)
    eight = localizer._judges.of(0).solver.solve(matches, cameras, cones, 8)
    assert once.evidence.scores["evidence"] - eight.evidence.scores["evidence"] == pytest.approx(np.log10(8))


def peaks_deg(likeness: Sequence[float]) -> list[float]:
    return np.rad2deg(_peaks(np.array(likeness))).tolist()


def test_peaks_lie_between_samples_and_the_upright_one_is_left_out():
    assert peaks_deg([0.5, 0.5, 0.6, 0.9, 0.6, 0.5, 0.5, 0.5])[0] == pytest.approx(135.0)
    # A parabola through 0.8, 0.9, 0.9 peaks half way between the last two: half a step before 180.
    assert peaks_deg([0.5, 0.5, 0.8, 0.9, 0.9 - 1e-9, 0.8, 0.5, 0.5])[0] == pytest.approx(157.5, abs=1e-4)
    assert peaks_deg([0.9, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5, 0.6]) == []
    assert peaks_deg([0.9, 0.6, 0.5, 0.5, 0.5, 0.8, 0.5, 0.5]) == []  # less like the map than as it is
    assert peaks_deg([0.7, 0.6, 0.5, 0.5, 0.5, 0.8, 0.5, 0.5]) == [pytest.approx(-135.0)]
