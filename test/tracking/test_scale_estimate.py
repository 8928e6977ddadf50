import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.motion_pairs import MotionPair
from hfnet_ros.tracking.mounting_check import BODY_FROM_OPTICAL
from hfnet_ros.tracking.scale_estimate import estimate_scale

MOUNTING = Rigid3.from_rotvec([0.0, 0.3, 0.2], [0.4, 0.1, 0.6]) @ Rigid3(BODY_FROM_OPTICAL, np.zeros(3))


def motions(count, metres_per_unit, noise_units=0.0, wrong=0.0, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        base = Rigid3.from_rotvec([0, 0, rng.uniform(-0.5, 0.5)], [rng.uniform(0.3, 0.8), 0, 0])
        camera = MOUNTING.inverse() @ base @ MOUNTING
        seen = camera.translation / metres_per_unit + rng.normal(0, noise_units, 3)
        if rng.random() < wrong:
            seen = rng.normal(0, 10, 3)
        yield MotionPair(base, Rigid3(camera.rotation, seen), MOUNTING)


@pytest.mark.parametrize("metres_per_unit", [0.05, 1.0, 7.0])
def test_the_lever_of_the_camera_is_taken_out(metres_per_unit):
    found = estimate_scale(list(motions(20, metres_per_unit)))
    assert found.metres_per_unit == pytest.approx(metres_per_unit, rel=1e-9)
    assert found.num_motions == 20


def test_the_error_it_tells_is_the_error_it_makes():
    errors = []
    for seed in range(60):
        found = estimate_scale(list(motions(40, 2.0, noise_units=0.02, wrong=0.2, seed=seed)))
        errors.append((found.metres_per_unit - 2.0) / found.sigma)
    assert np.abs(np.mean(errors)) < 0.3
    assert 0.2 < np.std(errors) < 1.5  # motions here do not overlap, as is allowed for


def test_too_little_or_contradicting_motion_says_nothing():
    assert estimate_scale([]) is None
    assert estimate_scale(list(motions(7, 2.0))) is None
    assert estimate_scale(list(motions(40, 2.0, wrong=0.8))) is None
    assert estimate_scale([*motions(20, 1.0), *motions(20, 3.0)]) is None
