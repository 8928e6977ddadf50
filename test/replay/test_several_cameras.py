"""Bags with several cameras: the same groups as live, the same bytes twice."""

import dataclasses
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from hfnet_ros.bags import BagReader, BagWriter
from hfnet_ros.bags.make import LOOKING_AHEAD
from hfnet_ros.config import CamerasConfig
from hfnet_ros.errors import BagError, ConfigError
from hfnet_ros.files.camera_mask import read_mask
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.messages.camera_info import camera_to_message
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.messages.images import image_to_message
from hfnet_ros.messages.poses import transform_to_message
from hfnet_ros.replay import BagChoices, Replay, open_sources
from hfnet_ros.types import Query, Verdict

MESSAGES = RosbagsMessages()
TF = "tf2_msgs/msg/TFMessage"
CAMERA = Camera(DistortionModel.NONE, (64, 48), np.array([50.0, 50.0]), np.array([31.5, 23.5]), np.zeros(0))
NAMES = ("front", "left", "right", "rear")
MOUNTINGS = {
    name: Rigid3.from_rotvec([0.0, 0.0, np.pi / 2 * quarter], np.zeros(3)) @ LOOKING_AHEAD
    for name, quarter in zip(NAMES, (0, 1, -1, 2), strict=True)
}
TENTHS = [100 * index for index in range(10)]


def write(path, robot, times_ms, delays_ms=None, mounted=NAMES):
    """Write a robot that drives as that of one camera does; times and delays of receipt are by camera, ms."""
    delays_ms, entries = delays_ms or {}, []
    for name in times_ms:
        info = camera_to_message(
            MESSAGES, CAMERA, header_to_message(MESSAGES, robot.at(0), f"{name}_optical")
        )
        entries.append((f"/{name}/camera_info", "sensor_msgs/msg/CameraInfo", robot.at(-1000), info))
        if name in mounted:
            mounting = transform_to_message(
                MESSAGES, MOUNTINGS[name], robot.at(0), "base_link", f"{name}_optical"
            )
            entries.append(("/tf_static", TF, robot.at(-1000), MESSAGES.make(TF, transforms=[mounting])))
        for number, ms in enumerate(times_ms[name]):
            image = np.full((48, 64), number, np.uint8)
            message = image_to_message(MESSAGES, image, robot.at(ms), f"{name}_optical")
            receipt_ns = robot.at(ms + delays_ms.get(name, 10.0))
            entries.append((f"/{name}/image", "sensor_msgs/msg/Image", receipt_ns, message))
    for ms in range(-100, 1500, 20):
        pose = transform_to_message(
            MESSAGES, robot.odom_from_base(robot.at(ms)), robot.at(ms), "odom", "base_link"
        )
        entries.append(("/tf", TF, robot.at(ms), MESSAGES.make(TF, transforms=[pose])))
    with BagWriter(path) as bag:
        for topic, type_name, receipt_ns, message in sorted(entries, key=lambda entry: entry[2]):
            bag.write(topic, type_name, receipt_ns, message)
    return path


class RigLocalizer:
    """Knows every pose of the robot, and remembers what it was asked."""

    def __init__(self, make_localizer, robot):
        self.make, self.robot, self.asked = make_localizer, robot, []

    def localize(self, query, prior=None):
        self.asked.append(query)
        truth = self.robot.map_from_base(query.stamp_ns)
        if not isinstance(query, Query):
            truth = truth @ MOUNTINGS[query.camera_frame_id.removesuffix("_optical")]
        return self.make({query.stamp_ns: truth}).localize(query, prior)


@pytest.fixture
def rig_localizer(scripted_localizer, robot):
    return RigLocalizer(scripted_localizer, robot)


@pytest.fixture
def opened(robot):
    @contextmanager
    def open_bag(path, names=NAMES, choices=None, **cameras):
        config = dataclasses.replace(robot.CONFIG, cameras=CamerasConfig(" ".join(names), **cameras))
        with BagReader(path) as bag:
            yield open_sources(bag, choices or BagChoices(), config)

    return open_bag


def groups(robot, answers):
    return [
        (
            round((answer.stamp_ns - robot.START_NS) / 1e6),
            "".join(v.camera[:2] for v in answer.views if v.frame),
        )
        for answer in answers
    ]


def test_images_of_one_time_are_one_answer_of_the_robot(robot, tmp_path, opened, rig_localizer):
    path = write(tmp_path / "bag", robot, dict.fromkeys(NAMES, TENTHS))
    with opened(path) as sources:
        answers = list(Replay(sources, rig_localizer).in_order())
    assert groups(robot, answers) == [(ms, "frlerire") for ms in TENTHS]
    for answer in answers:
        assert answer.relocalization.decision.verdict is Verdict.ACCEPTED
        truth = robot.map_from_base(answer.stamp_ns)
        assert answer.relocalization.map_from_base.translation_to(truth) < 1e-9
        assert (answer.wait_s, answer.gate_s, answer.total_s) == (0.0, 0.0, 0.0)
    mountings = [view.calibration.rig_from_camera for view in rig_localizer.asked[0].views]
    assert [
        mounting.rotation_to(MOUNTINGS[name]) for mounting, name in zip(mountings, NAMES, strict=True)
    ] == [pytest.approx(0.0, abs=1e-7)] * 4


def test_in_order_nothing_is_late_and_nothing_is_left_out(robot, tmp_path, opened, rig_localizer):
    times = {"front": TENTHS, "left": [ms + 15 for ms in TENTHS], "right": [0, 100, 900]}
    path = write(tmp_path / "bag", robot, times, {"left": 700.0})
    with opened(path, tuple(times)) as sources:
        answers = list(Replay(sources, rig_localizer).in_order())
    assert groups(robot, answers) == [(ms, "frleri" if ms in times["right"] else "frle") for ms in TENTHS]
    moved = rig_localizer.asked[0].views[1].calibration.rig_from_camera
    assert moved.translation_to(MOUNTINGS["left"]) == pytest.approx(0.015), "at 1 m/s"


def test_in_real_time_the_node_s_wait_holds(robot, tmp_path, opened, rig_localizer):
    """Left comes 150 ms late: groups wait 100 ms for it, five times, then not any more."""
    times = {"front": [200 * n for n in range(7)], "left": [200 * n for n in range(7)]}
    path = write(tmp_path / "bag", robot, times, {"left": 160.0})
    with opened(path, tuple(times)) as sources:
        answers = list(Replay(sources, rig_localizer).in_real_time(0.0))
    assert groups(robot, answers) == [(ms, "fr") for ms in times["front"]]
    assert [answer.wait_s for answer in answers] == pytest.approx([0.1] * 5 + [0.0] * 2, abs=1e-6)
    assert answers[0].views[1].is_missing


def test_in_real_time_groups_are_dropped_whole(robot, tmp_path, opened, rig_localizer):
    path = write(tmp_path / "bag", robot, dict.fromkeys(NAMES, TENTHS))
    with opened(path) as sources:
        answers = list(Replay(sources, rig_localizer).in_real_time(0.25))
    assert [ms for ms, _ in groups(robot, answers)] == [0, 200, 500, 700, 900]
    assert {names for _, names in groups(robot, answers)} == {"frlerire"}
    assert answers[-1].counters.num_received == 10
    assert answers[-1].counters.num_superseded == 5


def test_a_camera_of_unknown_mounting_is_left_out_with_a_note(robot, tmp_path, opened, rig_localizer):
    path = write(tmp_path / "bag", robot, dict.fromkeys(NAMES, TENTHS[:3]), mounted=NAMES[:3])
    with opened(path) as sources:
        answers = list(Replay(sources, rig_localizer).in_order())
    assert answers[0].relocalization.decision.verdict is Verdict.ACCEPTED
    assert [view.view_idx for view in answers[0].views] == [0, 1, 2, None]


def test_without_any_mounting_nothing_is_replayed(robot, tmp_path, opened):
    path = write(tmp_path / "bag", robot, dict.fromkeys(NAMES, TENTHS[:3]), mounted=())
    with pytest.raises(BagError, match=r"give it by cameras\.base_from_camera"), opened(path):
        pass


def test_mountings_topics_and_frames_may_be_parameters(robot, tmp_path, opened, rig_localizer):
    path = write(tmp_path / "bag", robot, dict.fromkeys(NAMES, TENTHS[:3]), mounted=("left",))
    numbers = " ".join(map(str, [*LOOKING_AHEAD.translation, *LOOKING_AHEAD.quat_xyzw]))
    given = {
        "image_topics": "front/image right/image",
        "base_from_camera": f"{numbers} -",
        "frames": "- left_optical",
    }
    with opened(path, ("ahead", "aside"), **given) as sources:
        next(iter(Replay(sources, rig_localizer).in_order()))
    mountings = [view.calibration.rig_from_camera for view in rig_localizer.asked[0].views]
    assert mountings[0].rotation_to(LOOKING_AHEAD) == pytest.approx(0.0, abs=1e-7)
    assert mountings[1].rotation_to(MOUNTINGS["left"]) == pytest.approx(0.0, abs=1e-7)


def test_a_camera_that_is_not_in_the_bag_is_named(robot, tmp_path, opened):
    path = write(tmp_path / "bag", robot, {"front": TENTHS})
    with pytest.raises(BagError, match="no topic /left/image"), opened(path, ("front", "left")):
        pass


@pytest.mark.parametrize(
    "choices", [{"camera": CAMERA}, {"base_from_camera": "0 0 0 0 0 0 1"}, {"camera_info_topic": "/a"}]
)
def test_what_is_said_of_one_camera_is_refused_for_several(robot, tmp_path, opened, choices):
    path = write(tmp_path / "bag", robot, dict.fromkeys(NAMES[:2], TENTHS[:2]))
    with pytest.raises(ConfigError, match="is of one camera"), opened(path, NAMES[:2], BagChoices(**choices)):
        pass


def test_an_image_topic_chooses_one_camera(robot, tmp_path, opened, rig_localizer):
    path = write(tmp_path / "bag", robot, dict.fromkeys(NAMES, TENTHS[:2]))
    with opened(path, choices=BagChoices(image_topic="/left/image")) as sources:
        answers = list(Replay(sources, rig_localizer).in_order())
    assert [view.camera for view in answers[0].views] == [""]
    assert rig_localizer.asked[0].camera_frame_id == "left_optical"


@pytest.fixture
def mask(tmp_path):
    """A mask of the right half of an image."""
    picture = np.full((48, 64), 255, np.uint8)
    picture[:, 32:] = 0
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), picture)
    return path


def noise(number):
    return np.random.default_rng(number).integers(0, 256, (48, 64), np.uint8)


@pytest.mark.parametrize("asked", ["", "/left/image"])
def test_masks_are_of_the_cameras_that_they_name(robot, tmp_path, opened, mask, asked, monkeypatch):
    monkeypatch.setattr(np, "full", lambda shape, number, kind: noise(number))  # instead of plain images
    path = write(tmp_path / "bag", robot, dict.fromkeys(("front", "left"), TENTHS))
    monkeypatch.undo()
    choices = BagChoices(image_topic=asked, base_frame="base_link")
    with opened(path, ("front", "left"), choices, masks=f"left={mask}") as sources:
        images = {camera.name: next(iter(camera.frames)).image() for camera in sources.cameras}
        written = sources.config.cameras.mask_files
    hidden = read_mask(mask).hide(noise(0))
    if asked:
        np.testing.assert_array_equal(images[""], hidden)
        assert written == {"": str(mask)}
        return
    np.testing.assert_array_equal(images["front"], noise(0))
    np.testing.assert_array_equal(images["left"], hidden)
    assert written == {"left": str(mask)}


def test_a_mask_of_no_camera_of_the_bag_is_refused(robot, tmp_path, opened, mask):
    path = write(tmp_path / "bag", robot, {"front": TENTHS})
    with (
        pytest.raises(ConfigError, match=r"'rear=.*mask\.png'; there are front"),
        opened(path, ("front",), masks=f"rear={mask}"),
    ):
        pass
