"""Search in a map whose descriptors are on the GPU, where the network runs there too."""

from __future__ import annotations

import logging
from collections.abc import Callable

from hfnet_ros.config import Config
from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.resident_map import ResidentMap
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.matching.gpu_matcher import GpuMatcher
from hfnet_ros.matching.registry import COMPARING_METHODS
from hfnet_ros.retrieval.gpu_index import GpuIndex
from hfnet_ros.retrieval.index import create_index

_logger = logging.getLogger(__name__)

_GPU_BACKENDS = ("tensorrt", "onnxruntime-cuda")  # beginnings of names: also `tensorrt-rtx`


class GpuSearch:
    """Retrieval and matching on the GPU, for a `Localizer`; belongs to the thread that made it.

    Attributes:
        index: of the keyframes.
        matcher: of the landmarks.
    """

    def __init__(self, resident: ResidentMap, visual_map: VisualMap, config: Config) -> None:
        """Take ownership of a map's descriptors on the GPU."""
        self._resident = resident
        descriptors, codes = visual_map.global_descriptors, visual_map.codes
        self.index = GpuIndex(resident.keyframes, lambda: create_index(descriptors, codes, config.retrieval))
        self.matcher = GpuMatcher(resident.landmarks, config.matching)

    def close(self) -> None:
        """Free the GPU's memory; again does nothing.

        Raises:
            EngineError: called in another thread, where nothing may be freed.
        """
        self._resident.close()


def open_gpu_search(
    visual_map: VisualMap,
    config: Config,
    backend: str,
    open_map: Callable[[VisualMap, Config], ResidentMap] = ResidentMap,
) -> GpuSearch | None:
    """Return a map's search on the GPU; None, with a line in the log, where the CPU has to do it.

    Args:
        visual_map: to search in.
        config: `inference.gpu_matching` is asked.
        backend: what runs the network; where that is the CPU, the search stays there too.
        open_map: puts the map on the GPU.
    """
    if config.inference.gpu_matching == "off" or not backend.startswith(_GPU_BACKENDS):
        return None
    if config.matching.method not in COMPARING_METHODS:
        _logger.warning(
            "the map is searched on the CPU, not on the GPU: matching.method is '%s', the GPU knows 'nearest'",
            config.matching.method,
        )
        return None
    try:
        resident = open_map(visual_map, config)
    except EngineError as error:
        _logger.warning("the map is searched on the CPU, not on the GPU: %s", error)
        return None
    _logger.info(
        "the map is searched on the GPU: %d keyframes, %d landmarks",
        visual_map.num_keyframes,
        visual_map.num_landmarks,
    )
    return GpuSearch(resident, visual_map, config)
