"""Build a TensorRT plan from an ONNX network.

Precision is written in the ONNX file (a strongly typed network), which every version from 10.3 on
understands; TensorRT 11 has nothing else. Weak precision, where TensorRT chooses per layer, is left
for the versions that have it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import EngineError
from hfnet_ros.inference.driver import probe_driver
from hfnet_ros.inference.engine import NetworkModel
from hfnet_ros.inference.explicit_int8 import is_quantized, with_symmetric_bytes
from hfnet_ros.inference.half_precision import with_half_products
from hfnet_ros.inference.tensorrt_library import (
    TENSORRT,
    TensorrtLibrary,
    TensorrtLog,
    started,
    tensorrt_log,
)
from hfnet_ros.types import ReportProgress

_WEAK_FLAGS = {"weak-fp16": ("FP16",), "weak-int8": ("INT8", "FP16")}


@dataclass(frozen=True, eq=False)
class BuiltPlan:
    """A plan and how it came about.

    Attributes:
        plan: serialised engine.
        timing_cache: what was measured on the way, to make the next build faster; may be empty.
        log: everything TensorRT said, a line each.
        seconds: that the builder took.
    """

    plan: bytes
    timing_cache: bytes
    log: tuple[str, ...]
    seconds: float


def build_plan(
    model: NetworkModel,
    config: InferenceConfig,
    *,
    library: TensorrtLibrary = TENSORRT,
    capability: tuple[int, int] | None = None,
    timing_cache: bytes = b"",
    progress: ReportProgress | None = None,
) -> BuiltPlan:
    """Build a plan on this machine, for this machine or a named compute capability; takes seconds to minutes.

    Args:
        model: with static shapes.
        config: precision, workspace, accelerator.
        library: which TensorRT builds.
        capability: compute capability of the GPU, where that need not be here; None builds for the one that is.
        timing_cache: of an earlier build on the same GPU and version.
        progress: told how far it is; never from within a lock.

    Raises:
        EngineError: no GPU, no TensorRT, or it cannot build the network as asked.
        WeightsError: int8 is asked for, and what lies beside the network is not its int8 form.
    """
    trt = library.load() if capability is None else library.load_builder()
    if library.builds_ahead and capability is None:
        capability = probe_driver().gpus[0].capability
    log = tensorrt_log(trt)
    start, began = log.count, time.perf_counter()
    builder = started(trt.Builder, log, "builder")
    options = builder.create_builder_config()
    network = _parse(trt, builder, options, _prepared(model, config), config, log)
    _configure(trt, builder, options, model, config)
    if capability is not None:
        _aim(trt, options, library, capability, log)
    elif (cache := options.create_timing_cache(timing_cache)) is not None:
        # One of another version is refused here, and the build goes on without.
        options.set_timing_cache(cache, ignore_mismatch=False)
    monitor = _monitor(trt, model.name, progress)
    if monitor is not None:
        options.progress_monitor = monitor
    serialized = builder.build_serialized_network(network, options)
    if monitor is not None and monitor.failure is not None:
        raise monitor.failure
    if serialized is None:
        raise EngineError(f"{library.title} cannot build network '{model.name}': {log.errors_since(start)}")
    # Built ahead nothing is measured.
    measured = options.get_timing_cache() if capability is None else None
    lines = tuple(text for _, text in log.since(start))
    return BuiltPlan(
        bytes(serialized),
        bytes(measured.serialize()) if measured is not None else b"",
        lines,
        time.perf_counter() - began,
    )


def has_builder(trt: Any) -> bool:
    """Tell whether this TensorRT can build, not only run (there are lean and dispatch runtimes)."""
    return hasattr(trt, "Builder") and hasattr(trt, "OnnxParser")


def network_to_build(model: NetworkModel, config: InferenceConfig) -> NetworkModel:
    """Return the network that a plan is built from and kept under: for int8 the form of it that is quantized.

    Raises:
        EngineError: int8 is asked for, and there is no such form.
        WeightsError: what lies beside the network is not its int8 form.
    """
    if config.precision != "int8":
        return model
    if model.quantized is not None:
        return model.quantized()
    if is_quantized(model):
        return model
    raise EngineError(
        f"network '{model.name}' has no int8 form beside its file, expected one for inference.precision 'int8'; "
        "make it by 'hfnet-ros weights quantize', or use 'fp16'"
    )


def _prepared(model: NetworkModel, config: InferenceConfig) -> NetworkModel:
    if config.precision == "int8":
        return with_half_products(with_symmetric_bytes(network_to_build(model, config)))
    if config.precision == "weak-int8" and not is_quantized(model):
        raise EngineError(
            f"network '{model.name}' holds no QuantizeLinear, expected an ONNX file with Q/DQ nodes for "
            "inference.precision 'weak-int8'; use 'fp16'"
        )
    return with_half_products(model) if config.precision == "fp16" else model


def _aim(
    trt: Any, options: Any, library: TensorrtLibrary, capability: tuple[int, int], log: TensorrtLog
) -> None:
    """Build for one compute capability."""
    library.check_capability(capability)
    kind = getattr(trt.ComputeCapability, f"SM{capability[0]}{capability[1]}", None)
    start = log.count
    options.num_compute_capabilities = 1
    if kind is None or not options.set_compute_capability(kind, 0):
        raise EngineError(
            f"{library.title} {trt.__version__} does not take compute capability {capability[0]}.{capability[1]}: "
            f"{log.errors_since(start)}; expected one of {library.capability_names}"
        )


def _parse(
    trt: Any, builder: Any, options: Any, model: NetworkModel, config: InferenceConfig, log: TensorrtLog
) -> Any:
    weak = config.precision in _WEAK_FLAGS
    if not weak and config.dla_core >= 0 and hasattr(trt.BuilderFlag, "FP16"):
        raise EngineError(
            f"TensorRT {trt.__version__} uses a deep learning accelerator with weak precision only; set "
            "inference.precision to 'weak-fp16'"
        )
    flags = 0 if weak else 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log.sink)
    if config.dla_core >= 0 and hasattr(trt.OnnxParserFlag, "ADJUST_FOR_DLA"):
        parser.set_builder_config(options)
        parser.set_flag(trt.OnnxParserFlag.ADJUST_FOR_DLA)
    # Bytes that are no ONNX are read without complaint, as a network of nothing.
    if not parser.parse(model.onnx) or not network.num_outputs:
        raise EngineError(
            f"TensorRT cannot read the ONNX of network '{model.name}': {_parser_errors(parser) or 'it has no outputs'}"
        )
    return network


def _parser_errors(parser: Any) -> str:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return "; ".join(
        f"{error.node_operator()} '{error.node_name()}': {str(error.desc()).strip()}" for error in errors
    )


def _configure(trt: Any, builder: Any, options: Any, model: NetworkModel, config: InferenceConfig) -> None:
    options.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, config.workspace_mib << 20)
    for name in _WEAK_FLAGS.get(config.precision, ()):
        if not hasattr(trt.BuilderFlag, name):
            raise EngineError(
                f"TensorRT {trt.__version__} has no weak precision; set inference.precision to 'fp16', or to "
                "'fp32' for a file that says itself what is float16 or quantized"
            )
        options.set_flag(getattr(trt.BuilderFlag, name))
    if config.dla_core < 0:
        return
    if config.dla_core >= builder.num_DLA_cores:
        raise EngineError(
            f"inference.dla_core is {config.dla_core}, but TensorRT {trt.__version__} finds "
            f"{builder.num_DLA_cores} deep learning accelerators for network '{model.name}'; set it to -1"
        )
    options.default_device_type = trt.DeviceType.DLA
    options.DLA_core = config.dla_core
    options.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _monitor(trt: Any, name: str, progress: ReportProgress | None) -> Any:
    """Return an object that TensorRT tells of its progress, None where it cannot or need not."""
    if progress is None or not hasattr(trt, "IProgressMonitor"):
        return None
    report = progress

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Reports the outermost phase; TensorRT calls it from several threads."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.failure: BaseException | None = None
            self._lock = threading.Lock()
            self._steps: dict[str, int] = {}
            self._outermost = ""
            self._last = ""

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._lock:
                self._steps[phase_name] = num_steps
                if not parent_phase:
                    self._outermost = phase_name
            if not parent_phase:
                self._say(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name == self._outermost:
                self._say(phase_name, step + 1)
            return self.failure is None

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._steps.pop(phase_name, None)

        def _say(self, phase: str, done: int) -> None:
            with self._lock:
                steps = self._steps.get(phase, 0)
                text = f"building {name}: {phase}, {100 * done // max(steps, 1)} %"
                if text == self._last:
                    return
                self._last = text
            try:
                report(text)
            except BaseException as failure:  # thrown through TensorRT's frames it would end the process
                self.failure = failure

    return Monitor()
