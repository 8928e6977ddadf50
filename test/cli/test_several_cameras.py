"""Bags of a robot with several cameras on the command line."""

import json

import pytest
from camera_robots import NAMES, record

from hfnet_ros.bags import BagReader
from hfnet_ros.map.map_io import load_map

FOUR = (*NAMES, "rear")


@pytest.fixture(scope="module")
def four(rig_walk, tmp_path_factory):
    return record(tmp_path_factory.mktemp("bags") / "four.bag", rig_walk, FOUR)


@pytest.fixture
def replayed(run, four, room_map, tmp_path):
    """Return a function that replays the four cameras and returns the answer and the folder."""

    def replay(name, *options, bag=four):
        out = tmp_path / name
        out.parent.mkdir(exist_ok=True)
        return run("replay", bag, "--map", room_map, "--out", out, *options), out

    return replay


def statuses(path):
    with BagReader(path) as bag:
        return [message.data for message in bag.messages(["/relocalizer/status"])]


def test_four_cameras_are_replayed_to_the_same_bytes(replayed, kit):
    (answer, one), (_, other) = (replayed(f"{folder}/out.bag", "--cameras", *FOUR) for folder in ("a", "b"))
    assert answer.status == 0, answer.err
    assert "images               front 6, left 6, right 6, rear 6, answered 6" in answer.lines
    assert kit.content_of(one) == kit.content_of(other)
    found = statuses(one)
    assert {status.outcome for status in found} == {"LOCALIZED"}
    assert [[view.camera for view in status.views] for status in found] == [list(FOUR)] * 6
    offsets = [view.offset for view in found[0].views]
    assert offsets == pytest.approx([0.0, 0.0035, 0.007, 0.0105])


def test_cameras_may_be_parameters_and_some_of_them_chosen(replayed, tmp_path):
    (tmp_path / "four.yaml").write_text(
        "cameras: {names: [front, side], image_topics: [-, /left/image], sync_tolerance_s: 0.0}\n"
    )
    answer, out = replayed("two", "--params", tmp_path / "four.yaml")
    assert answer.status == 0, answer.err
    assert [[view.camera for view in status.views if not view.problem] for status in statuses(out)][:2] == [
        ["front"],
        ["side"],
    ], "no two images have the same stamp"
    answer, out = replayed("one", "--params", tmp_path / "four.yaml", "--cameras", "side")
    assert [[view.camera for view in status.views] for status in statuses(out)] == [["side"]] * 6


def test_one_camera_or_several(replayed):
    answer, _ = replayed("out", "--cameras", "front", "--image-topic", "/left/image")
    assert "--image-topic is of one camera" in answer.error
    answer, _ = replayed("out", "--cameras", "front", "front")
    assert "'front' is named twice" in answer.error


def test_the_doctor_looks_at_each_camera(run, room_map, four, rig_walk, tmp_path):
    answer = run("doctor", "--map", room_map, "--bag", four, "--cameras", *FOUR)
    assert (answer.status, answer.err) == (0, ""), answer.out
    for name in FOUR:
        assert any(line.startswith(f"ok  {name} images") for line in answer.lines), answer.out
    spoiled = record(
        tmp_path / "bag", rig_walk, FOUR, mounted=("front", "left"), calibrated=("front", "rear")
    )
    answer = run("doctor", "--map", room_map, "--bag", spoiled, "--cameras", *FOUR, "top")
    broken = [line for line in answer.lines if line.startswith("!!")]
    assert answer.status == 1
    for words in ("left calibration", "right calibration", "rear mounting", "top images"):
        assert any(words in line for line in broken), answer.out


@pytest.fixture(scope="module")
def four_map(kit, four, tmp_path_factory):
    """A map of the first stretch of the walk by all four cameras, with the poses of the robot."""
    path = tmp_path_factory.mktemp("maps") / "four.map"
    words = ("--bag", four, "--cameras", *FOUR, "--tf", "odom:base_link", "--out", path)
    assert kit.call("map", "build", *words, *kit.FAST) == 0
    return path


def test_a_map_is_built_of_all_cameras(four_map):
    built = load_map(four_map)
    assert sorted({name.split("/")[0] for name in built.keyframe_names}) == sorted(FOUR)
    assert len(built.cameras) == 4
    assert len(built.keyframe_names) > 12
    stamps_ns = [float(name.split("/")[1]) for name in built.keyframe_names]
    assert stamps_ns == sorted(stamps_ns)


def test_a_map_of_cameras_that_share_no_time_is_refused(run, kit, rig_walk, tmp_path):
    bag = record(tmp_path / "late.bag", rig_walk, ("front", "left"), delay_ms=90)
    words = (
        "--bag",
        bag,
        "--cameras",
        "front",
        "left",
        "--tf",
        "odom:base_link",
        "--out",
        tmp_path / "late.map",
    )
    answer = run("map", "build", *words, *kit.FAST)
    assert "6 of 6 keyframes of the first camera have no image of 'left' within 0.02 s" in answer.error
    (tmp_path / "wide.yaml").write_text("cameras: {sync_tolerance_s: 0.1}\n")
    answer = run("map", "build", *words, *kit.FAST, "--params", tmp_path / "wide.yaml")
    assert answer.status == 0, answer.err
    assert len(load_map(tmp_path / "late.map").keyframe_names) == 12


def test_a_run_of_several_cameras_is_scored_at_the_base(run, four, four_map, tmp_path):
    words = ("--map", four_map, "--bag", four, "--cameras", *FOUR, "--ground-truth", "odom:base_link")
    answer = run("evaluate", *words, "--out", tmp_path / "report")
    assert answer.status == 0, answer.err
    found = json.loads((tmp_path / "report" / "results.json").read_text())
    assert (found["queries"], found["localized"], found["false_fixes"]) == (6, 6, 0)
    assert found["median_translation_m"] < 0.02
    assert "view3_inliers" in (tmp_path / "report" / "queries.csv").read_text().splitlines()[0]


def test_what_looks_at_one_camera_refuses_several(run, four, room_map, tmp_path):
    (tmp_path / "four.yaml").write_text(f"cameras: {{names: {' '.join(FOUR)}}}\n")
    words = ("--bag", four, "--out", tmp_path / "out", "--params", tmp_path / "four.yaml", "--independent")
    answer = run("evaluate", *words, "--map", room_map, "--ground-truth", "odom:base_link")
    assert "choose one by --image-topic" in answer.error


def test_cameras_need_a_bag(run, room_map, mapping, tmp_path):
    answer = run(
        "evaluate", "--map", room_map, *mapping.options(), "--cameras", "front", "--out", tmp_path / "o"
    )
    assert "--cameras needs --bag" in answer.error
