"""Tables of a map on the GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.cuda_memory import CudaMemory

SPARE_BYTES = 256 << 20  # left to engines and, on a Jetson, to everything else on the machine
_STAGING_BYTES = 2 << 20

_MIB = 1 << 20


def check_room(memory: CudaMemory, nbytes: int, what: str) -> None:
    """Refuse what would not leave the GPU some memory.

    Raises:
        EngineError: it would not.
    """
    free, total = memory.free_bytes()
    if nbytes + SPARE_BYTES > free:
        raise EngineError(
            f"{what} need {nbytes / _MIB:.0f} MiB of GPU memory, and {SPARE_BYTES / _MIB:.0f} MiB should stay "
            f"free, but {free / _MIB:.0f} of {total / _MIB:.0f} MiB are; use a smaller map or "
            "set inference.gpu_matching to off"
        )


def put_rows(memory: CudaMemory, rows: NDArray[Any], dtype: type[np.floating[Any]], width: int) -> int:
    """Return the address of a copy of rows [N, D] on the device as [N, width], zeros appended.

    A table of gigabytes passes through a few megabytes of page-locked memory.
    """
    count, size = rows.shape
    itemsize = np.dtype(dtype).itemsize
    address = memory.allocate(max(count * width * itemsize, 1))
    step = max(min(_STAGING_BYTES // (width * itemsize), count), 1)
    staging = memory.pinned(step * width * itemsize).view(dtype).reshape(step, width)
    staging[:, size:] = 0
    for first in range(0, count, step):
        part = rows[first : first + step]
        staging[: len(part), :size] = part
        memory.copy_to_device(address + first * width * itemsize, staging[: len(part)])
        memory.synchronize()
    return address
