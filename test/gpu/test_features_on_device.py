"""Features whose descriptors are fetched late, in time or never."""

import numpy as np
import pytest

from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.features_on_device import DeviceRows, FeaturesOnDevice, LeftDescriptors

DESCRIPTORS = np.arange(20, dtype=np.float32).reshape(5, 4)


class Device:
    """Descriptors of one run; `reason` says why they are gone."""

    def __init__(self):
        self.reason, self.num_fetched = "", 0
        left = LeftDescriptors(DeviceRows(0x1000, 4, 5), lambda: self.reason, self.fetch)
        points = np.arange(10, dtype=np.float32).reshape(5, 2)
        self.features = FeaturesOnDevice(points, np.linspace(1, 0.5, 5, dtype=np.float32), left)

    def fetch(self):
        self.num_fetched += 1
        return DESCRIPTORS.copy()


@pytest.fixture
def device():
    return Device()


def test_they_are_fetched_once_whoever_asks(device):
    moved = device.features.moved_to(device.features.keypoints + 1)
    chosen = moved.chosen(np.array([3, 1]))
    assert device.num_fetched == 0
    np.testing.assert_array_equal(chosen.descriptors, DESCRIPTORS[[3, 1]])
    np.testing.assert_array_equal(device.features.descriptors, DESCRIPTORS)
    np.testing.assert_array_equal(moved.descriptors, DESCRIPTORS)
    assert device.num_fetched == 1


def test_rows_stay_with_their_keypoints(device):
    chosen = device.features.chosen(np.array([4, 2, 0])).chosen(np.array([2, 0]))
    np.testing.assert_array_equal(chosen.keypoints, [[0, 1], [8, 9]])
    np.testing.assert_array_equal(chosen.scores, device.features.scores[[0, 4]])
    np.testing.assert_array_equal(chosen.descriptors, DESCRIPTORS[[0, 4]])
    there = chosen.device_rows(10)
    assert (there.address, there.size, len(there), there.rows.tolist()) == (0x1000, 4, 2, [0, 4])
    assert chosen.device_rows(1).rows.tolist() == [0]
    everything = device.features.device_rows(3)
    assert (len(everything), everything.rows) == (3, None)
    assert len(device.features.device_rows(100)) == 5


def test_what_is_gone_is_refused_unless_it_was_read(device):
    read = Device()
    assert len(read.features.descriptors) == 5
    read.reason = device.reason = "the engine was closed"
    assert not device.features.are_on_device
    for use in (lambda: device.features.descriptors, lambda: device.features.device_rows(5)):
        with pytest.raises(EngineError, match="not there any more: the engine was closed"):
            use()
    assert device.num_fetched == 0
    np.testing.assert_array_equal(read.features.moved_to(read.features.keypoints).descriptors, DESCRIPTORS)
    with pytest.raises(EngineError):
        read.features.device_rows(5)


def test_keypoints_that_were_filtered_without_their_descriptors_are_refused(device):
    with pytest.raises(ValueError, match="4 keypoints for 5 descriptors"):
        device.features.moved_to(device.features.keypoints[:4])
