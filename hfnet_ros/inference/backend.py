"""Choose and create the engine that runs a network on this machine."""

from __future__ import annotations

import dataclasses
import logging
import platform
from typing import Any

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import ConfigError, EngineError, WeightsError
from hfnet_ros.inference.cuda_memory import INSTALL, find_cuda_library
from hfnet_ros.inference.driver import DriverReport, probe_driver
from hfnet_ros.inference.engine import Engine, NetworkModel
from hfnet_ros.inference.kept_kernels import KeptKernels, gpu_name
from hfnet_ros.inference.plan_cache import PlanCache, PlanKey
from hfnet_ros.inference.probe import BACKENDS, probe_backend
from hfnet_ros.inference.processor import byte_products
from hfnet_ros.inference.tensorrt_library import LIBRARIES, TENSORRT, TENSORRT_RTX, TensorrtLibrary
from hfnet_ros.types import ReportProgress

_logger = logging.getLogger(__name__)
_told: set[str] = set()  # why no faster backend was taken, as it was said in this process


def create_engine(
    model: NetworkModel, config: InferenceConfig, progress: ReportProgress | None = None
) -> Engine:
    """Load `model` with the configured backend, in the thread that will run it.

    `auto` takes the fastest backend that works here and logs one line: which, and once in a process why no
    faster one.

    Args:
        model: with static shapes.
        config: which backend, and how it runs.
        progress: told what is going on meanwhile, with an empty text at the end.

    Raises:
        ConfigError: there is no such backend.
        EngineError: the backend is not available, or refuses the model.
        WeightsError: int8 is asked for, and what lies beside the network is not its int8 form.
    """
    if config.backend not in ("auto", *BACKENDS):
        raise ConfigError(
            f"inference.backend is '{config.backend}', expected one of auto, {', '.join(BACKENDS)}; "
            "use 'onnxruntime'"
        )
    try:
        if config.backend == "auto":
            return _fastest(model, config, progress)
        engine = _open(config.backend, model, config, progress)
    finally:
        if progress is not None:
            progress("")
    _logger.info("network %s runs on %s", model.name, _described(engine, model, config))
    return engine


def _fastest(model: NetworkModel, config: InferenceConfig, progress: ReportProgress | None) -> Engine:
    driver = probe_driver()
    reasons: dict[str, list[str]] = {}  # why, and which do not run therefore
    for name in BACKENDS:
        reason = probe_backend(name, driver).reason
        is_last = name == BACKENDS[-1]
        if not reason or is_last:
            try:
                engine = _open(name, model, config, progress)
            except EngineError as error:
                if is_last:
                    raise
                reason = str(error)
                # Here something is installed that should have worked.
                _logger.warning("network %s does not run on %s: %s", model.name, name, reason)
            else:
                because = "".join(f"; not on {', '.join(names)}: {why}" for why, names in reasons.items())
                told = "" if because in _told else because
                _told.add(because)
                _logger.info("network %s runs on %s%s", model.name, _described(engine, model, config), told)
                return engine
        reasons.setdefault(reason, []).append(name)
    raise AssertionError("the last backend returns or raises")


def _open(name: str, model: NetworkModel, config: InferenceConfig, progress: ReportProgress | None) -> Engine:
    if name in LIBRARIES:
        return _open_tensorrt(LIBRARIES[name], model, config, progress)
    from hfnet_ros.inference.onnxruntime_engine import OnnxRuntimeEngine

    if name == "onnxruntime-cuda":
        return OnnxRuntimeEngine(model, config, cuda=True)
    is_asked_for = config.cpu_precision == "int8"
    if is_asked_for and model.quantized is None:
        _logger.warning("network %s runs in float32: no int8 form of its file lies beside it", model.name)
    elif model.quantized is not None and prefers_int8(config):
        try:
            return _on_cpu(model.quantized(), config, int8=True)
        except (WeightsError, EngineError) as error:
            if is_asked_for:
                raise
            _logger.warning("network %s runs in float32: its int8 form is of no use: %s", model.name, error)
    return _on_cpu(model, config)


def _on_cpu(model: NetworkModel, config: InferenceConfig, *, int8: bool = False) -> Engine:
    """Load a network into ONNX Runtime, its independent parts side by side where there are threads for it."""
    from hfnet_ros.inference.onnxruntime_engine import OnnxRuntimeEngine
    from hfnet_ros.inference.side_by_side import SideBySideEngine, independent_parts

    first, *others = independent_parts(model) if config.num_threads > 1 else [model]
    engines = [OnnxRuntimeEngine(first, config, int8=int8)]
    alone = dataclasses.replace(config, num_threads=1)
    engines += [OnnxRuntimeEngine(other, alone, int8=int8) for other in others]
    return SideBySideEngine(engines) if others else engines[0]


def prefers_int8(config: InferenceConfig) -> bool:
    """Tell whether a network runs in int8 on this CPU, where it has such a form."""
    return config.cpu_precision == "int8" or (config.cpu_precision == "auto" and bool(byte_products()))


def _open_tensorrt(
    library: TensorrtLibrary, model: NetworkModel, config: InferenceConfig, progress: ReportProgress | None
) -> Engine:
    from hfnet_ros.inference.tensorrt_engine import PlanRefusedError, TensorrtEngine

    driver = probe_driver()
    trt = library.load(driver)
    if not find_cuda_library():
        raise EngineError(
            f"{library.title} needs pycuda or cuda-bindings, found neither in this Python; {INSTALL}"
        )
    cache, key = PlanCache(config.engine_cache), plan_key(model, config, trt, driver, library)

    def load(plan: bytes) -> Engine:
        return TensorrtEngine(
            model.name,
            plan,
            library=library,
            kernels=KeptKernels(cache, key, driver) if library.builds_ahead else None,
            cuda_graph=config.cuda_graph,
            dla_core=config.dla_core,
        )

    plan, reason = cache.load(key)
    if plan is not None:
        try:
            return load(plan)
        except PlanRefusedError as error:
            reason = str(error)
    return load(
        build_cached_plan(
            model, config, library=library, reason=reason, progress=progress, replace=plan is not None
        )
    )


def library_to_build(config: InferenceConfig, capability: tuple[int, int] | None = None) -> TensorrtLibrary:
    """Return the TensorRT that builds: the configured one, or the first of those that can.

    Args:
        config: which backend.
        capability: compute capability of a GPU that need not be here, if one is named.

    Raises:
        EngineError: the configured one builds for the GPU that is here only, and another is named.
    """
    if capability is not None:
        if config.backend == TENSORRT.backend:
            raise EngineError(
                f"{TENSORRT.title} builds for the GPU of this machine only, found a named compute capability; leave "
                f"that out, or set inference.backend to '{TENSORRT_RTX.backend}'"
            )
        return TENSORRT_RTX
    if config.backend in LIBRARIES:
        return LIBRARIES[config.backend]
    usable = [library for library in LIBRARIES.values() if not probe_backend(library.backend).reason]
    there = [library for library in LIBRARIES.values() if library.module]
    return next(iter(usable or there), TENSORRT)  # one that is there says best what it lacks


def plan_key(
    model: NetworkModel,
    config: InferenceConfig,
    trt: Any,
    driver: DriverReport,
    library: TensorrtLibrary = TENSORRT,
    capability: tuple[int, int] | None = None,
) -> PlanKey:
    """Return everything that a plan of this network depends on, on this machine or for a compute capability."""
    from hfnet_ros.inference.build import network_to_build

    source = network_to_build(model, config)
    major, minor = capability or driver.gpus[0].capability
    return PlanKey(
        network=source.name,
        onnx_sha256=source.digest,
        tensorrt=str(trt.__version__),
        gpu=f"compute capability {major}.{minor}" if library.builds_ahead else gpu_name(driver),
        machine=f"{platform.system()}-{platform.machine()}",
        options=f"precision={config.precision} workspace_mib={config.workspace_mib} dla_core={config.dla_core}",
        library=library.backend,
    )


def build_cached_plan(
    model: NetworkModel,
    config: InferenceConfig,
    *,
    library: TensorrtLibrary = TENSORRT,
    capability: tuple[int, int] | None = None,
    reason: str = "",
    progress: ReportProgress | None = None,
    replace: bool = False,
) -> bytes:
    """Build a plan and keep it; where another process is doing so, wait for that one.

    Args:
        model: with static shapes.
        config: how to build, and where plans are kept.
        library: which TensorRT builds.
        capability: compute capability of a GPU that need not be here; None builds for the one that is.
        reason: why none is there, for messages.
        progress: told how far it is.
        replace: build even if there is one.

    Raises:
        EngineError: it cannot be built or kept, or `inference.build_engines` forbids it.
    """
    from hfnet_ros.inference.build import build_plan, has_builder

    driver = probe_driver()
    if capability is not None:
        library.check_capability(capability)
    trt = library.load(driver) if capability is None else library.load_builder()
    if not config.build_engines:
        raise EngineError(
            f"no {library.title} plan of network '{model.name}' ({reason}), and inference.build_engines forbids "
            "building; run hfnet-ros engine build"
        )
    if not has_builder(trt):
        raise EngineError(
            f"no {library.title} plan of network '{model.name}' ({reason}), and this {library.title} cannot build"
        )
    cache = PlanCache(config.engine_cache)
    key = plan_key(model, config, trt, driver, library, capability)
    if progress is not None:
        progress(f"building {model.name} for {key.gpu}")
    with cache.building(key):
        if not replace:
            plan, _ = cache.load(key)
            if plan is not None:
                return plan
        _logger.info("building a %s plan of %s: %s", library.title, model.name, reason or "asked for")
        built = build_plan(
            model,
            config,
            library=library,
            capability=capability,
            timing_cache=b"" if library.builds_ahead else cache.load_timing(key),
            progress=progress,
        )
        cache.store(key, built.plan, seconds=built.seconds, log=built.log)
        cache.store_timing(key, built.timing_cache)
    return built.plan


def _described(engine: Engine, model: NetworkModel, config: InferenceConfig) -> str:
    if not engine.backend.startswith("onnxruntime-cpu"):
        return engine.backend
    said = f"{engine.backend}, {config.num_threads} threads"
    if engine.backend.endswith("-int8"):
        return f"{said}, by {byte_products() or 'no instruction for it: slow and less exact'}"
    if model.quantized is not None and config.cpu_precision == "auto" and not byte_products():
        return f"{said}, float32: this processor has no instruction for products of bytes"
    return said
