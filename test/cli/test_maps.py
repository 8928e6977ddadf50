"""Verbs of `map` on a sound map and on damaged ones."""

import dataclasses
import json
import re
import shutil

import cv2
import numpy as np
import pytest
import yaml

from hfnet_ros.cli import map_info
from hfnet_ros.map.areas import inside
from hfnet_ros.map.map_io import load_map, save_map


def test_build_says_what_it_built_and_nothing_else(built, mapping):
    assert built.answer.err == "", "no progress and no warnings in a pipe"
    summary, lens, poses, self_test = built.answer.lines
    assert re.match(
        rf"{re.escape(str(built.path))}: 33 keyframes, \d+ landmarks, \d+ observations, built", summary
    )
    assert lens.startswith("lens: ")
    # The scene's poses are exact: there is nothing to gain.
    assert poses.startswith("poses: as given (held-out error")
    assert re.match(r"self-test: 1\d of 1\d held-out keyframes localized", self_test)
    assert [path.name for path in built.path.parent.iterdir()] == ["room.map"]


def test_the_self_test_of_exact_poses_finds_hardly_any_error(built):
    consistency = load_map(built.path).consistency
    assert consistency.num_keyframes >= 10
    assert consistency.translation_m < 0.02
    assert np.rad2deg(consistency.rotation_rad) < 0.3
    assert consistency.residual_px < 3.0


def test_the_sharpest_images_are_selected_and_the_rest_accounted_for(run, mapping, kit, tmp_path):
    files = ["--out", tmp_path / "a.map", *kit.FAST]
    answer = run("map", "build", *mapping.options(), "--sharpest", "--min-distance", "0.3", *files)
    assert answer.status == 0, answer.err
    selected = re.match(r"keyframes: (\d+) of 33 images selected; (.*)", answer.lines[0])
    rejected = sum(int(number) for number in re.findall(r"(\d+) [a-z]", selected[2]))
    assert int(selected[1]) + rejected == 33
    assert load_map(tmp_path / "a.map").num_keyframes == int(selected[1]) < 33


def test_poses_are_refined_on_request_and_the_report_says_how_far(run, mapping, kit, tmp_path):
    target = tmp_path / "a.map"
    answer = run(
        "map", "build", *mapping.options(), "--every", "3", "--out", target, *kit.FAST, "--refine-poses"
    )
    assert answer.status == 0, answer.err
    assert any(re.match(r"poses: refined \(.*; moved by 0\.0\d\d m", line) for line in answer.lines)
    told = run("map", "info", target, "--json")
    worst = json.loads(told.out)["given_against_refined"]["worst"]
    assert len(worst) == 3
    assert re.match(r"\S+\.(png|jpg): 0\.0\d\d m, \d\.\d\d deg", worst[0])


@pytest.mark.parametrize(
    "wish", [("--min-overlap", "0.5"), ("--sharpest",), ("--refine-poses",), ("--min-distance", "1")]
)
def test_wishes_that_need_poses_are_refused_without(run, mapping, tmp_path, wish):
    answer = run("map", "build", "--images", mapping.images, *wish, "--out", tmp_path / "a.map")
    assert "--poses" in answer.error


def test_a_colmap_model_is_not_selected_from(run, mapping, tmp_path):
    options = ["--images", mapping.images, "--colmap", tmp_path, "--sharpest", "--out", tmp_path / "a.map"]
    assert "--sharpest cannot be combined with --colmap" in run("map", "build", *options).error


def test_sharpest_needs_to_know_when(run, mapping, kit, tmp_path):
    answer = run("map", "build", *mapping.options(), "--sharpest", "--out", tmp_path / "a.map", *kit.FAST)
    assert "not all 0" in answer.error


def test_info_prints_facts_a_line_each(run, built):
    answer = run("map", "info", built.path)
    assert (answer.status, answer.err) == (0, "")
    parts = [line for line in answer.lines if line.startswith("  ")]
    facts = dict(line.split(maxsplit=1) for line in answer.lines if not line.startswith("  ") and " " in line)
    assert facts["keyframes"] == "33"
    assert facts["extractor"] == "rootsift-1"
    assert facts["frame_id"] == "map"
    told = yaml.safe_load("\n".join(parts))
    assert 0 < told["residual_px"] < 10  # of the self-test, below its name
    assert told["method"] == "given poses"
    assert all(len(line) <= 130 and "{" not in line[:4] for line in parts)


@pytest.mark.parametrize("aside_m", [0.0, 100.0])
def test_box_of_info_is_an_area_with_all_keyframes(run, built, tmp_path, aside_m):
    target = tmp_path / "a.map"
    of_room = load_map(built.path)
    # Cameras that look out of the place where they are: no landmark there.
    save_map(
        dataclasses.replace(of_room, landmark_xyz=of_room.landmark_xyz + np.array([aside_m, 0.0, 0.0])),
        target,
    )
    box = json.loads(run("map", "info", target, "--json").out)["box_m"]
    assert run("map", "area", target, "all", "--box", *map(str, box)).status == 0
    named = load_map(target)
    assert named.areas["all"] == tuple(box)
    assert inside(named.areas["all"], named.given_poses[:, :3]).all()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.00123456, 0.001235), (12.3456, 12.35), (500123.456, 500123.46), (-1234.5678, -1234.57)],
)
def test_info_shows_four_digits_or_two_decimals(value, shown):
    assert map_info._readable({"box_m": [value]}) == {"box_m": [shown]}


def test_info_as_json_has_every_fact(run, built, mapping):
    facts = json.loads(run("map", "info", built.path, "--json").out)
    expected = {
        "map",
        "frame_id",
        "extractor",
        "keyframes",
        "landmarks",
        "observations",
        "cameras",
        "extent_m",
        "box_m",
    }
    expected |= {
        "track_length_mean",
        "track_length_p95",
        "bytes",
        "self_test",
        "build",
        "calibration",
        "retrieval",
        "kind",
        "bytes_per_keyframe",
    }
    assert facts.keys() == expected
    assert (facts["keyframes"], facts["cameras"]) == (33, 1)
    assert facts["landmarks"] > 1000
    assert facts["track_length_mean"] == pytest.approx(facts["observations"] / facts["landmarks"], abs=0.01)
    # The room is 5.5 m by 4.8 m by 2.6 m or so.
    assert all(1.5 < side < 8.0 for side in facts["extent_m"])
    assert facts["bytes"] == sum(file.stat().st_size for file in built.path.rglob("*") if file.is_file())
    assert facts["self_test"]["num_keyframes"] >= 10


def test_verify_calls_a_sound_map_sound(run, built):
    answer = run("map", "verify", built.path)
    assert (answer.status, answer.out, answer.err) == (0, f"{built.path}: sound\n", "")


def flip_bit(file):
    content = bytearray(file.read_bytes())
    content[-content[-1] % 64 - 1] ^= 0x10
    file.write_bytes(content)


def cut_off(file):
    file.write_bytes(file.read_bytes()[:-5])


def delete(file):
    file.unlink()


DAMAGES = [flip_bit, cut_off, delete]


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_names_each_damaged_array(run, built, map_copy, damage):
    names = sorted(file.name for file in (map_copy / "arrays").iterdir())
    assert len(names) >= 12
    for name in names:
        file = map_copy / "arrays" / name
        damage(file)
        answer = run("map", "verify", map_copy)
        assert name in answer.error
        assert not [other for other in names if other != name and f"/{other}" in answer.error]
        shutil.copy(built.path / "arrays" / name, file)
    assert run("map", "verify", map_copy).status == 0


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_map_is_never_localized_in(run, map_copy, query, damage):
    damage(map_copy / "arrays" / "landmark_xyz.npy")
    answer = run("localize", "--map", map_copy, "--camera", query.camera, query.files[0])
    assert "landmark_xyz.npy" in answer.error
    assert answer.out == ""
    assert "landmark_xyz.npy" in run("map", "info", map_copy).error


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_is_named(run, map_copy, damage):
    damage(map_copy / "map.json")
    assert "map.json" in run("map", "verify", map_copy).error


@pytest.mark.parametrize("verb", ["info", "verify", "view"])
def test_what_is_no_map_is_named(run, tmp_path, query, verb):
    for path in (tmp_path / "missing", query.poses, query.images):
        assert str(path) in run("map", verb, path).error


def test_view_writes_a_page_without_outside_resources(run, built, tmp_path):
    page = tmp_path / "map.html"
    answer = run("map", "view", built.path, "--out", page)
    assert (answer.status, answer.out, answer.err) == (0, f"{page}\n", "")
    text = page.read_text()
    assert "room.map" in text
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//|@import|url\(\s*[\"']?https?:", text)
    assert set(re.findall(r"https?://[^\s\"'<>)]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_view_writes_a_picture(run, built, tmp_path):
    picture = tmp_path / "map.png"
    assert run("map", "view", built.path, "--out", picture).status == 0
    image = cv2.imread(str(picture))
    assert min(image.shape[:2]) > 200
    assert image.std() > 5.0, "the picture is empty"


def test_view_of_the_folder_one_stands_in_is_put_beside_it(run, map_copy, monkeypatch):
    monkeypatch.chdir(map_copy)
    answer = run("map", "view", ".")
    assert (answer.status, answer.err) == (0, "")
    assert (map_copy.parent / "copy.map.html").is_file()
    assert run("map", "verify", map_copy).status == 0


def test_view_refuses_other_kinds_of_files_and_missing_folders(run, built, tmp_path):
    assert "map.gif" in run("map", "view", built.path, "--out", tmp_path / "map.gif").error
    assert "nowhere" in run("map", "view", built.path, "--out", tmp_path / "nowhere" / "map.png").error
    assert list(tmp_path.iterdir()) == []


def test_every_takes_every_nth_image(run, mapping, kit, tmp_path):
    answer = run("map", "build", *mapping.options(), "--out", tmp_path / "m", "--every", 3, *kit.FAST)
    assert (answer.status, answer.err) == (0, "")
    assert answer.lines[-1].startswith("self-test: none"), "switched off, and that is said"
    built = load_map(tmp_path / "m")
    assert list(built.keyframe_names) == [file.name for file in mapping.files[::3]]
    # Names, stamps and poses must have been thinned together.
    stamps = [int(line.split()[0].replace(".", "")) for line in mapping.poses.read_text().splitlines()]
    assert built.keyframe_stamps_ns.tolist() == stamps[::3]


def test_min_distance_keeps_keyframes_apart(run, mapping, kit, tmp_path):
    options = ("--min-distance", 0.6, "--frame-id", "hall")
    answer = run("map", "build", *mapping.options(), "--out", tmp_path / "m", *options, *kit.FAST)
    assert answer.status == 0
    built = load_map(tmp_path / "m")
    steps = np.linalg.norm(np.diff(built.keyframe_poses[:, :3], axis=0), axis=1)
    assert 5 < built.num_keyframes < 17
    assert steps.min() >= 0.6
    assert built.frame_id == "hall"


def test_a_map_replaces_an_older_one(run, short, map_copy, kit):
    assert run("map", "build", *short.options(), "--out", map_copy, *kit.FAST).status == 0
    assert load_map(map_copy).num_keyframes == 6
    assert run("map", "verify", map_copy).status == 0


def test_missing_parent_folders_of_a_map_are_made(run, short, kit, tmp_path):
    out = tmp_path / "new" / "deep" / "room.map"
    assert run("map", "build", *short.options(), "--out", out, *kit.FAST).status == 0
    assert run("map", "verify", out).status == 0
