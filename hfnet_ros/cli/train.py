"""Verb `train`: networks of our own (needs the optional extra `training`, that is PyTorch)."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

from hfnet_ros.cli.options import ProgressBars, check_file_target, check_folder_target, new_verb
from hfnet_ros.errors import ConfigError

_HFNET = "hfnet-ros train hfnet --preset small --photos photos --out run --export hfnet.onnx"


def add_verbs(verbs: Any) -> None:
    """Add `train hfnet`."""
    train = verbs.add_parser("train", help="train networks (needs PyTorch)").add_subparsers(
        dest="train_verb", required=True, metavar="VERB"
    )
    hfnet = new_verb(
        train,
        "hfnet",
        "train HF-Net by multi-task distillation, or go on with an interrupted run",
        _HFNET,
        _hfnet,
    )
    hfnet.add_argument(
        "--preset",
        choices=("small", "wide", "full", "published"),
        default="small",
        help="an hour on two CPU cores; an hour and a half, with views from further aside; half an hour on a large "
        "GPU; as published (default: small)",
    )
    hfnet.add_argument("--config", type=Path, metavar="FILE", help="YAML with what differs from the preset")
    hfnet.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="checkpoint, curves, record of the run"
    )
    hfnet.add_argument("--cache", type=Path, metavar="DIR", help="what the teachers say (default: OUT/cache)")
    hfnet.add_argument("--export", type=Path, metavar="FILE", help="write the network as ONNX when done")
    hfnet.add_argument(
        "--full-precision", action="store_true", help="export float32 weights instead of float16"
    )
    hfnet.add_argument("--stop-after", type=int, metavar="STEP", help="stop there; the same command goes on")
    hfnet.add_argument("--photos", metavar="DIR", help="photos to learn from, instead of the configured ones")
    hfnet.add_argument(
        "--teacher-global",
        type=Path,
        metavar="FILE",
        help="ONNX network whose descriptor the global head imitates, instead of VLADs of the local teachers; takes an "
        "image [1, 3, H, W] in RGB, 0 to 1",
    )
    hfnet.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads (default: 2)")


def _hfnet(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("torch") is None:
        raise ConfigError("training needs PyTorch: pip install torch")
    from hfnet_ros.config import InferenceConfig
    from hfnet_ros.training.export import export_onnx
    from hfnet_ros.training.options import read_options
    from hfnet_ros.training.teaching import build_cache
    from hfnet_ros.training.trainer import describe_run, set_threads, train

    said: dict[str, dict[str, str]] = {}
    if options.photos:
        said["data"] = {"photos": options.photos}
    if options.teacher_global:
        said["teachers"] = {"global_weights": str(options.teacher_global)}
    run = read_options(options.preset, options.config, said)
    check_folder_target(options.out)
    options.out.mkdir(parents=True, exist_ok=True)  # the export may go into it
    if options.export:
        check_file_target(options.export)
    set_threads(options.threads)
    cache = options.cache or options.out / "cache"
    bars = ProgressBars()
    if not (cache / "about.json").is_file():
        cache.parent.mkdir(parents=True, exist_ok=True)
        build_cache(cache, run, InferenceConfig(num_threads=options.threads), bars, workers=options.threads)
    network = train(
        options.out, cache, run, bars, workers=max(1, options.threads // 2), stop_after=options.stop_after
    )
    bars.close()
    print(describe_run(options.out))
    if options.export:
        size = export_onnx(
            network,
            options.export,
            half=not options.full_precision,
            global_scales=run.network.global_scales,
        )
        print(f"{options.export}: {size} bytes")
    return 0
