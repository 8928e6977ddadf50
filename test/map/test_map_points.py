import numpy as np
import pytest

from hfnet_ros.map.map_points import MapPoints, drawing_origin


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        ((3.0, -700.0, 12.0), (0.0, 0.0, 0.0)),
        ((16_000.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((458_123.4, 5_428_765.6, 312.5), (458_000.0, 5_429_000.0, 0.0)),
    ],
)
def test_large_coordinates_have_an_origin_in_whole_kilometres(middle, expected):
    extent = np.add(middle, [[-5.0, -5.0, -1.0], [5.0, 5.0, 1.0]])
    np.testing.assert_array_equal(drawing_origin(extent), expected)
    poses = np.column_stack([extent, np.tile([0.0, 0.0, 0.0, 1.0], (2, 1))])
    np.testing.assert_array_equal(MapPoints(keyframe_poses=poses).drawing_origin, expected)
    np.testing.assert_array_equal(MapPoints(landmark_xyz=extent).drawing_origin, expected)


def test_nothing_is_drawn_from_zero():
    np.testing.assert_array_equal(MapPoints().drawing_origin, np.zeros(3))
