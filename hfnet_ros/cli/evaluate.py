"""Verb `evaluate`."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfnet_ros.cli.bag_queries import query_bag
from hfnet_ros.cli.bag_sources import (
    CAMERA_OPTIONS,
    MOUNTING_OPTIONS,
    ODOMETRY_OPTIONS,
    TRUTH_OPTIONS,
    add_camera_options,
    add_mounting_options,
    add_odometry_options,
    add_truth_options,
    refuse_without_bag,
)
from hfnet_ros.cli.localize import open_in_map, query_camera
from hfnet_ros.cli.options import (
    add_config_options,
    check_file_target,
    check_folder_target,
    new_verb,
    read_config,
    tracked,
)
from hfnet_ros.cli.scoring import identify_run, write_scored_run
from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError, DatasetError
from hfnet_ros.evaluation.records import QueryResult, RunContext

if TYPE_CHECKING:
    from hfnet_ros.map.visual_map import VisualMap

_EXAMPLE = """hfnet-ros evaluate --map kitchen.map --images query --poses query.tum --camera camera.yaml --out report
  hfnet-ros evaluate --map kitchen.map --bag robot.bag --ground-truth /ground_truth/pose --out report"""

Run = tuple["VisualMap", str, str, Config, list[QueryResult], RunContext]


def add_verbs(verbs: Any) -> None:
    """Add `evaluate`."""
    evaluate = new_verb(verbs, "evaluate", "score localization against known poses", _EXAMPLE, _evaluate)
    evaluate.add_argument("--map", type=Path, required=True, metavar="MAP", help="map to localize in")
    queries = evaluate.add_mutually_exclusive_group(required=True)
    queries.add_argument("--images", type=Path, metavar="DIR", help="query images")
    queries.add_argument("--bag", type=Path, metavar="BAG", help="recording of a robot; see docs/replay.md")
    evaluate.add_argument(
        "--poses",
        type=Path,
        metavar="FILE",
        help="true poses T_map_camera, TUM format; of images in their order",
    )
    evaluate.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help="ROS camera calibration YAML (default: the bag's; of images the map's own camera)",
    )
    evaluate.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th image only")
    evaluate.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for report and results"
    )
    evaluate.add_argument(
        "--rerun", type=Path, metavar="FILE", help="also write a recording for the Rerun viewer (.rrd)"
    )
    add_config_options(evaluate, extractor=True)
    _add_bag_options(evaluate)


def _add_bag_options(evaluate: argparse.ArgumentParser) -> None:
    of_bag = evaluate.add_argument_group("with --bag")
    add_truth_options(of_bag, "--ground-truth")
    add_camera_options(of_bag)
    add_odometry_options(of_bag)
    add_mounting_options(of_bag)
    of_bag.add_argument(
        "--independent",
        action="store_true",
        help="localize each image by itself, without odometry and gate, as a folder of images is",
    )


def _evaluate(options: argparse.Namespace) -> int:
    from hfnet_ros.report.rerun_file import load_rerun

    if options.every < 1:
        raise DatasetError(f"--every is {options.every}, expected 1 or more")
    check_folder_target(options.out)
    if options.rerun:
        load_rerun()
        check_file_target(options.rerun)
    visual_map, extractor_id, backend, config, results, context = (
        _run_bag(options) if options.bag else _run_images(options)
    )
    identity = identify_run(visual_map, options.map, extractor_id, backend, config)
    write_scored_run(options.out, results, visual_map, identity, context, options.rerun)
    return 0


def _run_images(options: argparse.Namespace) -> Run:
    from hfnet_ros.evaluation.run import localize_images
    from hfnet_ros.files.posed_images import pair_images_with_poses
    from hfnet_ros.map.map_io import load_map

    refuse_without_bag(
        options, *TRUTH_OPTIONS, *CAMERA_OPTIONS, *ODOMETRY_OPTIONS, *MOUNTING_OPTIONS, "independent"
    )
    if options.poses is None:
        raise ConfigError("--images needs --poses: where the images were really taken")
    recorded = pair_images_with_poses(options.images, options.poses)
    posed = recorded[:: options.every]
    config = read_config(options)
    visual_map = load_map(options.map)
    camera = query_camera(options.camera, visual_map)
    images = [(image.path, image.stamp_ns, image.map_from_camera) for image in posed]
    with closing(open_in_map(visual_map, config, camera, extractor_given=bool(options.extractor))) as opened:
        found = localize_images(opened.localizer, images, camera)
        results = list(tracked(found, "evaluate", len(images)))
    context = RunContext(
        keyframe_names=visual_map.keyframe_names,
        keyframe_poses=visual_map.keyframe_poses,
        groundtruth=[(image.stamp_ns, image.map_from_camera) for image in recorded],
    )
    return visual_map, visual_map.extractor_id, opened.backend, config, results, context


def _run_bag(options: argparse.Namespace) -> Run:
    from hfnet_ros.replay.queries import run_context

    run = query_bag(options, independent=options.independent)
    context = run_context(run.results, run.truth, run.visual_map)
    return run.visual_map, run.extractor_id, run.backend, run.config, run.results, context
