import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_ros.geometry.rotations import (
    mean_rotation,
    quats_from_rotations,
    rotations_from_quats,
    rotations_from_rotvecs,
    rotvecs_from_rotations,
)

# Of every size, with what is hard: none, next to none, half a turn and next to it.
ANGLES = [0.0, 1e-300, 1e-12, 1e-7, 1e-3, 0.5, 2.0, np.pi - 1e-3, np.pi - 1e-9, np.pi]


@pytest.fixture(scope="module")
def rotvecs() -> np.ndarray:
    axes = np.random.default_rng(3).normal(size=(40, 3))
    axes = np.concatenate([axes, np.eye(3), -np.eye(3)])
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return (axes[:, None] * np.array(ANGLES)[:, None]).reshape(-1, 3)


def test_matrices_of_rotation_vectors_are_scipys(rotvecs):
    assert rotations_from_rotvecs(rotvecs) == pytest.approx(
        Rotation.from_rotvec(rotvecs).as_matrix(), abs=1e-14
    )


def test_matrices_of_quaternions_are_scipys_whatever_their_length(rotvecs):
    quats = Rotation.from_rotvec(rotvecs).as_quat()
    lengths = np.random.default_rng(4).uniform(0.1, 9.0, size=(len(quats), 1))
    expected = Rotation.from_rotvec(rotvecs).as_matrix()
    assert rotations_from_quats(quats * lengths) == pytest.approx(expected, abs=1e-14)


def test_quaternions_of_matrices_are_scipys_but_for_the_sign(rotvecs):
    rotations = Rotation.from_rotvec(rotvecs)
    quats = quats_from_rotations(rotations.as_matrix())
    assert (quats[:, 3] >= 0.0).all()
    assert np.abs((quats * rotations.as_quat()).sum(axis=1)) == pytest.approx(1.0, abs=1e-14)


def test_rotation_vectors_come_back(rotvecs):
    found = rotvecs_from_rotations(rotations_from_rotvecs(rotvecs))
    half_a_turn = np.linalg.norm(rotvecs, axis=1) > np.pi - 1e-6  # either direction of the axis is right
    assert found[~half_a_turn] == pytest.approx(rotvecs[~half_a_turn], abs=1e-13, rel=1e-9)
    again = rotations_from_rotvecs(found[half_a_turn])
    assert again == pytest.approx(rotations_from_rotvecs(rotvecs[half_a_turn]), abs=1e-13)


@pytest.mark.parametrize(
    ("function", "num_columns"),
    [
        (rotations_from_rotvecs, 3),
        (rotations_from_quats, 4),
        (lambda rotvec: quats_from_rotations(rotations_from_rotvecs(rotvec)), 3),
        (lambda rotvec: rotvecs_from_rotations(rotations_from_rotvecs(rotvec)), 3),
    ],
    ids=["matrices", "matrices of quaternions", "quaternions", "vectors"],
)
def test_one_and_many_are_the_same_to_the_last_digit_but_one(function, num_columns, rotvecs):
    """One is worked out in Python's numbers; only a half turn has two axes to choose from."""
    below = rotvecs[np.linalg.norm(rotvecs, axis=1) < np.pi - 1e-6]
    values = np.column_stack([below, np.ones(len(below))])[:, :num_columns]
    one_by_one = np.array([function(value) for value in values])
    assert one_by_one == pytest.approx(function(values), rel=4e-16, abs=1e-15)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_no_number_stays_none(number):
    assert np.isnan(quats_from_rotations(np.full((3, 3), number))).all()
    with np.errstate(invalid="ignore"):
        assert np.isnan(rotations_from_rotvecs(np.full(3, number))).any()


def test_mean_is_scipys():
    generator = np.random.default_rng(5)
    rotations = Rotation.from_rotvec([0.3, 2.0, -1.0]) * Rotation.from_rotvec(
        generator.normal(0.0, 0.2, (12, 3))
    )
    weights = generator.uniform(0.1, 5.0, 12)
    mean = mean_rotation(rotations.as_matrix(), weights)
    assert mean == pytest.approx(rotations.mean(weights).as_matrix(), abs=1e-12)
