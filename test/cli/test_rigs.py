"""Maps and evaluations of a rig's folders: two cameras that look different ways, of different sizes."""

import csv
import dataclasses
import json
import re
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest

from hfnet_ros.files.camera_mask import CameraMask
from hfnet_ros.files.camera_yaml import write_camera_yaml
from hfnet_ros.files.images import read_image, write_png
from hfnet_ros.files.rig_yaml import read_rig, write_rig
from hfnet_ros.files.tum import read_tum
from hfnet_ros.geometry import Rigid3
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.map_set_io import read_map_set
from hfnet_ros.map.stored_poses import stored_pose
from hfnet_ros.mapping.sources import UnposedImages
from hfnet_ros.scene import (
    QUERY_GAIT,
    Gait,
    build_apartment,
    demo_camera,
    mapping_walk,
    query_walk,
    write_dataset,
)
from hfnet_ros.types import RigCamera

RIGHT = Rigid3.from_rotvec([0.0, np.deg2rad(50.0), 0.0], [0.2, 0.0, 0.0])
CAMERAS = {"left": (Rigid3.identity(), demo_camera((256, 192))), "right": (RIGHT, demo_camera((224, 168)))}


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """Return a folder with left/, right/, each as `Recording`s `mapping` and `query`, and rig.yaml."""
    folder, scene = tmp_path_factory.mktemp("rig"), build_apartment(0, 1)
    walks = [
        mapping_walk(scene, Gait(rate_hz=2.0)),
        query_walk(scene, dataclasses.replace(QUERY_GAIT, rate_hz=0.4)),
    ]
    lines = ["cameras:"]
    for name, (mounting, camera) in CAMERAS.items():
        of_camera = [[(stamp_ns, pose @ mounting) for stamp_ns, pose in walk] for walk in walks]
        write_dataset(folder / name, scene, camera, *of_camera)
        write_camera_yaml(folder / f"{name}.yaml", camera, name)
        numbers = [*mounting.translation.tolist(), *mounting.quat_xyzw.tolist()]
        lines.append(f"  {name}: {{calibration: {name}.yaml, rig_from_camera: {numbers}}}")
    (folder / "rig.yaml").write_text("\n".join(lines) + "\n")
    return folder


def options(rig, walk, names=("left", "right")):
    """The poses of the rig are those of the left camera."""
    folders = ",".join(f"{name}={rig / name / walk / 'images'}" for name in names)
    return ["--images", folders, "--rig", rig / "rig.yaml", "--poses", rig / "left" / walk / "poses.tum"]


@pytest.fixture(scope="module")
def rig_map(rig, kit, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "rig.map"
    assert kit.call("map", "build", *options(rig, "mapping"), "--every", 2, *kit.FAST, "--out", path) == 0
    return path


def test_each_camera_of_a_time_becomes_a_keyframe(rig, rig_map):
    built = load_map(rig_map)
    times = {name.split("/")[1] for name in built.keyframe_names}
    assert {name.split("/")[0] for name in built.keyframe_names} == {"left", "right"}
    assert len(built.keyframe_names) > 1.5 * len(times)
    assert sorted(camera.refined.size_wh for camera in built.cameras) == [(224, 168), (256, 192)]
    # Both look from where they sit: landmarks that both saw were triangulated from there.
    assert built.num_landmarks > 100


@pytest.mark.parametrize("has_poses", [True, False])
def test_a_session_of_a_rig_is_added(rig, rig_map, run, tmp_path, has_poses):
    words = options(rig, "query") if has_poses else options(rig, "query")[:-2]
    answer = run("map", "update", rig_map, *words, "--out", tmp_path / "new.map")
    assert (answer.status, answer.err) == (0, "")
    before, updated = load_map(rig_map), load_map(tmp_path / "new.map")
    new = list(updated.keyframe_names)[before.num_keyframes :]
    assert {name.split("/")[0] for name in new} == {"left", "right"}
    images = sorted(path.name for path in (rig / "left" / "query" / "images").iterdir())
    truth = [entry.map_from_camera for entry in read_tum(rig / "left" / "query" / "poses.tum")]
    true_of = dict(zip(images, truth, strict=True))
    for row, name in enumerate(new, before.num_keyframes):
        camera, _, image = name.partition("~")[0].partition("/")  # ~2: the map has one of that name
        pose = stored_pose(updated.given_poses, row, "poses")
        assert pose.translation_to(true_of[image] @ CAMERAS[camera][0]) < (1e-6 if has_poses else 0.1)
    if not has_poses:
        assert answer.lines[0] == f"localized: {len(new) // 2} of {len(images)} times of 2 cameras"


def test_a_session_of_a_rig_says_what_it_lacks(rig, rig_map, run, tmp_path):
    words = options(rig, "query")
    answer = run("map", "update", rig_map, *words[:2], "--out", tmp_path / "new.map")
    assert "names cameras: --rig FILE is needed" in answer.error
    answer = run("map", "update", rig_map, "--bag", rig, *words[2:4], "--out", tmp_path / "new.map")
    assert "of a --bag --cameras names several" in answer.error
    assert not (tmp_path / "new.map").exists()


def test_images_that_the_other_cameras_contradict_are_not_added(rig, rig_map, run, tmp_path):
    words = options(rig, "query")[:-2]
    turned = Rigid3.from_rotvec([0.0, 0.3, 0.0], [0.7, 0.0, 0.0])  # which its camera is not
    mounted = read_rig(rig / "rig.yaml")
    mounted["wrong"] = dataclasses.replace(mounted["left"], rig_from_camera=turned)
    write_rig(tmp_path / "rig.yaml", mounted)
    words[1] += f",wrong={rig / 'left' / 'query' / 'images'}"
    answer = run("map", "update", rig_map, *words[:3], tmp_path / "rig.yaml", "--out", tmp_path / "new.map")
    assert (answer.status, answer.err) == (0, "")
    assert "of 'wrong', which the other cameras contradict" in answer.out
    cameras = {name.split("/")[0] for name in load_map(tmp_path / "new.map").keyframe_names}
    assert cameras == {"left", "right"}


def test_a_session_of_a_rig_needs_a_map_in_metres(rig, rig_map, run, tmp_path):
    built = load_map(rig_map)
    unscaled = dataclasses.replace(built, build_info={**built.build_info, "scale": "arbitrary"})
    save_map(unscaled, tmp_path / "unscaled.map")
    words = options(rig, "query")[:-2]
    answer = run("map", "update", tmp_path / "unscaled.map", *words, "--out", tmp_path / "new.map")
    assert "hfnet-ros map scale" in answer.error
    assert "where cameras of a rig sit is in metres" in answer.error


@pytest.mark.slow
def test_images_of_one_time_are_in_the_same_sub_maps(rig, run, kit, tmp_path):
    path = tmp_path / "rig.set"
    half = (*options(rig, "mapping"), "--every", 2)
    answer = run("map", "build", *half, "--sub-maps", 2, *kit.FAST, "--out", path)
    assert answer.status == 0, answer.err
    for sub_map in read_map_set(path).sub_maps:
        alone = load_map(path / sub_map.folder)
        times = Counter(alone.keyframe_stamps_ns.tolist())
        assert alone.num_keyframes >= 10
        assert set(times.values()) == {2}


def test_a_rig_is_localized_and_scored_in_its_own_frame(rig, rig_map, run, tmp_path):
    answer = run("evaluate", "--map", rig_map, *options(rig, "query"), "--out", tmp_path / "report")
    assert answer.status == 0, answer.err
    found = json.loads((tmp_path / "report" / "results.json").read_text())
    assert found["localized"] == found["queries"] > 3
    assert found["false_fixes"] == 0
    assert found["median_translation_m"] < 0.05
    with (tmp_path / "report" / "queries.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    of_views = [[int(row["view0_inliers"]), int(row["view1_inliers"])] for row in rows]
    assert all(sum(views) == int(row["inliers"]) for views, row in zip(of_views, rows, strict=True))
    assert min(max(views[row] for views in of_views) for row in (0, 1)) > 20  # both see the map
    assert (tmp_path / "report" / "report.html").read_text().count("data:image/jpeg") >= found["queries"]


def stamped_session(rig, folder, late_ms):
    """Copy the query images with their stamps as names, each camera's so much later, and write poses of all times."""
    lines = []
    for name, ms in late_ms.items():
        (folder / name).mkdir()
        images = sorted((rig / name / "query" / "images").iterdir())
        poses = (rig / "left" / "query" / "poses.tum").read_text().splitlines()
        for number, (image, pose) in enumerate(zip(images, poses, strict=True)):
            stamp_ns = 1_700_000_000_000_000_000 + number * 200_000_000 + ms * 1_000_000
            shutil.copy(image, folder / name / f"{stamp_ns}{image.suffix}")
            lines.append(f"{stamp_ns / 1e9:.3f} {pose.partition(' ')[2]}")
    (folder / "rig.tum").write_text("\n".join(sorted(lines)) + "\n")
    folders = ",".join(f"{name}={folder / name}" for name in late_ms)
    return ["--images", folders, "--rig", rig / "rig.yaml", "--poses", folder / "rig.tum"]


def test_a_camera_that_is_left_out_by_its_stamps_is_named(rig, run, kit, tmp_path):
    words = [*stamped_session(rig, tmp_path, {"left": 0, "right": 30}), "--every", 2, *kit.FAST]
    answer = run("map", "build", *words, "--out", tmp_path / "late.map")
    assert re.search(r"'right' has an image in 0 of \d+ times .* within 0\.02 s", answer.error)
    (tmp_path / "wide.yaml").write_text("cameras: {sync_tolerance_s: 0.05}\n")
    answer = run("map", "build", *words, "--params", tmp_path / "wide.yaml", "--out", tmp_path / "late.map")
    assert (answer.status, answer.err) == (0, "")


def test_a_camera_that_ends_early_is_told(rig, rig_map, run, kit, tmp_path):
    words = stamped_session(rig, tmp_path, {"left": 0, "right": 5})
    ended = sorted((tmp_path / "right").iterdir())[2:]
    for image in ended:
        image.unlink()
    answer = run("map", "build", *words, *kit.FAST, "--out", tmp_path / "half.map")
    assert answer.status == 0, answer.err
    assert re.search(r"warning: 'right' has an image in 2 of \d+ times that were chosen", answer.err)


def test_one_camera_keeps_its_table(rig, rig_map, run, tmp_path):
    folder = rig / "left" / "query"
    one = ["--images", folder / "images", "--poses", folder / "poses.tum", "--camera", folder / "camera.yaml"]
    assert run("evaluate", "--map", rig_map, *one, "--out", tmp_path / "report").status == 0
    assert "view0_inliers" not in (tmp_path / "report" / "queries.csv").read_text()


def test_a_missing_image_costs_its_view_only(rig, rig_map, run, tmp_path):
    names = sorted(file.name for file in (rig / "right" / "query" / "images").iterdir())
    answer = run(
        "localize", "--map", rig_map, "--rig", rig / "rig.yaml", "--json", tmp_path / "answers.json",
        f"left={rig / 'left/query/images' / names[0]}",
        *(f"{camera}={rig / camera / 'query/images' / name}" for name in names[1:3] for camera in CAMERAS),
    )  # fmt: skip
    assert answer.status == 0, answer.err
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert [len(entry["views"]) for entry in answers] == [1, 2, 2]
    assert [entry["outcome"] for entry in answers] == ["LOCALIZED"] * 3
    assert (
        answers[1]["views"][0]["num_inliers"] + answers[1]["views"][1]["num_inliers"] == answers[1]["inliers"]
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"--images": "front=images"},
            r"'front=images' names no camera of the rig, expected NAME=PATH of left, right",
        ),
        ({"--images": "images"}, r"'images' names no camera"),
        ({"--images": "left=a,left=b"}, r"names a camera twice"),
        ({"--rig": "nowhere.yaml"}, r"nowhere\.yaml: cannot be read"),
        ({"--poses": None, "--min-distance": 0.5}, r"need --poses; without poses use --every"),
        ({"--rig": None}, r"names cameras: --rig FILE is needed"),
        ({"--camera": "c.yaml"}, r"--camera is of one camera"),
        ({"--min-overlap": 0.5}, r"look at one camera"),
        ({"--colmap": "sparse"}, r"--rig goes with --images"),
    ],
)
def test_what_does_not_fit_is_named(rig, run, kit, tmp_path, changed, said):
    given = dict(zip(*[iter(options(rig, "mapping"))] * 2, strict=True)) | changed
    words = [word for option, value in given.items() if value is not None for word in (option, value)]
    answer = run("map", "build", *words, *kit.FAST, "--out", tmp_path / "rig.map")
    assert re.search(said, answer.error), answer.error
    assert not (tmp_path / "rig.map").exists()


def test_a_camera_with_other_images_than_poses_is_named(rig, run, kit, tmp_path):
    fewer = tmp_path / "right"
    shutil.copytree(rig / "right" / "mapping" / "images", fewer)
    for number, file in enumerate(sorted(fewer.iterdir())):
        file.rename(fewer / f"image{chr(97 + number // 26)}{chr(97 + number % 26)}.png")
    next(fewer.iterdir()).unlink()
    given = options(rig, "mapping")
    given[1] = f"left={rig / 'left/mapping/images'},right={fewer}"
    answer = run("map", "build", *given, *kit.FAST, "--out", tmp_path / "rig.map")
    assert f"images in {fewer}" in answer.error


def test_a_wrong_mounting_is_named_and_turned_back(rig, run, kit, tmp_path, caplog):
    """The right camera sits 3 deg further to the right than rig.yaml says."""
    wrong = read_rig(rig / "rig.yaml")
    said = wrong["right"].rig_from_camera @ Rigid3.from_rotvec([0.0, np.deg2rad(-3.0), 0.0], np.zeros(3))
    write_rig(tmp_path / "rig.yaml", wrong | {"right": RigCamera(wrong["right"].camera, said)})
    given = options(rig, "mapping")
    given[3] = tmp_path / "rig.yaml"
    answer = run("map", "build", *given, "--every", 2, *kit.FAST, "--out", tmp_path / "rig.map")
    assert answer.status == 0, answer.err
    assert re.search(r"right is mounted 3\.\d+ deg .* otherwise than the poses say", caplog.text)
    (mounting,) = load_map(tmp_path / "rig.map").build_info["pose_faults"]["mountings"]
    assert mounting["corrected"]
    np.testing.assert_allclose(mounting["turned_deg"], [0.0, 3.0, 0.0], atol=0.3)


@pytest.mark.slow
def test_images_of_a_rig_alone_make_a_map_in_metres(run, kit, tmp_path):
    """Two cameras beside each other walk past a wall of the apartment."""
    scene, camera = build_apartment(0, 1), demo_camera((256, 192))
    right = Rigid3.from_rotvec([0.0, 0.0, 0.0], [0.15, 0.0, 0.0])
    walk = mapping_walk(scene, Gait(rate_hz=2.0))[:6]
    for name, mounting in (("left", Rigid3.identity()), ("right", right)):
        write_dataset(
            tmp_path / name, scene, camera, [(stamp_ns, pose @ mounting) for stamp_ns, pose in walk], walk[:1]
        )
        write_camera_yaml(tmp_path / f"camera_{name}.yaml", camera, name)
    write_rig(tmp_path / "rig.yaml", {"left": RigCamera(camera), "right": RigCamera(camera, right)})
    folders = ",".join(f"{name}={tmp_path / name / 'mapping/images'}" for name in ("left", "right"))
    answer = run(
        "map", "build", "--images", folders, "--rig", tmp_path / "rig.yaml", *kit.FAST, "--out", tmp_path / "rig.map"
    )  # fmt: skip
    assert answer.status == 0, answer.err
    assert re.search(r"scale: metres, by \d+ frames of the rig, standard error \d\.\d %", answer.out)
    built = load_map(tmp_path / "rig.map")
    truth = dict(
        zip(sorted(file.name for file in (tmp_path / "left/mapping/images").iterdir()), walk, strict=True)
    )
    rows = [row for row, name in enumerate(built.keyframe_names) if name.startswith("left/")]
    assert len(rows) == 6
    walked = np.array([truth[built.keyframe_names[row].split("/")[1]][1].translation for row in rows])
    found = built.keyframe_poses[rows, :3]
    scale = (
        np.linalg.norm(found[:, None] - found, axis=2).sum()
        / np.linalg.norm(walked[:, None] - walked, axis=2).sum()
    )
    assert scale == pytest.approx(1.0, abs=0.03)


def spoilt(rig, folder, camera):
    """Copy a rig with noise in the lower third of one camera's images."""
    shutil.copytree(rig, folder)
    rng = np.random.default_rng(0)
    for file in sorted((folder / camera).rglob("*.jpg")):
        image = read_image(file).copy()
        below = image[2 * len(image) // 3 :]
        below[:] = rng.integers(0, 256, below.shape)
        write_png(file, image)  # under its name, as it is
    return folder


def test_a_mask_is_of_the_camera_that_it_names(rig, run, kit, tmp_path):
    picture = np.full((192, 256), 255, np.uint8)
    picture[128:] = 0
    mask = tmp_path / "mask.png"
    cv2.imwrite(str(mask), picture)
    masked = ("--mask", f"left={mask}")
    landmarks, poses = {}, {}
    for name in ("left", "right", ""):
        folder = spoilt(rig, tmp_path / f"{name}_rig", name) if name else rig
        out = tmp_path / f"{name}.map"
        words = (*options(folder, "mapping"), *masked, "--every", 6, *kit.FAST)
        assert run("map", "build", *words, "--out", out).status == 0
        landmarks[name] = load_map(out).landmark_xyz
        if name != "right":
            report = tmp_path / f"{name}_report"
            words = (*options(folder, "query"), *masked, "--every", 2)
            assert run("evaluate", "--map", out, *words, "--out", report).status == 0
            poses[name] = (report / "estimated.tum").read_text()
    np.testing.assert_array_equal(landmarks["left"], landmarks[""])
    assert landmarks["right"].shape != landmarks[""].shape
    assert poses["left"] == poses[""]


def test_images_without_poses_have_the_masks_of_their_cameras(rig):
    seen = np.ones((192, 256), bool)
    seen[128:] = False
    mask, folders = CameraMask(seen), {name: rig / name / "query" / "images" for name in CAMERAS}
    source = UnposedImages.of_rig(folders, read_rig(rig / "rig.yaml"), masks={"left": mask})
    for image in source.images:
        name, _, file = image.name.partition("/")
        pixels = read_image(folders[name] / file)
        np.testing.assert_array_equal(image.read(), mask.hide(pixels) if name == "left" else pixels)


def test_a_mask_of_no_camera_of_the_rig_is_refused(rig, rig_map, run, tmp_path):
    answer = run(
        "evaluate",
        "--map",
        rig_map,
        *options(rig, "query"),
        "--mask",
        "rear=m.png",
        "--out",
        tmp_path / "out",
    )
    assert "holds 'rear=m.png'; there are left, right: expected NAME=FILE of one of them" in answer.error
