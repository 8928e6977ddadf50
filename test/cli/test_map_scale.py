"""Verb `map scale`, and what is said of a map whose lengths are no metres."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.cli.main import main
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.mapping.alignment import Similarity, move_map

UNIT_M = 0.4


@pytest.fixture(scope="module")
def unscaled(built, tmp_path_factory):
    """The built map as structure from motion might have made it: another unit, other axes."""
    path = tmp_path_factory.mktemp("unscaled") / "unscaled.map"
    turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    moved = move_map(load_map(built.path), Similarity(1.0 / UNIT_M, turn, np.array([3.0, 2.0, 1.0])), "map")
    save_map(dataclasses.replace(moved, build_info={**moved.build_info, "scale": "arbitrary"}), path)
    return path


@pytest.fixture(scope="module")
def bag(mapping, tmp_path_factory):
    """The mapping walk, which has more images than the other one."""
    path = tmp_path_factory.mktemp("recorded") / "mapping.bag"
    words = ("bag", "make", *mapping.options(), "--odometry-from-poses", "--out", path)
    assert main([str(word) for word in words]) == 0
    return path


def test_a_map_gets_its_scale_by_odometry(run, built, unscaled, bag, tmp_path):
    out = tmp_path / "metric.map"
    said = run("map", "scale", unscaled, "--bag", bag, "--out", out)
    assert said.status == 0, said.err
    assert said.lines[0].startswith(f"{unscaled}: a unit is 0.")
    assert said.lines[-1] == f"{out}: lengths are metres, z is odometry's"
    scaled, true = load_map(out), load_map(built.path)
    spans = [np.ptp(visual_map.keyframe_poses[:, :3], axis=0) for visual_map in (scaled, true)]
    assert np.linalg.norm(spans[0]) == pytest.approx(np.linalg.norm(spans[1]), rel=0.1)
    assert abs(spans[0][2] - spans[1][2]) < 0.25  # level again, as far as the start of odometry is
    assert scaled.build_info["scale"] == "odometry"
    again = run("map", "scale", out, "--bag", bag)
    assert (again.status, "nothing to scale" in again.error) == (1, True)
    # Its origin is that of one of its images, whatever its frame is called.
    merged = run("map", "merge", built.path, out, "--out", tmp_path / "both.map")
    assert (merged.status, f"{out}: it was built of images alone" in merged.error) == (1, True)
    # Aligned, and of one frame, they may be merged, were they not of the same images.
    for pair in (("--align", built.path, out), (out, out)):
        assert "alone is both" in run("map", "merge", *pair, "--out", tmp_path / "both.map").error


def test_nothing_is_served_in_metres_before(run, unscaled, query, bag, tmp_path):
    replay = run("replay", bag, "--map", unscaled, "--out", tmp_path / "answers")
    assert "accepted             0" in replay.lines
    assert "NO_SCALE" in replay.out
    assert "the map was built of images alone" in replay.err
    image = sorted(query.images.iterdir())[0]
    localized = run("localize", "--map", unscaled, "--camera", query.camera, image)
    assert "the map was built of images alone: its lengths are no metres" in localized.err
    assert " m, sigma" not in localized.out


def test_maps_and_poses_in_metres_are_kept_apart_from_it(run, built, unscaled, mapping, tmp_path):
    merged = run("map", "merge", built.path, unscaled, "--out", tmp_path / "both.map")
    assert (merged.status, f"{unscaled}: the map was built of images alone" in merged.error) == (1, True)
    assert "--align" in merged.error
    updated = run("map", "update", unscaled, *mapping.options(), "--out", tmp_path / "new.map")
    assert (updated.status, "leave them out" in updated.error) == (1, True)
