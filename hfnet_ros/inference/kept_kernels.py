"""What TensorRT for RTX compiles when a plan first runs, kept for the next start.

Its plans hold a network for a compute capability; machine code for the very GPU and driver is made when they run. That
code is NVIDIA's own format, handed back to the library as it came; like plans it is executable and lies in a folder
of this user's own, see `CodeFolder`.
"""

from __future__ import annotations

import logging
from typing import Any

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.driver import DriverReport
from hfnet_ros.inference.plan_cache import PlanCache, PlanKey

_logger = logging.getLogger(__name__)


def gpu_name(driver: DriverReport) -> str:
    """Return name and compute capability of the first GPU."""
    gpu = driver.gpus[0]
    return f"{gpu.name} {gpu.capability[0]}.{gpu.capability[1]}"


class KeptKernels:
    """Compiled kernels of one plan on one GPU; belongs to the thread of its engine.

    What cannot be read, used or kept is compiled again at the next start: that costs seconds, and is a line of the log.
    """

    def __init__(self, cache: PlanCache, key: PlanKey, driver: DriverReport) -> None:
        """Name the place.

        Args:
            cache: where plans are.
            key: of the plan.
            driver: of the GPU that runs it.
        """
        self._cache, self._key = cache, key
        cuda = ".".join(map(str, driver.cuda_version or ()))
        self._gpu = f"{gpu_name(driver)}, driver for CUDA {cuda}"
        self._settings: Any = None
        self._runtime_cache: Any = None
        self._known = b""
        self._is_kept = False

    def context(self, engine: Any) -> Any:
        """Return an execution context that starts from what was kept, None where TensorRT makes none."""
        self._settings = engine.create_runtime_config()
        self._runtime_cache = self._settings.create_runtime_cache()
        if self._runtime_cache is not None:
            self._read()
            self._settings.set_runtime_cache(self._runtime_cache)
        return engine.create_execution_context(runtime_config=self._settings)

    def keep(self) -> None:
        """Write what was compiled, after the first run and if there is anything new."""
        if self._is_kept or self._runtime_cache is None:
            return
        self._is_kept = True
        content = self._runtime_cache.serialize()
        if content is None or not (compiled := bytes(content)) or compiled == self._known:
            return
        try:
            self._cache.store_kernels(self._key, self._gpu, compiled)
        except EngineError as error:
            _logger.warning("kernels of network %s are compiled at every start: %s", self._key.network, error)

    def close(self) -> None:
        """Let go of TensorRT's objects, before the engine goes."""
        self._settings = self._runtime_cache = None

    def _read(self) -> None:
        try:
            self._known = self._cache.load_kernels(self._key, self._gpu)
        except EngineError as error:
            _logger.warning("kernels of network %s are compiled anew: %s", self._key.network, error)
            return
        # Those of another driver or version are refused.
        if self._known and not self._runtime_cache.deserialize(self._known):
            self._known = b""
