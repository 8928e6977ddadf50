"""How much of what is seen lies in one plane."""

import numpy as np
import pytest

from hfnet_ros.geometry import Rigid3
from hfnet_ros.pose.flatness import flat_share

HERE = np.array([0.0, 0.0, -2.0])


def wall(depth_m: float, seed: int = 0) -> np.ndarray:
    """A wall 2 m away, its points normally `depth_m` deep."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(-1.0, 1.0, (400, 2)), rng.normal(0.0, depth_m, 400)])


def test_of_a_wall_with_five_percent_of_relief_two_thirds_are_flat():
    distance = np.median(np.linalg.norm(wall(0.0) - HERE, axis=1))
    assert flat_share(wall(0.05 * distance), HERE) == pytest.approx(0.683, abs=0.05)
    assert flat_share(wall(0.0), HERE) == 1.0


def test_what_stands_before_a_wall_is_not_of_it():
    points = wall(0.005)
    points[:60, 2] -= 0.8
    assert flat_share(points, HERE) == pytest.approx(0.85)


def test_a_corner_is_half_flat():
    points = wall(0.005)
    points[:200, [0, 2]] = points[:200, [2, 0]] - np.array([1.0, 1.0])
    assert flat_share(points, HERE) == pytest.approx(0.5, abs=0.1)


def test_it_is_the_same_from_any_side():
    moved = Rigid3.from_rotvec([0.3, -1.0, 0.2], [4.0, 5.0, 6.0])
    assert flat_share(moved @ wall(0.03), moved @ HERE) == pytest.approx(flat_share(wall(0.03), HERE))


@pytest.mark.parametrize("count", [0, 3])
def test_hardly_any_points_tell_nothing_of_depth(count):
    assert flat_share(wall(0.5)[:count], HERE) == 1.0
