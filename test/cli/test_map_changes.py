"""Verbs `map merge`, `map update` and `map prune`: what they print, write and leave alone."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import create_extractor
from hfnet_ros.files.camera_yaml import read_camera_yaml
from hfnet_ros.files.posed_images import pair_images_with_poses
from hfnet_ros.files.tum import read_tum, write_tum
from hfnet_ros.geometry import Rigid3
from hfnet_ros.map.map_io import load_map, save_map, verify_map
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.trust.tested_build import build_map

ELSEWHERE = Rigid3.from_rotvec([0.2, -0.4, 0.9], [5.0, -3.0, 1.0])


def part(mapping, folder, rows):
    """Some images to map from, with their poses, in a folder of their own."""
    (folder / "images").mkdir(parents=True)
    for file in mapping.files[rows]:
        shutil.copy(file, folder / "images")
    write_tum(folder / "poses.tum", read_tum(mapping.poses)[rows])
    shutil.copy(mapping.camera, folder)
    return folder


def build(folder, out, *, map_from_part=None):
    """Build the map of a part as `map build` does, in another frame if asked."""
    posed = pair_images_with_poses(folder / "images", folder / "poses.tum")
    source = PosedImages.of_files(posed, read_camera_yaml(folder / "camera.yaml"))
    if map_from_part is not None:
        source = replace(source, map_from_camera=[map_from_part @ pose for pose in source.map_from_camera])
    config = Config.from_dict({"extractor": {"name": "sift"}})
    options = BuildOptions(intrinsics="off", refine_poses="off", self_test=False)
    save_map(build_map(source, create_extractor(config), config, options), out)
    return out


@pytest.fixture(scope="module")
def second_half(mapping, tmp_path_factory):
    return part(mapping, tmp_path_factory.mktemp("second") / "half", slice(16, 33))


@pytest.fixture(scope="module")
def halves(mapping, second_half, tmp_path_factory):
    """Maps of the first 20 and the last 17 images."""
    folder = tmp_path_factory.mktemp("halves")
    first = part(mapping, folder / "first", slice(0, 20))
    return build(first, folder / "a.map"), build(second_half, folder / "b.map")


@pytest.fixture(scope="module")
def moved(second_half, tmp_path_factory):
    """Map of the last 17 images in another frame."""
    return build(second_half, tmp_path_factory.mktemp("moved") / "moved.map", map_from_part=ELSEWHERE)


def test_merged_halves_localize_what_both_saw(run, halves, query, tmp_path):
    first, second = halves
    answer = run("map", "merge", first, second, "--out", tmp_path / "both.map")
    assert (answer.status, answer.err) == (0, "")
    assert re.match(
        r".*both.map: 33 keyframes, \d+ landmarks, \d+ of them in both maps, as 4 keyframes are", answer.out
    )
    merged = load_map(tmp_path / "both.map")
    assert verify_map(tmp_path / "both.map") == []
    assert merged.build_info["shared_landmarks"] > 50
    assert len(set(merged.keyframe_names)) == 33
    outcome = run("localize", "--map", tmp_path / "both.map", *query.files)
    assert sum("LOCALIZED at" in line for line in outcome.lines) >= 7


def test_a_map_in_another_frame_is_aligned(run, halves, moved, tmp_path):
    first, second = halves
    answer = run("map", "merge", first, moved, "--align", "--out", tmp_path / "both.map")
    assert (answer.status, answer.err) == (0, "")
    assert re.match(
        r"aligned: \d+ of 17 keyframes were found in the other map, \d+ of them agree", answer.out
    )
    merged, truth = load_map(tmp_path / "both.map"), load_map(second)
    assert merged.num_keyframes == 33, "both halves have four images"
    for row in range(truth.num_keyframes):
        off = merged.map_from_camera(16 + row)
        assert off.translation_to(truth.map_from_camera(row)) < 0.02
        assert np.degrees(off.rotation_to(truth.map_from_camera(row))) < 0.5
    assert merged.build_info["alignment"]["num_agreeing"] >= 5


def test_a_map_that_has_all_of_the_other_one_is_told(run, halves, tmp_path):
    shutil.copytree(halves[0], tmp_path / "copy.map")
    answer = run("map", "merge", halves[0], tmp_path / "copy.map", "--out", tmp_path / "both.map")
    assert "copy.map: all of its 20 keyframes are in" in answer.error
    assert not (tmp_path / "both.map").exists()


@pytest.mark.slow
def test_maps_that_share_nothing_are_not_aligned(run, mapping, tmp_path):
    first = build(part(mapping, tmp_path / "p", slice(0, 6)), tmp_path / "a.map")
    far = build(part(mapping, tmp_path / "q", slice(15, 21)), tmp_path / "b.map", map_from_part=ELSEWHERE)
    answer = run("map", "merge", first, far, "--align", "--out", tmp_path / "both.map")
    assert "agree" in answer.error or "were found in the other map" in answer.error
    assert not (tmp_path / "both.map").exists()


def test_a_merge_in_two_frames_says_that_nothing_is_shared(run, halves, moved, tmp_path):
    answer = run("map", "merge", halves[0], moved, "--out", tmp_path / "both.map")
    assert answer.status == 0
    assert "use --align" in answer.lines[-1]


@pytest.mark.parametrize(
    ("off_m", "is_refused"),
    [
        pytest.param(0.0, False, marks=pytest.mark.slow),
        pytest.param(0.1, False, marks=pytest.mark.slow),
        (0.8, True),
    ],
)
def test_a_merge_of_maps_that_are_off_says_so(run, halves, second_half, tmp_path, caplog, off_m, is_refused):
    off = build(
        second_half, tmp_path / "off.map", map_from_part=Rigid3(np.eye(3), np.array([0.0, off_m, 0.0]))
    )
    answer = run("map", "merge", halves[0], off, "--out", tmp_path / "both.map")
    if is_refused:
        assert "the poses are in another frame than the map" in answer.error
        assert "bring the second map into the frame of the first by --align" in answer.error
        assert not (tmp_path / "both.map").exists()
        return
    assert answer.status == 0
    added = load_map(tmp_path / "both.map").covariance_model[1]
    said = "from where their poses say, all alike" in caplog.text + answer.err
    assert said == bool(off_m)
    assert np.isclose(np.trace(added[:3, :3]) ** 0.5, off_m, atol=0.02)


def test_an_update_adds_a_session_and_leaves_the_map_alone(run, kit, halves, second_half, tmp_path):
    before = kit.content_of(halves[0])
    options = ["--images", second_half / "images", "--poses", second_half / "poses.tum"]
    answer = run(
        "map",
        "update",
        halves[0],
        *options,
        "--camera",
        second_half / "camera.yaml",
        "--out",
        tmp_path / "n.map",
    )
    assert (answer.status, answer.err) == (0, "")
    # The halves have four images in common.
    assert re.match(
        r".*n.map: 33 keyframes \(13 new\), \d+ landmarks: \d+ new, \d+ old ones seen again, dropped \d+ seen "
        r"through, \d+ never seen again",
        answer.out,
    )
    assert kit.content_of(halves[0]) == before
    assert verify_map(tmp_path / "n.map") == []


def test_an_update_that_sees_nothing_of_the_map_says_what_its_place_hangs_on(run, mapping, halves, tmp_path):
    """Images of RedKitchen had been put into a map of EuRoC without a word."""
    few = part(mapping, tmp_path / "few", slice(28, 33))
    poses = [
        replace(pose, map_from_camera=ELSEWHERE @ pose.map_from_camera)
        for pose in read_tum(few / "poses.tum")
    ]
    write_tum(few / "poses.tum", poses)
    answer = run(
        "map", "update", halves[0], "--images", few / "images", "--poses", few / "poses.tum",
        "--camera", few / "camera.yaml", "--out", tmp_path / "n.map",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    assert answer.lines[-1].startswith("the new images see next to nothing of the map"), answer.out


@pytest.mark.parametrize("count", [8, 3])
def test_an_update_with_poses_of_another_frame_is_refused_or_doubted(
    run, built, query, tmp_path, caplog, count
):
    """Three images are too few to tell another frame from three false fixes: they had been taken without a word."""
    shifted = Rigid3.from_rotvec([0.0, 0.0, 0.1], [0.4, 0.0, 0.0])
    few = part(query, tmp_path / "few", slice(count))
    moved = [
        replace(pose, map_from_camera=shifted @ pose.map_from_camera) for pose in read_tum(few / "poses.tum")
    ]
    write_tum(few / "poses.tum", moved)
    answer = run(
        "map", "update", built.path, "--images", few / "images", "--poses", few / "poses.tum",
        "--camera", few / "camera.yaml", "--out", tmp_path / "n.map",
    )  # fmt: skip
    if count == 8:
        assert "the poses are in another frame than the map" in answer.error
        assert not (tmp_path / "n.map").exists()
    else:
        assert answer.status == 0
        assert "of 3 new images the map finds 3, only 0 of them where their poses say" in caplog.text


@pytest.mark.slow
def test_without_poses_the_session_is_localized_first(run, built, mapping, query, tmp_path):
    answer = run(
        "map",
        "update",
        built.path,
        "--images",
        query.images,
        "--camera",
        query.camera,
        "--out",
        tmp_path / "n.map",
    )
    assert answer.status == 0, answer.err
    localized = re.match(r"localized: (\d) of 8 images", answer.lines[0])
    assert int(localized[1]) >= 7
    updated, truth = load_map(tmp_path / "n.map"), read_tum(query.poses)
    errors = [
        updated.map_from_camera(33 + row).translation_to(
            truth[query.files.index(query.images / name)].map_from_camera
        )
        for row, name in enumerate(name.removesuffix("~2") for name in updated.keyframe_names[33:])
    ]
    assert np.median(errors) < 0.02


@pytest.mark.parametrize("scale", ["metres", "arbitrary"])
def test_an_update_from_nowhere_is_refused(run, halves, tmp_path, mapping, scale):
    import cv2

    path = halves[0]
    if scale == "arbitrary":
        asked, path = load_map(path), tmp_path / "photos.map"
        save_map(replace(asked, build_info={**asked.build_info, "scale": "arbitrary"}), path)

    (tmp_path / "noise").mkdir()
    rng = np.random.default_rng(0)
    for row in range(3):
        cv2.imwrite(str(tmp_path / "noise" / f"{row}.png"), rng.integers(0, 256, (192, 256, 3), np.uint8))
    answer = run(
        "map", "update", path, "--images", tmp_path / "noise", "--camera", mapping.camera,
        "--out", tmp_path / "n.map",
    )  # fmt: skip
    assert "0 of 3 new images were localized" in answer.error
    # Poses are refused beside such a map.
    assert ("--poses" in answer.error) == (scale == "metres")
    assert not (tmp_path / "n.map").exists()


def test_pruning_drops_what_few_keyframes_see(run, built, kit, tmp_path):
    before = kit.content_of(built.path)
    answer = run("map", "prune", built.path, "--min-observations", "4", "--out", tmp_path / "small.map")
    assert (answer.status, answer.err) == (0, "")
    pruned, whole = load_map(tmp_path / "small.map"), load_map(built.path)
    assert np.bincount(pruned.observation_landmark_idx).min() >= 4
    assert 0 < pruned.num_landmarks < whole.num_landmarks
    assert f"{pruned.num_landmarks} of {whole.num_landmarks} landmarks kept" in answer.out
    assert kit.content_of(built.path) == before


def test_pruning_everything_is_refused(run, built, tmp_path):
    answer = run("map", "prune", built.path, "--min-observations", "1000", "--out", tmp_path / "small.map")
    assert "a map without any is none" in answer.error
    assert not (tmp_path / "small.map").exists()


def test_a_map_may_be_replaced_by_its_update(run, built, tmp_path):
    save_map(load_map(built.path), tmp_path / "own.map")
    answer = run(
        "map", "prune", tmp_path / "own.map", "--min-observations", "3", "--out", tmp_path / "own.map"
    )
    assert answer.status == 0
    assert verify_map(tmp_path / "own.map") == []


@pytest.mark.parametrize("verb", ["merge", "update", "prune"])
def test_a_target_that_is_no_map_is_refused_before_any_work(run, built, mapping, tmp_path, verb):
    target = tmp_path / "notes.txt"
    target.write_text("mine")
    sources = [built.path, built.path] if verb == "merge" else [built.path]
    images = ["--images", mapping.images] if verb == "update" else []
    answer = run("map", verb, *sources, *images, "--out", target)
    assert "is a file, expected a free name" in answer.error
    assert target.read_text() == "mine"
