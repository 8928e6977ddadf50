import dataclasses

import numpy as np
import pytest

from hfnet_ros import types
from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import (
    Evidence,
    LocalFeatures,
    Localization,
    Outcome,
    PoseEstimate,
    Query,
    RigCamera,
    View,
)

ESTIMATE = PoseEstimate(Rigid3.identity(), np.eye(6), np.array([True, False, True, True]), 0.7)


def localization(outcome: Outcome, estimate: PoseEstimate | None) -> Localization:
    return Localization(1, outcome, estimate, None, Evidence(), {})


def test_a_pose_comes_with_success_and_only_then():
    assert localization(Outcome.LOCALIZED, ESTIMATE).estimate is ESTIMATE
    assert localization(Outcome.NO_CONSENSUS, None).estimate is None


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.LOCALIZED])
def test_no_pose_is_invented_for_a_failure(outcome):
    with pytest.raises(ValueError, match=outcome.value):
        localization(outcome, ESTIMATE)


def test_no_success_without_a_pose():
    with pytest.raises(ValueError, match="LOCALIZED"):
        localization(Outcome.LOCALIZED, None)


def test_counts():
    assert ESTIMATE.num_inliers == 3
    zeros = np.zeros((5, 2), np.float32)
    assert len(LocalFeatures(zeros, np.zeros(5, np.float32), np.zeros((5, 64), np.float32))) == 5


def test_outcomes_are_words_that_go_into_json():
    assert [outcome.value for outcome in Outcome] == [outcome.name for outcome in Outcome]


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ESTIMATE.reprojection_rmse_px = 0.0
    records = [record for record in vars(types).values() if dataclasses.is_dataclass(record)]
    assert len(records) >= 10
    assert all(record.__dataclass_params__.frozen for record in records)


def test_a_question_about_nothing_is_refused():
    with pytest.raises(ValueError, match="no view"):
        Query(0, ())
    camera = Camera(DistortionModel.NONE, (64, 48), [50.0, 50.0], [31.5, 23.5], ())
    with pytest.raises(ValueError, match="neither an image nor features"):
        View(RigCamera(camera), None)
