"""Verb `demo`: the main job on a machine that has nothing."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from hfnet_ros.cli.options import ProgressBars, add_config_options, new_verb, read_config
from hfnet_ros.config import Config
from hfnet_ros.errors import WeightsError

_EXAMPLE = "hfnet-ros demo --out demo_out"
_MAPPING_RATE_HZ, _QUERY_RATE_HZ = 2.0, 1.5  # images of a walk at half a metre a second


def add_verbs(verbs: Any) -> None:
    """Add `demo`."""
    demo = new_verb(
        verbs, "demo", "map a generated apartment and localize a second walk in it", _EXAMPLE, _demo
    )
    demo.add_argument("--out", type=Path, default=Path("demo_out"), metavar="DIR", help="default: demo_out")
    demo.add_argument("--seed", type=int, default=0, help="another apartment (default: 0)")
    demo.add_argument(
        "--rooms", type=int, default=3, choices=range(1, 7), help="number of rooms (default: 3)"
    )
    add_config_options(demo, extractor=True)


def _demo(options: argparse.Namespace) -> int:
    from hfnet_ros.cli.main import main

    config, note = _choose_extractor(read_config(options), asked=bool(options.extractor))
    print(note)
    mapping, query = _generate(options.out, options.seed, options.rooms)
    shared = ["--extractor", config.extractor.name]
    if config.extractor.weights:
        shared += ["--weights", config.extractor.weights]
    if options.threads is not None:
        shared += ["--threads", str(options.threads)]
    if options.params:
        shared += ["--params", str(options.params)]
    steps = [
        ["map", "build", "--images", str(mapping / "images"), "--poses", str(mapping / "poses.tum"),
         "--camera", str(mapping / "camera.yaml"), "--out", str(options.out / "apartment.map"), *shared],
        ["map", "view", str(options.out / "apartment.map"), "--out", str(options.out / "map.html")],
        ["evaluate", "--map", str(options.out / "apartment.map"), "--images", str(query / "images"),
         "--poses", str(query / "poses.tum"), "--camera", str(query / "camera.yaml"),
         "--out", str(options.out / "report"), *shared],
    ]  # fmt: skip
    for step in steps:
        print(f"\n$ hfnet-ros {' '.join(step)}")
        status = main(step)
        if status:
            return status
    return 0


def _choose_extractor(config: Config, *, asked: bool) -> tuple[Config, str]:
    """Return the configuration to use and a sentence about it: XFeat, or SIFT where its weights are not had."""
    from hfnet_ros.features.weights import XFEAT, fetch_weights, find_weights

    if config.extractor.name != "xfeat":
        return config, f"extractor: {config.extractor.name}"
    try:
        return config, f"extractor: xfeat, weights {find_weights(XFEAT.file_name, config.extractor.weights)}"
    except WeightsError:
        if config.extractor.weights:
            raise
    try:
        return config, f"extractor: xfeat, weights fetched to {fetch_weights(XFEAT)} ({XFEAT.licence})"
    except WeightsError as error:
        if asked:
            raise
        sift = dataclasses.replace(config, extractor=dataclasses.replace(config.extractor, name="sift"))
        return sift, (
            f"extractor: sift, because the weights of xfeat are not on this machine ({error}).\n"
            f"For xfeat, which is several times faster, download {XFEAT.url}\n"
            "and run: hfnet-ros demo --weights xfeat.pt"
        )


def _generate(folder: Path, seed: int, rooms: int) -> tuple[Path, Path]:
    """Render both walks; an earlier scene in the folder is replaced once the new one is whole."""
    from hfnet_ros.files.atomic import atomic_directory
    from hfnet_ros.scene import (
        QUERY_GAIT,
        Gait,
        build_apartment,
        demo_camera,
        mapping_walk,
        query_walk,
        write_dataset,
    )

    scene = build_apartment(seed, rooms)
    mapping = mapping_walk(scene, Gait(rate_hz=_MAPPING_RATE_HZ))
    query = query_walk(scene, dataclasses.replace(QUERY_GAIT, rate_hz=_QUERY_RATE_HZ))
    print(f"scene: {rooms} rooms, {len(mapping)} images to map, {len(query)} images to localize")
    folder.mkdir(parents=True, exist_ok=True)
    bars = ProgressBars()
    with atomic_directory(folder / "scene") as temporary:
        write_dataset(
            temporary, scene, demo_camera(), mapping, query, seed=seed,
            progress=lambda name, done, total: bars(f"render {name}", done, total),
        )  # fmt: skip
    bars.close()
    return folder / "scene" / "mapping", folder / "scene" / "query"
