"""`map build` in tasks: sets of sub-maps, builds that go on, and the same map as at once."""

import json
import shutil

import cv2
import numpy as np
import pytest

from hfnet_ros.building import stages
from hfnet_ros.building.map_graph import MapGraph
from hfnet_ros.files.images import read_image
from hfnet_ros.map.map_io import load_map, verify_map
from hfnet_ros.map.map_set_io import read_map_set, verify_map_set
from hfnet_ros.mapping.set_lock import set_locked

# On one thread: then sums are added up in the same order.
SIFT = ("--extractor", "sift", "--threads", "1")
# What a structure is refined by is the same in a sub-map and in the map that is built in tasks below.
SET = (*SIFT, "--refine-intrinsics", "off", "--refine-poses", "off")


def digests_of(path):
    """Digests of all arrays of a map."""
    manifest = json.loads((path / "map.json").read_text())
    return {name: entry["sha256"] for name, entry in manifest["arrays"].items()}


@pytest.fixture(scope="module")
def recording(mapping, tmp_path_factory):
    """The images to map from where a test may change them."""
    folder = tmp_path_factory.mktemp("graph") / "mapping"
    shutil.copytree(mapping.folder, folder)
    return type(mapping)(folder)


@pytest.fixture(scope="module")
def built_set(recording, kit):
    """A set of three sub-maps and its work folder, built once; the tests of this module go on with it."""
    path = recording.folder.parent / "room.set"
    assert kit.call("map", "build", *recording.options(), "--sub-maps", 3, "--out", path, *SET) == 0
    return path


def test_a_set_of_sub_maps_is_built(built_set, mapping):
    assert verify_map_set(built_set) == []
    found = read_map_set(built_set)
    assert found.names == ["sub-map-0", "sub-map-1", "sub-map-2"]
    assert found.overlaps
    named, words = set(), []
    for sub_map in found.sub_maps:
        assert verify_map(built_set / sub_map.folder) == []
        alone = load_map(built_set / sub_map.folder)
        named |= set(alone.keyframe_names)
        words.append(alone.aggregation["vocabulary"])
        assert alone.consistency.num_asked > 0
        assert alone.num_keyframes <= 17
    assert len(named) >= 0.9 * len(mapping.files)
    # Of one vocabulary, so that descriptors of two sub-maps can be compared.
    assert all(np.array_equal(word, words[0]) for word in words)
    for overlap in found.overlaps.values():
        assert np.linalg.norm(overlap.first_from_second.translation) < 0.1


def test_the_same_command_does_nothing_and_says_so(built_set, recording, run, kit):
    before = kit.content_of(built_set)
    answer = run("map", "build", *recording.options(), "--sub-maps", 3, "--out", built_set, *SET)
    assert answer.status == 0, answer.err
    assert "nothing has changed since it was built; nothing done" in answer.out
    assert kit.content_of(built_set) == before


def test_nobody_changes_a_set_that_is_built_anew_and_nobody_builds_one_that_is_changed(
    built_set, recording, run, kit, monkeypatch, tmp_path
):
    build = ("map", "build", *recording.options(), "--sub-maps", 3, "--out", built_set, *SET)
    add = ("map", "set", "add", built_set, "more", built_set / "maps" / "sub-map-0")
    build_set, answers = MapGraph.build_set, []

    def add_meanwhile(graph, num_sub_maps):
        answers.append(run(*add))
        return build_set(graph, num_sub_maps)

    monkeypatch.setattr(MapGraph, "build_set", add_meanwhile)
    before = kit.content_of(built_set)
    assert "nothing has changed" in run(*build).out
    assert "builds it anew since" in answers[0].error
    with set_locked(built_set, "changes it"):
        assert "changes it since" in run(*build).error
        assert "changes it since" in run(*add).error
    assert len(answers) == 1
    assert kit.content_of(built_set) == before


def test_what_tasks_made_makes_the_same_set_again(built_set, recording, run, kit):
    other = built_set.with_name("other.set")
    work = f"{built_set}.work"
    answer = run("map", "build", *recording.options(), "--sub-maps", 3, "--work", work, "--out", other, *SET)
    assert "tasks: 0 run" in answer.out
    assert kit.content_of(other) == kit.content_of(built_set)


def test_a_sub_map_that_was_damaged_in_the_work_folder_is_made_anew(built_set, recording, run, kit, tmp_path):
    work = shutil.copytree(f"{built_set}.work", tmp_path / "work")
    array = next(path for path in sorted(work.rglob("landmark_xyz.npy")) if "mirror test" in path.parts)
    content = array.read_bytes()
    array.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    command = (
        "map",
        "build",
        *recording.options(),
        "--sub-maps",
        3,
        "--work",
        work,
        "--out",
        tmp_path / "set",
        *SET,
    )
    assert (
        "is damaged; copy the map again or rebuild it: removed; start the same command again"
        in run(*command).error
    )
    assert not (tmp_path / "set").exists()
    answer = run(*command)
    assert answer.status == 0, answer.err
    assert kit.content_of(tmp_path / "set") == kit.content_of(built_set)


def test_a_changed_image_remakes_what_depends_on_it(built_set, recording, run, tmp_path):
    """The last batch of three is described anew, and nothing of the first two."""
    work = tmp_path / "work"
    shutil.copytree(f"{built_set}.work", work)
    last, before = recording.files[-1], recording.files[-1].read_bytes()
    try:
        # The same picture: what is described again comes out the same, and ends there.
        cv2.imwrite(str(last.with_suffix(".png")), read_image(last))
        last.with_suffix(".png").rename(last)
        ran = []
        with pytest.MonkeyPatch.context() as patch:
            for name, function in stages.RUN.copy().items():
                patch.setitem(stages.RUN, name, counted(ran, name, function))
            answer = run(
                "map",
                "build",
                *recording.options(),
                "--sub-maps",
                3,
                "--work",
                work,
                "--out",
                tmp_path / "s",
                *SET,
            )
        assert answer.status == 0, answer.err
        assert sorted(ran) == ["check", "describe"]
    finally:
        last.write_bytes(before)


def counted(ran, name, function):
    def run(job):
        ran.append(name)
        return function(job)

    return run


def test_a_build_goes_on_where_it_failed(recording, run, kit, tmp_path, monkeypatch):
    """With the same map as one that did not fail, and as one that was built at once."""
    target, at_once = tmp_path / "room.map", tmp_path / "once.map"
    third = (*recording.options(), "--every", 3, *SIFT)
    command = ("map", "build", *third, "--work", tmp_path / "work", "--out", target)

    def fail(job):
        raise OSError(28, "No space left on device", "somewhere")

    with monkeypatch.context() as patch:
        patch.setitem(stages.RUN, "structure", fail)
        answer = run(*command)
        assert "structure of all images: somewhere: No space left on device" in answer.error
        assert "free some space" in answer.error
    assert not target.exists()
    ran = []
    for name, function in stages.RUN.copy().items():
        monkeypatch.setitem(stages.RUN, name, counted(ran, name, function))
    answer = run(*command)
    assert answer.status == 0, answer.err
    assert ran == ["structure", "self-test", "mirror test"]
    assert kit.call("map", "build", *third, "--out", at_once) == 0
    assert digests_of(target) == digests_of(at_once)
    one, other = (json.loads((path / "map.json").read_text()) for path in (target, at_once))
    assert one["consistency"] == other["consistency"]
    assert one["build_info"] == {k: v for k, v in other["build_info"].items() if k != "duration_s"}


@pytest.mark.slow
def test_copies_of_a_camera_that_hangs_are_left_out_before_poses_are_checked(mapping, run, tmp_path, caplog):
    """Their poses had been called wrong, put where the copied image was taken, and some had stayed."""
    folder = tmp_path / "mapping"
    shutil.copytree(mapping.folder, folder)
    files = type(mapping)(folder).files
    copies = files[12:20]
    for file in copies:
        shutil.copyfile(files[11], file)
    out = tmp_path / "hung.set"
    answer = run(
        *(
            "map",
            "build",
            *type(mapping)(folder).options(),
            "--sub-maps",
            2,
            "--out",
            out,
            *SET,
            "--no-self-test",
        )
    )
    assert answer.status == 0, answer.err
    assert "8 of its 33 images are copies of earlier ones, though the robot moved" in caplog.text
    maps = [load_map(out / sub_map.folder) for sub_map in read_map_set(out).sub_maps]
    assert sum(built.build_info["num_standing"] for built in maps) >= len(copies)
    for built in maps:
        assert built.build_info["pose_faults"]["keyframes"] == []
        assert not {file.name for file in copies} & set(built.keyframe_names)


@pytest.mark.slow
def test_the_robot_s_own_body_is_no_part_of_sub_maps(mapping, run, tmp_path, caplog):
    """Right poses had been refused for it."""
    folder = tmp_path / "mapping"
    shutil.copytree(mapping.folder, folder)
    recording = type(mapping)(folder)
    height, width = read_image(recording.files[0]).shape[:2]
    body = np.random.default_rng(0).integers(0, 256, (height // 10, width // 4, 3), np.uint8)
    body = cv2.resize(body, (width, 2 * height // 5), interpolation=cv2.INTER_CUBIC)
    top = height - len(body)
    for file in recording.files:
        image = read_image(file)
        image[top:] = body
        cv2.imwrite(str(file), image)
    out = tmp_path / "seen.set"
    answer = run(
        *("map", "build", *recording.options(), "--sub-maps", 2, "--out", out, *SET, "--no-self-test")
    )
    assert answer.status == 0, answer.err
    assert "of the robot's own body or of text in the image: left out of the map" in caplog.text
    maps = [load_map(out / sub_map.folder) for sub_map in read_map_set(out).sub_maps]
    for built in maps:
        assert built.build_info["pose_faults"]["keyframes"] == []
        assert np.mean(built.observation_xy[:][:, 1] > top + 2) < 0.02


@pytest.mark.slow
def test_images_alone_make_one_map_in_tasks(recording, run, tmp_path):
    command = ("--images", recording.images, "--camera", recording.camera, "--every", 3, *SIFT)
    target = tmp_path / "tasks.map"
    answer = run("map", "build", *command, "--work", tmp_path / "work", "--out", target, "--no-self-test")
    assert answer.status == 0, answer.err
    assert load_map(target).num_keyframes >= 4
    assert load_map(target).build_info["method"] == "structure from motion"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--sub-maps", 0), "--sub-maps is 0, expected 1 or more"),
        (("--sub-map-size", -2), "--sub-map-size is -2, expected 1 or more"),
        (("--sub-maps", 9), "9 sub-maps of 33 keyframes are asked for, expected 1 to 3"),
        (("--sub-map-size", 3), "11 sub-maps of 33 keyframes"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(mapping, run, tmp_path, options, words):
    answer = run("map", "build", *mapping.options(), *options, "--out", tmp_path / "set", *SIFT)
    assert words in answer.error
    assert not (tmp_path / "set").exists()


def test_sub_maps_need_poses(mapping, run, tmp_path):
    answer = run(
        "map", "build", "--images", mapping.images, "--sub-maps", 2, "--out", tmp_path / "set", *SIFT
    )
    assert "cut by position and need poses" in answer.error


def test_a_damaged_image_is_found_before_any_is_described(short, run, tmp_path):
    short.files[4].write_bytes(b"no image")
    answer = run(
        "map", "build", *short.options(), "--work", tmp_path / "work", "--out", tmp_path / "map", *SIFT
    )
    assert short.files[4].name in answer.error
    assert not (tmp_path / "work" / "describe").exists()


@pytest.mark.slow
def test_a_set_takes_the_place_of_a_set_and_of_nothing_else(built_set, recording, run, kit, tmp_path):
    command = ("map", "build", *recording.options(), "--sub-maps", 3, *SET)
    copy = shutil.copytree(built_set, tmp_path / "room.set")
    (copy / "notes.txt").write_text("mine")
    answer = run(*command, "--work", f"{built_set}.work", "--out", copy)
    assert "holds 'notes.txt' beside a set" in answer.error
    (copy / "notes.txt").unlink()
    assert run("map", "area", copy, "west", "--maps", "sub-map-0").status == 0
    answer = run(
        *command, "--work", f"{built_set}.work", "--out", copy, "--frame-id", "hall", "--no-self-test"
    )
    assert answer.status == 0, answer.err
    found = read_map_set(copy)
    assert (found.frame_id, found.named("sub-map-0").areas) == ("hall", ("west",))
    answer = run(*command, "--out", built_set / "maps" / "sub-map-0")
    assert "expected a set of maps" in answer.error


def test_a_work_folder_of_something_else_is_refused(mapping, run, kit, tmp_path):
    before = kit.content_of(mapping.folder)
    answer = run(
        "map", "build", *mapping.options(), "--work", mapping.folder, "--out", tmp_path / "map", *SIFT
    )
    assert "something else than a build" in answer.error
    assert kit.content_of(mapping.folder) == before
