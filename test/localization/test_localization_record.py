"""An answer carries a pose if and only if it is one."""

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import Evidence, Localization, Outcome, PoseEstimate

ESTIMATE = PoseEstimate(Rigid3.identity(), np.eye(6), np.ones(12, np.bool_), 0.5)


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.LOCALIZED])
def test_a_failure_with_a_pose_is_refused(outcome):
    with pytest.raises(ValueError, match=f"{outcome.value} contradicts"):
        Localization(0, outcome, ESTIMATE, None, Evidence(), {})
    assert Localization(0, outcome, None, None, Evidence(), {}).estimate is None


def test_a_success_without_a_pose_is_refused():
    with pytest.raises(ValueError, match="LOCALIZED contradicts"):
        Localization(0, Outcome.LOCALIZED, None, None, Evidence(), {})
    assert Localization(0, Outcome.LOCALIZED, ESTIMATE, None, Evidence(), {}).estimate is ESTIMATE
