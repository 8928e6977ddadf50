import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3, rotation_angle, skew

RNG = np.random.default_rng(3)


def random_rigid3() -> Rigid3:
    return Rigid3.from_rotvec(RNG.normal(size=3), RNG.normal(size=3))


def test_quarter_turn_about_z_moves_a_point_by_hand():
    b_from_a = Rigid3.from_rotvec([0.0, 0.0, np.pi / 2], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(b_from_a @ np.array([1.0, 0.0, 0.0]), [1.0, 3.0, 3.0], atol=1e-15)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(b_from_a.quat_xyzw, [0.0, 0.0, half, half], atol=1e-15)


def test_composition_cancels_the_inner_frame():
    c_from_b, b_from_a = random_rigid3(), random_rigid3()
    points_a = RNG.normal(size=(7, 3))
    np.testing.assert_allclose((c_from_b @ b_from_a) @ points_a, c_from_b @ (b_from_a @ points_a), atol=1e-12)
    np.testing.assert_allclose((c_from_b @ b_from_a).matrix, c_from_b.matrix @ b_from_a.matrix, atol=1e-12)


def test_inverse_undoes():
    b_from_a = random_rigid3()
    np.testing.assert_allclose((b_from_a.inverse() @ b_from_a).matrix, np.eye(4), atol=1e-12)


def test_quaternion_and_rotvec_come_back():
    for rotvec in ([0.3, -0.2, 0.1], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0], [-2.5, 1.0, 1.0]):
        b_from_a = Rigid3.from_rotvec(rotvec, [0.0, 0.0, 0.0])
        again = Rigid3.from_quat(b_from_a.quat_xyzw, [0.0, 0.0, 0.0])
        np.testing.assert_allclose(again.rotation, b_from_a.rotation, atol=1e-12)
        np.testing.assert_allclose(b_from_a.rotvec, rotvec, atol=1e-12)


def test_quaternion_has_non_negative_w():
    for _ in range(200):
        quat = random_rigid3().quat_xyzw
        assert quat[3] >= 0.0
        assert np.linalg.norm(quat) == pytest.approx(1.0, abs=1e-12)


def test_from_quat_normalises_and_ignores_the_sign():
    plain = Rigid3.from_quat([0.1, 0.2, 0.3, 0.9], [1.0, 2.0, 3.0])
    other = Rigid3.from_quat([-0.2, -0.4, -0.6, -1.8], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(other.rotation, plain.rotation, atol=1e-12)


@pytest.mark.parametrize(
    ("quat", "translation", "words"),
    [
        ([0, 0, 0, 0], [0, 0, 0], "no length"),
        ([0, 0, np.nan, 1], [0, 0, 0], "not finite"),
        ([0, 0, 0, 1], [0, np.inf, 0], "not finite"),
    ],
)
def test_from_quat_refuses(quat, translation, words):
    with pytest.raises(ValueError, match=words):
        Rigid3.from_quat(quat, translation)


def test_inputs_are_copied():
    translation = np.zeros(3)
    b_from_a = Rigid3.from_quat([0, 0, 0, 1], translation)
    translation[0] = 5.0
    assert b_from_a.translation[0] == 0.0


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, np.pi - 1e-7, np.pi])
def test_rotation_angle_keeps_its_digits_at_both_ends(angle):
    axis = np.array([2.0, -1.0, 2.0]) / 3.0
    rotation = Rigid3.from_rotvec(angle * axis, [0, 0, 0]).rotation
    assert rotation_angle(rotation) == pytest.approx(angle, rel=1e-6, abs=1e-14)


def test_distances_between_poses():
    left = Rigid3.from_rotvec([0.0, 0.2, 0.0], [1.0, 0.0, 0.0])
    right = Rigid3.from_rotvec([0.0, 0.5, 0.0], [1.0, 3.0, 4.0])
    assert left.translation_to(right) == pytest.approx(5.0)
    assert left.rotation_to(right) == pytest.approx(0.3)


def test_skew_is_the_cross_product():
    v, w = RNG.normal(size=3), RNG.normal(size=3)
    np.testing.assert_allclose(skew(v) @ w, np.cross(v, w), atol=1e-14)
