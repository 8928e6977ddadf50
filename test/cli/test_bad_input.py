"""Bad input: one line that names the thing, exit 1, no traceback, nothing half written.

An exception that `main` does not turn into a line ends the test, so every call checks for tracebacks.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from hfnet_ros.features import weights
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.files import StampedPose, read_tum, write_tum
from hfnet_ros.map.map_io import load_map, save_map


@pytest.fixture
def no_work(monkeypatch):
    """Fail when features are extracted: input must be checked before."""
    monkeypatch.setattr(
        SiftExtractor, "extract", lambda *_: pytest.fail("worked before the input was checked")
    )


def edit_pose(recording, edit):
    lines = recording.poses.read_text().splitlines()
    lines[3] = " ".join(edit(lines[3].split(), lines[2].split()))
    recording.poses.write_text("\n".join(lines) + "\n")


def cut_image(recording):
    file = recording.files[3]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def garble_image(recording):
    file = recording.files[3]
    file.write_bytes(file.read_bytes()[:20] + bytes(400) + file.read_bytes()[420:])


def text_as_image(recording):
    recording.files[3].write_text("no pixels here\n")


def empty_image(recording):
    recording.files[3].write_bytes(b"")


def other_size(recording):
    cv2.imwrite(str(recording.files[3]), np.zeros((120, 160, 3), np.uint8))


def turned(recording):
    cv2.imwrite(str(recording.files[3]), np.zeros((256, 192, 3), np.uint8))


def no_images(recording):
    for file in recording.files:
        file.unlink()


def zero_focal(recording):
    text = recording.camera.read_text()
    recording.camera.write_text(text.replace("data: [172.0, 0.0", "data: [0.0, 0.0", 1))


def uncalibrated(recording):
    recording.camera.write_text("image_width: 256\nimage_height: 192\n")


SPOILED = {
    "cut image": (cut_image, ("000003.jpg", "cut off")),
    "garbled image": (garble_image, ("000003.jpg",)),
    "text instead of an image": (text_as_image, ("000003.jpg",)),
    "empty image": (empty_image, ("000003.jpg", "empty")),
    "image of another size": (other_size, ("000003.jpg", "160x120", "256x192")),
    "image turned by 90 degrees": (turned, ("000003.jpg", "192x256")),
    "no image folder": (lambda recording: shutil.rmtree(recording.images), ("images", "no such folder")),
    "empty image folder": (no_images, ("images", "no image")),
    "fewer images than poses": (lambda recording: recording.files[0].unlink(), ("5 images", "6 poses")),
    "NaN pose": (
        lambda r: edit_pose(r, lambda line, _: [line[0], "nan", *line[2:]]),
        ("line 4", "tx is nan"),
    ),
    "stamp twice": (lambda r: edit_pose(r, lambda line, before: [before[0], *line[1:]]), ("line 4", "twice")),
    "stamps out of order": (lambda r: edit_pose(r, lambda line, _: ["0.5", *line[1:]]), ("line 4", "0.5")),
    "missing number": (lambda r: edit_pose(r, lambda line, _: line[:-1]), ("line 4", "7 fields")),
    "no rotation": (lambda r: edit_pose(r, lambda line, _: [*line[:4], *"0000"]), ("line 4", "zero length")),
    "no pose file": (lambda recording: recording.poses.unlink(), ("poses.tum", "No such file")),
    "empty pose file": (lambda recording: recording.poses.write_text(""), ("0 poses", "poses.tum")),
    "zero focal length": (zero_focal, ("camera.yaml", "focal length is (0, 172)")),
    "uncalibrated camera": (uncalibrated, ("camera.yaml", "camera_matrix is missing")),
    "no camera file": (lambda recording: recording.camera.unlink(), ("camera.yaml", "No such file")),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_map_is_not_built_from_bad_input(run, short, kit, tmp_path, no_work, case):
    spoil, words = SPOILED[case]
    spoil(short)
    before = kit.content_of(tmp_path)
    answer = run("map", "build", *short.options(), "--out", tmp_path / "new.map", *kit.FAST)
    for word in words:
        assert word in answer.error
    assert answer.out == ""
    assert kit.content_of(tmp_path) == before


@pytest.mark.parametrize("case", SPOILED)
def test_bad_queries_are_not_evaluated(run, built, short, kit, tmp_path, case):
    spoil, words = SPOILED[case]
    spoil(short)
    before = kit.content_of(tmp_path)
    answer = run("evaluate", "--map", built.path, *short.options(), "--out", tmp_path / "report")
    for word in words:
        if word not in ("cut off", "192x256"):
            assert word in answer.error
    assert answer.out == ""
    assert kit.content_of(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--every", 0), ("every", "0")),
        (("--every", -2), ("every", "-2")),
        (("--min-distance", -1), ("distance -1",)),
        (("--min-distance", 0), ("not both 0",)),
        (("--min-angle", "nan"), ("angle nan",)),
        (("--every", 2, "--min-distance", 1), ("--every", "--min-distance")),
        (("--colmap", "model"), ("--colmap", "--poses")),
        (("--every", 6), ("1 keyframe",)),
        (("--threads", 0), ("num_threads",)),
    ],
)
def test_wishes_that_make_no_sense_are_named(run, short, kit, tmp_path, no_work, options, words):
    answer = run("map", "build", *short.options(), "--out", tmp_path / "new.map", *kit.FAST, *options)
    for word in words:
        assert word in answer.error
    assert not (tmp_path / "new.map").exists()


def test_poses_need_a_camera(run, short, kit, tmp_path, no_work):
    options = ("--images", short.images, "--poses", short.poses, "--out", tmp_path / "new.map")
    assert "--camera" in run("map", "build", *options, *kit.FAST).error


def test_keyframes_are_chosen_by_motion_only_with_poses(run, short, kit, tmp_path, no_work):
    options = ("--images", short.images, "--min-distance", 1, "--out", tmp_path / "new.map")
    assert "--poses" in run("map", "build", *options, *kit.FAST).error


@pytest.mark.parametrize("option", [("--every", 2), ("--min-distance", 1), ("--min-angle", 5)])
def test_a_colmap_model_is_taken_whole(run, short, kit, tmp_path, no_work, option):
    options = ("--images", short.images, "--colmap", tmp_path, "--out", tmp_path / "new.map")
    assert "--colmap" in run("map", "build", *options, *option, *kit.FAST).error


def test_a_missing_colmap_model_is_named(run, short, kit, tmp_path, no_work):
    options = ("--images", short.images, "--colmap", tmp_path / "sparse", "--out", tmp_path / "new.map")
    assert "sparse" in run("map", "build", *options, *kit.FAST).error


def test_images_of_nothing_make_no_map(run, short, kit, tmp_path):
    for file in short.files:
        cv2.imwrite(str(file), np.full((192, 256, 3), 90, np.uint8))
    answer = run("map", "build", *short.options(), "--out", tmp_path / "new.map", *kit.FAST)
    assert answer.error
    assert {path.name for path in tmp_path.iterdir()} == {"short"}


def shifted(poses):
    """Poses of other images of the same walk."""
    return poses[3:] + poses[:3]


def inverted(poses):
    """T_camera_map, a frequent mistake."""
    return [pose.inverse() for pose in poses]


@pytest.mark.parametrize(
    ("mistake", "said"),
    [(shifted, "poses and images do not fit"), (inverted, "look inverted (camera_from_map)")],
    ids=["shifted", "inverted"],
)
def test_poses_that_are_not_those_of_the_images_make_no_map(run, short, kit, tmp_path, mistake, said):
    given = read_tum(short.poses)
    wrong = mistake([entry.map_from_camera for entry in given])
    stamped = [StampedPose(entry.stamp_ns, pose) for entry, pose in zip(given, wrong, strict=True)]
    write_tum(short.poses, stamped)
    answer = run("map", "build", *short.options(), "--out", tmp_path / "new.map", *kit.FAST)
    assert said in answer.error
    assert {path.name for path in tmp_path.iterdir()} == {"short"}


# Where results go


def test_a_folder_of_the_user_is_refused_before_the_work_and_left_alone(run, short, kit, tmp_path, no_work):
    mine = tmp_path / "holiday"
    mine.mkdir()
    (mine / "diary.txt").write_text("dear diary")
    before = kit.content_of(tmp_path)
    answer = run("map", "build", *short.options(), "--out", mine, *kit.FAST)
    assert str(mine) in answer.error
    assert "diary.txt" in answer.error
    assert kit.content_of(tmp_path) == before


def test_the_image_folder_is_refused_as_a_map(run, short, kit, tmp_path, no_work):
    before = kit.content_of(tmp_path)
    assert "000000.jpg" in run("map", "build", *short.options(), "--out", short.images, *kit.FAST).error
    assert kit.content_of(tmp_path) == before


def test_a_map_that_holds_a_file_of_the_user_is_not_replaced(run, short, kit, map_copy, tmp_path, no_work):
    (map_copy / "notes.txt").write_text("measured on Tuesday")
    before = kit.content_of(tmp_path)
    assert "notes.txt" in run("map", "build", *short.options(), "--out", map_copy, *kit.FAST).error
    assert kit.content_of(tmp_path) == before


def test_a_map_is_not_written_over_or_below_a_file(run, short, kit, tmp_path, no_work):
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "room.map"):
        assert "file" in run("map", "build", *short.options(), "--out", out, *kit.FAST).error
    assert file.read_text() == "mine"


def test_a_place_without_permission_is_named_before_the_work(
    run, built, short, query, kit, tmp_path, no_work, monkeypatch
):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    # Nothing is locked for root, who runs the tests in a container.
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked and access(path, mode))
    assert "locked" in run("map", "build", *short.options(), "--out", locked / "room.map", *kit.FAST).error
    given = ("--map", built.path, "--camera", query.camera)
    assert "locked" in run("localize", *given, query.files[0], "--out", locked / "poses.tum").error
    assert (
        "locked" in run("evaluate", "--map", built.path, *query.options(), "--out", locked / "report").error
    )


@pytest.mark.parametrize("option", ["--out", "--json"])
def test_a_missing_folder_for_answers_is_named_before_the_work(run, built, query, tmp_path, no_work, option):
    given = ("--map", built.path, "--camera", query.camera, query.files[0])
    answer = run("localize", *given, option, tmp_path / "nowhere" / "answers")
    assert str(tmp_path / "nowhere") in answer.error
    assert answer.out == ""
    assert str(tmp_path) in run("localize", *given, option, tmp_path).error, "a folder is no file"
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_refused_as_folder_of_a_report_before_the_work(run, built, query, tmp_path, no_work):
    file = tmp_path / "report"
    file.write_text("mine")
    for out in (file, file / "deeper"):
        assert str(file) in run("evaluate", "--map", built.path, *query.options(), "--out", out).error
    assert file.read_text() == "mine"


def test_a_report_is_not_written_among_the_images(run, built, query, no_work):
    answer = run(
        "evaluate", "--map", built.path, "--images", query.images, "--poses", query.poses,
        "--out", query.images / ".." / query.images.name,
    )  # fmt: skip
    assert (
        "holds the images, to which the report's picture would be added; name another folder" in answer.error
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_answers_that_do_not_fit_on_the_disk_are_an_error(run, built, query):
    given = ("--map", built.path, "--camera", query.camera, query.files[0])
    assert "No space left" in run("localize", *given, "--out", "/dev/full").error


# Queries


@pytest.mark.parametrize(
    "spoil",
    [cut_image, garble_image, text_as_image, empty_image, other_size, turned, lambda r: r.files[3].unlink()],
)
def test_an_unreadable_image_is_named_and_the_others_are_answered(run, built, short, tmp_path, spoil):
    files = short.files
    spoil(short)
    out, numbers = tmp_path / "poses.tum", tmp_path / "answers.json"
    answer = run(
        "localize", "--map", built.path, "--camera", short.camera, *files, "--out", out, "--json", numbers
    )
    assert str(files[3]) in answer.error
    assert [line.split(":")[0] for line in answer.lines] == [
        file.name for file in files if file is not files[3]
    ]
    # Stamps stay the places in the list, whatever is left out.
    assert [pose.stamp_ns // 10**9 for pose in read_tum(out)] == [0, 1, 2, 4, 5]
    assert len(json.loads(numbers.read_text())) == 5


def test_a_bad_calibration_or_map_is_named(run, built, short, tmp_path, no_work):
    zero_focal(short)
    image = short.files[0]
    assert "camera.yaml" in run("localize", "--map", built.path, "--camera", short.camera, image).error
    assert "no.yaml" in run("localize", "--map", built.path, "--camera", tmp_path / "no.yaml", image).error


def test_a_missing_map_is_named(run, query, tmp_path, no_work):
    given = ("--map", tmp_path / "no.map")
    assert "no.map" in run("localize", *given, "--camera", query.camera, query.files[0]).error
    assert "no.map" in run("evaluate", *given, *query.options(), "--out", tmp_path / "report").error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("every", [0, -1])
def test_every_nth_query_needs_a_positive_number(run, built, query, tmp_path, no_work, every):
    answer = run("evaluate", "--map", built.path, *query.options(), "--out", tmp_path / "r", "--every", every)
    assert f"--every is {every}" in answer.error


def relabel(map_path, target, extractor_id):
    """Write the map as if another extractor had made it."""
    save_map(dataclasses.replace(load_map(map_path), extractor_id=extractor_id), target)
    return target


def test_a_map_of_another_extractor_is_refused(run, built, query, tmp_path, no_work):
    other = relabel(built.path, tmp_path / "other.map", "xfeat-0123456789ab")
    error = run(
        "localize", "--map", other, "--camera", query.camera, query.files[0], "--extractor", "sift"
    ).error
    assert "xfeat-0123456789ab" in error
    assert "rootsift-1" in error
    answer = run(
        "evaluate", "--map", other, *query.options(), "--extractor", "sift", "--out", tmp_path / "report"
    )
    assert "rootsift-1" in answer.error
    assert not (tmp_path / "report").exists()


def test_a_map_whose_extractor_has_no_weights_here_says_what_to_do(run, built, query, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "weights_folders", lambda: [tmp_path / "weights"])
    other = relabel(built.path, tmp_path / "other.map", "xfeat-0123456789ab")
    error = run("localize", "--map", other, "--camera", query.camera, query.files[0]).error
    assert "xfeat.pt" in error
    assert str(tmp_path / "weights") in error


def test_a_map_of_an_extractor_nobody_knows_names_it(run, built, query, tmp_path, no_work):
    other = relabel(built.path, tmp_path / "other.map", "superpoint-1")
    error = run("localize", "--map", other, "--camera", query.camera, query.files[0]).error
    assert "built with 'superpoint-1'" in error


def test_a_missing_weights_file_is_named(run, short, tmp_path):
    options = ("--out", tmp_path / "new.map", "--extractor", "xfeat", "--weights", tmp_path / "no.pt")
    assert str(tmp_path / "no.pt") in run("map", "build", *short.options(), *options).error
    (tmp_path / "no.pt").write_bytes(b"no weights")
    assert str(tmp_path / "no.pt") in run("map", "build", *short.options(), *options).error


@pytest.mark.parametrize("in_tasks", [False, True])
def test_a_matcher_that_cannot_match_is_refused_before_images_are_looked_at(
    run, mapping, tmp_path, in_tasks, no_work
):
    shutil.copytree(mapping.folder, tmp_path / "copy")
    recording = dataclasses.replace(mapping, folder=tmp_path / "copy")
    recording.poses.write_text("")
    tasks = ("--work", tmp_path / "work") if in_tasks else ()
    answer = run(
        *("map", "build", *recording.options(), "--extractor", "sift", "--matcher", "learned", *tasks),
        *("--out", tmp_path / "out.map"),
    )
    assert "mapping.matcher 'learned' knows descriptors of XFeat, found 'rootsift-1'" in answer.error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]
