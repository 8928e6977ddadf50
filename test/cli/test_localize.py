"""Verbs `localize` and `evaluate` on an easy scene, where answers must be right."""

import csv
import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest

from hfnet_ros.cli.localize import _view as view_record
from hfnet_ros.config import Config
from hfnet_ros.files import read_tum
from hfnet_ros.geometry import Rigid3
from hfnet_ros.types import ViewOffset, ViewShare


def localize(run, built, query, images, *options):
    return run("localize", "--map", built.path, "--camera", query.camera, *images, *options)


@pytest.fixture(scope="module")
def truth(query):
    return [entry.map_from_camera for entry in read_tum(query.poses)]


def test_localize_prints_a_line_an_image_and_writes_poses_and_numbers(run, built, query, truth, tmp_path):
    out, numbers = tmp_path / "poses.tum", tmp_path / "answers.json"
    answer = localize(run, built, query, query.files, "--out", out, "--json", numbers)
    assert (answer.status, answer.err) == (0, "")
    assert len(answer.lines) == len(query.files)
    for file, line in zip(query.files, answer.lines, strict=True):
        assert line.startswith(f"{file.name}: LOCALIZED at (")
    found, answers = read_tum(out), json.loads(numbers.read_text())
    assert len(found) == len(answers) == len(query.files)
    for file, pose, entry, given in zip(query.files, found, answers, truth, strict=True):
        assert pose.map_from_camera.translation_to(given) < 0.05
        assert np.rad2deg(pose.map_from_camera.rotation_to(given)) < 1.0
        assert (entry["image"], entry["outcome"]) == (str(file), "LOCALIZED")
        stated = entry["map_from_camera"]
        again = Rigid3.from_quat(stated["quat_xyzw"], stated["translation_m"])
        assert again.translation_to(pose.map_from_camera) < 1e-9
        covariance = np.array(stated["covariance"])
        assert covariance.shape == (6, 6)
        assert np.linalg.eigvalsh(covariance).min() > 0.0
        assert entry["scores"]
        assert entry["turn_deg"] == 0.0
        assert entry["keypoints"] >= entry["matches"] >= entry["inliers"] > 0
        assert 0.0 < entry["false_probability"] == entry["scores"]["false_probability"] < 1.0
        assert entry["timings_ms"].keys() >= {"extract", "retrieve", "match", "pose", "total"}


def test_an_image_of_nothing_gets_an_outcome_and_no_pose(run, built, query, tmp_path):
    black, noise = tmp_path / "black.png", tmp_path / "noise.png"
    cv2.imwrite(str(black), np.zeros((192, 256), np.uint8))
    cv2.imwrite(str(noise), np.random.default_rng(0).integers(0, 256, (192, 256), np.uint8))
    images = [black, query.files[0], noise]
    out, numbers = tmp_path / "poses.tum", tmp_path / "answers.json"
    answer = localize(run, built, query, images, "--out", out, "--json", numbers)
    assert (answer.status, answer.err) == (0, ""), "to refuse an image is an answer, not a failure"
    assert answer.lines[0].startswith("black.png: NO_FEATURES: ")
    assert re.match(r"noise.png: [A-Z_]+: ", answer.lines[2])
    assert "LOCALIZED" not in answer.lines[2]
    assert [pose.stamp_ns for pose in read_tum(out)] == [1_000_000_000], "the image's place in the list"
    answers = json.loads(numbers.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert [entry["map_from_camera"] is None for entry in answers] == [True, False, True]
    assert all(entry["reason"] for entry in answers if entry["map_from_camera"] is None)


def test_an_image_looks_the_same_in_every_kind_of_file(run, built, query, tmp_path):
    original = cv2.imread(str(query.files[2]), cv2.IMREAD_COLOR)
    alpha = np.full((*original.shape[:2], 1), 128, np.uint8)
    kinds = {
        "original.png": original,
        "gray.png": cv2.cvtColor(original, cv2.COLOR_BGR2GRAY),
        "rgba.png": np.concatenate([original, alpha], axis=2),
        "deep.png": original.astype(np.uint16) * 257,
        "deep_gray.png": cv2.cvtColor(original, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 257,
        "plain.bmp": original,
    }
    for name, image in kinds.items():
        assert cv2.imwrite(str(tmp_path / name), image)
    numbers = tmp_path / "answers.json"
    files = [query.files[2], *(tmp_path / name for name in kinds)]
    assert localize(run, built, query, files, "--json", numbers).status == 0
    expected, *others = (entry["map_from_camera"] for entry in json.loads(numbers.read_text()))
    assert expected is not None
    for name, found in zip(kinds, others, strict=True):
        assert found == expected, name


def test_a_map_can_be_built_from_gray_images(run, short, query, kit, tmp_path):
    for file in short.files:
        cv2.imwrite(str(file.with_suffix(".png")), cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
        file.unlink()
    assert run("map", "build", *short.options(), "--out", tmp_path / "gray.map", *kit.FAST).status == 0
    assert run("map", "verify", tmp_path / "gray.map").status == 0


def test_the_camera_of_a_query_may_differ_from_that_of_the_map(run, built, query, truth, tmp_path):
    image = cv2.imread(str(query.files[2]))
    half = cv2.resize(image, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "half.png"), half)
    from hfnet_ros.files import read_camera_yaml, write_camera_yaml

    write_camera_yaml(tmp_path / "half.yaml", read_camera_yaml(query.camera).resized((192, 144)), "half")
    options = ("--camera", tmp_path / "half.yaml", tmp_path / "half.png", "--out", tmp_path / "poses.tum")
    assert run("localize", "--map", built.path, *options).status == 0
    (found,) = read_tum(tmp_path / "poses.tum")
    assert found.map_from_camera.translation_to(truth[2]) < 0.1


def test_images_that_were_zoomed_since_the_calibration_are_refused(run, built, query, tmp_path):
    """Cropped and resized to the old size, as another mode of a camera does it: they look as if taken from nearer."""
    files = []
    for file in query.files:
        image = cv2.imread(str(file))
        height, width = image.shape[:2]
        center = np.array([width - 1.0, height - 1.0]) / 2.0
        zoom = np.column_stack([1.3 * np.eye(2), -0.3 * center])
        files.append(tmp_path / f"{file.stem}.png")
        cv2.imwrite(str(files[-1]), cv2.warpAffine(image, zoom, (width, height)))
    asked = ["--map", built.path, "--camera", query.camera]

    def answers(params):
        run("localize", *asked, *files, "--json", tmp_path / "a.json", *params)
        return json.loads((tmp_path / "a.json").read_text())

    (tmp_path / "any.yaml").write_text("verification: {max_focal_change: 100.0}\n")
    given = [entry["map_from_camera"] is not None for entry in answers(["--params", tmp_path / "any.yaml"])]
    assert sum(given) >= 1
    refused = ["the image fits a focal length 1." in entry["reason"] for entry in answers([])]
    assert sum(refused) >= 0.5 * sum(given)
    answer = run("localize", *asked, *query.files)
    assert "focal length" not in answer.out + answer.err


def test_without_a_calibration_the_camera_of_the_map_is_meant(run, built, query, tmp_path):
    given, own = tmp_path / "given.tum", tmp_path / "own.tum"
    assert localize(run, built, query, query.files[:2], "--out", given).status == 0
    assert run("localize", "--map", built.path, *query.files[:2], "--out", own).status == 0
    assert own.read_text() == given.read_text()


def test_images_of_named_cameras_need_a_rig(run, built):
    answer = run("localize", "--map", built.path, "left=l.png", "right=r.png")
    assert "'left=l.png' names cameras: --rig FILE is needed" in answer.error


def test_answers_can_go_into_a_device(run, built, query):
    assert localize(run, built, query, query.files[:1], "--out", "/dev/null").status == 0


@pytest.fixture(scope="module")
def report(built, query, tmp_path_factory):
    """Folder of an evaluation."""
    from hfnet_ros.cli.main import main

    out = tmp_path_factory.mktemp("evaluation") / "report"
    options = ["--map", built.path, *query.options(), "--out", out]
    assert main([str(option) for option in ("evaluate", *options)]) == 0
    return out


def test_evaluate_writes_its_files_and_nothing_else(report):
    names = {file.name for file in report.iterdir()}
    machine = {"results.json", "queries.csv", "estimated.tum", "groundtruth.tum"}
    assert names == machine | {"report.html", "trajectory.png"}
    assert [path.name for path in report.parent.iterdir()] == ["report"]


def test_results_have_every_key_of_the_contract(report, query):
    results = json.loads((report / "results.json").read_text())
    expected = {"queries", "localized", "accepted", "recall", "median_translation_m", "median_rotation_deg"}
    expected |= {"false_fixes", "anees", "latency_ms", "outcomes", "map", "extractor_id", "backend", "config"}
    expected |= {"version", "commit"}
    assert results.keys() >= expected
    assert results["recall"].keys() == {
        "0.05m_5deg",
        "0.1m_2deg",
        "0.25m_2deg",
        "0.25m_5deg",
        "0.5m_5deg",
        "5m_10deg",
    }
    for stage in ("total", "extract", "retrieve", "match", "pose"):
        figures = results["latency_ms"][stage]
        assert 0.0 <= figures["p50"] <= figures["p95"] <= figures["p99"]
    assert results["queries"] == sum(results["outcomes"].values()) == len(query.files)
    assert results["outcomes"]["LOCALIZED"] == results["localized"]
    assert (results["extractor_id"], results["backend"]) == ("rootsift-1", "opencv-cpu")
    assert results["config"]["extractor"]["name"] == "sift", "the parameters used, not the defaults"
    assert results["config"].keys() == Config().to_dict().keys()
    assert (results["map"]["name"], results["map"]["keyframes"]) == ("room.map", 33)


def test_an_easy_scene_is_localized_well(report, query):
    results = json.loads((report / "results.json").read_text())
    assert results["false_fixes"] == 0
    assert results["localized"] == len(query.files)
    assert results["recall"]["0.05m_5deg"] == 1.0
    assert results["median_translation_m"] < 0.02
    assert results["median_rotation_deg"] < 0.5
    assert 0.02 < results["anees"] < 20.0


def test_the_table_and_the_trajectories_agree_with_the_results(report, query, truth):
    results = json.loads((report / "results.json").read_text())
    with (report / "queries.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [file.name for file in query.files]
    errors = [float(row["translation_error_m"]) for row in rows if row["translation_error_m"]]
    assert np.median(errors) == pytest.approx(results["median_translation_m"], rel=1e-4)
    estimated, known = read_tum(report / "estimated.tum"), read_tum(report / "groundtruth.tum")
    assert (len(estimated), len(known)) == (results["localized"], results["queries"])
    by_stamp = {entry.stamp_ns: entry.map_from_camera for entry in known}
    distances = [by_stamp[entry.stamp_ns].translation_to(entry.map_from_camera) for entry in estimated]
    np.testing.assert_allclose(sorted(distances), sorted(errors), rtol=1e-4, atol=1e-6)
    assert [
        entry.map_from_camera.translation_to(pose) < 1e-9 for entry, pose in zip(known, truth, strict=True)
    ]


def test_the_report_needs_nothing_from_outside(report):
    text = (report / "report.html").read_text()
    assert "<svg" in text
    assert "data:image" in text, "thumbnails are inside"
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//|@import|url\(\s*[\"']?https?:", text)
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=[\"'](?!data:|#)", text)
    assert set(re.findall(r"https?://[^\s\"'<>)]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_evaluate_prints_figures_and_where_the_report_is(run, built, query, tmp_path):
    answer = run(
        "evaluate", "--map", built.path, *query.options(), "--every", 3, "--out", tmp_path / "a" / "b"
    )
    assert (answer.status, answer.err) == (0, "")
    assert re.search(r"^queries +3$", answer.out, re.MULTILINE), "every 3rd of 8"
    assert re.search(r"^false fixes +0$", answer.out, re.MULTILINE)
    assert answer.lines[-1] == f"report: {tmp_path / 'a' / 'b' / 'report.html'}"
    with (tmp_path / "a" / "b" / "queries.csv").open(newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert names == [file.name for file in query.files[::3]]


def test_names_that_are_no_text_are_escaped(run, built, short, tmp_path):
    strange = tmp_path / os.fsdecode(b"w\xff.map")
    shutil.copytree(built.path, strange)
    short.files[0].rename(short.images / os.fsdecode(b"0\xff.jpg"))
    out, page = tmp_path / "report", tmp_path / "map.html"
    assert run("evaluate", "--map", strange, *short.options(), "--out", out).status == 0
    with (out / "queries.csv").open(encoding="utf-8", newline="") as file:
        assert {row["name"] for row in csv.DictReader(file)} >= {"0\\xff.jpg", "000001.jpg"}
    assert json.loads((out / "results.json").read_text())["map"]["name"] == "w\\xff.map"
    assert (out / "report.html").is_file()
    assert run("map", "view", strange, "--out", page).status == 0


def test_what_a_view_says_alone_is_for_robots_and_not_for_files():
    offset = ViewOffset(np.zeros(6), np.eye(6))
    said = view_record(ViewShare(500, 200, 80, problem="dark", agrees=True, offset=offset))
    assert json.loads(json.dumps(said)) == said
    assert (said["num_inliers"], said["problem"], said["agrees"]) == (80, "dark", True)
    assert not {"alone", "offset"} & said.keys()
