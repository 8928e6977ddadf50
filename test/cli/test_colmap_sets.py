"""`map build --colmap --sub-maps`: a set of a COLMAP model, and what is refused before the work."""

import json

import pycolmap
import pytest

from hfnet_ros.building import stages
from hfnet_ros.files.camera_yaml import read_camera_yaml
from hfnet_ros.files.tum import read_tum
from hfnet_ros.localization.landmark_model import load_scene_model
from hfnet_ros.map.map_set_io import read_map_set, verify_map_set
from hfnet_ros.mapping.colmap_convention import colmap_camera_from, colmap_pose_from

NUM_IMAGES = 20  # two sub-maps of ten and what they take in


def write_model(folder, recording):
    """Write a model of the first images of a recording, at their poses; COLMAP's points are not used."""
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(colmap_camera_from(read_camera_yaml(recording.camera), 1))
    poses = read_tum(recording.poses)[:NUM_IMAGES]
    for number, (file, posed) in enumerate(zip(recording.files, poses, strict=False), 1):
        image = pycolmap.Image(name=file.name, camera_id=1, image_id=number)
        model.add_image_with_trivial_frame(image, colmap_pose_from(posed.map_from_camera))
    folder.mkdir()
    return model


@pytest.mark.slow
def test_a_colmap_model_makes_a_set(mapping, query, run, kit, tmp_path):
    model = tmp_path / "model"
    write_model(model, mapping).write_binary(model)
    given = ("--images", mapping.images, "--colmap", model, "--sub-maps", 2, *kit.FAST)
    answer = run("map", "build", *given, "--out", tmp_path / "set")
    assert answer.status == 0, answer.err
    assert verify_map_set(tmp_path / "set") == []
    found = read_map_set(tmp_path / "set")
    assert len(found.sub_maps) == 2 and found.overlaps
    assert {name.split("/")[1] for name in load_scene_model(tmp_path / "set").keyframe_names} == {
        file.name for file in mapping.files[:NUM_IMAGES]
    }
    given = ("--images", query.images, "--poses", query.poses, "--camera", query.camera)
    answer = run("evaluate", "--map", tmp_path / "set", *given, "--out", tmp_path / "results")
    assert answer.status == 0, answer.err
    figures = json.loads((tmp_path / "results" / "results.json").read_text())
    assert figures["localized"] >= 2
    assert figures["false_fixes"] == 0


def test_a_model_in_no_unit_is_refused_before_the_work(mapping, run, kit, tmp_path, monkeypatch):
    model = write_model(tmp_path / "model", mapping)
    model.normalize()
    model.write_binary(tmp_path / "model")
    monkeypatch.setattr(stages, "RUN", {})
    answer = run(
        "map",
        "build",
        *("--images", mapping.images, "--colmap", tmp_path / "model", "--sub-maps", 2),
        *("--out", tmp_path / "set", *kit.FAST),
    )
    assert "sub-maps of a set must be in metres" in answer.error
    assert "colmap model_aligner" in answer.error
    assert not (tmp_path / "set").exists()
