"""Verbs `map set ...` and `map area`, and `--area`: what they print, write and refuse."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from small_sets import save_small_maps, small_map, small_set

from hfnet_ros.geometry import Rigid3
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.map_set_io import read_map_set
from hfnet_ros.mapping import set_overlaps
from hfnet_ros.mapping.alignment import Similarity, move_map

MOVED = Rigid3.from_rotvec([0.1, 0.0, 0.8], [30.0, 4.0, 1.0])


def test_a_set_is_made_and_changed(run, tmp_path):
    paths = save_small_maps(tmp_path, ["a", "b", "c"])
    house = tmp_path / "house.set"
    made = run("map", "set", "create", house, paths["a"], f"west={paths['b']}", "--area", "ground=a,west")
    assert made.status == 0, made.err
    assert "2 maps, 9 keyframes" in made.out and "areas ground" in made.out
    assert run("map", "set", "add", house, "c", paths["c"], "--area", "attic").status == 0
    assert run("map", "set", "replace", house, "west", paths["c"]).status == 0
    assert run("map", "set", "remove", house, "a").status == 0
    found = read_map_set(house)
    assert [(sub_map.name, sub_map.areas, sub_map.num_keyframes) for sub_map in found.sub_maps] == [
        ("west", ("ground",), 6),
        ("c", ("attic",), 6),
    ]
    assert run("map", "verify", house).out.endswith("sound\n")
    info = run("map", "info", house, "--json")
    assert json.loads(info.out)["kind"] == "set"
    assert json.loads(run("map", "set", "info", house, "--json").out)["areas"] == ["attic", "ground"]


def test_mistakes_are_refused_by_name(run, tmp_path):
    house = small_set(tmp_path)
    a = tmp_path / "a.map"
    save_map(small_map(frame_id="other"), tmp_path / "frame.map")
    for arguments, said in (
        (("add", house, "a", a), "has a map 'a' already; use `hfnet-ros map set replace`"),
        (("replace", house, "nix", a), "no sub-map 'nix', it has a, b, c"),
        (("remove", house, "nix"), "no sub-map 'nix', it has a, b, c"),
        (("add", house, "../x", a), "cannot be the name of a sub-map"),
        (("create", house, a), "is a map already"),
        (("create", tmp_path / "n.set", a, f"a={a}"), "same name"),
        (("create", tmp_path / "n.set", a, tmp_path / "frame.map"), "different frames"),
        (("create", tmp_path / "n.set", a, "--area", "west"), "expected AREA=NAME"),
        (("create", tmp_path / "n.set", a, "--area", "west=b"), "names 'b', the maps are a"),
        (("create", tmp_path / "n.set", a, tmp_path / "b.map", "--align"), "overlaps with none"),
    ):
        answer = run("map", "set", *arguments)
        assert answer.status == 1
        assert said in answer.err, answer.err
    assert not (tmp_path / "n.set").exists()


def test_a_map_that_is_in_another_frame_is_put_into_a_set_by_align_only(run, tmp_path):
    """It had been taken to be in the set's."""
    house = small_set(tmp_path)
    save_map(small_map(frame_id="hall"), tmp_path / "hall.map")
    scaled = {"scale_estimate": {"scale": 1.5}}
    save_map(small_map(build_info=scaled), tmp_path / "scaled.map")
    for verb, name in (("add", "x"), ("replace", "b")):
        of_frame = run("map", "set", verb, house, name, tmp_path / "hall.map")
        assert "hall.map in 'hall', the set's " in of_frame.error
        of_scale = run("map", "set", verb, house, name, tmp_path / "scaled.map")
        assert "scaled.map was built of images alone and then scaled" in of_scale.error
    made = run("map", "set", "create", tmp_path / "n", tmp_path / "a.map", tmp_path / "scaled.map")
    assert "scaled was built of images alone and then scaled" in made.error
    assert read_map_set(house).names == ["a", "b", "c"]
    own = run("map", "set", "create", tmp_path / "o", "--frame-id", "house", tmp_path / "scaled.map")
    assert own.status == 0, own.err
    assert run("map", "set", "replace", tmp_path / "o", "scaled", tmp_path / "scaled.map").status == 0


def test_a_map_of_another_extractor_is_refused_before_anything_is_compared(run, tmp_path, monkeypatch):
    monkeypatch.setattr(set_overlaps, "align_overlap", None)
    house = small_set(tmp_path)
    save_map(small_map(extractor_id="toy-2"), tmp_path / "other.map")
    for arguments in (
        ("add", house, "x", tmp_path / "other.map"),
        ("create", tmp_path / "n.set", tmp_path / "a.map", tmp_path / "other.map"),
    ):
        assert "was built with 'toy-2', the set with 'toy-1'" in run("map", "set", *arguments).error


def test_a_sub_map_that_was_removed_by_hand_is_named_and_the_set_can_be_changed(run, tmp_path):
    house = small_set(tmp_path)
    shutil.rmtree(house / "maps" / "b")
    problem = "maps/b: no such map; `hfnet-ros map set replace` or `remove` puts the set right"
    assert problem in run("map", "set", "info", house).out
    added = run("map", "set", "add", house, "d", tmp_path / "a.map")
    assert added.status == 0, added.err
    assert f"not compared with 'b', which cannot be used: {house}/{problem}" in added.err
    assert run("map", "set", "replace", house, "b", tmp_path / "b.map").status == 0
    assert run("map", "verify", house).out.endswith("sound\n")


def seen_anew(apartment):
    """Return the map as other images of the same views would make it."""
    moved_px = np.asarray(apartment.visual_map.observation_xy[:]) + np.float32(0.3)
    return dataclasses.replace(apartment.visual_map, observation_xy=moved_px)


@pytest.mark.slow
def test_a_map_that_is_in_the_set_already_is_refused(run, tmp_path, apartment):
    save_map(apartment.visual_map, tmp_path / "a.map")
    save_map(
        move_map(apartment.visual_map, Similarity(1.0, MOVED.rotation, MOVED.translation), "map"),
        tmp_path / "b.map",
    )
    paths = [tmp_path / "a.map", tmp_path / "b.map"]
    answer = run("map", "set", "create", tmp_path / "s", *paths, "--align")
    assert "b: all of its" in answer.error
    assert "keyframes are in a already" in answer.error
    assert not (tmp_path / "s").exists()
    assert run("map", "set", "create", tmp_path / "s", paths[0]).status == 0
    assert "keyframes are in a already" in run("map", "set", "add", tmp_path / "s", "c", paths[0]).error


def test_maps_in_frames_of_their_own_are_aligned(run, tmp_path, apartment):
    save_map(apartment.visual_map, tmp_path / "a.map")
    moved = move_map(seen_anew(apartment), Similarity(1.0, MOVED.rotation, MOVED.translation), "map")
    save_map(moved, tmp_path / "b.map")
    made = run("map", "set", "create", tmp_path / "s", tmp_path / "a.map", tmp_path / "b.map", "--align")
    assert made.status == 0, made.err
    placed = read_map_set(tmp_path / "s").named("b")
    middle = moved.keyframe_poses[:, :3].mean(axis=0)
    assert np.linalg.norm(placed.set_from_map @ middle - MOVED.inverse() @ middle) < 0.02
    assert np.linalg.eigvalsh(placed.covariance).min() > 0.0


def test_a_map_that_no_other_one_confirms_is_told(run, tmp_path, apartment):
    """Far away it is not even compared: in coordinates of another origin, say."""
    save_map(apartment.visual_map, tmp_path / "a.map")
    shift = Similarity(1.0, np.eye(3), np.array([500.0, 0.0, 0.0]))
    save_map(move_map(seen_anew(apartment), shift, "map"), tmp_path / "b.map")
    one = run("map", "set", "create", tmp_path / "s", tmp_path / "a.map")
    assert "found in no other map" not in one.out
    two = run("map", "set", "add", tmp_path / "s", "b", tmp_path / "b.map")
    assert two.status == 0, two.err
    assert "a, b: found in no other map" in two.out


@pytest.mark.parametrize(
    ("off_m", "is_told"), [pytest.param(0.0, False, marks=pytest.mark.slow), (0.3, True)]
)
def test_maps_that_are_not_where_their_overlap_says_are_told(run, tmp_path, apartment, off_m, is_told):
    save_map(apartment.visual_map, tmp_path / "a.map")
    shift = Similarity(1.0, np.eye(3), np.array([off_m, 0.0, 0.0]))
    save_map(move_map(seen_anew(apartment), shift, "map"), tmp_path / "b.map")
    for made in (
        run("map", "set", "create", tmp_path / "s", tmp_path / "a.map", tmp_path / "b.map"),
        run("map", "set", "info", tmp_path / "s"),
    ):
        assert made.status == 0, made.err
        assert ("times what the overlap is uncertain by" in made.out) == is_told
        assert ("place them by --align" in made.out) == is_told


def test_areas_are_named_and_forgotten(run, tmp_path):
    house = small_set(tmp_path)
    a = tmp_path / "a.map"
    assert run("map", "area", a, "west", "--box", -1, -1, -1, 1.5, 1, 1).status == 0
    before = load_map(a)
    assert before.areas == {"west": (-1.0, -1.0, -1.0, 1.5, 1.0, 1.0)}
    assert before.keyframes_in(["west"]).tolist() == [True, True, False, False]
    assert "west" in run("map", "info", a).out
    assert run("map", "verify", a).status == 0
    assert run("map", "area", house, "up", "--maps", "b", "c").status == 0
    assert run("map", "area", house, "up", "--maps", "c").status == 0
    assert read_map_set(house).named("b").areas == ()
    assert read_map_set(house).named("c").areas == ("up",)
    assert run("map", "area", house, "up", "--remove").status == 0
    assert run("map", "area", a, "west", "--remove").status == 0
    assert load_map(a).areas == {}
    for arguments, said in (
        ((a, "w", "--box", 1, 1, 1, 0, 0, 0), "each smallest below its largest"),
        ((a, "a b", "--box", 0, 0, 0, 1, 1, 1), "cannot be the name of an area"),
        ((a, "west", "--remove"), "has no area 'west'"),
        ((house, "up", "--remove"), "has no area 'up'"),
        ((a, "w", "--maps", "b"), "--maps is for a set"),
        ((house, "w", "--box", 0, 0, 0, 1, 1, 1), "--box is for a map"),
        ((house, "w", "--maps", "nix"), "no sub-map 'nix'"),
    ):
        answer = run("map", "area", *arguments)
        assert answer.status == 1
        assert said in answer.err, answer.err


def test_images_are_localized_in_the_areas_asked_for(run, tmp_path, apartment, camera):
    import cv2

    from hfnet_ros.files.camera_yaml import write_camera_yaml
    from hfnet_ros.scene import mapping_walk

    save_map(apartment.visual_map, tmp_path / "a.map")
    save_map(seen_anew(apartment), tmp_path / "b.map")
    house = tmp_path / "s"
    run("map", "set", "create", house, f"here={tmp_path / 'a.map'}", f"there={tmp_path / 'b.map'}",
        "--area", "home=here", "--area", "twin=there")  # fmt: skip
    truth = next(pose for row, (_, pose) in enumerate(mapping_walk(apartment.scene)) if row == 1)
    cv2.imwrite(str(tmp_path / "q.png"), apartment.frame(truth).image)
    write_camera_yaml(tmp_path / "camera.yaml", camera, "camera")
    asked = ("localize", "--map", house, "--camera", tmp_path / "camera.yaml", tmp_path / "q.png")
    found = run(*asked, "--area", "home", "--area", "twin")
    assert found.status == 0, found.err
    unknown = run(*asked, "--area", "attic")
    assert unknown.status == 1
    assert "it has home, twin" in unknown.err


@pytest.mark.parametrize("verb", ["localize", "evaluate", "replay", "run"])
def test_verbs_that_localize_take_areas(run, verb):
    assert "--area" in run(verb, "--help").out


def test_an_area_without_a_name_does_not_mean_everywhere(run, mapping, tmp_path):
    """As of a shell variable that is not set."""
    answer = run(
        "localize", "--map", small_set(tmp_path), "--camera", mapping.camera, "--area", "", mapping.files[0]
    )
    assert "--area names nothing" in answer.error
