"""Which images become keyframes."""

import numpy as np
import pytest

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.mapping.keyframe_selection import select_by_motion, select_every


def _along_x(*positions_m: float) -> list[Rigid3]:
    return [Rigid3(np.eye(3), np.array([position, 0.0, 0.0])) for position in positions_m]


def _turned(*angles_deg: float) -> list[Rigid3]:
    return [Rigid3.from_rotvec([0.0, np.radians(angle), 0.0], np.zeros(3)) for angle in angles_deg]


def test_every_third():
    assert select_every(8, 3) == [0, 3, 6]
    assert select_every(3, 1) == [0, 1, 2]
    assert select_every(0, 5) == []


def test_distance_counts_from_the_last_selected():
    poses = _along_x(0.0, 0.3, 0.6, 0.9, 1.2, 1.25)
    assert select_by_motion(poses, 0.5, 10.0) == [0, 2, 4]


def test_turning_selects_as_well_as_moving():
    poses = _turned(0.0, 6.0, 12.0, 13.0, 30.0)
    assert select_by_motion(poses, 0.5, 10.0) == [0, 2, 4]


def test_a_limit_of_zero_is_no_limit():
    assert select_by_motion(_turned(0.0, 40.0, 80.0), 0.5, 0.0) == [0]
    assert select_by_motion(_along_x(0.0, 1.0, 2.0), 0.0, 10.0) == [0]


def test_no_image_no_keyframe():
    assert select_by_motion([], 0.5, 10.0) == []


@pytest.mark.parametrize("every", [0, -2])
def test_every_must_be_positive(every):
    with pytest.raises(MappingError, match=f"every {every}th"):
        select_every(10, every)


@pytest.mark.parametrize(
    ("distance", "angle"), [(-1.0, 5.0), (0.0, 0.0), (float("nan"), 5.0), (1.0, float("inf"))]
)
def test_limits_must_make_sense(distance, angle):
    with pytest.raises(MappingError, match="not both 0"):
        select_by_motion(_along_x(0.0, 1.0), distance, angle)
