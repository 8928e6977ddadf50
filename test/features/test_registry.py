"""Extractors that others bring: registered, chosen by name, found again by the identity in a map."""

import dataclasses

import cv2
import numpy as np
import pytest

from hfnet_ros.cli.main import build_parser, main
from hfnet_ros.config import EXTRACTOR_NAMES, Config, ExtractorConfig
from hfnet_ros.errors import ConfigError, ExtractorMismatchError
from hfnet_ros.features.extractor import (
    ExtractorKind,
    create_extractor,
    register_extractor,
    registered_extractors,
    unregister_extractor,
    with_extractor_of,
)
from hfnet_ros.features.preprocess import check_image
from hfnet_ros.localization.landmark_model import LandmarkModel
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.scene import QUERY_GAIT, Gait, build_apartment, demo_camera, mapping_walk, query_walk, render
from hfnet_ros.trust.tested_build import build_map
from hfnet_ros.types import Frame, ImageFeatures, LocalFeatures, Outcome


class CornersExtractor:
    """Corners, each described by the gradients of the 16 x 16 px around it: a toy that has no weights."""

    extractor_id, backend = "corners-1", "numpy"

    def __init__(self, max_keypoints):
        self.max_keypoints = max_keypoints

    def extract(self, image):
        check_image(image)
        gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        found = cv2.goodFeaturesToTrack(gray, self.max_keypoints, 0.002, 4)
        points = np.empty((0, 2), np.float32) if found is None else found.reshape(-1, 2)
        inside = (points >= 10).all(axis=1) & (points < np.array(gray.shape[::-1]) - 10).all(axis=1)
        points = points[inside]
        smooth = cv2.GaussianBlur(gray.astype(np.float32), (0, 0), 1.5)
        rows, columns = np.mgrid[-8:8:2, -8:8:2].reshape(2, -1) + 1
        y, x = (np.rint(points[:, axis, None]).astype(int) for axis in (1, 0))
        gradients = [np.gradient(smooth, axis=axis)[y + rows, x + columns] for axis in (0, 1)]
        descriptors = np.concatenate(gradients, axis=1)
        descriptors /= np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-6)
        scores = np.linspace(1.0, 0.1, len(points), dtype=np.float32)
        return ImageFeatures(
            LocalFeatures(points, scores, descriptors.astype(np.float32)), None, self.extractor_id
        )

    def networks(self, image_wh):
        return ()

    def close(self):
        pass


CORNERS = ExtractorKind(
    "corners", "corners-", lambda config, progress: CornersExtractor(config.extractor.max_keypoints)
)


@pytest.fixture
def corners():
    """The toy, registered as another project would do it."""
    register_extractor(CORNERS)
    yield Config.from_dict({"extractor": {"name": "corners", "max_keypoints": 600}})
    unregister_extractor("corners")


@pytest.fixture(scope="module")
def walk():
    """A room: images to map from with their poses, some of another walk, and the camera."""
    scene, camera = build_apartment(0, 1), demo_camera((320, 240))
    pictures = [(render(scene, camera, pose), pose) for _, pose in mapping_walk(scene, Gait(rate_hz=3.0))]
    queries = [pose for _, pose in query_walk(scene, QUERY_GAIT)][5::8]
    return pictures, [(render(scene, camera, pose), pose) for pose in queries], camera


def test_names_in_the_parameters_are_those_of_the_registry():
    assert [kind.name for kind in registered_extractors()] == EXTRACTOR_NAMES
    assert Config().extractor.name in EXTRACTOR_NAMES


def test_no_identity_belongs_to_two():
    prefixes = [kind.id_prefix for kind in registered_extractors()]
    for prefix in prefixes:
        assert sum(prefix.startswith(other) for other in prefixes) == 1


def test_a_map_is_built_and_images_are_localized_with_an_extractor_of_another_project(
    corners, walk, tmp_path
):
    pictures, queries, camera = walk
    images = [
        MappingImage(f"{row:03d}.png", row * 10**9, 0, lambda image=image: image)
        for row, (image, _) in enumerate(pictures)
    ]
    extractor = create_extractor(corners)
    source = PosedImages(images, [pose for _, pose in pictures], [camera])
    built = build_map(source, extractor, corners, BuildOptions(intrinsics="off", self_test=False))
    save_map(built, tmp_path / "corners.map")
    visual_map = load_map(tmp_path / "corners.map")
    config = with_extractor_of(Config(), visual_map.extractor_id)
    assert config.extractor.name == "corners"
    opened = LandmarkModel(visual_map).open(config)
    errors_m = []
    for row, (image, truth) in enumerate(queries):
        answer = opened.localizer.localize(Frame(row, image, camera))
        if answer.outcome is Outcome.LOCALIZED:
            errors_m.append(np.linalg.norm(answer.estimate.map_from_camera.translation - truth.translation))
    opened.close()
    assert len(queries) > 5
    assert len(errors_m) >= 0.75 * len(queries)
    assert max(errors_m) < 0.1


def test_the_command_line_takes_it(corners, capsys):
    options = build_parser().parse_args(["demo", "--extractor", "corners"])
    assert options.extractor == "corners"
    assert main(["doctor", "--extractor", "corners"]) in (0, 1)
    assert "corners-1" in capsys.readouterr().out


def test_what_is_not_registered_is_refused():
    with pytest.raises(ConfigError, match=r"extractor\.name is 'corners', expected one of hfnet"):
        Config.from_dict({"extractor": {"name": "corners"}})
    with pytest.raises(ConfigError, match=r"extractor\.name is 'corners', expected one of hfnet"):
        create_extractor(Config(extractor=ExtractorConfig(name="corners")))
    with pytest.raises(ExtractorMismatchError, match="built with 'corners-1'"):
        with_extractor_of(Config(), "corners-1")


@pytest.mark.parametrize("name", ["corners", "sift"])
def test_a_name_is_given_once(corners, name):
    with pytest.raises(ConfigError, match=f"'{name}' is registered already"):
        register_extractor(dataclasses.replace(CORNERS, name=name))
