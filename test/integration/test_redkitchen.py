"""The bars of RedKitchen: as good as the best open pipeline with the same features, and never wrong."""

import json
import random

import cv2
import pytest

from hfnet_ros.cli.localize import open_for_images
from hfnet_ros.config import Config
from hfnet_ros.files import list_images, read_camera_yaml, read_image
from hfnet_ros.localization.landmark_model import LandmarkModel
from hfnet_ros.map.map_io import load_map
from hfnet_ros.types import Frame, Outcome

pytestmark = pytest.mark.shared

NUM_PHOTOS = 60


@pytest.fixture(scope="module", params=["xfeat", "hfnet"])
def kitchen(request, build_kitchen):
    """Map of the room with one extractor after the other."""
    return build_kitchen(request.param)


@pytest.fixture(scope="module")
def evaluate(kitchen, data, program, tmp_path_factory):
    """Return a function that evaluates a sequence and returns results.json."""
    folder = data("redkitchen")

    def evaluate(name, every):
        out = tmp_path_factory.mktemp(name)
        given = (
            "--images",
            folder / name,
            "--poses",
            folder / f"{name}.tum",
            "--camera",
            folder / "camera.yaml",
        )
        program("evaluate", "--map", kitchen, *given, "--every", every, "--out", out)
        return json.loads((out / "results.json").read_text())

    return evaluate


def test_the_map_tests_itself(kitchen):
    """Its poses are KinectFusion's, which disagree by a centimetre and half a degree or so."""
    built = load_map(kitchen, verify=True)
    assert built.num_keyframes == 100
    assert built.num_landmarks > 10_000
    assert built.consistency.num_keyframes >= 40
    assert 0.002 < built.consistency.translation_m < 0.05


def test_queries_of_the_same_room(evaluate):
    """Hloc with XFeat reaches 0.56, 0.76 and 1.00; ours 0.74, 0.86 and 1.00, with HF-Net 0.88, 0.92 and 1.00."""
    results = evaluate("query", 5)
    assert results["queries"] == 50
    assert results["false_fixes"] == 0
    assert results["recall"]["0.05m_5deg"] >= 0.56
    assert results["recall"]["0.25m_2deg"] >= 0.76
    assert results["recall"]["0.25m_5deg"] == 1.0
    assert results["median_translation_m"] < 0.045
    assert results["median_rotation_deg"] < 1.3


def test_the_stretch_where_others_are_wrong(evaluate):
    """Hloc is wrong by more than 0.5 m or 10 deg on 25 to 88 % of these; ours none, and 0.5 right with either.

    Two frames less are allowed for: another processor rounds differently.
    """
    results = evaluate("hard", 1)
    assert results["queries"] == 40
    assert results["false_fixes"] == 0
    assert results["recall"]["0.25m_5deg"] >= 0.45


def test_photographs_of_other_places_get_no_pose(kitchen, data):
    camera = read_camera_yaml(data("redkitchen") / "camera.yaml")
    photos = random.Random(0).sample(list_images(data("photos")), NUM_PHOTOS)
    opened = open_for_images(LandmarkModel.load(kitchen), Config(), camera, extractor_given=False)
    answers = {}
    for stamp_ns, path in enumerate(photos):
        image = cv2.resize(read_image(path), camera.size_wh, interpolation=cv2.INTER_AREA)
        answers[path.name] = opened.localizer.localize(Frame(stamp_ns, image, camera)).outcome
    opened.close()
    assert [name for name, outcome in answers.items() if outcome is Outcome.LOCALIZED] == []
