"""Images that were mirrored, at a place that is nearly symmetric."""

import dataclasses

import cv2
import numpy as np
import pytest
from generated_maps import CONFIG, build_map, picture, place_of

from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.localization.mirrored import mirror_image, mirrored_view
from hfnet_ros.scene import build_plane_wall, look_at
from hfnet_ros.trust.mirror_test import ShownImage, with_mirror_test
from hfnet_ros.types import Frame, ImageFeatures, LocalFeatures, Query, RigCamera, View

_MIDDLE = np.array([5.0, 5.0, 1.5])
_ASKED_FROM = look_at(np.array([4.2, 2.0, 1.45]), _MIDDLE)
_MIRROR = np.diag([-1.0, 1.0, 1.0])


def area(rectangle):
    return np.linalg.norm(np.cross(rectangle.edge_u, rectangle.edge_v))


def mirrored(rectangle):
    """Return the rectangle as it would hang on the other half of the wall."""
    corner = 2.0 * _MIDDLE * [1.0, 0.0, 0.0] + _MIRROR @ (rectangle.origin + rectangle.edge_u)
    texture = np.ascontiguousarray(rectangle.texture[:, ::-1])
    return dataclasses.replace(rectangle, origin=corner, texture=texture)


@pytest.fixture(scope="module")
def facade():
    """A wall whose right half is its left one in a mirror, but for every fourth picture."""
    wall = build_plane_wall(0)
    large = [rectangle for rectangle in wall.rectangles if area(rectangle) > 4.0]
    left = [
        rectangle
        for rectangle in wall.rectangles
        if area(rectangle) <= 4.0 and (rectangle.origin + 0.5 * rectangle.edge_u)[0] < _MIDDLE[0]
    ]
    right = [mirrored(rectangle) for number, rectangle in enumerate(left) if number % 4]
    scene = dataclasses.replace(wall, rectangles=(*large, *left, *right))
    return place_of(scene, build_map(scene, facing()))


def facing():
    return [look_at(np.array([x, y, 1.4]), _MIDDLE) for x in np.arange(3.2, 7.2, 0.7) for y in (1.5, 2.5)]


def test_a_mirrored_image_of_a_symmetric_place_is_told_by_mirroring_it_again(facade):
    straight = facade.frame(_ASKED_FROM)
    shown = Frame(1, mirror_image(straight.image), straight.camera)
    # Nothing but that tells: chance is no explanation, and nothing is missing.
    unasked = facade.localizer.localize(shown)
    assert unasked.is_valid and unasked.evidence.scores["seen_share"] > 0.9
    assert "mirror_ratio" not in unasked.evidence.scores
    tested = dataclasses.replace(facade.visual_map.consistency, mirrored_share=0.1)
    asking = facade.with_map(consistency=tested)
    refused = asking.localize(shown)
    assert refused.estimate is None and "as well when it is mirrored" in refused.evidence.reason
    answer = asking.localize(straight)
    assert answer.is_valid and answer.evidence.scores["mirror_ratio"] < 0.9
    assert answer.estimate.map_from_camera.translation_to(_ASKED_FROM) < 0.02


def test_features_whose_image_is_gone_are_answered_as_they_are(facade):
    straight = facade.frame(_ASKED_FROM)
    features = SiftExtractor(CONFIG).extract(straight.image)
    tested = dataclasses.replace(facade.visual_map.consistency, mirrored_share=0.1)
    view = View(RigCamera(straight.camera), None, features)
    answer = facade.with_map(consistency=tested).localize(Query(0, (view,)))
    assert answer.is_valid and "mirror_ratio" not in answer.evidence.scores


@pytest.mark.parametrize("is_symmetric", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_map_is_shown_its_keyframes_in_a_mirror(facade, plane_wall, is_symmetric):
    place, extractor = facade if is_symmetric else plane_wall, SiftExtractor(CONFIG)
    images = {
        name: ShownImage(
            lambda row=row: picture(place.scene, place.visual_map.map_from_camera(row), row), turn_rad=0.0
        )
        for row, name in enumerate(place.visual_map.keyframe_names)
    }
    tested = with_mirror_test(place.visual_map, images, extractor, CONFIG)
    share = tested.consistency.mirrored_share
    assert share > 0.1 if is_symmetric else share == 0.0


@pytest.mark.slow
def test_so_is_a_map_that_is_built_in_tasks(facade, tmp_path):
    pytest.importorskip("pycolmap")
    from hfnet_ros.building.artefacts import Artefact
    from hfnet_ros.building.execution import execute
    from hfnet_ros.building.graph import Job
    from hfnet_ros.building.stages import MIRROR_TEST

    files = []
    for row in range(facade.visual_map.num_keyframes):
        image = picture(facade.scene, facade.visual_map.map_from_camera(row), row)
        files.append(str(tmp_path / f"{row}.png"))
        cv2.imwrite(files[-1], image[..., ::-1])
    parameters = {
        "names": facade.visual_map.keyframe_names,
        "turns_rad": [0.0] * len(files),
        "extractor_id": facade.visual_map.extractor_id,
    }
    built = Artefact(tmp_path / "built").write(facade.visual_map, seconds=0.0, cpu_seconds=0.0, of="")
    target = Artefact(tmp_path / "tested")
    job = Job(MIRROR_TEST, "a facade", parameters, (built,), tuple(files), target, CONFIG.to_dict())
    outcome = execute(job)
    assert outcome.made is not None, outcome.error
    assert outcome.made.read_map().consistency.mirrored_share > 0.1


def test_what_a_mirrored_camera_sees_is_the_scene_in_a_mirror():
    lens = np.array([-0.2, 0.05, 0.003, -0.004, 0.0])
    camera = Camera(
        DistortionModel.PLUMB_BOB, (640, 480), np.array([410.0, 420.0]), np.array([300.0, 250.0]), lens
    )
    mounting = Rigid3.from_rotvec([0.1, -0.3, 0.2], np.array([0.2, -0.1, 0.3]))
    points = np.random.default_rng(0).uniform([-2.0, -1.5, 3.0], [2.0, 1.5, 6.0], (30, 3))
    pixels = camera.project(mounting.inverse() @ points)
    pixels[:, 0] = 639.0 - pixels[:, 0]
    local = LocalFeatures(
        pixels.astype(np.float32), np.ones(30, np.float32), np.eye(30, 32, dtype=np.float32)
    )
    view, features = mirrored_view(RigCamera(camera, mounting), ImageFeatures(local, None, "fake-1"))
    seen = view.camera.project(view.rig_from_camera.inverse() @ (points @ _MIRROR))
    np.testing.assert_allclose(features.local.keypoints, seen, atol=1e-3)
