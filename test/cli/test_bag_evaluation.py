"""Verbs `replay` and `evaluate --bag`: the same every time, and the same as with a folder of images."""

import csv
import json

import numpy as np
import pytest

from hfnet_ros.cli.main import main
from hfnet_ros.files import read_camera_yaml, read_tum, write_camera_yaml

TRUTH = ("--ground-truth", "/ground_truth/pose")
NOT_COMPARED = ("latency_ms", "map", "machine")


@pytest.fixture(scope="module")
def bag(query, tmp_path_factory):
    """The query walk as a robot with odometry recorded it."""
    path = tmp_path_factory.mktemp("recorded") / "query.bag"
    options = [*query.options(), "--odometry-from-poses", "--odometry-noise", 0.01, 0.2, "--out", path]
    assert main([str(word) for word in ("bag", "make", *options)]) == 0
    return path


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def assert_same_figures(first, second, rel):
    """Compare nested results; numbers to a relative difference, 0 for equal."""
    assert type(first) is type(second), (first, second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same_figures(first[key], second[key], rel)
    elif isinstance(first, list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same_figures(one, other, rel)
    elif isinstance(first, float):
        assert first == pytest.approx(second, rel=rel, abs=rel)
    else:
        assert first == second


def figures(folder):
    results = json.loads((folder / "results.json").read_text())
    return {key: value for key, value in results.items() if key not in NOT_COMPARED}


def test_two_replays_are_the_same_to_the_byte_whatever_the_threads_and_names(run, built, bag, tmp_path):
    for name, threads in (("one", 1), ("two", 2)):
        answer = run("replay", bag, "--map", built.path, "--out", tmp_path / name, "--threads", threads)
        assert (answer.status, answer.err) == (0, "")
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert answer.lines[0] == "images               8, answered 8"
    assert answer.lines[1].endswith("poses of 'base_link' in 'odom'")
    assert "x real time" in answer.lines[-1]


def test_a_replay_in_real_time_drops_images_by_its_costs(run, built, bag, tmp_path):
    costly = ("--real-time", "--cost-ms", 2500)
    for name in ("one", "two"):
        answer = run("replay", bag, "--map", built.path, "--out", tmp_path / name, *costly)
        assert (answer.status, answer.err) == (0, "")
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert answer.lines[-3] == "superseded           2 of 8 (0.25)"
    assert answer.lines[-2].startswith("latency p50/p95/p99  ")
    measured = run("replay", bag, "--map", built.path, "--out", tmp_path / "three", "--real-time")
    assert measured.status == 0


def test_images_by_themselves_score_as_in_a_folder(run, built, query, bag, tmp_path):
    folder, by_file, by_topic = (tmp_path / name for name in ("folder", "file", "topic"))
    scored = ("evaluate", "--map", built.path, "--out")
    assert run(*scored, folder, *query.options()).status == 0
    from_bag = ("--bag", bag, "--independent")
    assert run(*scored, by_file, *from_bag, "--poses", query.poses).status == 0
    assert run(*scored, by_topic, *from_bag, *TRUTH).status == 0
    assert (by_file / "estimated.tum").read_bytes() == (folder / "estimated.tum").read_bytes()
    assert_same_figures(figures(by_file), figures(folder), 0.0)
    # Turning poses of the camera into poses of the base and back costs the last bit or two.
    assert_same_figures(figures(by_topic), figures(folder), 1e-9)


def test_a_robot_with_odometry_is_scored_by_what_it_would_have_used(run, built, bag, tmp_path):
    out = tmp_path / "report"
    answer = run("evaluate", "--map", built.path, "--bag", bag, *TRUTH, "--out", out)
    assert (answer.status, answer.err) == (0, "")
    results = json.loads((out / "results.json").read_text())
    assert results["verdicts"]["AWAITING_AGREEMENT"] == 2
    assert results["accepted"] == results["verdicts"]["ACCEPTED"] == 6
    assert results["accepted_false_fixes"] == 0
    assert results["trajectory"]["pose"] == "map_from_base, fused"
    assert results["trajectory"]["ate"]["poses"] == 6
    assert results["trajectory"]["ate"]["translation_m"]["rmse"] < 0.05
    assert results["availability"]["tracking"]["time_to_first_s"] > 0.0
    assert results["latency_ms"]["total"]["p50"] > 0.0, "measured, unlike in a replay"
    fused, truth = read_tum(out / "fused.tum"), read_tum(out / "fused_groundtruth.tum")
    by_stamp = {entry.stamp_ns: entry.map_from_camera for entry in truth}
    assert all(entry.map_from_camera.translation_to(by_stamp[entry.stamp_ns]) < 0.1 for entry in fused)
    assert "data:image" in (out / "report.html").read_text(), "pictures come from the bag"
    assert any(line.startswith("fused trajectory") for line in answer.lines)
    with (out / "queries.csv").open(newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)][:3] == [
            *["AWAITING_AGREEMENT"] * 2,
            "ACCEPTED",
        ]


def test_every_image_may_be_too_many(run, built, bag, tmp_path):
    options = ("--bag", bag, *TRUTH, "--every", 3, "--out", tmp_path / "report")
    answer = run("evaluate", "--map", built.path, *options, "--independent")
    assert answer.lines[0].split() == ["queries", "3"]


def test_what_is_wrong_with_a_bag_is_told_with_what_it_holds(run, built, bag, tmp_path):
    answer = run("replay", bag, "--map", built.path, "--out", tmp_path / "o", "--image-topic", "/left")
    assert answer.status == 1
    first, *table = answer.err.splitlines()
    assert first.startswith("hfnet-ros: error: no topic /left for images")
    assert any("/camera/image_raw" in row for row in table)
    assert not (tmp_path / "o").exists()
    options = ("--bag", bag, "--ground-truth", "/truth", "--out", tmp_path / "r")
    answer = run("evaluate", "--map", built.path, *options)
    assert "/ground_truth/pose" in answer.err
    assert "no such bag" in run("replay", tmp_path / "none", "--map", built.path, "--out", tmp_path / "o").err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cost-ms", 5), "--cost-ms needs --real-time"),
        (("--real-time", "--cost-ms", -1), "expected 0 to 60000"),
        (("--tf", "odom"), "expected e.g. odom:base_link"),
        (("--base-from-camera", "1 2 3"), "--base-from-camera is '1 2 3'"),
    ],
)
def test_a_replay_refuses_what_it_cannot_do(run, built, bag, tmp_path, options, said):
    assert said in run("replay", bag, "--map", built.path, "--out", tmp_path / "o", *options).error


def test_a_replay_does_not_write_over_the_recording(run, built, bag):
    before = content(bag)
    for target in (bag, bag.parent, bag / "inside"):
        assert "is the recording itself" in run("replay", bag, "--map", built.path, "--out", target).error
    assert (
        "is the recording itself"
        in run("replay", bag / "messages.mcap", "--map", built.path, "--out", bag).error
    )
    assert content(bag) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--bag", "BAG"), "--bag needs true poses"),
        (("--bag", "BAG", *TRUTH, "--poses", "x.tum"), "--bag needs true poses"),
        (("--images", "IMAGES"), "--images needs --poses"),
        (("--images", "IMAGES", *TRUTH), "--ground-truth needs --bag"),
        (("--images", "IMAGES", "--independent"), "--independent needs --bag"),
    ],
)
def test_an_evaluation_refuses_what_does_not_go_together(run, built, bag, query, tmp_path, options, said):
    words = [{"BAG": bag, "IMAGES": query.images}.get(word, word) for word in options]
    assert said in run("evaluate", "--map", built.path, *words, "--out", tmp_path / "r").error


def test_poses_of_another_time_are_refused(run, built, query, bag, tmp_path):
    shifted = tmp_path / "late.tum"
    rows = np.loadtxt(query.poses)
    rows[:, 0] += 1000.0
    np.savetxt(shifted, rows, fmt="%.9f")
    options = ("--bag", bag, "--poses", shifted, "--independent", "--out", tmp_path / "r")
    assert "no image has a true pose: images are from" in run("evaluate", "--map", built.path, *options).error


@pytest.fixture
def twice_as_large(query, tmp_path):
    """A calibration of twice the resolution of the images."""
    path, camera = tmp_path / "large.yaml", read_camera_yaml(query.camera)
    width, height = camera.size_wh
    write_camera_yaml(path, camera.resized((2 * width, 2 * height)), "large")
    return ["--camera", path]


def test_a_replay_of_which_nothing_can_be_used_fails_with_the_reason(
    run, built, bag, twice_as_large, tmp_path
):
    answer = run("replay", bag, "--map", built.path, *twice_as_large, "--out", tmp_path / "answers")
    said = "8 of 8 images, the first 3600.000000000: /camera/image_raw: the image is 256x192 px, expected"
    assert f"no image could be used: {said}" in answer.error
    assert f"not used, mostly     {said}" in answer.out
    assert (tmp_path / "answers").is_dir()


@pytest.mark.parametrize("independent", [[], ["--independent"]], ids=["in order", "independent"])
def test_an_evaluation_without_a_usable_image_fails_with_the_reason(
    run, built, bag, twice_as_large, tmp_path, independent
):
    options = [*TRUTH, *twice_as_large, *independent, "--out", tmp_path / "report"]
    answer = run("evaluate", "--map", built.path, "--bag", bag, *options)
    assert (
        "no image could be used: 8 of 8 images, the first 3600.000000000: /camera/image_raw: the image is 256x192 px"
        in answer.error
    )
    assert not (tmp_path / "report").exists()
