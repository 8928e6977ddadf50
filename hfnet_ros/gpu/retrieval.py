"""Global descriptors of a map's keyframes that stay on the GPU, and the kernels that search them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.module import KernelModule, OpenModule, open_module
from hfnet_ros.gpu.tables import check_room, put_rows
from hfnet_ros.inference.cuda_memory import CudaMemory

MAX_FOUND = 512

_WARPS, _KEYS = 8, 1024  # keyframes of a block that compares, keys of a block that sorts


class GpuKeyframes:
    """Finds the most similar keyframes; belongs to the thread and context of its memory."""

    def __init__(
        self,
        memory: CudaMemory,
        descriptors: NDArray[np.float32],
        *,
        max_found: int,
        open_kernels: OpenModule = open_module,
    ) -> None:
        """Put the descriptors on the GPU.

        Args:
            memory: not owned; it must outlive this.
            descriptors: [F, G] unit norm; kept as float16.
            max_found: keyframes that are asked for at most.
            open_kernels: compiles and loads them.

        Raises:
            EngineError: they do not fit the GPU's memory, or the kernels do not compile.
        """
        if max_found > MAX_FOUND:
            raise EngineError(
                f"{max_found} keyframes are wanted per image, the GPU finds {MAX_FOUND} at most"
            )
        self._memory = memory
        self._count, self._size = descriptors.shape
        self._row_size = max(-(-self._size // 8) * 8, 8)
        self._max_found = max_found
        # First round of the sort: this many keys; the rounds after need less.
        sorted_bytes = 8 * max_found * max(-(-self._count // _KEYS), 1)
        nbytes = 2 * self._count * self._row_size + 4 * self._row_size + 8 * self._count + 2 * sorted_bytes
        check_room(memory, nbytes, f"{self._count} keyframes of {self._size} numbers")
        self._table = put_rows(memory, descriptors, np.float16, self._row_size)
        self._query_host = memory.pinned(4 * self._row_size).view(np.float32)
        self._query_host[...] = 0.0
        self._found_host = memory.pinned(8 * max_found).view(np.uint64)
        self._query = memory.allocate(4 * self._row_size)
        self._keys = memory.allocate(max(8 * self._count, 1))
        self._sorted = memory.allocate(sorted_bytes), memory.allocate(sorted_bytes)
        self._kernels: KernelModule = open_kernels(memory, "retrieval.cu", {})

    def search(
        self, descriptor: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the most similar keyframes [K], best first, of equal ones the first, and their cosine [K].

        Args:
            descriptor: [G] float32 unit norm.
            count: keyframes wanted; there may be fewer.

        Raises:
            EngineError: more are wanted than was announced, or the GPU failed.
        """
        if count > self._max_found:
            raise EngineError(f"{count} keyframes are wanted, at most {self._max_found} were announced")
        count = min(count, self._count)
        if count <= 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        self._query_host[: self._size] = descriptor
        self._memory.copy_to_device(self._query, self._query_host)
        self._kernels.launch(
            "compare_keyframes",
            (-(-self._count // _WARPS), 1, 1),
            (32 * _WARPS, 1, 1),
            [self._table, self._query, np.int32(self._count), np.int32(self._row_size), self._keys],
            shared_bytes=4 * self._row_size,
        )
        found = self._found_host[:count]
        self._memory.copy_to_host(found, self._sort(count))
        self._memory.synchronize()
        idxs = ~(found & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        return idxs.astype(np.int64), _numbers((found >> np.uint64(32)).astype(np.uint32))

    def close(self) -> None:
        """Unload the kernels, before the memory is closed; again does nothing."""
        self._kernels.close()

    def _sort(self, count: int) -> int:
        """Return where the largest keys are once the stream has come so far."""
        source, num_keys = self._keys, self._count
        target, other = self._sorted
        while True:
            num_blocks = -(-num_keys // _KEYS)
            self._kernels.launch(
                "keep_largest",
                (num_blocks, 1, 1),
                (_KEYS // 2, 1, 1),
                [source, np.int32(num_keys), np.int32(count), target],
            )
            if num_blocks == 1:
                return target
            source, num_keys = target, num_blocks * count
            target, other = other, target


def _numbers(orders: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return the similarities [K] float32 of a key's upper half; see kernels/keys.cuh."""
    positive = orders & np.uint32(0x80000000) != 0
    return np.where(positive, orders & np.uint32(0x7FFFFFFF), ~orders).astype(np.uint32).view(np.float32)
