"""Maps from bags: the same as from the folder the bag was made of."""

import json

import numpy as np
import pytest

from hfnet_ros.bags.make import LOOKING_AHEAD
from hfnet_ros.files import read_tum
from hfnet_ros.geometry import Rigid3
from hfnet_ros.map.map_io import load_map


@pytest.fixture
def bag(run, short, tmp_path):
    path = tmp_path / "short.bag"
    assert run("bag", "make", *short.options(), "--out", path).status == 0
    return path


def assert_same_map(first, second):
    one, other = load_map(first), load_map(second)
    assert one.num_keyframes == other.num_keyframes
    np.testing.assert_array_equal(one.keyframe_stamps_ns, other.keyframe_stamps_ns)
    np.testing.assert_allclose(one.keyframe_poses, other.keyframe_poses, atol=1e-9)
    np.testing.assert_array_equal(one.observation_landmark_idx, other.observation_landmark_idx)
    np.testing.assert_allclose(one.landmark_xyz, other.landmark_xyz, atol=1e-6)
    np.testing.assert_array_equal(one.landmark_descriptors, other.landmark_descriptors)


@pytest.mark.parametrize("poses", [("--pose-topic", "/ground_truth/pose"), ("--poses", "FILE")])
def test_a_map_of_a_bag_is_that_of_its_folder(run, short, bag, kit, tmp_path, poses):
    poses = [short.poses if word == "FILE" else word for word in poses]
    build = ("map", "build", *kit.FAST, "--every", 2, "--out")
    assert run(*build, tmp_path / "folder.map", *short.options()).status == 0
    answer = run(*build, tmp_path / "bag.map", "--bag", bag, *poses)
    assert (answer.status, answer.err) == (0, "")
    assert_same_map(tmp_path / "folder.map", tmp_path / "bag.map")


def test_keyframes_of_a_bag_are_selected_by_motion_and_by_sharpness(run, short, bag, kit, tmp_path):
    posed = ("--bag", bag, "--pose-topic", "/ground_truth/pose")
    motion = ("--min-distance", 0.15, "--min-angle", 10)
    for name, options in (("bag", posed), ("folder", short.options())):
        assert run("map", "build", *options, *kit.FAST, *motion, "--out", tmp_path / name).status == 0
    assert_same_map(tmp_path / "folder", tmp_path / "bag")
    answer = run("map", "build", *posed, *kit.FAST, *motion, "--sharpest", "--out", tmp_path / "sharp")
    assert answer.lines[0].startswith("keyframes: ")


def test_poses_come_from_transforms_too(run, query, kit, tmp_path):
    """Odometry without noise is the truth from where it began."""
    bag = tmp_path / "query.bag"
    made = ("--odometry-from-poses", "--odometry-noise", 0, 0, "--out", bag)
    assert run("bag", "make", *query.options(), *made).status == 0
    options = ("--bag", bag, "--tf", "odom:base_link", *kit.FAST, "--out", tmp_path / "odom.map")
    assert run("map", "build", *options).status == 0
    truth = {entry.stamp_ns: entry.map_from_camera for entry in read_tum(query.poses)}
    start = LOOKING_AHEAD @ truth[min(truth)].inverse()
    built = load_map(tmp_path / "odom.map")
    assert built.num_keyframes >= len(truth) - 1
    for stamp_ns, pose in zip(built.keyframe_stamps_ns.tolist(), built.keyframe_poses, strict=True):
        assert Rigid3.from_quat(pose[3:], pose[:3]).translation_to(start @ truth[stamp_ns]) < 1e-6


def test_a_session_in_a_bag_is_added_to_a_map(run, built, query, tmp_path):
    bag = tmp_path / "query.bag"
    assert run("bag", "make", *query.options(), "--out", bag).status == 0
    for name, poses in (("given", ("--pose-topic", "/ground_truth/pose")), ("found", ())):
        answer = run("map", "update", built.path, "--bag", bag, *poses, "--out", tmp_path / name)
        assert (answer.status, answer.err) == (0, "")
        assert load_map(tmp_path / name).num_keyframes >= 33 + len(query.files) - 1
    assert answer.lines[0] == "localized: 8 of 8 images"


def test_a_map_is_calibrated_with_a_bag_as_with_its_folder(run, built, query, tmp_path):
    bag = tmp_path / "query.bag"
    assert run("bag", "make", *query.options(), "--out", bag).status == 0
    found = {}
    for name, options in (
        ("bag", ("--bag", bag, "--ground-truth", "/ground_truth/pose")),
        ("folder", query.options()),
    ):
        out = tmp_path / f"{name}.json"
        answer = run("calibrate", "--map", built.path, *options, "--json", out)
        found[name] = (answer.status, answer.err, json.loads(out.read_text()) if out.exists() else None)
    assert found["bag"][:2] == found["folder"][:2]
    if found["folder"][2] is not None:
        for key in ("before", "after"):
            assert found["bag"][2][key]["anees"] == pytest.approx(found["folder"][2][key]["anees"], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--bag", "BAG"), "--bag needs poses to map from"),
        (("--bag", "BAG", "--pose-topic", "/p", "--tf", "map:base_link"), "in several ways"),
        (("--bag", "BAG", "--tf", "map"), "expected two frames"),
        (("--bag", "BAG", "--poses", "FILE", "--every", 0), "--every is 0"),
        (("--bag", "BAG", "--poses", "FILE", "--every", 2, "--min-distance", 1), "in two ways"),
        (("--bag", "BAG", "--poses", "FILE", "--colmap", "model"), "--colmap needs --images"),
        (("--images", "IMAGES", "--pose-topic", "/p"), "--pose-topic needs --bag"),
        (("--images", "IMAGES", "--pose-frame", "f"), "--pose-frame needs --bag"),
    ],
)
def test_what_does_not_go_together_is_refused(run, short, bag, kit, tmp_path, options, said):
    words = [{"BAG": bag, "IMAGES": short.images, "FILE": short.poses}.get(word, word) for word in options]
    assert said in run("map", "build", *words, *kit.FAST, "--out", tmp_path / "x.map").error


def test_poses_of_another_time_are_refused(run, bag, kit, tmp_path):
    late = tmp_path / "late.tum"
    late.write_text("99990.0 0 0 0 0 0 0 1\n99991.0 0 0 0 0 0 0 1\n")
    options = ("--bag", bag, "--poses", late, *kit.FAST, "--out", tmp_path / "x.map")
    said = run("map", "build", *options).error
    assert "none of 6 images has a pose; poses are from 99990.000" in said
    assert "1.0 s apart, and gaps of more than 0.25 s are not bridged" in said
