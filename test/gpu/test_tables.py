"""Tables on the device."""

import numpy as np
from host_cuda import HostMemory

from hfnet_ros.gpu.tables import put_rows


def test_rows_are_padded_with_zeros_also_where_they_come_in_parts():
    memory = HostMemory()
    rows = np.random.default_rng(0).normal(size=(70_001, 5)).astype(np.float32)
    table = memory.view(put_rows(memory, rows, np.float16, 32), (70_001, 32), np.float16)
    np.testing.assert_array_equal(table[:, :5], rows.astype(np.float16))
    assert not table[:, 5:].any()
    memory.close()


def test_an_empty_table_has_an_address():
    memory = HostMemory()
    assert put_rows(memory, np.empty((0, 5)), np.float32, 8) > 0
    memory.close()
