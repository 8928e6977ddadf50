"""What the experiments of this folder share: the GPU, times, memory, the result."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_ros.inference.cuda_memory import CudaMemory
from hfnet_ros.inference.driver import probe_driver

WARM_UP = 20


def describe_gpu() -> dict[str, str]:
    """Return what names the first GPU in a result.

    Raises:
        SystemExit: there is none.
    """
    driver = probe_driver()
    if not driver.gpus:
        raise SystemExit(f"no GPU to measure: {driver.reason}; {driver.remedy}")
    gpu = driver.gpus[0]
    return {"gpu": gpu.name, "compute_capability": ".".join(map(str, gpu.capability))}


def median_ms(ways: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median and the 95th percentile of each way, ms, all run in turns."""
    for way in ways.values():
        for _ in range(min(WARM_UP, rounds)):
            way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {
        name: {
            "median": 1e3 * statistics.median(times),
            "p95": 1e3 * float(np.percentile(times, 95)),
            "rounds": len(times),
        }
        for name, times in seconds.items()
    }


def memory_growth(memory: CudaMemory, frame: Callable[[], Any], frames: int) -> int:
    """Return how many bytes less of the device's memory are free after many frames."""
    before = memory.free_bytes()[0]
    for _ in range(frames):
        frame()
    return before - memory.free_bytes()[0]


def write_result(result: Mapping[str, Any], path: Path | None) -> None:
    """Print a result as JSON, and write it to a file if one is given."""
    text = json.dumps(result, indent=1)
    print(text)
    if path:
        path.write_text(text + "\n")
