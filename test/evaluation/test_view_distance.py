from __future__ import annotations

import numpy as np
import pytest

from hfnet_ros.evaluation.view_distance import nearest_keyframes, recall_by_range
from hfnet_ros.geometry import Rigid3


def row(degrees, position):
    pose = Rigid3.from_rotvec([0.0, np.radians(degrees), 0.0], position)
    return [*pose.translation, *pose.quat_xyzw]


def test_the_nearest_keyframe_by_hand():
    # 0.5 m and 60 deg away (2.5), 1.5 m and 6 deg away (1.7): the second is nearer.
    keyframes = np.array([row(60, [0.5, 0.0, 0.0]), row(6, [0.0, 1.5, 0.0])])
    distances, angles = nearest_keyframes([Rigid3.identity()], keyframes)
    assert distances == pytest.approx([1.5])
    assert angles == pytest.approx([6.0])


def test_a_keyframe_is_its_own_nearest_however_its_quaternion_is_signed():
    rng = np.random.default_rng(0)
    poses = [Rigid3.from_rotvec(rng.normal(size=3), rng.normal(size=3)) for _ in range(20)]
    keyframes = np.array([[*pose.translation, *pose.quat_xyzw] for pose in poses])
    keyframes[::2, 3:] *= -2.0
    distances, angles = nearest_keyframes(poses, keyframes)
    np.testing.assert_allclose(distances, 0.0, atol=1e-12)
    np.testing.assert_allclose(angles, 0.0, atol=1e-5)


def test_ranges_counted_by_hand():
    values = np.array([0.0, 0.5, 1.0, 1.5, 7.0])
    bins = recall_by_range(
        values,
        (0.0, 1.0, 2.0, 3.0, np.inf),
        is_localized=[True, True, True, False, True],
        is_right=[True, False, True, False, False],
        is_false=[False, False, False, False, True],
    )
    counts = [(entry.queries, entry.localized, entry.right, entry.false_fixes) for entry in bins]
    assert counts == [(2, 2, 1, 0), (2, 1, 1, 0), (0, 0, 0, 0), (1, 1, 0, 1)]
    assert [(entry.low, entry.high) for entry in bins] == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, None)]


def test_every_query_is_counted_once_and_the_last_end_belongs_to_the_last_range():
    values = np.random.default_rng(1).uniform(0.0, 180.0, 300)
    values[0] = 180.0
    flags = [True] * 300
    bins = recall_by_range(values, (0.0, 10.0, 90.0, 180.0), flags, flags, [False] * 300)
    assert sum(entry.queries for entry in bins) == 300
    assert len(bins) == 3


def test_no_query_gives_no_range_and_no_keyframe_is_refused():
    assert recall_by_range(np.array([]), (0.0, 1.0), [], [], []) == []
    with pytest.raises(ValueError, match="no keyframe"):
        nearest_keyframes([Rigid3.identity()], np.zeros((0, 7)))
