"""Verb `engine`: networks as files."""

from __future__ import annotations

import argparse
import re
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_ros.cli.options import add_config_options, new_verb, read_config
from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError
from hfnet_ros.inference.engine import NetworkModel

_EXPORT = "hfnet-ros engine export --size 640x480 --out xfeat-640x480.onnx"
_BENCH = "hfnet-ros engine bench --size 640x480"


def add_verbs(verbs: Any) -> None:
    """Add `engine export` and `engine bench`."""
    engine = verbs.add_parser("engine", help="export or time networks").add_subparsers(
        dest="engine_verb", required=True, metavar="VERB"
    )
    export = new_verb(engine, "export", "write the network as ONNX for one image size", _EXPORT, _export)
    export.add_argument("--out", type=Path, required=True, metavar="FILE", help="ONNX file to write")
    bench = new_verb(engine, "bench", "time the network on this machine", _BENCH, _bench)
    bench.add_argument("--runs", type=int, default=50, metavar="N", help="timed runs (default: 50)")
    for parser in (export, bench):
        parser.add_argument("--size", required=True, metavar="WxH", help="image size, e.g. 640x480")
        add_config_options(parser, extractor=False)


def _export(options: argparse.Namespace) -> int:
    from hfnet_ros.files.atomic import atomic_file

    model = _network(options.size, read_config(options))
    with atomic_file(options.out) as temporary:
        temporary.write_bytes(model.onnx)
    print(f"{options.out}: {model.name}, {len(model.onnx)} bytes, SHA-256 {model.digest}")
    return 0


def _bench(options: argparse.Namespace) -> int:
    from hfnet_ros.inference.backend import create_engine

    config = read_config(options)
    engine = create_engine(_network(options.size, config), config.inference)
    image = {name: np.zeros(spec.shape, spec.dtype) for name, spec in engine.inputs.items()}
    seconds = []
    for _ in range(max(options.runs, 1) + 5):
        start = time.perf_counter()
        engine.run(image)
        seconds.append(time.perf_counter() - start)
    warm = sorted(seconds[5:])
    print(
        f"{engine.backend}, {config.inference.num_threads} threads: median {statistics.median(warm) * 1e3:.1f} ms, "
        f"best {warm[0] * 1e3:.1f} ms, worst {warm[-1] * 1e3:.1f} ms over {len(warm)} runs"
    )
    engine.close()
    return 0


def _network(size: str, config: Config) -> NetworkModel:
    from hfnet_ros.features.preprocess import network_size
    from hfnet_ros.features.weights import find_weights
    from hfnet_ros.features.xfeat_network import SIZE_MULTIPLE, build_xfeat, load_xfeat_weights

    found = re.fullmatch(r"(\d+)x(\d+)", size)
    size_wh = network_size((int(found[1]), int(found[2])), SIZE_MULTIPLE) if found else (0, 0)
    if min(size_wh) == 0:
        raise ConfigError(f"--size is '{size}', expected WIDTHxHEIGHT of at least 32x32, e.g. 640x480")
    weights = load_xfeat_weights(find_weights("xfeat.pt", config.extractor.weights))
    return build_xfeat(weights, size_wh)
