"""`mask` draws what a camera carries; with it maps, answers and reports do not depend on that."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest

from hfnet_ros.files.images import read_image
from hfnet_ros.map.map_io import load_map

BODY = (slice(140, 192), slice(70, 190))  # of 256x192


def with_body(recording, folder, seed, every=1):
    """Copy every so many images of a recording with a body in them, of a texture that is another by seed."""
    rng = np.random.default_rng(seed)
    texture = cv2.resize(rng.integers(0, 256, (13, 30, 3), np.uint8), (120, 52))
    (folder / "images").mkdir(parents=True)
    for file in recording.files[::every]:
        image = read_image(file).copy()
        image[BODY] = texture
        assert cv2.imwrite(str(folder / "images" / f"{file.stem}.png"), image)
    shutil.copy(recording.camera, folder)
    said, poses = recording.poses.read_text().splitlines(keepends=True), folder / "poses.tum"
    poses.write_text("".join([line for line in said if not line.startswith("#")][::every]))
    return type(recording)(folder)


@pytest.fixture(scope="module")
def carried(room, tmp_path_factory):
    """Recordings to map from and to localize, with a body in view."""
    folder = tmp_path_factory.mktemp("carried")
    return tuple(
        with_body(one, folder / name, 0) for one, name in zip(room, ("mapping", "query"), strict=True)
    )


@pytest.fixture(scope="module")
def mask(carried, tmp_path_factory):
    """The mask of the body, as a person draws it."""
    picture = np.full((192, 256), 255, np.uint8)
    picture[BODY] = 0
    path = tmp_path_factory.mktemp("mask") / "mask.png"
    cv2.imwrite(str(path), picture)
    return path


def test_mask_draws_the_body_and_shows_it(run, carried, tmp_path):
    out, preview = tmp_path / "m.png", tmp_path / "p.png"
    answer = run("mask", "--images", carried[0].images, "--out", out, "--preview", preview)
    assert answer.status == 0
    share = float(
        re.search(r"m\.png: (\d+\.\d) % of the image stays where it is in \d+ views", answer.out)[1]
    )
    assert f"red in {preview}" in answer.out
    hidden = read_image(out) == 0
    body = np.zeros_like(hidden)
    body[BODY] = True
    assert (hidden & body).sum() / (hidden | body).sum() > 0.7
    assert share == pytest.approx(100 * hidden.mean(), abs=0.1)
    assert read_image(preview).shape == (192, 256, 3)


def test_a_bag_is_as_good_as_its_folder(run, kit, carried, mask, tmp_path):
    """The mask that is drawn of it, and the map that is built with a mask."""
    bag = tmp_path / "drive.bag"
    assert run("bag", "make", *carried[0].options(), "--out", bag).status == 0
    sources = (["--images", carried[0].images], ["--bag", bag])
    drawn = []
    for number, source in enumerate(sources):
        assert run("mask", *source, "--out", tmp_path / f"{number}.png").status == 0
        drawn.append(read_image(tmp_path / f"{number}.png"))
    np.testing.assert_array_equal(*drawn)
    landmarks = []
    posed = (carried[0].options(), ["--bag", bag, "--pose-topic", "/ground_truth/pose"])
    for number, source in enumerate(posed):
        out = tmp_path / f"{number}.map"
        build = run("map", "build", *source, "--every", 4, "--mask", mask, "--out", out, *kit.FAST)
        assert build.status == 0, build.err
        landmarks.append(load_map(out).landmark_xyz)
    np.testing.assert_allclose(*landmarks, atol=1e-6)


def test_the_doctor_tells_of_a_body_in_view(run, mapping, mask, built, tmp_path):
    carried, told = with_body(mapping, tmp_path / "carried", 0, every=3), []
    bag = tmp_path / "drive.bag"
    assert run("bag", "make", *carried.options(), "--odometry-from-poses", "--out", bag).status == 0
    for given in ((), ("--mask", mask)):
        answer = run("doctor", "--map", built.path, "--bag", bag, *given)
        assert "localized" in answer.out
        told.append("% of the image stays in place, as the robot's own body" in answer.out)
    assert told == [True, False]


def test_without_a_body_nothing_is_written(run, mapping, tmp_path):
    answer = run("mask", "--images", mapping.images, "--out", tmp_path / "m.png")
    assert answer.status == 0
    assert "nothing stays in place" in answer.out
    assert not (tmp_path / "m.png").exists()


def test_too_few_images_are_told(run, mapping, tmp_path):
    folder = tmp_path / "few"
    folder.mkdir()
    for file in mapping.files[:4]:
        shutil.copy(file, folder)
    assert (
        "found 4 views among 4 images, expected 10"
        in run("mask", "--images", folder, "--out", tmp_path / "m.png").error
    )


def test_maps_and_answers_do_not_depend_on_what_is_masked(run, kit, room, mask, tmp_path):
    maps, answers = [], []
    for seed in (0, 1):
        mapped = with_body(room[0], tmp_path / f"mapping{seed}", seed, every=2)
        asked = with_body(room[1], tmp_path / f"query{seed}", seed, every=2)
        path, found = tmp_path / f"{seed}.map", tmp_path / f"{seed}.json"
        built = run("map", "build", *mapped.options(), "--mask", mask, "--out", path, *kit.FAST)
        assert built.status == 0, built.err
        maps.append(load_map(path))
        located = run(
            "localize", "--map", path, "--camera", asked.camera, "--mask", mask, "--json", found, *asked.files
        )
        assert located.status == 0, located.err
        answers.append(json.loads(found.read_text()))
    np.testing.assert_array_equal(maps[0].landmark_xyz, maps[1].landmark_xyz)
    poses = [[answer["map_from_camera"] for answer in found] for found in answers]
    assert poses[0] == poses[1]
    assert sum(pose is not None for pose in poses[0]) >= 3
    # Without it they do.
    assert run(
        "localize", "--map", path, "--camera", asked.camera, "--json", found, *asked.files
    ).status == 0  # fmt: skip
    assert [answer["map_from_camera"] for answer in json.loads(found.read_text())] != poses[1]


def test_evaluation_takes_masks_of_parameters_as_of_the_option(run, carried, mask, built, tmp_path):
    params = tmp_path / "robot.yaml"
    params.write_text(f"relocalizer:\n  ros__parameters:\n    cameras: {{masks: {mask}}}\n")
    words, poses = (*carried[1].options(), "--every", 2), []
    for number, given in enumerate((["--mask", mask], ["--params", params], [])):
        out = tmp_path / str(number)
        answer = run("evaluate", "--map", built.path, *words, *given, "--out", out)
        assert answer.status == 0, answer.err
        poses.append((out / "estimated.tum").read_text())
    assert poses[0] == poses[1]
    assert poses[0] != poses[2]


@pytest.mark.parametrize("has_poses", [True, False])
def test_a_session_is_added_with_its_mask(run, room, mask, built, tmp_path, has_poses):
    landmarks = []
    for seed in (0, 1):
        session = with_body(room[1], tmp_path / f"session{seed}", seed, every=2)
        out = tmp_path / f"{seed}.map"
        options = session.options() if has_poses else ["--images", session.images, "--camera", session.camera]
        answer = run("map", "update", built.path, *options, "--mask", mask, "--out", out)
        assert answer.status == 0, answer.err
        landmarks.append(load_map(out).landmark_xyz)
    np.testing.assert_array_equal(*landmarks)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("left={mask}", "there are no names, but one camera: expected FILE alone"),
        ("{folder}/no.png", "no.png: cannot be read"),
        ("{folder}/my mask.png", "holds a space"),
    ],
)
def test_masks_that_cannot_be_used_are_told(run, carried, built, mask, tmp_path, given, sentence):
    given = given.format(mask=mask, folder=tmp_path)
    file = carried[1].files[0]
    answer = run("localize", "--map", built.path, "--camera", carried[1].camera, "--mask", given, file)
    assert sentence in answer.error


def test_images_of_another_form_are_named(run, carried, built, tmp_path):
    path = tmp_path / "wide.png"
    picture = np.full((100, 300), 255, np.uint8)
    picture[50:, :100] = 0
    cv2.imwrite(str(path), picture)
    file = carried[1].files[0]
    answer = run("localize", "--map", built.path, "--camera", carried[1].camera, "--mask", path, file)
    assert answer.status == 1
    assert re.search(rf"{file}: images are 256x192 px, but .*wide\.png is 300x100", answer.err)
