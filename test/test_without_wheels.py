"""What works where PoseLib, pycolmap and Cyclone DDS are not installed, as on ARM from wheels alone."""

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from missing_packages import ROOT, environment_without
from shared_work import RUN_FOLDER, run_folder

from hfnet_ros.map.map_io import save_map

# What localizes by sampled poses; the tests of test/pose take PoseLib away by themselves, and one file of them shows
# here that it is really not there.
CORE = ("test/localization", "test/pose/test_absolute_pose.py")
# Of these, what samples no pose or only as other tests of the folder do.
SOLVER_INDEPENDENT = (
    "--ignore=test/localization/test_answer_frame.py",
    "--ignore=test/localization/test_answers.py",
    "--ignore=test/localization/test_expected_view.py",
    "--ignore=test/localization/test_landmark_model.py",
    "--ignore=test/localization/test_learned_matching.py",
    "--ignore=test/localization/test_localization_record.py",
    "--ignore=test/localization/test_map_set.py",
    "--ignore=test/localization/test_mirrored.py",
    "--ignore=test/localization/test_scenarios.py",
    "--ignore=test/localization/test_scene_matching.py",
    "--ignore=test/localization/test_turned_queries.py",
    "--ignore=test/localization/test_view_offsets.py",
)
# Of several cases of one question that take seconds each, one.
LEFT_OUT = ("opencv", "twin_b", "eight_places", "oblique", "copy_behind", "mapped_badly", "flat")
CHOSEN = " and ".join(f"not {name}" for name in LEFT_OUT)


def run(environment, *arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def without_wheels(tmp_path):
    (tmp_path / "site").mkdir()
    return environment_without(tmp_path / "site")


@pytest.mark.slow
def test_the_core_passes_without_poselib(tmp_path, tmp_path_factory):
    """The tests of localization; their maps are made without PoseLib in any case."""
    environment = environment_without(tmp_path, ["poselib"])
    environment[RUN_FOLDER] = str(run_folder(tmp_path_factory))
    environment.pop("PYTEST_XDIST_WORKER", None)
    chosen = ["-m", "not shared", "-k", CHOSEN, *SOLVER_INDEPENDENT]
    done = run(environment, "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *chosen, *CORE)
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 50
    assert "PoseLib is not installed" in done.stdout  # it was really not there


def test_images_are_localized_in_a_map_that_was_copied(apartment, without_wheels, tmp_path):
    save_map(apartment.visual_map, tmp_path / "apartment.map")
    truths = [apartment.visual_map.map_from_camera(keyframe) for keyframe in (2, 4, 7)]
    for row, truth in enumerate(truths):
        cv2.imwrite(str(tmp_path / f"{row}.png"), apartment.frame(truth).image)
    images = [str(tmp_path / f"{row}.png") for row in range(len(truths))]
    told = ["localize", "-v", "--map", str(tmp_path / "apartment.map"), "--json", str(tmp_path / "out.json")]
    done = run(without_wheels, "hfnet_ros", *told, *images)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("poses are sampled by OpenCV's USAC, because PoseLib cannot be imported") == 1
    answers = json.loads((tmp_path / "out.json").read_text())
    assert [answer["outcome"] for answer in answers] == ["LOCALIZED"] * len(truths)
    for answer, truth in zip(answers, truths, strict=True):
        np.testing.assert_allclose(answer["map_from_camera"]["translation_m"], truth.translation, atol=0.03)


def test_a_map_is_refused_before_any_work_with_what_to_do(without_wheels, tmp_path):
    posed = [
        "--images",
        str(tmp_path),
        "--poses",
        str(tmp_path / "p.tum"),
        "--camera",
        str(tmp_path / "c.yaml"),
    ]
    done = run(without_wheels, "hfnet_ros", "map", "build", *posed, "--out", str(tmp_path / "new.map"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("hfnet-ros: error: making or extending a map needs pycolmap")
    for told in (
        "cannot be imported (",
        "make the map on a PC and copy its folder",
        "hfnet_ros[mapping]",
    ):
        assert told in line
    assert not (tmp_path / "new.map").exists()


def test_doctor_says_what_samples_and_fails_where_poselib_was_asked_for(without_wheels, tmp_path):
    done = run(without_wheels, "hfnet_ros", "doctor", "--extractor", "sift")
    assert done.returncode == 0, done.stdout
    assert "auto: takes usac (OpenCV)" in done.stdout
    assert re.search(r"^--  poselib +cannot be imported \(", done.stdout, re.MULTILINE)
    assert re.search(r"^--  pycolmap +not installed: no maps can be made here$", done.stdout, re.MULTILINE)
    (tmp_path / "params.yaml").write_text("pose:\n  method: lo-ransac\n")
    asked = ["doctor", "--extractor", "sift", "--params", str(tmp_path / "params.yaml")]
    done = run(without_wheels, "hfnet_ros", *asked)
    assert done.returncode == 1
    assert re.search(r"^!!  poselib", done.stdout, re.MULTILINE)


IMPORT_ALL = """
import importlib, sys
from pathlib import Path
from hfnet_ros.errors import MappingError

for file in sorted(Path('hfnet_ros').rglob('*.py')):
    parts = file.with_suffix('').parts
    if parts[1] in ('ros', 'dds', 'training') or parts[-1].startswith('__'):
        continue
    try:
        importlib.import_module('.'.join(parts))
    except MappingError:
        print('.'.join(parts[1:]))
"""


def test_only_what_makes_maps_needs_pycolmap_when_it_is_imported(without_wheels):
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=ROOT, env=without_wheels, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    refused = done.stdout.split()
    assert "mapping.map_builder" in refused
    assert {name.partition(".")[0] for name in refused} == {"building", "mapping", "trust"}
