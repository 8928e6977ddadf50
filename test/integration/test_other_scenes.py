"""Phone photographs around an object, and tourists' photographs without poses."""

import json
import shutil

import numpy as np
import pytest
from golden import worse_than_measured

from hfnet_ros.files import list_images, read_tum, write_tum

pytestmark = pytest.mark.shared

LEFT_OUT = 5

# (measured, margin): one of the ten, and as much again of a small angle.
FOX = {"localized": (10, 1), "median_rotation_deg": (0.09, 0.09)}


@pytest.fixture(scope="module")
def fox(data, program, tmp_path_factory):
    """results.json of every 5th image of fox in a map of every other one of the rest; the scale is arbitrary."""
    folder, work = data("fox"), tmp_path_factory.mktemp("fox")
    images, poses = list_images(folder / "images"), read_tum(folder / "images.tum")
    for name, chosen in {"map": (2, 4), "query": (0,)}.items():
        rows = [row for row in range(len(images)) if row % LEFT_OUT in chosen]
        (work / name).mkdir()
        for row in rows:
            shutil.copy(images[row], work / name)
        write_tum(work / f"{name}.tum", [poses[row] for row in rows])

    def given(name):
        return ("--images", work / name, "--poses", work / f"{name}.tum", "--camera", folder / "camera.yaml")

    options = ("--extractor", "xfeat", "--no-self-test")
    program("map", "build", *given("map"), "--out", work / "fox.map", *options)
    program("evaluate", "--map", work / "fox.map", *given("query"), "--out", work / "report")
    return json.loads((work / "report" / "results.json").read_text())


@pytest.mark.slow
def test_fox_is_localized_from_the_views_between(fox):
    assert fox["queries"] == 10
    assert worse_than_measured(fox, FOX) == {}


@pytest.mark.slow
def test_sacre_coeur_becomes_one_model_without_poses_and_calibrations(data, program, tmp_path):
    model = tmp_path / "sacre.map"
    program("map", "build", "--images", data("sacre_coeur"), "--out", model, "--no-self-test")
    facts = json.loads(program("map", "info", model, "--json"))
    assert facts["build"]["num_images"] == 10
    assert facts["keyframes"] == facts["build"]["num_registered"] >= 8
    assert facts["cameras"] == facts["keyframes"], "each photograph has a camera of its own"
    assert facts["landmarks"] > 1000
    assert facts["build"]["scale"] == "arbitrary"
    assert np.prod(facts["extent_m"]) > 0.0
