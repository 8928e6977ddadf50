"""The calibration in a map's manifest: kept, absent in older maps, refused when it means nothing."""

import dataclasses
import json

import numpy as np
import pytest

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.map_io import load_map, save_map, verify_map
from hfnet_ros.map.map_trust import UNTESTED_REPROJECTION_SCALE
from hfnet_ros.map.visual_map import CovarianceCalibration, MapConsistency

ADDED = np.diag([4e-4] * 3 + [1e-5] * 3)
CALIBRATION = CovarianceCalibration(
    57.5, tuple(ADDED.ravel().tolist()), 125, {"take": "even", "anees_after": 1.1}
)


def test_a_calibration_is_read_back_as_written(changed, tmp_path):
    save_map(changed(calibration=CALIBRATION), tmp_path / "a.map")
    assert load_map(tmp_path / "a.map").calibration == CALIBRATION
    assert verify_map(tmp_path / "a.map") == []


def test_a_map_without_one_is_written_as_before(visual_map, tmp_path):
    save_map(visual_map, tmp_path / "a.map")
    manifest = json.loads((tmp_path / "a.map" / "map.json").read_text())
    assert "calibration" not in manifest
    assert manifest["format_version"] == 2
    assert load_map(tmp_path / "a.map").calibration is None


def test_the_calibration_stands_in_for_the_self_test(visual_map, changed):
    scale, added = visual_map.covariance_model
    assert scale == 1.0
    np.testing.assert_array_equal(added.ravel(), visual_map.consistency.pose_covariance)
    scale, added = changed(calibration=CALIBRATION).covariance_model
    assert scale == 57.5
    np.testing.assert_array_equal(added, ADDED)


def test_covariances_of_a_map_without_a_test_are_scaled(changed):
    """Reprojection errors of neighbours are alike; nothing else says what poses are off by."""
    untested = changed(consistency=MapConsistency(0.0, 0.0, 0.0, 0))
    scale, added = untested.covariance_model
    assert scale == UNTESTED_REPROJECTION_SCALE > 1.0
    np.testing.assert_array_equal(added, np.zeros((6, 6)))
    assert dataclasses.replace(untested, calibration=CALIBRATION).covariance_model[0] == 57.5


@pytest.mark.parametrize(
    ("scale", "numbers", "words"),
    [
        (0.0, ADDED.ravel(), "reprojection_scale"),
        (float("nan"), ADDED.ravel(), "reprojection_scale"),
        (1.0, ADDED.ravel()[:35], "36"),
        (1.0, -ADDED.ravel(), "not positive"),
        (1.0, (ADDED + np.eye(6, k=1)).ravel(), "not symmetric"),
        (1.0, np.full(36, np.inf), "36 finite"),
    ],
)
def test_numbers_that_make_no_covariance_are_refused(scale, numbers, words):
    with pytest.raises(ValueError, match=words):
        CovarianceCalibration(scale, tuple(np.asarray(numbers).tolist()), 30)


def test_a_manifest_with_a_senseless_calibration_is_refused(changed, tmp_path):
    broken = object.__new__(CovarianceCalibration)
    for name, value in (
        ("reprojection_scale", -1.0),
        ("pose_covariance", ()),
        ("num_queries", 3),
        ("source", {}),
    ):
        object.__setattr__(broken, name, value)
    save_map(changed(calibration=broken), tmp_path / "a.map")
    with pytest.raises(MapFormatError, match="calibration cannot be understood"):
        load_map(tmp_path / "a.map")
    assert "calibration" in verify_map(tmp_path / "a.map")[0]
