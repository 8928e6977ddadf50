"""A map's descriptors on the GPU: memory, kernels, and the order in which they go."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from hfnet_ros.config import Config
from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.matching import GpuLandmarks
from hfnet_ros.gpu.module import OpenModule, module_opener
from hfnet_ros.gpu.retrieval import GpuKeyframes
from hfnet_ros.inference.cuda_memory import CudaMemory, open_cuda_memory
from hfnet_ros.map.visual_map import VisualMap


class ResidentMap:
    """Global and local descriptors of one map; belongs to the thread that makes it.

    Attributes:
        keyframes: global descriptors.
        landmarks: local descriptors.
    """

    def __init__(
        self,
        visual_map: VisualMap,
        config: Config,
        open_memory: Callable[[], CudaMemory] = open_cuda_memory,
        open_kernels: OpenModule | None = None,
    ) -> None:
        """Put the descriptors on the GPU.

        Args:
            visual_map: whose descriptors.
            config: how it is searched.
            open_memory: makes this thread's CUDA context current.
            open_kernels: compiles and loads them, unless as `config` says.

        Raises:
            EngineError: there is no GPU or CUDA library, kernels do not compile, or the map does not fit.
        """
        self._thread = threading.get_ident()
        open_kernels = open_kernels or module_opener(config.inference.engine_cache)
        with contextlib.ExitStack() as undo:
            memory = open_memory()
            undo.callback(memory.close)
            self.keyframes = GpuKeyframes(
                memory,
                visual_map.global_descriptors.decoded(),
                max_found=config.retrieval.count(by_vlad=not visual_map.has_head),
                open_kernels=open_kernels,
            )
            undo.callback(self.keyframes.close)
            self.landmarks = GpuLandmarks(
                memory,
                visual_map.landmark_descriptors.decoded(),
                visual_map.landmark_xyz if config.matching.ratio < 1.0 else None,
                max_keypoints=config.matching.max_query_keypoints,
                max_listed=config.matching.max_landmarks,
                open_kernels=open_kernels,
            )
            undo.callback(self.landmarks.close)
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Free everything, kernels before memory; again does nothing.

        Raises:
            EngineError: called in another thread, where nothing may be freed.
        """
        if threading.get_ident() != self._thread:
            raise EngineError("a map on the GPU is closed in another thread than the one that put it there")
        self._undo.close()
