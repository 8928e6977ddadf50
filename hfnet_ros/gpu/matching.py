"""Landmarks of a map whose descriptors stay on the GPU, and the kernels that match images with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.module import KernelModule, OpenModule, open_module
from hfnet_ros.gpu.tables import check_room, put_rows
from hfnet_ros.inference.cuda_memory import CudaMemory

MAX_DESCRIPTOR_SIZE = 256  # a warp's share of more does not fit its registers

_THREADS, _WARPS = 128, 4  # of a block that compares
_PER_NUMBER_THREADS = 256  # of a block with one thread per number
_SMALLEST_SHARE = 128  # landmarks of a block: fewer cost more to begin than to compare
_BLOCKS = 384  # wanted: 132 multiprocessors hold three each at a time, 8 of a Jetson take them in turns

Matches = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


class GpuLandmarks:
    """Matches images with listed landmarks of a table; belongs to the thread and context of its memory.

    Everything is allocated here, nothing while images come.
    """

    def __init__(
        self,
        memory: CudaMemory,
        descriptors: NDArray[np.float32],
        xyz: NDArray[np.float64] | None,
        *,
        max_keypoints: int,
        max_listed: int,
        open_kernels: OpenModule = open_module,
    ) -> None:
        """Put the descriptors on the GPU.

        Args:
            memory: not owned; it must outlive this.
            descriptors: [L, D] unit norm; kept as float16.
            xyz: [L, 3] m, needed for the ratio test only.
            max_keypoints: of an image.
            max_listed: landmarks that an image may be compared with.
            open_kernels: compiles and loads them.

        Raises:
            EngineError: they do not fit the GPU's memory, or the kernels do not compile.
        """
        count, size = descriptors.shape
        if size > MAX_DESCRIPTOR_SIZE:
            raise EngineError(
                f"descriptors have {size} numbers, kernels compare {MAX_DESCRIPTOR_SIZE} at most; they are "
                "matched on the CPU"
            )
        self._memory = memory
        self._size, self._row_size = size, max(-(-size // 16) * 16, 16)
        self._max_keypoints, self._max_listed = max_keypoints, min(max_listed, max(count, 1))
        fixed_per_warp = 64 if self._row_size <= 64 else 32
        self._fixed_per_block = fixed_per_warp * _WARPS
        self._has_points = xyz is not None
        table_bytes, points_bytes = 2 * count * self._row_size, 16 * count * self._has_points
        work_bytes = max_keypoints * (4 * size + 2 * self._row_size + 28) + 4 * self._max_listed
        check_room(memory, table_bytes + points_bytes + work_bytes, f"{count} landmarks of {size} numbers")
        self._table = put_rows(memory, descriptors, np.float16, self._row_size)
        self._points = 0
        if xyz is not None:
            # float32 is fine around the middle, not around an origin kilometres away.
            self._points = put_rows(memory, xyz - xyz.mean(axis=0) if count else xyz, np.float32, 4)
        self._allocate(memory)
        defines = {"DESCRIPTOR_SIZE": self._row_size, "FIXED_PER_WARP": fixed_per_warp}
        self._kernels: KernelModule = open_kernels(memory, "matching.cu", defines)

    def _allocate(self, memory: CudaMemory) -> None:
        most, listed = self._max_keypoints, self._max_listed
        self._descriptors_host = memory.pinned(4 * most * self._size).view(np.float32)
        self._list_host = memory.pinned(4 * listed).view(np.int32)
        self._answer_host = memory.pinned(8 * most)
        self._descriptors = memory.allocate(4 * most * self._size)
        self._list = memory.allocate(4 * listed)
        self._rounded = memory.allocate(2 * most * self._row_size)
        self._nearest, self._back = memory.allocate(8 * most), memory.allocate(8 * most)
        self._rivals, self._answer = memory.allocate(4 * most), memory.allocate(8 * most)

    def match(
        self,
        descriptors: NDArray[np.float32],
        rows: NDArray[np.int64],
        *,
        min_similarity: float,
        ratio: float = 1.0,
        same_place_m: float = 0.0,
    ) -> Matches:
        """Return the pairs of keypoint and landmark that are each other's most similar.

        Of equally similar ones the first is taken, as `mutual_nearest` does, but for a landmark as
        similar to a keypoint that prefers another. Descriptors with NaN match nothing.

        Args:
            descriptors: [N, D] float32 unit norm, rounded to float16 here.
            rows: [M] of the table: the landmarks to compare with.
            min_similarity: cosine below which a pair is dropped.
            ratio: of distances to the best landmark and to the best one elsewhere; a pair's is below. 1 is off.
            same_place_m: landmarks this near to each other are one place.

        Returns:
            Keypoints, ascending, positions in `rows` [K] int64 each, and their cosine [K].

        Raises:
            EngineError: there are more than was announced, or the GPU failed.
        """
        count = len(descriptors)
        if count > self._max_keypoints:
            raise EngineError(
                f"{count} keypoints to match on the GPU, at most {self._max_keypoints} were announced"
            )
        if count == 0 or len(rows) == 0:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        if len(rows) > self._max_listed:
            raise EngineError(
                f"{len(rows)} landmarks to match on the GPU, at most {self._max_listed} were announced"
            )
        results = [self._nearest, self._back, self._rivals]
        self._send(descriptors, results)
        self._list_host[: len(rows)] = rows
        self._memory.copy_to_device(self._list, self._list_host[: len(rows)])
        keypoints = [self._rounded, np.int32(count)]
        landmarks = [self._table, self._list]
        each = (-(-count // _PER_NUMBER_THREADS), 1, 1)
        block, compare = (_PER_NUMBER_THREADS, 1, 1), (_THREADS, 1, 1)
        launch = self._kernels.launch
        grid, share = self._shares(count, len(rows))
        listed = [*landmarks, np.int32(len(rows))]
        launch("nearest_landmark", grid, compare, [*keypoints, *listed, share, self._nearest])
        if ratio < 1.0 and self._has_points:
            limit = np.float32(same_place_m**2)
            arguments = [*keypoints, *listed, self._nearest, share, self._points, limit, self._rivals]
            launch("find_rivals", grid, compare, arguments)
        grid, share = self._shares(count, count)
        launch("nearest_keypoint", grid, compare, [*keypoints, *landmarks, self._nearest, share, self._back])
        launch(
            "conclude",
            each,
            block,
            [
                *results,
                np.int32(count),
                np.float32(min_similarity),
                np.float32(ratio**2),
                self._answer,
                self._answer + 4 * count,
            ],
        )
        answer = self._answer_host[: 8 * count]
        self._memory.copy_to_host(answer, self._answer)
        self._memory.synchronize()
        landmark, similarity = answer[: 4 * count].view(np.int32), answer[4 * count :].view(np.float32)
        matched = np.flatnonzero(landmark >= 0)
        return matched.astype(np.int64), landmark[matched].astype(np.int64), similarity[matched]

    def close(self) -> None:
        """Unload the kernels, before the memory is closed; again does nothing."""
        self._kernels.close()

    def _send(self, descriptors: NDArray[np.float32], results: list[int]) -> None:
        """Copy descriptors to the device, round them, and clear the results."""
        count = len(descriptors)
        host = self._descriptors_host[: count * self._size]
        host.reshape(count, self._size)[...] = descriptors
        self._memory.copy_to_device(self._descriptors, host)
        size = [np.int32(count), np.int32(self._size)]
        self._kernels.launch(
            "round_keypoints",
            (-(-count * self._row_size // _PER_NUMBER_THREADS), 1, 1),
            (_PER_NUMBER_THREADS, 1, 1),
            [self._descriptors, *size, self._rounded, *results],
        )

    def _shares(self, num_fixed: int, num_moving: int) -> tuple[tuple[int, int, int], np.int32]:
        """Return the grid that compares all with all, and the moving rows of each of its blocks."""
        columns = -(-num_fixed // self._fixed_per_block)
        wanted = max(_BLOCKS // columns, 1)
        share = max(-(-num_moving // wanted), _SMALLEST_SHARE)
        share = -(-share // 32) * 32
        return (columns, -(-num_moving // share), 1), np.int32(share)
