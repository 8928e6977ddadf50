"""Search over global descriptors on the GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.gpu.retrieval import GpuKeyframes
from hfnet_ros.retrieval.descriptor_index import DescriptorIndex
from hfnet_ros.types import RetrievalHit


class GpuIndex(DescriptorIndex):
    """Exact search over descriptors that the GPU holds, rounded to float16."""

    def __init__(self, keyframes: GpuKeyframes, make_some: Callable[[], DescriptorIndex]) -> None:
        """Take the map's keyframes, not owned, and what makes an index to search some of them, once that is asked."""
        self._keyframes = keyframes
        self._make_some = make_some

    @cached_property
    def _some(self) -> DescriptorIndex:
        return self._make_some()

    def search_lists(
        self, descriptors: NDArray[np.float32], count: int, among: NDArray[np.bool_] | None = None
    ) -> list[list[RetrievalHit]]:
        """Return the most similar keyframes; see `DescriptorIndex.search_lists`.

        Raises:
            EngineError: the GPU failed.
        """
        if among is not None:
            return self._some.search_lists(descriptors, count, among)
        found = (self._keyframes.search(descriptor, count) for descriptor in descriptors)
        return [
            [RetrievalHit(*hit) for hit in zip(idxs.tolist(), similarity.tolist(), strict=True)]
            for idxs, similarity in found
        ]
