import argparse
import json

import cv2
import numpy as np
import pytest

from hfnet_ros.cli.bags import add_verbs
from hfnet_ros.errors import ConfigError
from hfnet_ros.files.camera_yaml import write_camera_yaml
from hfnet_ros.files.tum import StampedPose, write_tum
from hfnet_ros.geometry import Rigid3


@pytest.fixture
def run():
    parser = argparse.ArgumentParser()
    add_verbs(parser.add_subparsers())

    def run(*arguments):
        options = parser.parse_args([str(argument) for argument in ("bag", *arguments)])
        return options.run(options)

    return run


@pytest.fixture
def made(tmp_path, camera):
    """The arguments of `bag make` for three images."""
    (tmp_path / "images").mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{index}.jpg"), np.full((48, 64), 90, np.uint8))
    poses = [StampedPose(10**9 * (index + 1), Rigid3.identity()) for index in range(3)]
    write_tum(tmp_path / "poses.tum", poses)
    write_camera_yaml(tmp_path / "camera.yaml", camera.resized((64, 48)), "camera")
    return [
        "--images", tmp_path / "images", "--camera", tmp_path / "camera.yaml",
        "--poses", tmp_path / "poses.tum", "--out", tmp_path / "robot.bag",
    ]  # fmt: skip


def test_make_says_what_is_in_the_bag(run, made, capsys, tmp_path):
    assert run("make", *made, "--odometry-from-poses", "--compressed", "--storage", "sqlite3") == 0
    printed = capsys.readouterr().out
    assert "in 2.000 s" in printed
    assert "/camera/image_raw/compressed  sensor_msgs/msg/CompressedImage   3 messages   1.0 Hz" in printed
    assert run("info", tmp_path / "robot.bag") == 0
    told = capsys.readouterr().out
    assert "storage      sqlite3" in told
    assert "/odom" in told


def test_info_as_json(run, made, capsys, tmp_path):
    run("make", *made)
    capsys.readouterr()
    assert run("info", tmp_path / "robot.bag", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["storage"], facts["duration_s"], facts["messages"]) == ("mcap", 2.0, 10)
    assert {"name": "/tf_static", "type": "tf2_msgs/msg/TFMessage", "messages": 1, "rate_hz": 0.0} in facts[
        "topics"
    ]
    assert facts["notes"] == []


def test_info_of_a_damaged_bag_says_so(run, made, capsys, tmp_path):
    run("make", *made)
    (tmp_path / "robot.bag" / "metadata.yaml").unlink()
    capsys.readouterr()
    assert run("info", tmp_path / "robot.bag") == 0
    assert "note: metadata.yaml is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--base-from-camera", "1 2 3"], "--base-from-camera is '1 2 3', expected seven numbers"),
        (["--odometry-from-poses", "--odometry-noise", "-1", "0"], "--odometry-noise is -1.0 0.0"),
    ],
)
def test_wrong_numbers_are_named_by_their_option(run, made, arguments, found, tmp_path):
    with pytest.raises(ConfigError, match=found):
        run("make", *made, *arguments)
    assert not (tmp_path / "robot.bag").exists()
