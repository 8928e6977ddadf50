import dataclasses

import numpy as np
import pytest

from hfnet_ros.config import Config
from hfnet_ros.geometry import Rigid3
from hfnet_ros.node import health_recorder
from hfnet_ros.node.health_recorder import HealthRecorder
from hfnet_ros.scene import demo_camera
from hfnet_ros.tracking.image_groups import CameraTiming
from hfnet_ros.tracking.rig_views import FROZEN
from hfnet_ros.types import (
    Answer,
    CameraView,
    Evidence,
    Frame,
    GateDecision,
    ImageCounters,
    Localization,
    Outcome,
    PoseEstimate,
    Relocalization,
    Tracking,
    TrackingState,
    Verdict,
    ViewShare,
)

CAMERA = demo_camera((64, 48))
LOST = Tracking(TrackingState.LOST, None)


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets: clock[0] = seconds."""
    now = [100.0]
    monkeypatch.setattr(health_recorder.time, "monotonic", lambda: now[0])
    return now


def answer(verdict=None, error="", total_s=0.1, counters=(1, 0, 1)):
    relocalization = None
    if not error:
        outcome = Outcome.LOCALIZED if verdict else Outcome.NO_CONSENSUS
        pose = PoseEstimate(Rigid3.identity(), np.eye(6), np.ones(9, np.bool_), 1.0) if verdict else None
        localization = Localization(1, outcome, pose, None, Evidence(reason="too dark"), {})
        decision = GateDecision(verdict, "because") if verdict else None
        relocalization = Relocalization(localization, decision, None, None, TrackingState.LOST, None)
    return Answer(1, relocalization, error, "", 0.0, 0.0, 0.0, total_s, ImageCounters(*counters), None)


def images(recorder):
    return recorder.image_health(Config(), "/image")


def localization(recorder):
    return recorder.localization_health(Config(), LOST, "")


def test_before_the_first_image_nothing_is_known(clock):
    recorder = HealthRecorder()
    assert images(recorder).age_s is None
    assert images(recorder).rate_hz is None
    assert images(recorder).superseded_share is None
    assert localization(recorder).latency_p50_s is None
    assert localization(recorder).outcome == ""


def test_rate_and_age_of_images(clock):
    recorder = HealthRecorder()
    for _ in range(5):
        clock[0] += 0.25
        recorder.note_image("cam")
    clock[0] += 3.0
    health = images(recorder)
    assert health.rate_hz == pytest.approx(4.0)
    assert health.age_s == pytest.approx(3.0)
    assert health.num_received == 5
    assert recorder.camera_frame == "cam"


def test_share_of_superseded_images_in_the_last_minute(clock):
    recorder = HealthRecorder()
    recorder.note_answer(answer(counters=(1, 0, 1)))
    clock[0] += 100.0  # what was before no longer counts
    recorder.note_answer(answer(counters=(1000, 900, 2)))
    recorder.note_answer(answer(counters=(1004, 903, 3)))
    assert images(recorder).superseded_share == pytest.approx(0.75)


def test_latency_of_the_last_minute(clock):
    recorder = HealthRecorder()
    recorder.note_answer(answer(total_s=9.0))
    clock[0] += 61.0
    for total_s in (0.1, 0.2, 0.3):
        recorder.note_answer(answer(total_s=total_s))
    assert localization(recorder).latency_p50_s == pytest.approx(0.2)
    clock[0] += 61.0
    assert localization(recorder).latency_p50_s is None


def test_fixes_not_accepted_in_a_row(clock):
    recorder = HealthRecorder()
    for verdict in (Verdict.AWAITING_AGREEMENT, Verdict.REJECTED_INNOVATION, None):
        recorder.note_answer(answer(verdict))
    health = localization(recorder)
    assert health.rejected_in_a_row == 2  # an image without a fix is none that was not accepted
    assert (health.outcome, health.verdict, health.reason) == ("NO_CONSENSUS", "", "too dark")
    recorder.note_answer(answer(Verdict.ACCEPTED))
    assert localization(recorder).rejected_in_a_row == 0
    assert localization(recorder).reason == "because"


def test_a_refused_image_is_counted_and_named_until_the_next(clock):
    recorder = HealthRecorder()
    recorder.note_answer(answer(Verdict.ACCEPTED))
    recorder.note_answer(answer(error="it is broken"))
    assert (images(recorder).num_refused, images(recorder).last_error) == (1, "it is broken")
    assert localization(recorder).verdict == ""
    recorder.note_answer(answer(Verdict.ACCEPTED))
    assert (images(recorder).num_refused, images(recorder).last_error) == (1, "")


def test_activation_forgets(clock):
    recorder = HealthRecorder()
    recorder.note_image("cam")
    recorder.note_answer(answer(Verdict.ACCEPTED))
    recorder.clear()
    assert images(recorder).num_received == 0
    assert localization(recorder).outcome == ""
    assert recorder.camera_frame == ""


def test_an_image_that_could_not_be_used_is_the_last_one(clock):
    recorder = HealthRecorder()
    recorder.note_answer(answer(Verdict.ACCEPTED))
    recorder.note_answer(answer(error="no calibration", counters=(41, 0, 41)))
    health = localization(recorder)
    assert (health.outcome, health.verdict, health.reason) == ("BAD_INPUT", "", "no calibration")
    assert health.num_processed == 41


def test_doubts_of_the_last_usable_image_stay(clock):
    recorder, usable = HealthRecorder(), answer(Verdict.ACCEPTED)
    doubtful = dataclasses.replace(usable.relocalization, warnings=("the lens looks up",))
    recorder.note_answer(dataclasses.replace(usable, relocalization=doubtful))
    recorder.note_answer(answer(error="it is broken"))
    assert images(recorder).doubts == ("the lens looks up",)
    recorder.note_answer(usable)
    assert images(recorder).doubts == ()


TIMING = CameraTiming(behind_s=0.02, group_share=0.75)


def rig_answer(camera, *, gray=None, share=None, problem="", is_missing=False):
    """The answer to one view of several; a picture of one gray, of noise unless given."""
    usable = answer(Verdict.ACCEPTED)
    image = np.random.default_rng(0).integers(0, 255, (48, 64), np.uint8)
    image = image if gray is None else np.full((48, 64), gray, np.uint8)
    frame = None if is_missing else Frame(1, image, CAMERA)
    view = CameraView(camera, frame, None, None if problem else 0, problem, is_missing)
    found = dataclasses.replace(usable.relocalization.localization, views=(share or ViewShare(9, 8, 7),))
    result = dataclasses.replace(usable.relocalization, localization=found)
    return dataclasses.replace(usable, relocalization=result, views=(view,))


def among(recorder, camera="left"):
    return recorder.image_health(Config(), "/left/image", camera, timing=TIMING).among


def test_each_camera_is_counted_by_itself(clock):
    recorder = HealthRecorder()
    recorder.note_image("front_optical", "front")
    recorder.note_image("left_optical", "left")
    recorder.note_image("left_optical", "left")
    recorder.note_answer(rig_answer("left", problem="it is broken"))
    health = recorder.image_health(Config(), "/left/image", "left", timing=TIMING)
    assert (health.camera, health.num_received, health.among.group_share) == ("left", 2, 0.75)
    assert recorder.image_health(Config(), "/front/image", "front").num_received == 1
    assert recorder.camera_frame == "front_optical left_optical"


def test_what_a_camera_brought_last(clock):
    recorder = HealthRecorder()
    assert among(recorder).num_inliers is None
    recorder.note_answer(rig_answer("left"))
    recorder.note_answer(rig_answer("left", is_missing=True, problem="no image"))
    health = among(recorder)
    assert (health.num_keypoints, health.num_matches, health.num_inliers) == (9, 8, 7)
    assert (health.delay_s, health.picture_error, health.contradiction) == (0.02, "", "")


def test_a_dark_picture_is_named_when_it_lasts(clock):
    recorder = HealthRecorder()
    for number in range(4):
        assert ("next to no contrast" in among(recorder).picture_error) == (number >= 3)
        recorder.note_answer(rig_answer("left", gray=3))
    recorder.note_answer(rig_answer("left"))
    assert among(recorder).picture_error == ""


def test_a_doubted_camera_is_named_for_as_long_as_it_is_doubted(clock):
    recorder = HealthRecorder()
    doubted = ViewShare(9, 0, 0, "no match", doubt="contradicts the other cameras")
    recorder.note_answer(rig_answer("left", share=doubted))
    assert among(recorder).contradiction == doubted.doubt
    recorder.note_answer(rig_answer("left"))
    assert among(recorder).contradiction == ""


def test_how_a_camera_sits_among_the_others_is_passed_on(clock):
    recorder = HealthRecorder()
    recorder.note_answer(rig_answer("left", share=ViewShare(9, 8, 7, unproven="cannot be checked")))
    assert (among(recorder).unproven, among(recorder).mounting) == ("cannot be checked", "")
    askew = ViewShare(9, 8, 7, mounting="turned by x 2.0 +- 0.2 deg", is_askew=True)
    recorder.note_answer(rig_answer("left", share=askew))
    assert (among(recorder).mounting, among(recorder).is_askew) == (askew.mounting, True)
    assert among(recorder).unproven == ""


def test_a_frozen_camera_is_named_at_once(clock):
    recorder = HealthRecorder()
    recorder.note_answer(rig_answer("left", problem=FROZEN.format(2)))
    assert among(recorder).picture_error.startswith("frozen")
    assert among(recorder).problem == FROZEN.format(2)


def test_an_image_that_cannot_be_read_is_that_of_its_camera(clock):
    recorder, usable = HealthRecorder(), rig_answer("front")
    broken = CameraView("left", problem="it is broken")
    recorder.note_answer(dataclasses.replace(usable, views=(*usable.views, broken)))
    left, front = (recorder.image_health(Config(), "", camera) for camera in ("left", "front"))
    assert (left.num_refused, left.last_error) == (1, "it is broken")
    assert (front.num_refused, front.last_error) == (0, "")
    assert front.size_wh == CAMERA.size_wh


def test_images_that_the_middleware_lost_are_counted_and_their_share_is_of_the_last_minute(clock):
    recorder = HealthRecorder()

    def receive(number):
        for _ in range(number):
            recorder.note_image("camera")

    receive(100)
    assert (images(recorder).num_lost, images(recorder).lost_share) == (0, None)
    recorder.note_lost(2)
    clock[0] += 1.0
    receive(1)
    recorder.note_lost(1)
    assert (images(recorder).num_lost, images(recorder).lost_share) == (3, 0.75)
    clock[0] += 59.5
    receive(3)
    assert (images(recorder).num_lost, images(recorder).lost_share) == (3, 0.25)
    clock[0] += 2.0
    assert (images(recorder).num_lost, images(recorder).lost_share) == (3, None)
    assert recorder.image_health(Config(), "/left", "left").num_lost == 0


def test_many_losses_are_remembered_in_bounds(clock, monkeypatch):
    monkeypatch.setattr(health_recorder, "_MOST_LOSSES", 4)
    recorder = HealthRecorder()
    for _ in range(10):
        recorder.note_lost(1)
        recorder.note_image("camera")
    assert (images(recorder).num_lost, images(recorder).lost_share) == (10, 0.5)
