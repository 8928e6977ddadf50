"""Verb `demo`: the main job on a machine that has nothing, up to the live node."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hfnet_ros.cli.demo_rig import rig_steps
from hfnet_ros.cli.options import INSTALL_DDS, ProgressBars, add_config_options, new_verb, read_config
from hfnet_ros.config import Config
from hfnet_ros.errors import WeightsError

_EXAMPLE = """hfnet-ros demo --out demo_out
  hfnet-ros demo --cameras 3 --out demo_rig"""
_MAPPING_RATE_HZ, _QUERY_RATE_HZ = 2.0, 1.5  # images of a walk at half a metre a second
_LIVE_RATE, _SIFT_LIVE_RATE = 3.0, 2.0  # times real time, so that an old laptop keeps up


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
    demo.add_argument(
        "--cameras",
        type=int,
        default=1,
        choices=range(1, 5),
        help="cameras of the robot: front, left, right, rear; several are localized together, without the live part "
        "(default: 1)",
    )
    demo.add_argument(
        "--domain", type=int, default=87, metavar="N", help="DDS domain of the live part (default: 87)"
    )
    add_config_options(demo, extractor=True)


def _run_verb(arguments: Sequence[str]) -> int:
    """Do what the program does with these arguments; the verbs of the demo only."""
    from hfnet_ros.cli import bags, evaluate, maps

    parser = argparse.ArgumentParser(prog="hfnet-ros")
    verbs = parser.add_subparsers(required=True)
    for module in (maps, bags, evaluate):
        module.add_verbs(verbs)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _in_turn(steps: Sequence[Sequence[str]]) -> int:
    """Run commands until one fails; return its status."""
    for step in steps:
        print(f"\n$ hfnet-ros {' '.join(step)}")
        status = _run_verb(step)
        if status:
            return status
    return 0


def _demo(options: argparse.Namespace) -> int:
    config = read_config(options)
    print(_ready_extractor(config))
    shared = ["--extractor", config.extractor.name]
    if config.extractor.weights:
        shared += ["--weights", config.extractor.weights]
    if options.threads is not None:
        shared += ["--threads", str(options.threads)]
    if options.params:
        shared += ["--params", str(options.params)]
    if options.cameras > 1:
        return _in_turn(rig_steps(options.out, shared, options.seed, options.rooms, options.cameras))
    mapping, query = _generate(options.out, options.seed, options.rooms)
    built, bag = options.out / "apartment.map", options.out / "query.bag"
    steps = [
        ["map", "build", "--images", str(mapping / "images"), "--poses", str(mapping / "poses.tum"),
         "--camera", str(mapping / "camera.yaml"), "--out", str(built), *shared],
        ["map", "view", str(built), "--out", str(options.out / "map.html")],
        ["map", "view", str(built), "--out", str(options.out / "map.png")],
        ["bag", "make", "--images", str(query / "images"), "--poses", str(query / "poses.tum"),
         "--camera", str(query / "camera.yaml"), "--odometry-from-poses", "--out", str(bag)],
    ]  # fmt: skip
    status = _in_turn(steps)
    if status:
        return status
    if importlib.util.find_spec("cyclonedds") is None:
        print(f"\nThe live part needs cyclonedds ({INSTALL_DDS}, x86_64): replaying the bag instead.")
        step = ["evaluate", "--map", str(built), "--bag", str(bag), "--ground-truth", "/ground_truth/pose"]
        print(f"$ hfnet-ros {' '.join(step)} --out {options.out / 'report'}")
        return _run_verb([*step, "--out", str(options.out / "report"), *shared])
    return _localize_live(options, config, built, bag, query)


def _localize_live(options: argparse.Namespace, config: Config, built: Path, bag: Path, query: Path) -> int:
    """Play the bag to a live node over DDS and score what it publishes."""
    import yaml

    from hfnet_ros.bags.make import LOOKING_AHEAD
    from hfnet_ros.cli.scoring import identify_run, write_scored_run
    from hfnet_ros.dds.live_run import LiveRun, query_results
    from hfnet_ros.evaluation.records import RunContext
    from hfnet_ros.files.posed_images import pair_images_with_poses
    from hfnet_ros.localization.landmark_model import load_scene_model

    config = dataclasses.replace(config, node=dataclasses.replace(config.node, max_rate_hz=0.0))
    parameters = options.out / "relocalizer.yaml"
    parameters.write_text(yaml.safe_dump({"/**": {"ros__parameters": config.to_dict()}}), encoding="utf-8")
    run = LiveRun(
        map_path=built,
        bag=bag,
        parameters=parameters,
        image_topic="/camera/image_raw",
        rate=_SIFT_LIVE_RATE if config.extractor.name == "sift" else _LIVE_RATE,
        domain=options.domain,
        log=options.out / "relocalizer.log",
    )
    print("\nTwo processes on the loopback interface, a live node and a player:")
    for command in (run.node_command, run.play_command):
        print(f"$ hfnet-ros {' '.join(command)}")
    posed = pair_images_with_poses(query / "images", query / "poses.tum")
    truth = {image.stamp_ns: (image.path, image.map_from_camera) for image in posed}
    results = query_results(run.record(), LOOKING_AHEAD, truth)
    model = load_scene_model(built)
    context = RunContext(model.points, [(image.stamp_ns, image.map_from_camera) for image in posed])
    identity = identify_run(model, built, "live node over DDS", config)
    write_scored_run(options.out / "report", results, identity, context)
    print(f"images played        {len(posed)}, answered by the live node {len(results)}")
    return 0 if results else 1


def _ready_extractor(config: Config) -> str:
    """Make sure that the weights are here, fetching published ones, and say in a line which they are."""
    from hfnet_ros.features.extractor import extractor_kind
    from hfnet_ros.features.weights import fetch_weights, find_weights

    kind = extractor_kind(config)
    if kind.weights is None:
        return f"extractor: {kind.name}, without weights"
    try:
        return f"extractor: {kind.name}, weights {find_weights(kind.weights.file_name, config.extractor.weights)}"
    except WeightsError:
        if config.extractor.weights or not kind.weights.url:
            raise
    return (
        f"extractor: {kind.name}, weights fetched to {fetch_weights(kind.weights)} ({kind.weights.licence})"
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
