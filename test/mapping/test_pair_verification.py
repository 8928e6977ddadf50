import numpy as np
import pytest

from hfnet_ros.mapping.pair_verification import log10_false_alarms, share_of_turning


def test_false_alarms_by_hand():
    # 10 ways to choose how many, one to choose them, 120 to choose the sample; three more within 4 px of a line.
    by_chance = 2 * 4 * 800 / (640 * 480)
    assert log10_false_alarms(10, 10, (640, 480)) == pytest.approx(np.log10(10 * 120 * by_chance**3))
    assert log10_false_alarms(7, 500, (640, 480)) == np.inf
    assert log10_false_alarms(40, 400, (640, 360)) > 0.0 > log10_false_alarms(40, 60, (640, 360))


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize(("is_moved", "low", "high"), [(False, 0.9, 1.0), (True, 0.0, 0.5)])
def test_turning_explains_what_a_turning_camera_sees(kit, calibrated, is_moved, low, high):
    world = kit.make_world(num_views=6, num_points=300, is_moved=is_moved)
    verified = {}
    for first in range(6):
        for second in range(first + 1, 6):
            _, of_first, of_second = np.intersect1d(
                world.seen[first], world.seen[second], return_indices=True
            )
            verified[first, second] = np.column_stack([of_first, of_second])
    keypoints = [view.keypoints for view in world.views]
    cameras = world.cameras if calibrated else None
    assert low <= share_of_turning(verified, keypoints, [(320, 240)] * 6, cameras, [0] * 6) <= high
    assert share_of_turning({(0, 1): verified[0, 1]}, keypoints, [(320, 240)] * 6, cameras, [0] * 6) == 0.0
