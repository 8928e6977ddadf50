"""Search over global descriptors on the GPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.gpu.retrieval import GpuKeyframes
from hfnet_ros.types import RetrievalHit


class GpuIndex:
    """Exact search over descriptors that the GPU holds, rounded to float16."""

    def __init__(self, keyframes: GpuKeyframes) -> None:
        """Take the map's keyframes; not owned."""
        self._keyframes = keyframes

    def search(self, descriptor: NDArray[np.float32], count: int) -> list[RetrievalHit]:
        """Return the `count` most similar keyframes, best first; ties by keyframe order.

        Raises:
            EngineError: the GPU failed.
        """
        idxs, similarity = self._keyframes.search(descriptor, count)
        return [RetrievalHit(*hit) for hit in zip(idxs.tolist(), similarity.tolist(), strict=True)]
