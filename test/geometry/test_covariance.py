import numpy as np
import pytest

from hfnet_ros.geometry.covariance import (
    change_child_covariance,
    is_valid_covariance,
    rotate_covariance,
    symmetrize,
)
from hfnet_ros.geometry.rigid3 import Rigid3

DRAWS = 3000
PARENT_FROM_CHILD = Rigid3.from_rotvec([0.4, -1.1, 0.7], [3.0, -2.0, 1.0])
OTHER_FROM_PARENT = Rigid3.from_rotvec([-0.8, 0.3, 1.5], [10.0, 20.0, -5.0])


def some_covariance() -> np.ndarray:
    """Return correlated errors of some centimetres and some milliradians."""
    factor = np.random.default_rng(5).normal(size=(6, 6)) + 2.0 * np.eye(6)
    scale = np.diag([0.02, 0.03, 0.01, 0.004, 0.006, 0.003])
    return scale @ factor @ factor.T @ scale


def draw_poses(covariance: np.ndarray) -> list[Rigid3]:
    """Draw poses around PARENT_FROM_CHILD: R = exp(phi) R_true, t = t_true + tau."""
    errors = np.random.default_rng(6).multivariate_normal(np.zeros(6), covariance, size=DRAWS)
    turns = [Rigid3.from_rotvec(error[3:], np.zeros(3)) for error in errors]
    return [
        Rigid3(turn.rotation @ PARENT_FROM_CHILD.rotation, PARENT_FROM_CHILD.translation + error[:3])
        for turn, error in zip(turns, errors, strict=True)
    ]


def sampled_covariance(poses: list[Rigid3], truth: Rigid3) -> np.ndarray:
    errors = [
        np.concatenate(
            [
                pose.translation - truth.translation,
                Rigid3(pose.rotation @ truth.rotation.T, np.zeros(3)).rotvec,
            ]
        )
        for pose in poses
    ]
    return np.cov(np.array(errors).T)


def assert_same_within_ten_percent(predicted: np.ndarray, sampled: np.ndarray) -> None:
    # Whitened, a perfect prediction is the identity; 3000 draws scatter by about 0.04.
    whiten = np.linalg.inv(np.linalg.cholesky(sampled))
    np.testing.assert_allclose(whiten @ predicted @ whiten.T, np.eye(6), atol=0.1)


def test_the_draws_have_the_covariance_they_were_drawn_from():
    covariance = some_covariance()
    assert_same_within_ten_percent(covariance, sampled_covariance(draw_poses(covariance), PARENT_FROM_CHILD))


def test_rotate_covariance_agrees_with_draws():
    covariance = some_covariance()
    moved = [OTHER_FROM_PARENT @ pose for pose in draw_poses(covariance)]
    sampled = sampled_covariance(moved, OTHER_FROM_PARENT @ PARENT_FROM_CHILD)
    assert_same_within_ten_percent(rotate_covariance(covariance, OTHER_FROM_PARENT), sampled)


def test_change_child_covariance_agrees_with_draws_on_a_long_lever():
    covariance = some_covariance()
    child_from_new = Rigid3.from_rotvec([0.2, 0.9, -0.4], [4.0, -3.0, 2.0])
    moved = [pose @ child_from_new for pose in draw_poses(covariance)]
    sampled = sampled_covariance(moved, PARENT_FROM_CHILD @ child_from_new)
    predicted = change_child_covariance(covariance, PARENT_FROM_CHILD, child_from_new.translation)
    assert_same_within_ten_percent(predicted, sampled)
    # The lever matters: without it the same comparison would fail.
    with pytest.raises(AssertionError):
        assert_same_within_ten_percent(covariance, sampled)


def test_quarter_turn_exchanges_x_and_y_by_hand():
    quarter = Rigid3.from_rotvec([0, 0, np.pi / 2], [7.0, 8.0, 9.0])
    rotated = rotate_covariance(np.diag([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), quarter)
    np.testing.assert_allclose(rotated, np.diag([2.0, 1.0, 3.0, 5.0, 4.0, 6.0]), atol=1e-12)


def test_yaw_error_swings_a_forward_lever_sideways_by_hand():
    covariance = np.diag([0.01, 0.01, 0.01, 1e-6, 1e-6, 0.04])
    moved = change_child_covariance(covariance, Rigid3.identity(), np.array([2.0, 0.0, 0.0]))
    # y gains (2 m)² * 0.04 rad²; it goes up with yaw, hence the positive correlation.
    assert moved[1, 1] == pytest.approx(0.01 + 4 * 0.04)
    assert moved[1, 5] == pytest.approx(2 * 0.04)
    assert moved[0, 0] == pytest.approx(0.01)


def test_there_and_back():
    covariance = some_covariance()
    turned = rotate_covariance(rotate_covariance(covariance, OTHER_FROM_PARENT), OTHER_FROM_PARENT.inverse())
    np.testing.assert_allclose(turned, covariance, atol=1e-15)


def test_validity():
    good = some_covariance()
    assert is_valid_covariance(good)
    assert not is_valid_covariance(np.zeros((6, 6)))
    assert not is_valid_covariance(np.eye(3))
    assert not is_valid_covariance(np.diag([1.0, 1, 1, 1, 1, -1e-3]))
    assert not is_valid_covariance(np.diag([1.0, 1, 1, 1, 1, np.nan]))
    lopsided = good.copy()
    lopsided[0, 1] *= 1.01
    assert not is_valid_covariance(lopsided)
    assert is_valid_covariance(symmetrize(lopsided))
