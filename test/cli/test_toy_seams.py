"""A matcher and a scene model of another project: `localize`, `evaluate` and the node take them as they are.

The two recipes of docs/extending.md, written out.
"""

import dataclasses
import json

import numpy as np
import pytest
import yaml
from relocalizer_rigs import MemoryRig

from hfnet_ros.config import Config
from hfnet_ros.errors import MapFormatError
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.localization import scene_model
from hfnet_ros.localization.answers import conclude
from hfnet_ros.localization.landmark_model import LandmarkModel, load_scene_model
from hfnet_ros.localization.scene_model import OpenedLocalizer, register_scene_model
from hfnet_ros.map.manifest import MANIFEST_NAME, sealed_manifest
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.map_points import MapPoints
from hfnet_ros.matching import registry
from hfnet_ros.matching.by_keyframe import KeyframeMatcher
from hfnet_ros.matching.mutual_nearest import mutual_nearest
from hfnet_ros.matching.registry import register_matcher
from hfnet_ros.pose.problem import ErrorModel
from hfnet_ros.pose.solver import PoseSolver
from hfnet_ros.types import Correspondences, Query


def compare(features, seen):
    """Compare the image with what a prior frame itself saw, as a learned matcher would."""
    rows, others, similarity = mutual_nearest(features.local.descriptors, seen.descriptors, 0.8)
    return np.column_stack([rows, others]), similarity


@pytest.fixture
def keyframe_matcher():
    register_matcher("keyframes", lambda visual_map, config: KeyframeMatcher(compare, 6))
    yield "keyframes"
    del registry._factories["keyframes"]
    registry.MATCHER_NAMES.remove("keyframes")


class PointCloud:
    """A scene of nothing but described points, all of them compared with every image: no places, no keyframes."""

    kind = "points"
    frame_id = "cellar"
    residual_px = None

    def __init__(self, folder):
        self.facts = {"method": "toy"}
        with np.load(folder / "points.npz", allow_pickle=False) as stored:
            self.xyz, self.descriptors = stored["xyz"], stored["descriptors"]
        with (folder / "name.json").open() as stream:
            self.extractor_id = json.load(stream)
        self.cameras = ()
        self.extent = np.stack([self.xyz.min(axis=0), self.xyz.max(axis=0)])
        self.sizes = {"landmarks": len(self.xyz)}
        self.keyframe_names = ()
        self.points = MapPoints(self.xyz)

    def configured(self, config):
        return dataclasses.replace(config, extractor=dataclasses.replace(config.extractor, name="sift"))

    def open(self, config, image_wh=None, report=None):
        return OpenedLocalizer(PointCloudLocalizer(self, config), "numpy", lambda: None)


class PointCloudLocalizer:
    def __init__(self, model, config):
        self.model, self.extractor = model, SiftExtractor(config)
        self.solver = PoseSolver(config.pose, config.verification, ErrorModel(2.0))

    def localize(self, query, prior=None):
        query = Query.of(query)
        features = self.extractor.extract(query.views[0].image)
        keypoints, rows, similarity = mutual_nearest(features.local.descriptors, self.model.descriptors, 0.85)
        order = np.argsort(-similarity)
        keypoints, rows = keypoints[order], rows[order]
        matches = Correspondences(
            features.local.keypoints[keypoints].astype(float),
            self.model.xyz[rows],
            keypoints,
            rows,
            similarity[order],
        )
        answer = self.solver.solve(matches, query.cameras)
        return conclude(answer, query.stamp_ns, [features], {"total": 0.01})


@pytest.fixture
def point_cloud(built, tmp_path):
    """A folder of the toy kind, made of the room's landmarks."""
    visual_map = load_map(built.path)
    folder = tmp_path / "points.map"
    folder.mkdir()
    xyz, descriptors = visual_map.landmark_xyz, visual_map.landmark_descriptors.decoded()
    np.savez(folder / "points.npz", xyz=xyz, descriptors=descriptors)
    (folder / "name.json").write_text(json.dumps(visual_map.extractor_id))
    (folder / MANIFEST_NAME).write_bytes(sealed_manifest("points", {}, folder))
    register_scene_model("points", PointCloud)
    yield folder
    del scene_model._loaders["points"]


def evaluated(run, query, map_path, out, *more):
    answer = run("evaluate", "--map", map_path, *query.options(), "--out", out, *more)
    assert answer.status == 0, answer.err
    return json.loads((out / "results.json").read_text())


def localized(run, query, map_path, tmp_path, *more):
    json_file = tmp_path / "answers.json"
    answer = run(
        "localize", "--map", map_path, "--camera", query.camera, *query.files, "--json", json_file, *more
    )
    assert answer.status == 0, answer.err
    return [entry["outcome"] for entry in json.loads(json_file.read_text())]


def steps(map_path, room_walk, parameters):
    """What a node answers to the images of a walk in this scene."""
    rig = MemoryRig(room_walk, map_path, parameters)
    try:
        rig.send_camera_info()
        rig.send_mounting()
        return [rig.step(index).outcome for index in range(4)]
    finally:
        rig.close()


@pytest.mark.slow
def test_a_matcher_is_chosen_by_its_name(run, mapping, query, kit, tmp_path, keyframe_matcher):
    params = tmp_path / "my.yaml"
    chosen = {"matching": {"method": keyframe_matcher}, "mapping": {"keep_observations": True}}
    params.write_text(yaml.safe_dump(chosen))
    path = tmp_path / "observed.map"
    options = (*mapping.options(), "--every", 2, "--params", params, *kit.FAST)
    assert run("map", "build", *options, "--out", path).status == 0
    assert localized(run, query, path, tmp_path, "--params", params).count("LOCALIZED") >= 6
    results = evaluated(run, query, path, tmp_path / "report", "--params", params)
    assert results["false_fixes"] == 0
    assert results["recall"]["0.05m_5deg"] >= 0.75
    assert results["config"]["matching"]["method"] == "keyframes"


def test_a_matcher_serves_the_node(apartment, room_walk, node_parameters, tmp_path, keyframe_matcher):
    seen = apartment.visual_map.landmark_descriptors[apartment.visual_map.observation_landmark_idx]
    path = tmp_path / "room.map"
    save_map(dataclasses.replace(apartment.visual_map, observation_descriptors=seen, search=None), path)
    parameters = node_parameters(path)
    parameters["matching"]["method"] = keyframe_matcher
    assert steps(path, room_walk, parameters).count("LOCALIZED") >= 3


def test_a_matcher_nobody_registered_is_refused_with_those_that_there_are(run, built, query, tmp_path):
    params = tmp_path / "my.yaml"
    params.write_text(yaml.safe_dump({"matching": {"method": "magic"}}))
    answer = run(
        "localize", "--map", built.path, "--camera", query.camera, query.files[0], "--params", params
    )
    assert "matching.method is 'magic', expected one of nearest" in answer.error


def test_a_scene_model_is_opened_by_its_kind(run, query, tmp_path, point_cloud):
    assert localized(run, query, point_cloud, tmp_path).count("LOCALIZED") >= 6
    results = evaluated(run, query, point_cloud, tmp_path / "report")
    assert results["false_fixes"] == 0
    assert results["recall"]["0.05m_5deg"] >= 0.75
    assert results["map"]["landmarks"] > 1000
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
    info = json.loads(run("map", "info", point_cloud, "--json").out)
    assert (info["kind"], info["frame_id"]) == ("points", "cellar")
    assert run("map", "view", point_cloud, "--out", tmp_path / "points.png").status == 0


def test_a_scene_model_serves_the_node(apartment, room_walk, node_parameters, tmp_path, point_cloud):
    visual_map = apartment.visual_map
    descriptors = visual_map.landmark_descriptors.decoded()
    np.savez(point_cloud / "points.npz", xyz=visual_map.landmark_xyz, descriptors=descriptors)
    outcomes = steps(point_cloud, room_walk, node_parameters(point_cloud))
    assert outcomes.count("LOCALIZED") >= 3


def test_a_kind_nobody_registered_is_named(tmp_path):
    (tmp_path / MANIFEST_NAME).write_bytes(sealed_manifest("hologram", {}, tmp_path))
    with pytest.raises(MapFormatError, match=r"kind 'hologram', this program knows landmarks"):
        load_scene_model(tmp_path)


def test_landmarks_are_one_kind_of_many(built):
    model = load_scene_model(built.path)
    assert isinstance(model, LandmarkModel)
    assert model.kind == "landmarks"
    assert model.sizes["keyframes"] == 33
    assert (model.extent[1] > model.extent[0]).all()
    assert model.configured(Config()).extractor.name == "sift"
