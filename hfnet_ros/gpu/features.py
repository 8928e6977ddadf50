"""Keypoints and descriptors from a network's dense outputs, without these leaving the GPU.

Three kernels a frame: suppress non-maxima, select the best, describe them. Everything is allocated
once; what comes to the host is one block of the chosen keypoints. `features/hfnet.py` and
`features/xfeat.py` are the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.module import KernelModule, Launch, OpenModule, open_module
from hfnet_ros.inference.cuda_memory import CudaMemory
from hfnet_ros.types import LocalFeatures

CELL = 8
MAX_KEYPOINTS = 8192  # sorted in 64 KiB of shared memory
_LOGITS = CELL * CELL + 1
_TILE_H = 32  # of features.cu
_MIN_ROOM = 1024  # keys, in whose shared memory digits are counted too
_HEADER_BYTES = 16  # number of keypoints, padded
_HALF, _FLOAT = np.dtype(np.float16), np.dtype(np.float32)


@dataclass(frozen=True)
class DeviceTensor:
    """A tensor on the device, row by row, float32 or float16."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


@dataclass(frozen=True)
class SelectionRule:
    """How keypoints are chosen and described.

    Attributes:
        radius: half size of the square of the non-maximum suppression, px.
        iterations: of the suppression, see `features.hfnet.suppress_non_maxima`.
        threshold: a keypoint's value on the heat map is higher; not negative.
        max_keypoints: kept, best first; of equal ones, those of the earlier pixels.
        cubic: sample descriptors as XFeat does, bicubically at x w / (W - 1) - 0.5, instead of as
            HF-Net does, bilinearly at x (w - 1) / (W - 1).
        center_radius: half size of the square whose centre of gravity the keypoint is, px, as
            `features.hfnet.center_on_scores` says; 0 leaves it on its pixel. Only of the heat map alone.
    """

    radius: int
    iterations: int
    threshold: float
    max_keypoints: int
    cubic: bool
    center_radius: int = 0


class FeatureKernels:
    """Choose and describe keypoints of one image size; belongs to the thread of its memory."""

    def __init__(
        self,
        memory: CudaMemory,
        scores: DeviceTensor,
        descriptors: DeviceTensor,
        rule: SelectionRule,
        *,
        reliability: DeviceTensor | None = None,
        open_kernels: OpenModule = open_module,
    ) -> None:
        """Compile the kernels and allocate everything.

        Args:
            memory: whose stream the kernels run on.
            scores: keypoint probability, [H, W] with any lengths of one, or logits [1, 65, H/8, W/8].
            descriptors: [1, D, H/8, W/8] or [1, H/8, W/8, D].
            rule: how to choose.
            reliability: factor of XFeat's scores, [1, 1, H/8, W/8].
            open_kernels: compiles them.

        Raises:
            EngineError: a tensor has another shape or type, there is not enough memory, or the kernels
                cannot be compiled.
        """
        self._memory = memory
        self._rule = rule
        height, width = _plane_size(scores)
        self._size_wh = (width, height)
        self._descriptor_size = _descriptor_size(descriptors, (height // CELL, width // CELL))
        _check(scores, descriptors, reliability, rule, (height, width))
        with ExitStack() as undo:
            self._kernels = self._open(open_kernels, scores, descriptors, reliability)
            undo.callback(self._kernels.close)
            self._allocate()
            heatmap, shuffle = self._heatmap(scores)
            self._launches = [
                *shuffle,
                *self._detection(heatmap, reliability),
                self._description(heatmap, descriptors),
            ]
            undo.pop_all()

    def put(self) -> None:
        """Put the work on a frame on the memory's stream, up to the copy to the host."""
        for launch in self._launches:
            launch()
        self._memory.copy_to_host(self._host, self._count)

    def features(self) -> LocalFeatures:
        """Return copies of the latest frame's features, after the stream was waited for.

        Convention: keypoints are in pixels of the network's input.
        """
        count = int(self._host[:4].view(np.int32)[0])
        size, limit = self._descriptor_size, self._rule.max_keypoints
        values = self._host[_HEADER_BYTES:].view(np.float32)
        points = values[: 2 * limit].reshape(limit, 2)[:count]
        scores = values[2 * limit : 3 * limit][:count]
        descriptors = values[3 * limit :].reshape(limit, size)[:count]
        return LocalFeatures(points.copy(), scores.copy(), descriptors.copy())

    def close(self) -> None:
        """Unload the kernels, before the memory is closed; buffers are freed with it."""
        self._kernels.close()

    def _open(
        self,
        open_kernels: OpenModule,
        scores: DeviceTensor,
        descriptors: DeviceTensor,
        reliability: DeviceTensor | None,
    ) -> KernelModule:
        rule = self._rule
        halo = rule.radius * (2 * rule.iterations - 1)
        self._threads = 512 if rule.iterations > 1 else 256
        # Words of 32 columns; wider ones would do less twice, but not fit the shared memory of every GPU.
        self._region_w = 64 if halo <= 8 else 96
        self._tile_w = self._region_w - 2 * halo
        self._region_h = _TILE_H + 2 * halo
        if self._tile_w < 2 * CELL:
            raise EngineError(
                f"non-maximum suppression of radius {rule.radius} in {rule.iterations} iterations does not fit a "
                "GPU's shared memory; use a smaller radius"
            )
        defines = {
            "RADIUS": rule.radius,
            "ITERATIONS": rule.iterations,
            "THREADS": self._threads,
            "REGION_W": self._region_w,
            "TILE_H": _TILE_H,
            "WITH_RELIABILITY": int(reliability is not None),
            "BICUBIC": int(rule.cubic),
            "CHANNELS": self._descriptor_size,
            "CENTER_RADIUS": rule.center_radius,
            "HALF_HEATMAP": int(scores.dtype == _HALF and not _has_logits(scores)),
            "HALF_LOGITS": int(scores.dtype == _HALF),
            "HALF_RELIABILITY": int(reliability is not None and reliability.dtype == _HALF),
            "HALF_MAP": int(descriptors.dtype == _HALF),
        }
        return open_kernels(self._memory, "features.cu", defines)

    def _allocate(self) -> None:
        memory, limit, size = self._memory, self._rule.max_keypoints, self._descriptor_size
        width, height = self._size_wh
        points = _HEADER_BYTES
        scores = points + 8 * limit
        descriptors = scores + 4 * limit
        end = descriptors + 4 * limit * size
        self._count = memory.allocate(end)
        self._points, self._scores = self._count + points, self._count + scores
        self._descriptors = self._count + descriptors
        self._host = memory.pinned(end)
        self._keys = memory.allocate(8 * width * height)
        self._num_keys = memory.allocate(4)
        self._pixels = memory.allocate(4 * limit)
        zero = memory.pinned(4)
        zero[:] = 0
        self._host[:] = 0
        memory.copy_to_device(self._num_keys, zero)
        memory.synchronize()

    def _heatmap(self, scores: DeviceTensor) -> tuple[int, Sequence[Launch]]:
        """Return the address of the heat map, and what makes it of logits."""
        if not _has_logits(scores):
            return scores.address, ()
        width, height = self._size_wh
        cells_w, cells_h = width // CELL, height // CELL
        heatmap = self._memory.allocate(4 * width * height)
        arguments = [scores.address, np.int32(cells_w), np.int32(cells_h), heatmap]
        grid = (-(-cells_w * cells_h // self._threads), 1, 1)
        block = (self._threads, 1, 1)
        return heatmap, [self._kernels.prepare("heatmap_from_logits", grid, block, arguments)]

    def _detection(self, heatmap: int, reliability: DeviceTensor | None) -> Sequence[Launch]:
        width, height = self._size_wh
        # Twice a float per pixel of the region with its padding column, three kinds of bits, a counter.
        words = self._region_w // 32
        region_bytes = 4 * (self._region_h * (2 * (self._region_w + 1) + 3 * words) + 1)
        suppress = self._kernels.prepare(
            "suppress",
            (-(-width // self._tile_w), -(-height // _TILE_H), 1),
            (self._threads, 1, 1),
            [
                heatmap,
                np.int32(width),
                np.int32(height),
                np.float32(self._rule.threshold),
                0 if reliability is None else reliability.address,
                np.float64(width // CELL / (width - 1.0)),
                np.float64(height // CELL / (height - 1.0)),
                self._keys,
                self._num_keys,
            ],
            region_bytes,
        )
        limit = self._rule.max_keypoints
        room = max(_MIN_ROOM, 1 << (limit - 1).bit_length())
        select = self._kernels.prepare(
            "select_top",
            (1, 1, 1),
            (1024, 1, 1),
            [
                self._keys,
                self._num_keys,
                np.uint32(limit),
                np.uint32(room),
                self._pixels,
                self._scores,
                self._count,
            ],
            8 * room,
        )
        return [suppress, select]

    def _description(self, heatmap: int, descriptors: DeviceTensor) -> Launch:
        width, height = self._size_wh
        cells_w, cells_h, size = width // CELL, height // CELL, self._descriptor_size
        is_channels_last = descriptors.shape[-1] == size and descriptors.shape[1:3] == (cells_h, cells_w)
        cell_stride, channel_stride = (size, 1) if is_channels_last else (1, cells_w * cells_h)
        axes = [*self._axis(cells_w, width), *self._axis(cells_h, height)]
        return self._kernels.prepare(
            "describe",
            (-(-self._rule.max_keypoints * 32 // self._threads), 1, 1),
            (self._threads, 1, 1),
            [
                heatmap,
                np.int32(width),
                np.int32(height),
                descriptors.address,
                *map(np.int32, (cells_w, cells_h, cell_stride, channel_stride, *axes)),
                self._pixels,
                self._count,
                self._points,
                self._descriptors,
            ],
        )

    def _axis(self, cells: int, pixels: int) -> tuple[int, int, int]:
        """Return (factor, offset, divisor) of a map coordinate (pixel * factor + offset) / divisor."""
        if self._rule.cubic:
            return 2 * cells, 1 - pixels, 2 * (pixels - 1)
        return cells - 1, 0, pixels - 1


def _has_logits(scores: DeviceTensor) -> bool:
    return len(scores.shape) == 4 and scores.shape[1] == _LOGITS


def _plane_size(scores: DeviceTensor) -> tuple[int, int]:
    """Return height and width of the heat map."""
    if _has_logits(scores):
        return scores.shape[2] * CELL, scores.shape[3] * CELL
    lengths = [length for length in scores.shape if length > 1]
    if len(lengths) != 2:
        raise EngineError(f"scores have shape {list(scores.shape)}, expected one value per pixel")
    return lengths[0], lengths[1]


def _descriptor_size(descriptors: DeviceTensor, cells_hw: tuple[int, int]) -> int:
    shape = descriptors.shape
    if len(shape) == 4 and shape[0] == 1 and shape[2:] == cells_hw:
        return shape[1]
    if len(shape) == 4 and shape[0] == 1 and shape[1:3] == cells_hw:
        return shape[3]
    raise EngineError(
        f"local descriptors have shape {list(shape)}, expected {cells_hw[1]}x{cells_hw[0]} of them"
    )


def _check(
    scores: DeviceTensor,
    descriptors: DeviceTensor,
    reliability: DeviceTensor | None,
    rule: SelectionRule,
    size_hw: tuple[int, int],
) -> None:
    cells_hw = (size_hw[0] // CELL, size_hw[1] // CELL)
    if reliability is not None and reliability.shape[-2:] != cells_hw:
        raise EngineError(
            f"reliability has shape {list(reliability.shape)}, expected {cells_hw[1]}x{cells_hw[0]} values"
        )
    for tensor in filter(None, (scores, descriptors, reliability)):
        if tensor.dtype not in (_HALF, _FLOAT):
            raise EngineError(f"a tensor is {tensor.dtype}, expected float32 or float16")
    if (
        not 0 < rule.max_keypoints <= MAX_KEYPOINTS
        or min(rule.radius, rule.iterations) < 1
        or not rule.threshold >= 0.0
    ):
        raise EngineError(f"no kernels for {rule}")
