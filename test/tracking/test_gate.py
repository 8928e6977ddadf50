"""The chi-square test of a fix against its prediction."""

import numpy as np
import pytest
from scipy.stats import chi2

from hfnet_ros.config import GateConfig
from hfnet_ros.geometry.rigid3 import Rigid3, pose_difference
from hfnet_ros.tracking.gate import InnovationGate, chi_square_quantile, systematic_covariance
from hfnet_ros.tracking.motion import BasePose, Moment

NOW = Moment(0, None)


def at(translation, rotvec=(0.0, 0.0, 0.0), variances=(0.01,) * 6):
    return BasePose(NOW, Rigid3.from_rotvec(rotvec, translation), np.diag(variances).astype(float))


def test_quantiles_as_in_the_tables():
    assert chi_square_quantile(0.999, 6) == pytest.approx(22.458, abs=1e-3)
    assert chi_square_quantile(0.999, 3) == pytest.approx(16.266, abs=1e-3)
    assert chi_square_quantile(0.95, 1) == pytest.approx(chi2.ppf(0.95, 1))


def test_by_hand():
    """S = 0.04 + 0.11 + 0.1^2 = 0.16 m2 in position; 0.3 m and 0.4 m off: (0.09 + 0.16) / 0.16."""
    gate = InnovationGate(GateConfig(systematic_translation_m=0.1))
    compared = gate.compare(
        at([1.0, 1.0, 0.0], variances=[0.04] * 6), at([1.3, 1.4, 0.0], variances=[0.11] * 6)
    )
    assert compared.mahalanobis_sq == pytest.approx(0.25 / 0.16)
    np.testing.assert_allclose(compared.innovation, [0.3, 0.4, 0, 0, 0, 0], atol=1e-12)
    assert (compared.dof, compared.fits) == (6, True)
    assert "0.50 m, 0.0 deg: 1.6 within 22.5" in compared.text


def test_a_robot_on_a_floor_is_compared_in_the_plane():
    predicted, fix = at([0.0, 0.0, 0.0]), at([0.1, 0.0, 1.0], [0.4, 0.3, 0.0])
    assert not InnovationGate(GateConfig(axes="full")).compare(predicted, fix).fits
    planar = InnovationGate(GateConfig(axes="planar")).compare(predicted, fix)
    assert planar.fits
    assert (planar.dof, planar.threshold) == (3, pytest.approx(16.266, abs=1e-3))
    turned = at([0.0, 0.0, 0.0], [0.0, 0.0, 1.0])
    assert not InnovationGate(GateConfig(axes="planar")).compare(predicted, turned).fits


def test_another_floor_is_no_place_on_this_one():
    """As after a lift: averaged with the fix, a position would be between the floors."""
    gate, predicted, above = InnovationGate(GateConfig(axes="planar")), at([0.0] * 3), at([0.0, 0.0, 3.0])
    comparison = gate.compare(predicted, above)
    assert not comparison.fits
    assert comparison.dof == 6
    assert gate.compare(predicted, above, "planar").fits  # as people point at plans


def test_the_difference_is_that_of_the_errors():
    truth = Rigid3.from_rotvec([0.5, -0.2, 1.0], [3.0, 2.0, 1.0])
    error, zero = np.array([0.1, -0.2, 0.3, 0.01, 0.02, -0.03]), np.zeros(3)
    wrong = Rigid3(
        Rigid3.from_rotvec(error[3:], zero).rotation @ truth.rotation, truth.translation + error[:3]
    )
    np.testing.assert_allclose(pose_difference(truth, wrong), error, atol=1e-12)


@pytest.mark.parametrize("axes", ["full", "planar"])
def test_right_fixes_pass_as_often_as_promised(axes):
    config = GateConfig(probability=0.9, axes=axes)
    gate, rng = InnovationGate(config), np.random.default_rng(0)
    variances = [0.01, 0.02, 0.03, 1e-4, 2e-4, 3e-4]
    spread = np.diag(variances) * 2.0 + systematic_covariance(config)
    errors = rng.multivariate_normal(np.zeros(6), spread, size=2000)
    passed = sum(
        gate.compare(at(np.zeros(3), variances=variances), at(error[:3], error[3:], variances)).fits
        for error in errors
    )
    assert passed / 2000 == pytest.approx(0.9, abs=0.025)
