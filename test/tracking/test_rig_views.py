"""Images of several cameras as one query: mountings, motion between, cameras that fail."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.config import Config, GateConfig
from hfnet_ros.errors import ImageError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.answers import answer_image
from hfnet_ros.tracking.mailbox import CameraImage, ImageJob, ImageTask, Mailbox
from hfnet_ros.tracking.odometry import NoOdometry, TransformHistory
from hfnet_ros.tracking.relocalizer import Relocalizer
from hfnet_ros.tracking.rig_views import RepeatedImages, ask
from hfnet_ros.types import CameraView, Frame, Query, TrackingState, Verdict

S = 1_000_000_000
NOW = 1000 * S
FRONT = Rigid3.from_quat([-0.5, 0.5, -0.5, 0.5], [0.2, 0.0, 0.6])
LEFT = Rigid3.from_rotvec([0.0, 0.0, np.pi / 2], np.zeros(3)) @ FRONT
CONFIG = dataclasses.replace(Config(), gate=GateConfig(agreement_fixes=1))


@pytest.fixture
def view(camera):
    def make(name, base_from_camera=FRONT, stamp_ns=NOW, gray=0, **fields):
        image = np.full((camera.size_wh[1], camera.size_wh[0]), gray, np.uint8)
        return CameraView(name, Frame(stamp_ns, image, camera, f"{name}_optical"), base_from_camera, **fields)

    return make


def turning(rate_rad_s=1.0, speed_m_s=2.0):
    """Odometry of a robot that turns on a circle."""
    history = TransformHistory(CONFIG.odometry)
    for step in range(100):
        t = 0.02 * (step - 50)
        pose = Rigid3.from_rotvec([0.0, 0.0, rate_rad_s * t], [speed_m_s * t, 0.1, 0.0])
        history.add(NOW + round(t * S), pose)
    return history


def test_views_are_a_query_in_the_frame_of_the_robot(view):
    asked = ask(NOW, [view("front"), view("left", LEFT)], NoOdometry())
    assert isinstance(asked.seen, Query)
    assert asked.seen.stamp_ns == NOW
    mountings = [one.calibration.rig_from_camera for one in asked.seen.views]
    assert [mountings[0].translation_to(FRONT), mountings[1].rotation_to(LEFT)] == [0.0, 0.0]
    assert asked.base_from_camera.translation_to(Rigid3.identity()) == 0.0
    assert [one.view_idx for one in asked.views] == [0, 1]
    assert [one.problem for one in asked.views] == ["", ""]


def test_what_is_missing_or_broken_is_left_out_and_the_others_are_counted_on(view):
    views = [
        CameraView("front", problem="no image", is_missing=True),
        view("left", LEFT),
        dataclasses.replace(view("rear"), frame=None, problem="broken"),
        view("right"),
    ]
    asked = ask(NOW, views, NoOdometry())
    assert [one.view_idx for one in asked.views] == [None, 0, None, 1]
    assert len(asked.seen.views) == 2


def test_a_camera_that_is_alone_is_asked_as_one_camera_is(view):
    asked = ask(NOW, [CameraView("front", problem="no image"), view("left", LEFT, NOW + 5)], NoOdometry())
    assert isinstance(asked.seen, Frame)
    assert (asked.seen.stamp_ns, asked.seen.camera_frame_id) == (NOW, "left_optical")
    assert asked.base_from_camera.translation_to(LEFT) == 0.0


def test_a_camera_of_unknown_mounting_is_left_out(view):
    asked = ask(NOW, [view("front", None), view("left"), view("right")], NoOdometry())
    assert [one.view_idx for one in asked.views] == [None, 0, 1]
    assert "mounting" in asked.views[0].problem


def test_without_any_mounting_the_first_is_asked_and_nobody_knows_where_the_robot_is(view):
    asked = ask(NOW, [view("front", None), view("left", None)], NoOdometry())
    assert asked.seen.camera_frame_id == "front_optical"
    assert asked.base_from_camera is None
    assert [one.view_idx for one in asked.views] == [0, None]


def test_the_robot_moves_between_two_images_of_one_time(view):
    later = NOW + 20_000_000
    history = turning()
    asked = ask(NOW, [view("front"), view("left", LEFT, later)], history)
    moved = asked.seen.views[1].calibration.rig_from_camera
    odom_from_camera = history.sample_at(later).odom_from_base @ LEFT
    expected = history.sample_at(NOW).odom_from_base.inverse() @ odom_from_camera
    assert moved.translation_to(expected) < 1e-12
    assert moved.rotation_to(expected) < 1e-7
    assert moved.translation_to(LEFT) > 0.03
    assert moved.rotation_to(LEFT) == pytest.approx(0.02, rel=1e-3)
    assert asked.views[1].base_from_camera is moved
    assert asked.seen.views[0].calibration.rig_from_camera is FRONT


@pytest.mark.parametrize("later_s", [0.5, -5.0])
def test_what_odometry_does_not_cover_counts_as_standing_still(view, later_s):
    history = TransformHistory(CONFIG.odometry)
    history.add(NOW, Rigid3.identity())
    asked = ask(NOW, [view("front"), view("left", LEFT, NOW + round(later_s * S))], history)
    assert asked.seen.views[1].calibration.rig_from_camera is LEFT


def test_a_repeated_image_is_named_while_others_change(view):
    repeated = RepeatedImages()
    problems = [
        [one.problem for one in repeated.named([view("front", gray=7), view("left", gray=step)])]
        for step in range(3)
    ]
    assert problems[0] == ["", ""]
    assert "2 times in a row" in problems[1][0]
    assert "3 times in a row" in problems[2][0]
    assert [left for _, left in problems] == ["", "", ""]
    assert [one.problem for one in repeated.named([view("front", gray=8), view("left", gray=9)])] == ["", ""]


def test_all_cameras_may_repeat_themselves_as_in_a_simulation_that_stands_still(view):
    repeated = RepeatedImages()
    for _ in range(3):
        named = repeated.named([view("front", gray=1), view("left", gray=2)])
        assert [one.problem for one in named] == ["", ""]


def test_what_was_repeated_is_not_asked(view):
    repeated = RepeatedImages()
    for step in range(2):
        named = repeated.named([view("front", gray=7), view("left", LEFT, gray=step)])
    asked = ask(NOW, named, NoOdometry())
    assert asked.seen.camera_frame_id == "left_optical"
    assert [one.view_idx for one in asked.views] == [None, 0]
    assert "frozen" in asked.views[0].problem


class Tracked:
    """A relocalizer that is asked through a mailbox, as node and replay do."""

    def __init__(self, localizer, odometry):
        self.localizer = localizer
        self.relocalizer = Relocalizer(localizer, CONFIG, odometry)
        self.mailbox = Mailbox(CONFIG.node)

    def answer(self, stamp_ns, *images):
        job = ImageJob(stamp_ns, 0.0, tuple(images))
        return answer_image(self.relocalizer, self.mailbox, ImageTask(job, ()))


def image(view):
    return CameraImage(lambda: view.frame, lambda: view.base_from_camera, view.camera)


def broken(name):
    def read():
        raise ImageError("it is broken")

    return CameraImage(read, lambda: FRONT, name)


def test_the_pose_of_a_rig_is_that_of_the_robot(view, scripted_localizer):
    here = Rigid3.from_rotvec([0.0, 0.0, 0.3], [1.0, 2.0, 0.0])
    tracked = Tracked(scripted_localizer({NOW: here, NOW + S: here @ LEFT}), NoOdometry())
    for stamp_ns in (NOW, NOW + S):
        answer = tracked.answer(
            stamp_ns,
            image(view("front", stamp_ns=stamp_ns)),
            image(view("left", LEFT, stamp_ns, gray=stamp_ns // S % 7)),
            CameraImage(None, lambda: None, "right"),
        )
        assert answer.error == ""
    assert answer.relocalization.decision.verdict is Verdict.ACCEPTED
    assert answer.relocalization.map_from_base.translation_to(here) < 1e-12
    assert answer.relocalization.state is TrackingState.TRACKING
    assert [one.is_missing for one in answer.views] == [False, False, True]
    assert "frozen" in answer.views[0].problem
    prior = tracked.localizer.priors[NOW + S].map_from_camera
    assert prior.translation_to(here @ LEFT) < 0.1, "of the camera that is left alone"


def test_the_prior_of_a_rig_is_of_the_robot(view, scripted_localizer):
    here = Rigid3.from_rotvec([0.0, 0.0, 0.3], [1.0, 2.0, 0.0])
    tracked = Tracked(scripted_localizer({NOW: here}), NoOdometry())
    for step, stamp_ns in enumerate((NOW, NOW + S)):
        tracked.answer(
            stamp_ns, *(image(view(name, FRONT, stamp_ns, gray=step)) for name in ("front", "left"))
        )
    assert tracked.localizer.priors[NOW + S].map_from_camera.translation_to(here) < 1e-12


def test_a_broken_image_is_told_and_the_others_are_used(view, scripted_localizer):
    tracked = Tracked(scripted_localizer({NOW: Rigid3.identity()}), NoOdometry())
    answer = tracked.answer(NOW, broken("front"), image(view("left")))
    assert answer.relocalization.map_from_base is not None
    assert [one.problem for one in answer.views] == ["it is broken", ""]
    assert answer.camera_frame_id == "left_optical"


def test_if_no_image_can_be_read_each_camera_says_why(scripted_localizer):
    tracked = Tracked(scripted_localizer(), NoOdometry())
    answer = tracked.answer(NOW, broken("front"), CameraImage(None, lambda: None, "left"))
    assert answer.relocalization is None
    assert answer.error == "front: it is broken; left: no image of this time has come"


def test_images_without_any_mounting_give_no_position(view, scripted_localizer):
    tracked = Tracked(scripted_localizer({NOW: Rigid3.identity()}), NoOdometry())
    answer = tracked.answer(NOW, image(view("front", None)), image(view("left", None)))
    assert answer.relocalization.decision.verdict is Verdict.NO_EXTRINSIC
