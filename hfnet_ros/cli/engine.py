"""Verb `engine`: networks as files, and as engines of this machine."""

from __future__ import annotations

import argparse
import dataclasses
import re
import statistics
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfnet_ros.cli.options import add_config_options, new_verb, read_config
from hfnet_ros.config import Config, InferenceConfig
from hfnet_ros.errors import ConfigError, EngineError
from hfnet_ros.features.preprocess import MIN_SIDE_PX
from hfnet_ros.inference.engine import NetworkModel

if TYPE_CHECKING:
    from hfnet_ros.inference.plan_cache import CachedPlan

_EXPORT = "hfnet-ros engine export --size 640x480 --out hfnet-640x480.onnx"
_BUILD = """hfnet-ros engine build --size 640x480
  hfnet-ros engine build --size 640x480 --compute-capability 8.6   # for a GPU of the RTX 30 series, without it"""
_BENCH = "hfnet-ros engine bench --size 640x480"
_INSPECT = "hfnet-ros engine inspect"


def add_verbs(verbs: Any) -> None:
    """Add `engine export`, `build`, `bench` and `inspect`."""
    engine = verbs.add_parser("engine", help="export, build, time or look at networks").add_subparsers(
        dest="engine_verb", required=True, metavar="VERB"
    )
    export = new_verb(
        engine, "export", "write the extractor's network as ONNX for one image size", _EXPORT, _export
    )
    export.add_argument("--out", type=Path, required=True, metavar="FILE", help="ONNX file to write")
    export.add_argument(
        "--half", action="store_true", help="write convolutions and matrix products in float16"
    )
    build = new_verb(engine, "build", "build a TensorRT engine, for this machine or by name", _BUILD, _build)
    build.add_argument(
        "--compute-capability",
        metavar="X.Y",
        help="of a GPU that need not be here, e.g. 8.6 (TensorRT for RTX; default: of the GPU of this machine)",
    )
    build.add_argument("--force", action="store_true", help="build even if there is one")
    bench = new_verb(engine, "bench", "time the network on this machine", _BENCH, _bench)
    bench.add_argument("--runs", type=int, default=50, metavar="N", help="timed runs (default: 50)")
    inspect = new_verb(engine, "inspect", "show the TensorRT engines built here", _INSPECT, _inspect)
    inspect.add_argument(
        "--layers", action="store_true", help="print the layers of one, JSON (needs its GPU)"
    )
    inspect.add_argument("--log", action="store_true", help="print what the builder said of one")
    for parser in (export, build, bench, inspect):
        wanted = parser is not inspect
        parser.add_argument("--size", required=wanted, metavar="WxH", help="image size, e.g. 640x480")
        parser.add_argument("--onnx", type=Path, metavar="FILE", help="another network than the extractor's")
        add_config_options(parser, extractor=True)
    for parser in (build, bench, inspect):
        parser.add_argument("--precision", metavar="NAME", help="of a TensorRT engine (default: fp16)")
    for parser in (build, inspect):
        parser.add_argument(
            "--backend", metavar="NAME", help="tensorrt or tensorrt-rtx (default: what is there)"
        )
    bench.add_argument(
        "--backend", metavar="NAME", help="auto, tensorrt, tensorrt-rtx, onnxruntime-cuda or onnxruntime"
    )


def _export(options: argparse.Namespace) -> int:
    from hfnet_ros.files.atomic import atomic_file
    from hfnet_ros.inference.half_precision import with_half_products

    config = _config(options)
    model, *others = _networks(options, config)
    if others:
        raise ConfigError(
            f"extractor {config.extractor.name} has {1 + len(others)} networks, a file holds one; export them by "
            f"{' and '.join('--extractor ' + name for name in config.extractor.name.split('+'))}"
        )
    if options.half:
        model = with_half_products(model)
    with atomic_file(options.out) as temporary:
        temporary.write_bytes(model.onnx)
    print(f"{options.out}: {model.name}, {len(model.onnx)} bytes, SHA-256 {model.digest}")
    return 0


def _build(options: argparse.Namespace) -> int:
    from hfnet_ros.inference.backend import build_cached_plan, library_to_build
    from hfnet_ros.inference.plan_cache import PlanCache

    capability = _capability(options.compute_capability)
    config = _config(options, build_engines=True, **_backend(options))
    library = library_to_build(config.inference, capability)
    folder = PlanCache(config.inference.engine_cache).folder
    for model in _networks(options, config):
        began = time.perf_counter()
        plan = build_cached_plan(
            model,
            config.inference,
            library=library,
            capability=capability,
            reason="asked for",
            progress=_show,
            replace=options.force,
        )
        _show("")
        print(f"{model.name}: {len(plan)} bytes in {folder}, ready after {time.perf_counter() - began:.1f} s")
    return 0


def _bench(options: argparse.Namespace) -> int:
    config = _config(options, **_backend(options))
    for model in _networks(options, config):
        _time(model, config, max(options.runs, 1))
    return 0


def _time(model: NetworkModel, config: Config, num_runs: int) -> None:
    from hfnet_ros.inference.backend import create_engine

    engine = create_engine(model, config.inference, _show)
    try:
        image = {name: np.zeros(spec.shape, spec.dtype) for name, spec in engine.inputs.items()}
        seconds = []
        for _ in range(num_runs + 5):
            start = time.perf_counter()
            # Parts that run beside the first are waited for by who reads what they give.
            dict(engine.run(image))
            seconds.append(time.perf_counter() - start)
        warm = sorted(seconds[5:])
        print(
            f"{model.name}: {engine.backend}, {config.inference.num_threads} threads: median "
            f"{statistics.median(warm) * 1e3:.1f} ms, best {warm[0] * 1e3:.1f} ms, worst {warm[-1] * 1e3:.1f} ms "
            f"over {len(warm)} runs"
        )
    finally:
        engine.close()


def _inspect(options: argparse.Namespace) -> int:
    from hfnet_ros.inference.plan_cache import PlanCache
    from hfnet_ros.inference.tensorrt_library import LIBRARIES

    config = _config(options, build_engines=False, **_backend(options))
    cache = PlanCache(config.inference.engine_cache)
    cache.check_folder()
    plans = cache.plans()
    if options.layers:
        _print_layers(options, config)
    elif options.log:
        for model in _networks(options, config):
            found = _plans_of(plans, model, config)
            print(*cache.record(found[-1].key)["log"], sep="\n")
    else:
        print(f"{cache.folder}: {len(plans)} engines")
        for plan in plans:
            key = plan.key
            print(f"{plan.path.name}: {key.network}, {plan.num_bytes} bytes, built in {plan.seconds:.1f} s")
            print(f"  {LIBRARIES[key.library].title} {key.tensorrt}, {key.gpu}, {key.machine}, {key.options}")
    return 0


def _plans_of(plans: list[CachedPlan], model: NetworkModel, config: Config) -> list[CachedPlan]:
    from hfnet_ros.inference.build import network_to_build

    precision = f"precision={config.inference.precision} "
    digest = network_to_build(model, config.inference).digest
    found = [
        plan for plan in plans if plan.key.onnx_sha256 == digest and plan.key.options.startswith(precision)
    ]
    if not found:
        raise EngineError(
            f"no engine of network '{model.name}' was built here; hfnet-ros engine build does it"
        )
    return found


def _print_layers(options: argparse.Namespace, config: Config) -> None:
    from hfnet_ros.inference.backend import create_engine, library_to_build

    backend = library_to_build(config.inference).backend
    for model in _networks(options, config):
        engine = create_engine(model, dataclasses.replace(config.inference, backend=backend))
        try:
            print(getattr(engine, "describe", lambda: "")())
        finally:
            engine.close()


def _config(options: argparse.Namespace, **inference: Any) -> Config:
    """Return the parameters, with those of `inference` that the verb or its options set."""
    config = read_config(options)
    if getattr(options, "precision", None):
        inference["precision"] = options.precision
    values = {"inference": {**dataclasses.asdict(config.inference), **inference}}
    checked: InferenceConfig = Config.from_dict(values).inference
    return dataclasses.replace(config, inference=checked)


def _networks(options: argparse.Namespace, config: Config) -> tuple[NetworkModel, ...]:
    """Return the networks that the verb is about, at least one."""
    from hfnet_ros.features.extractor import create_extractor

    if options.size is None:
        raise ConfigError("--size is missing, expected WIDTHxHEIGHT of the images, e.g. --size 640x480")
    size_wh = _size(options.size)
    if options.onnx is not None:
        return (_network_of_file(options.onnx, size_wh, config),)
    if min(size_wh) < MIN_SIDE_PX:
        raise ConfigError(f"--size is '{options.size}', expected at least {MIN_SIDE_PX}x{MIN_SIDE_PX}")
    with closing(create_extractor(config)) as extractor:
        networks = extractor.networks(size_wh)
    if not networks:
        raise ConfigError(f"extractor {config.extractor.name} has no network; name another with --extractor")
    return networks


def _network_of_file(path: Path, size_wh: tuple[int, int], config: Config) -> NetworkModel:
    from hfnet_ros.features.onnx_network import OnnxNetwork

    network = OnnxNetwork(path, config.inference)
    width, height = size_wh
    is_channels_last = len(network.input_shape) == 4 and network.input_shape[3] in (1, 3)
    wanted = (1, height, width, 1) if is_channels_last else (1, 1, height, width)
    if len(network.input_shape) != 4:
        raise ConfigError(
            f"{path}: input has {len(network.input_shape)} dimensions, expected an image with 4"
        )
    fixed = zip(network.input_shape, wanted, strict=True)
    return network.model(tuple(length if own is None else own for own, length in fixed))


def _backend(options: argparse.Namespace) -> dict[str, str]:
    return {"backend": options.backend} if options.backend else {}


def _capability(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)\.(\d)", text)
    if found is None:
        raise ConfigError(f"--compute-capability is '{text}', expected two numbers with a point, e.g. 8.6")
    return int(found[1]), int(found[2])


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None or min(int(found[1]), int(found[2])) == 0:
        raise ConfigError(f"--size is '{text}', expected WIDTHxHEIGHT, e.g. 640x480")
    return int(found[1]), int(found[2])


def _show(text: str) -> None:
    """Show progress in one line of a terminal, nothing in a pipe."""
    if sys.stderr.isatty():
        print(f"\r{text[:78]:<78}\r", end="", file=sys.stderr, flush=True)
