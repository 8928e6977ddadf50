"""`hfnet-ros doctor --map --bag`: each fault of a recording is found and named before a robot drives."""

import dataclasses
import shutil

import cv2
import numpy as np
import pytest

from hfnet_ros.bags import BagReader, BagWriter
from hfnet_ros.cli.main import main
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.messages.factory import RosbagsMessages
from hfnet_ros.messages.headers import stamp_from_message, time_to_message
from hfnet_ros.messages.images import compressed_to_message, image_from_message

IMAGE, INFO, ODOMETRY = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo", "nav_msgs/msg/Odometry"
MESSAGES = RosbagsMessages()
UNSCALED = {"scale": "arbitrary"}


@pytest.fixture(scope="module")
def sound(query, tmp_path_factory):
    """Five images of the query walk as a robot with odometry recorded them."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "images").mkdir()
    for file in query.files[:5]:
        shutil.copy(file, folder / "images")
    lines = query.poses.read_text().splitlines(keepends=True)
    (folder / "poses.tum").write_text("".join(line for line in lines if line.startswith("#")))
    with (folder / "poses.tum").open("a") as stream:
        stream.writelines([line for line in lines if not line.startswith("#")][:5])
    words = ["--images", folder / "images", "--poses", folder / "poses.tum", "--camera", query.camera]
    words += ["--odometry-from-poses", "--out", folder / "sound.bag"]
    assert main(["bag", "make", *map(str, words)]) == 0
    return folder / "sound.bag"


@pytest.fixture
def examine(run, built, sound, tmp_path):
    """Return a function that changes a recording message by message and asks the doctor.

    `change` is given topic, type, receipt and message, and returns such tuples; topics are announced with no message.
    """

    def examine(change=None, *options, map_path=built.path, latched=()):
        path = sound
        if change is not None:
            path = tmp_path / "changed.bag"
            with BagReader(sound) as bag, BagWriter(path) as writer:
                for topic in bag.topics:
                    for name, type_name, _, _ in change(topic.name, topic.type_name, 0, None):
                        writer.add_topic(name, type_name, latched=topic.latched or name in latched)
                for message in bag.messages():
                    for entry in change(message.topic, message.type_name, message.stamp_ns, message.data):
                        writer.write(*entry)
        return run("doctor", "--map", map_path, "--bag", path, *options)

    return examine


def with_info(**changes):
    def change(topic, type_name, receipt_ns, message):
        if type_name == INFO and message is not None:
            given = {name: value(message) if callable(value) else value for name, value in changes.items()}
            message = dataclasses.replace(message, **given)
        return [(topic, type_name, receipt_ns, message)]

    return change


def k_with(**entries):
    def change(message):
        k = message.k.copy()
        for row, factor in entries.items():
            k[int(row[1:])] *= factor
        return k

    return change


def swapped(message):
    k = message.k.copy()
    k[2], k[5] = k[5], k[2]
    return k


def shifted(offset_s, *types, receipts=False):
    def change(topic, type_name, receipt_ns, message):
        if type_name in types and message is not None and not receipts:
            stamp = time_to_message(MESSAGES, stamp_from_message(message.header.stamp) + int(offset_s * 1e9))
            message = dataclasses.replace(message, header=dataclasses.replace(message.header, stamp=stamp))
        return [(topic, type_name, receipt_ns + int(offset_s * 1e9) * receipts, message)]

    return change


def without_stamps(topic, type_name, receipt_ns, message):
    if type_name == IMAGE and message is not None:
        stamp = time_to_message(MESSAGES, 0)
        message = dataclasses.replace(message, header=dataclasses.replace(message.header, stamp=stamp))
    return [(topic, type_name, receipt_ns, message)]


def first_at_zero():
    """Let the first image be of time zero, as in a recording of frame numbers."""
    first = []

    def change(topic, type_name, receipt_ns, message):
        if type_name == IMAGE and message is not None and not first:
            first.append(message)
            return without_stamps(topic, type_name, 0, message)
        return [(topic, type_name, receipt_ns, message)]

    return change


def without(*types):
    return lambda topic, type_name, receipt_ns, message: (
        [] if type_name in types else [(topic, type_name, receipt_ns, message)]
    )


def once(type_wanted):
    seen = []

    def change(topic, type_name, receipt_ns, message):
        if type_name == type_wanted and message is not None:
            seen.append(message)
            if len(seen) > 1:
                return []
        return [(topic, type_name, receipt_ns, message)]

    return change


def first_of_no_size():
    seen = []

    def change(topic, type_name, receipt_ns, message):
        if type_name == INFO and message is not None:
            seen.append(message)
            message = dataclasses.replace(message, width=0, height=0) if len(seen) == 1 else message
        return [(topic, type_name, receipt_ns, message)]

    return change


def compressed(topic, type_name, receipt_ns, message):
    if type_name != IMAGE:
        return [(topic, type_name, receipt_ns, message)]
    name, kind = f"{topic}/compressed", "sensor_msgs/msg/CompressedImage"
    if message is None:
        return [(name, kind, receipt_ns, None)]
    data = cv2.imencode(".png", image_from_message(message))[1].tobytes()
    stamp_ns = stamp_from_message(message.header.stamp)
    made = compressed_to_message(MESSAGES, data, "png", stamp_ns, message.header.frame_id)
    return [(name, kind, receipt_ns, made)]


def rectified(**changes):
    inner = with_info(**changes)

    def change(topic, type_name, receipt_ns, message):
        ((topic, *rest),) = inner(topic, type_name, receipt_ns, message)
        return [(topic.replace("image_raw", "image_rect") if type_name == IMAGE else topic, *rest)]

    return change


def as_a_body_frame(topic, type_name, receipt_ns, message):
    """Mount the camera as a driver does whose images carry a body frame: not turned into the optical one."""
    if topic == "/tf_static" and message is not None:
        turn = MESSAGES.make("geometry_msgs/msg/Quaternion", w=1.0)
        transforms = [
            dataclasses.replace(one, transform=dataclasses.replace(one.transform, rotation=turn))
            for one in message.transforms
        ]
        message = dataclasses.replace(message, transforms=transforms)
    return [(topic, type_name, receipt_ns, message)]


def test_a_sound_recording_has_nothing_to_complain_of(examine):
    answer = examine()
    assert (answer.status, answer.err) == (0, ""), answer.out
    assert "!!" not in answer.out
    assert "accepted in room.map" in answer.out


FAULTS = {
    "cx and cy swapped": (with_info(k=swapped), "cx and cy are swapped"),
    "K of another resolution": (with_info(k=k_with(i0=2, i2=2, i4=2, i5=2)), "scale it, or calibrate"),
    "another focal length": (with_info(k=k_with(i0=1.2, i4=1.2)), "the map's camera of"),
    "uncalibrated": (with_info(k=np.zeros(9), p=np.zeros(12)), "K is all zeros"),
    "no size": (with_info(width=0, height=0), "expected both positive"),
    "rectified without P": (rectified(p=np.zeros(12), d=np.full(5, 0.01)), "P is all zeros"),
    "no camera_info": (without(INFO), "for the calibration of"),
    "camera_info once": (once(INFO), "sent once, and not kept"),
    "no images": (without(IMAGE), "for images"),
    "compressed only": (compressed, "set node.image_transport to compressed"),
    "another clock": (shifted(100.0, IMAGE), "another clock"),
    "stamps far from receipt": (shifted(1e6, receipts=True), "another clock: images are stamped"),
    "no stamps": (without_stamps, "images have no stamp"),
    "a body frame": (as_a_body_frame, "the mounting of"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_and_fails(examine, name):
    change, words = FAULTS[name]
    answer = examine(change)
    assert answer.status == 1, answer.out
    assert any(words in line for line in answer.lines if line.startswith("!!")), answer.out


def test_a_map_without_a_scale_is_named(examine, built, tmp_path):
    path, visual_map = tmp_path / "unscaled.map", load_map(built.path)
    save_map(dataclasses.replace(visual_map, build_info=visual_map.build_info | UNSCALED), path)
    answer = examine(map_path=path)
    assert answer.status == 1
    assert any("no metres" in line for line in answer.lines if line.startswith("!!")), answer.out


def test_what_does_no_harm_is_said_without_failing(examine, tmp_path):
    answer = examine(first_of_no_size())
    assert "1 of 5 calibrations" in answer.out
    assert "expected both positive" in answer.out
    assert answer.status == 0, answer.out
    answer = examine(once(INFO), latched=("/camera/camera_info",))
    assert "1 messages, latched" in answer.out
    assert answer.status == 0, answer.out
    (tmp_path / "parameters.yaml").write_text("node: {image_transport: compressed}\n")
    assert examine(compressed, "--params", tmp_path / "parameters.yaml").status == 0


def test_a_recording_that_begins_at_zero_is_of_no_other_clock(examine):
    """Stamps made of frame numbers do; a clock that never came had been named, of a node that is not there."""
    answer = examine(first_at_zero())
    assert "1 of 5 images have no stamp" in answer.out
    assert "/clock" not in answer.out


def test_map_and_bag_belong_together(run, built):
    assert "--map and --bag" in run("doctor", "--map", built.path).error


@pytest.mark.parametrize("option", ["--camera", "--image-topic", "--base-frame"])
def test_what_says_something_of_a_recording_needs_one(run, option):
    assert f"{option} needs --bag" in run("doctor", option, "x").error
