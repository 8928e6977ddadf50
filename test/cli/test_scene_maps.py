"""Scene networks from the command line: `map build --kind`, `map train`, and every verb on maps that have one.

What trains is stood in for by a network that knows the landmarks by heart, so that PyTorch is not needed.
"""

import dataclasses
import json
import shutil

import cv2
import numpy as np
import pytest
from memorised_scenes import memorised_scene

from hfnet_ros.cli import keyframe_images, scene_maps, scene_training
from hfnet_ros.config import CamerasConfig
from hfnet_ros.errors import ConfigError, MappingError
from hfnet_ros.files.camera_mask import read_mask
from hfnet_ros.files.images import write_png
from hfnet_ros.map.manifest import read_manifest
from hfnet_ros.map.map_io import load_map, save_map, verify_map
from hfnet_ros.map.scene_map import without_landmarks
from hfnet_ros.mapping.update import update_map
from hfnet_ros.trust import calibration, tested_build

pytest.importorskip("onnxruntime")

CURVES = [
    {"step": 10, "part": 0.5, "leaf": 0.3, "median_m": 0.4, "near": 0.2},
    {"step": 20, "part": 0.9, "leaf": 0.8, "median_m": 0.05, "near": 0.9},
]


class Trainer:
    """Stands in for `train_scene` and remembers what it was asked for."""

    def __init__(self):
        self.calls = []
        self.failure = None

    def __call__(
        self, visual_map, pixels, extractor, config, progress, checkpoint=None, start_from=None, depths=None
    ):
        self.calls.append({"config": config.scene, "start_from": start_from, "depths": depths})
        self.calls[-1]["resumed"] = checkpoint is not None and any(checkpoint.iterdir())
        rows = range(visual_map.num_keyframes)
        self.calls[-1]["images"] = None if pixels is None else [pixels(row) for row in rows]
        if checkpoint is not None:
            (checkpoint / "hybrid.pt").write_bytes(b"half way")
        progress("train", 1, 2)
        if self.failure is not None:
            raise self.failure
        facts = {"network": config.scene.network, "duration_s": 7.0, "curves": CURVES}
        return dataclasses.replace(memorised_scene(visual_map), facts=facts)


@pytest.fixture
def trainer(monkeypatch):
    trainer = Trainer()
    monkeypatch.setattr(scene_training, "has_torch", lambda: True)
    monkeypatch.setattr(scene_maps, "has_torch", lambda: True)
    monkeypatch.setattr(scene_training, "load_trainer", lambda num_threads: trainer)
    return trainer


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setattr(scene_training, "has_torch", lambda: False)
    monkeypatch.setattr(scene_maps, "has_torch", lambda: False)


@pytest.fixture
def built_already(built, monkeypatch):
    """Leave out the work of building a map; the list is filled with every time it is built."""
    ready, times = load_map(built.path), []
    monkeypatch.setattr(tested_build, "build_map", lambda *_: times.append(1) or ready)
    return times


@pytest.fixture(scope="module")
def both(built, tmp_path_factory):
    """The map of the room with a network beside its landmarks."""
    path = tmp_path_factory.mktemp("both") / "both.map"
    visual_map = load_map(built.path)
    save_map(dataclasses.replace(visual_map, scene=scene_of(visual_map)), path)
    return path


@pytest.fixture(scope="module")
def small(both, tmp_path_factory):
    """The same without landmarks."""
    path = tmp_path_factory.mktemp("small") / "small.map"
    save_map(without_landmarks(load_map(both)), path)
    return path


def scene_of(visual_map):
    return dataclasses.replace(
        memorised_scene(visual_map), facts={"network": "hybrid", "duration_s": 7.0, "curves": CURVES}
    )


# map build


def test_a_map_of_both_kinds_is_built(run, mapping, kit, tmp_path, trainer, built_already):
    out = tmp_path / "both.map"
    answer = run("map", "build", *mapping.options(), "--out", out, *kit.FAST, "--kind", "both")
    assert answer.status == 0, answer.err
    assert read_manifest(out)[0]["kind"] == "landmarks"
    loaded = load_map(out, verify=True)
    assert loaded.num_landmarks > 0
    assert loaded.scene.num_leaves == 25
    assert any(
        "hybrid network on 30 of 33 keyframes, 8 altered views of each" in line for line in answer.lines
    )
    assert any(line.startswith("scene network: hybrid, 25 leaves") for line in answer.lines)
    (call,) = trainer.calls
    assert [image.shape[:2] for image in call["images"]] == [(192, 256)] * 33
    assert [path.name for path in tmp_path.iterdir()] == ["both.map"]


def test_a_map_of_kind_scene_has_no_landmarks(run, mapping, kit, tmp_path, trainer, built_already):
    out = tmp_path / "small.map"
    options = ("--kind", "scene", "--scene-network", "dense")
    answer = run("map", "build", *mapping.options(), "--out", out, *kit.FAST, *options)
    assert answer.status == 0, answer.err
    assert trainer.calls[0]["config"].network == "dense"
    assert read_manifest(out)[0]["kind"] == "scene"
    assert load_map(out).num_landmarks == 0
    assert verify_map(out) == []
    assert "self-test" not in answer.out


def test_landmarks_alone_stay_the_default(run, mapping, kit, tmp_path, built_already, without_torch):
    answer = run("map", "build", *mapping.options(), "--out", tmp_path / "a.map", *kit.FAST)
    assert answer.status == 0, answer.err
    assert load_map(tmp_path / "a.map").scene is None
    assert "network" not in answer.out


@pytest.mark.parametrize("kind", ["scene", "both"])
def test_without_pytorch_nothing_is_begun(run, mapping, kit, tmp_path, built_already, without_torch, kind):
    answer = run("map", "build", *mapping.options(), "--out", tmp_path / "a.map", *kit.FAST, "--kind", kind)
    assert "needs PyTorch: pip install torch" in answer.error
    assert built_already == []
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_a_kind_is_refused(run, mapping, tmp_path):
    answer = run("map", "build", *mapping.options(), "--out", tmp_path / "a.map", "--scene-network", "hybrid")
    assert "--scene-network needs --kind scene or both" in answer.error


def test_an_interrupted_build_goes_on_where_it_was(run, mapping, kit, tmp_path, trainer, built_already):
    command = ("map", "build", *mapping.options(), "--out", tmp_path / "a.map", *kit.FAST, "--kind", "both")
    trainer.failure = KeyboardInterrupt()
    assert run(*command).status == 130
    assert [path.name for path in tmp_path.iterdir()] == ["a.map.training"]
    trainer.failure = None
    answer = run(*command, "--threads", 1)
    assert answer.status == 0, answer.err
    assert f"going on with what was interrupted: {tmp_path / 'a.map.training'}" in answer.lines
    assert [call["resumed"] for call in trainer.calls] == [False, True]
    assert len(built_already) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.map"]


def test_another_build_begins_anew(run, mapping, kit, tmp_path, trainer, built_already):
    command = ("map", "build", *mapping.options(), "--out", tmp_path / "a.map", *kit.FAST, "--kind", "both")
    trainer.failure = KeyboardInterrupt()
    assert run(*command).status == 130
    trainer.failure = None
    assert run(*command, "--frame-id", "other").status == 0
    assert [call["resumed"] for call in trainer.calls] == [False, False]
    assert len(built_already) == 2


def test_a_kept_map_that_is_damaged_is_built_again(run, mapping, kit, tmp_path, trainer, built_already):
    command = ("map", "build", *mapping.options(), "--out", tmp_path / "a.map", *kit.FAST, "--kind", "both")
    trainer.failure = KeyboardInterrupt()
    assert run(*command).status == 130
    (tmp_path / "a.map.training" / "map" / "map.json").write_bytes(b"{")
    trainer.failure = None
    assert run(*command).status == 0
    assert [call["resumed"] for call in trainer.calls] == [False, False]
    assert verify_map(tmp_path / "a.map") == []


def test_somebody_elses_folder_is_left_alone(run, mapping, kit, tmp_path, trainer, built_already):
    (tmp_path / "a.map.training").mkdir()
    (tmp_path / "a.map.training" / "notes.txt").write_text("mine")
    answer = run("map", "build", *mapping.options(), "--out", tmp_path / "a.map", *kit.FAST, "--kind", "both")
    assert "holds no interrupted training; move it away" in answer.error
    assert (tmp_path / "a.map.training" / "notes.txt").read_text() == "mine"


def test_what_was_built_is_not_lost_with_a_training_that_fails(
    run, mapping, kit, tmp_path, trainer, built_already
):
    trainer.failure = MappingError("too few keyframes")
    answer = run("map", "build", *mapping.options(), "--out", tmp_path / "a.map", *kit.FAST, "--kind", "both")
    kept = tmp_path / "a.map.training" / "map"
    assert f"too few keyframes (the map of landmarks is in {kept})" in answer.error
    assert verify_map(kept) == []


@pytest.mark.parametrize("failure", [MemoryError("no more"), RuntimeError("can't allocate memory: 8 GB")])
def test_too_little_memory_says_what_to_do(run, both, mapping, tmp_path, trainer, failure):
    trainer.failure = failure
    answer = run("map", "train", both, "--images", mapping.images, "--out", tmp_path / "a.map")
    assert "memory does not suffice to train a hybrid network" in answer.error
    assert "lower scene.views" in answer.err


def test_other_failures_are_not_taken_for_it(run, both, mapping, tmp_path, trainer):
    trainer.failure = RuntimeError("shapes differ")
    with pytest.raises(RuntimeError, match="shapes differ"):
        run("map", "train", both, "--images", mapping.images, "--out", tmp_path / "a.map")


# map train


def test_a_network_is_trained_for_a_map_that_is_there(run, built, mapping, tmp_path, trainer, kit):
    before = kit.content_of(built.path)
    answer = run("map", "train", built.path, "--images", mapping.images, "--out", tmp_path / "new.map")
    assert answer.status == 0, answer.err
    assert "held-out points 0.050 m off at the median, 90 % near" in answer.out
    trained = load_map(tmp_path / "new.map")
    assert trained.num_landmarks == load_map(built.path).num_landmarks
    assert trained.scene is not None
    assert len(trainer.calls[0]["images"]) == 33
    assert kit.content_of(built.path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["new.map"]


def test_a_map_of_kind_scene_comes_of_one_with_landmarks(run, both, mapping, tmp_path, trainer):
    out = tmp_path / "new.map"
    assert run("map", "train", both, "--images", mapping.images, "--kind", "scene", "--out", out).status == 0
    assert read_manifest(out)[0]["kind"] == "scene"


def test_observations_do_without_images(run, built, tmp_path, trainer):
    answer = run("map", "train", built.path, "--out", tmp_path / "new.map")
    assert answer.status == 0, answer.err
    assert trainer.calls[0]["images"] is None
    assert "by what the map kept of them" in answer.out


def test_a_dense_network_needs_images(run, built, tmp_path, trainer):
    answer = run("map", "train", built.path, "--out", tmp_path / "new.map", "--scene-network", "dense")
    assert "scene.network is 'dense', which learns from images; name them" in answer.error
    assert trainer.calls == []


def test_depth_images_are_for_a_dense_network(run, built, mapping, tmp_path, trainer):
    (tmp_path / "depth").mkdir()
    depth = np.full((192, 256), 2500, np.uint16)
    cv2.imwrite(str(tmp_path / "depth" / f"{mapping.files[2].stem}.png"), depth)
    of_depth = ("--depth-images", tmp_path / "depth")
    command = (
        "map",
        "train",
        built.path,
        "--images",
        mapping.images,
        "--out",
        tmp_path / "new.map",
        *of_depth,
    )
    assert "are given together" in run(*command).error
    command += ("--depth-camera", mapping.camera)
    assert "--depth-images is for --scene-network dense or dense-full" in run(*command).error
    answer = run(*command, "--scene-network", "dense")
    assert answer.status == 0, answer.err
    read = trainer.calls[0]["depths"].read
    assert read(0) is None
    np.testing.assert_allclose(read(2), 2.5)


def test_depth_images_of_nothing_leave_nothing_behind(run, built, mapping, tmp_path, trainer):
    (tmp_path / "depth").mkdir()
    of_depth = ("--depth-images", tmp_path / "depth", "--depth-camera", mapping.camera)
    answer = run(
        "map", "train", built.path, "--images", mapping.images, "--out", tmp_path / "new.map", *of_depth,
        "--scene-network", "dense",
    )  # fmt: skip
    assert "0 .png files, none named as a keyframe" in answer.error
    assert [path.name for path in tmp_path.iterdir()] == ["depth"]


def test_images_that_are_missing_are_counted(run, built, mapping, tmp_path, trainer):
    (tmp_path / "some").mkdir()
    for file in mapping.files[:30]:
        shutil.copy(file, tmp_path / "some")
    answer = run("map", "train", built.path, "--images", tmp_path / "some", "--out", tmp_path / "new.map")
    assert "3 of 33 keyframes have no image there, first" in answer.error
    (tmp_path / "rest").mkdir()
    for file in mapping.files[30:]:
        shutil.copy(file, tmp_path / "rest")
    named = ("--images", tmp_path / "some", tmp_path / "rest")
    assert run("map", "train", built.path, *named, "--out", tmp_path / "new.map").status == 0


def test_images_come_from_a_bag(run, built, mapping, kit, tmp_path, trainer):
    bag, of_bag = tmp_path / "room.bag", tmp_path / "bag.map"
    assert run("bag", "make", *mapping.options(), "--out", bag).status == 0
    assert (
        run("map", "build", "--bag", bag, "--pose-topic", "/ground_truth/pose", "--every", 3, *kit.FAST,
            "--out", of_bag).status == 0
    )  # fmt: skip
    answer = run("map", "train", of_bag, "--bag", bag, "--out", tmp_path / "new.map")
    assert answer.status == 0, answer.err
    assert len(trainer.calls[0]["images"]) == 11


def test_a_map_without_landmarks_cannot_be_trained_on(run, small, mapping, tmp_path, trainer):
    answer = run("map", "train", small, "--images", mapping.images, "--out", tmp_path / "new.map")
    assert "map of kind 'scene', which has no landmarks, and `map train` needs them" in answer.error


def test_names_of_a_map_do_not_lead_out_of_a_folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    find = keyframe_images.in_folder(str(tmp_path / "images"), CamerasConfig())
    assert find("../secret.png") is None
    assert find(str(tmp_path / "secret.png")) is None
    (tmp_path / "images" / "1.png").write_bytes(b"x")
    assert find("1.png") is not None


def test_images_of_a_rig_are_found_by_camera(tmp_path):
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
    (tmp_path / "right" / "1.png").write_bytes(b"x")
    folders = f"left={tmp_path / 'left'},right={tmp_path / 'right'}"
    find = keyframe_images.in_folder(folders, CamerasConfig())
    assert find("right/1.png") is not None
    assert find("left/1.png") is None
    assert find("1.png") is None


def test_networks_learn_from_images_with_their_masks(tmp_path):
    mask, pixels = (
        np.full((48, 64), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8),
    )
    mask[24:, :32] = 0
    write_png(tmp_path / "mask.png", mask)
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        write_png(tmp_path / name / "1.png", pixels)
    folders = f"left={tmp_path / 'left'},right={tmp_path / 'right'}"
    of_rig = keyframe_images.in_folder(folders, CamerasConfig(masks=f"left={tmp_path / 'mask.png'}"))
    alone = keyframe_images.in_folder(str(tmp_path / "left"), CamerasConfig(masks=str(tmp_path / "mask.png")))
    hidden = read_mask(tmp_path / "mask.png").hide(pixels)
    np.testing.assert_array_equal(of_rig("left/1.png")(), hidden)
    np.testing.assert_array_equal(of_rig("right/1.png")(), pixels)
    np.testing.assert_array_equal(alone("1.png")(), hidden)


def test_keyframes_of_one_name_are_of_sessions_in_turn(built):
    visual_map = load_map(built.path)
    first = visual_map.keyframe_names[0]
    names = [first, f"{first}~2", *visual_map.keyframe_names[2:]]
    twice = dataclasses.replace(visual_map, keyframe_names=names)
    size_wh = visual_map.cameras[0].refined.size_wh

    def place(value):
        image = np.full((size_wh[1], size_wh[0]), value, np.uint8)
        return keyframe_images.by_name({first: lambda: image})

    read = keyframe_images.pixels_by_row(twice, [0, 1], [place(1), place(2)], "a, b")
    assert [int(read(row)[0, 0]) for row in (0, 1)] == [1, 2]
    with pytest.raises(ConfigError, match="has 2 images there, expected 1"):
        keyframe_images.pixels_by_row(twice, [0], [place(1), place(2)], "a, b")


# map info, view, merge, update, prune, scale, convert


def test_info_shows_the_network(run, both, small, built):
    for path, has_landmarks in ((both, True), (small, False)):
        facts = json.loads(run("map", "info", path, "--json").out)
        assert facts["kind"] == ("landmarks" if has_landmarks else "scene")
        assert ("landmarks" in facts) == has_landmarks
        network = facts["scene_network"]
        assert (network["network"], network["leaves"], network["curves"]) == ("hybrid", 25, CURVES)
        assert network["self_test"]["num_keyframes"] > 0
        shown = run("map", "info", path)
        assert "  duration_s: 7.0" in shown.lines
        assert "curves" not in shown.out
    assert "scene_network" not in run("map", "info", built.path).out


def test_view_draws_how_it_learned(run, both, small, built, tmp_path):
    for path in (both, small):
        target = tmp_path / f"{path.name}.html"
        assert run("map", "view", path, "--out", target).status == 0
        page = target.read_text()
        assert "that it was not trained on" in page
        assert "median error, m" in page
        assert run("map", "view", path, "--out", tmp_path / "map.png").status == 0
    assert run("map", "view", built.path, "--out", tmp_path / "plain.html").status == 0
    assert "not trained on" not in (tmp_path / "plain.html").read_text()


def test_merging_and_scaling_need_landmarks_and_leave_the_network_out(run, both, small, built, tmp_path):
    out = tmp_path / "new.map"
    assert "`map merge` needs them" in run("map", "merge", built.path, small, "--out", out).error
    seen = load_map(built.path)
    moved_px = np.asarray(seen.observation_xy[:]) + np.float32(0.3)  # as by other images of the same views
    save_map(dataclasses.replace(seen, observation_xy=moved_px), tmp_path / "anew.map")
    answer = run("map", "merge", both, tmp_path / "anew.map", "--out", out)
    assert answer.status == 0, answer.err
    assert "scene network: left out" in answer.err
    assert "hfnet-ros map train" in answer.err
    assert load_map(out).scene is None
    for verb in ("prune", "update"):
        more = ("--images", tmp_path) if verb == "update" else ()
        assert f"`map {verb}` needs them" in run("map", verb, small, *more, "--out", out).error


def test_pruning_keeps_the_network_whose_frame_stays(run, both, tmp_path):
    answer = run("map", "prune", both, "--min-observations", 3, "--out", tmp_path / "new.map")
    assert answer.status == 0, answer.err
    pruned = load_map(tmp_path / "new.map")
    assert pruned.num_landmarks < load_map(both).num_landmarks
    assert pruned.scene.network == load_map(both).scene.network


@pytest.fixture
def updated_already(monkeypatch):
    """Leave out the work of an update: the new keyframes see nothing."""
    from hfnet_ros.mapping import update

    def stand_in(visual_map, session, extractor, config, options, prune, locate):
        count, names = len(session.images), [image.name for image in session.images]
        twice = np.arange(count) % visual_map.num_keyframes
        grown = dataclasses.replace(
            visual_map,
            keyframe_names=[*visual_map.keyframe_names, *names],
            search=None,
            scene=None,
            given=None,
            observation_offsets=np.append(
                visual_map.observation_offsets, [visual_map.num_observations] * count
            ),
            **{
                name: (lambda rows: np.concatenate([rows, rows[twice]]))(np.asarray(getattr(visual_map, name)))
                for name in ("keyframe_stamps_ns", "keyframe_camera_idx", "keyframe_poses", "global_descriptors")
            },
        )  # fmt: skip
        return grown, update.UpdateReport(count, 0, 0, {})

    assert update.update_map is update_map
    monkeypatch.setattr(update, "update_map", stand_in)


def updating(query, both, out, *more):
    words = ("--images", query.images, "--poses", query.poses, "--camera", query.camera)
    return ("map", "update", both, *words, "--out", out, *more)


def test_an_update_goes_on_training_on_all_images(
    run, both, query, mapping, tmp_path, trainer, updated_already
):
    out = tmp_path / "new.map"
    answer = run(*updating(query, both, out, "--earlier-images", mapping.images))
    assert answer.status == 0, answer.err
    (call,) = trainer.calls
    assert call["start_from"].network == load_map(both).scene.network
    assert len(call["images"]) == 33 + 8
    updated = load_map(out)
    assert len(updated.scene.arrays["identities"]) == 41
    assert "scene network: hybrid, 25 leaves" in answer.out


def test_an_update_without_what_it_needs_leaves_the_network_out(
    run, both, query, tmp_path, trainer, updated_already, monkeypatch
):
    out = tmp_path / "new.map"
    answer = run(*updating(query, both, out))
    assert answer.status == 0, answer.err
    assert "scene network: left out: to go on it needs the images of all keyframes" in answer.err
    assert load_map(out).scene is None
    monkeypatch.setattr(scene_maps, "has_torch", lambda: False)
    answer = run(*updating(query, both, out))
    assert "scene network: left out: training a scene-coordinate network needs PyTorch" in answer.err
    assert trainer.calls == []


# Every other verb


@pytest.fixture(params=["scene", pytest.param("both", marks=pytest.mark.slow)])
def either(request, both, small):
    """A map of kind scene, and one with both."""
    return small if request.param == "scene" else both


def test_images_are_localized(run, query, either, small, tmp_path):
    answer = run(
        "localize", "--map", either, "--camera", query.camera, *query.files, "--json", tmp_path / "a.json"
    )
    assert answer.status == 0, answer.err
    answers = json.loads((tmp_path / "a.json").read_text())
    assert [entry["outcome"] for entry in answers].count("LOCALIZED") >= 6
    if either == small:
        assert {entry["matched_by"] for entry in answers if entry["map_from_camera"]} == {"scene"}


def test_a_run_is_evaluated_and_reported(run, query, either, tmp_path):
    out = tmp_path / "report"
    answer = run("evaluate", "--map", either, *query.options(), "--out", out)
    assert answer.status == 0, answer.err
    results = json.loads((out / "results.json").read_text())
    assert results["false_fixes"] == 0
    assert results["recall"]["0.05m_5deg"] >= 0.75
    assert (results["map"]["leaves"], results["map"]["scene_network"]["network"]) == (25, "hybrid")
    page = (out / "report.html").read_text()
    assert "How it learned" in page
    assert "in the right leaf" in page


def test_a_plain_map_is_reported_as_before(run, query, built, tmp_path):
    assert run("evaluate", "--map", built.path, *query.options(), "--out", tmp_path / "report").status == 0
    assert "How it learned" not in (tmp_path / "report" / "report.html").read_text()
    assert "leaves" not in json.loads((tmp_path / "report" / "results.json").read_text())["map"]


def test_a_covariance_is_calibrated_for_what_localizes(run, query, either, small, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "MIN_QUERIES", 4)
    out = tmp_path / "calibrated.map"
    answer = run("calibrate", "--map", either, *query.options(), "--out", out, "--json", tmp_path / "a.json")
    assert answer.status == 0, answer.err
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["calibration"]["source"]["method"] == ("scene" if either == small else "both")
    assert load_map(out).scene is not None


@pytest.fixture(scope="module")
def drive(query, kit, tmp_path_factory):
    bag = tmp_path_factory.mktemp("drive") / "drive.bag"
    made = ("bag", "make", *query.options(), "--odometry-from-poses", "--out", bag)
    assert kit.call(*made) == 0
    return bag


def test_a_recording_is_replayed_and_examined(run, either, drive, tmp_path):
    answer = run("replay", "--map", either, drive, "--out", tmp_path / "out.bag")
    assert answer.status == 0, answer.err
    answer = run("doctor", "--map", either, "--bag", drive)
    assert answer.status == 0, answer.out


def test_the_doctor_says_what_a_map_does_not_have(run, built, drive, tmp_path):
    (tmp_path / "p.yaml").write_text("localization: {method: scene}\n")
    answer = run("doctor", "--map", built.path, "--bag", drive, "--params", tmp_path / "p.yaml")
    assert answer.status == 1
    assert "localization.method is 'scene', but the map has no scene-coordinate network" in answer.out


def test_what_a_map_does_not_have_is_refused_by_name(run, query, small, built, tmp_path):
    image = query.files[0]
    for path, method, words in (
        (small, "landmarks", "the map has no landmarks; build it with --kind landmarks or both"),
        (small, "both", "the map has no landmarks"),
        (built.path, "scene", "the map has no scene-coordinate network; train one by `hfnet-ros map train`"),
    ):
        (tmp_path / "p.yaml").write_text(f"localization: {{method: {method}}}\n")
        answer = run(
            "localize", "--map", path, "--camera", query.camera, image, "--params", tmp_path / "p.yaml"
        )
        assert f"localization.method is '{method}', but {words}" in answer.error
