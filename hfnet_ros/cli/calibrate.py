"""Verb `calibrate`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_ros.cli.bag_queries import query_bag
from hfnet_ros.cli.bag_sources import (
    CAMERA_OPTIONS,
    MOUNTING_OPTIONS,
    TRUTH_OPTIONS,
    add_camera_options,
    add_mounting_options,
    add_truth_options,
    refuse_without_bag,
)
from hfnet_ros.cli.localize import open_in_map, query_camera
from hfnet_ros.cli.options import add_config_options, check_file_target, new_verb, read_config, tracked
from hfnet_ros.errors import ConfigError, DatasetError
from hfnet_ros.evaluation.records import QueryResult
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.trust.calibration import AXES, CalibrationReport, calibrate

_EXAMPLE = """hfnet-ros calibrate --map kitchen.map --images query --poses query.tum --camera camera.yaml --write-map
  hfnet-ros calibrate --map kitchen.map --bag robot.bag --ground-truth /ground_truth/pose --write-map"""


def add_verbs(verbs: Any) -> None:
    """Add `calibrate`."""
    verb = new_verb(
        verbs, "calibrate", "fit the reported covariance to images with known poses", _EXAMPLE, _calibrate
    )
    verb.add_argument("--map", type=Path, required=True, metavar="MAP", help="map to calibrate")
    queries = verb.add_mutually_exclusive_group(required=True)
    queries.add_argument("--images", type=Path, metavar="DIR", help="images not in the map")
    queries.add_argument("--bag", type=Path, metavar="BAG", help="or a recording; see docs/replay.md")
    verb.add_argument("--poses", type=Path, metavar="FILE", help="true poses, TUM format")
    verb.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help="ROS camera calibration YAML (default: the map's own; of a bag the bag's)",
    )
    verb.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th image only")
    verb.add_argument(
        "--take",
        choices=("all", "even", "odd"),
        default="all",
        help="images to fit to; the others test the fit. With all, each half tests the other (default: all)",
    )
    verb.add_argument("--out", type=Path, metavar="MAP", help="write the calibrated map under this name")
    verb.add_argument("--write-map", action="store_true", help="write the calibration into the map itself")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    add_config_options(verb, extractor=True)
    of_bag = verb.add_argument_group("with --bag")
    add_truth_options(of_bag, "--ground-truth")
    add_camera_options(of_bag)
    add_mounting_options(of_bag)


def _calibrate(options: argparse.Namespace) -> int:
    from hfnet_ros.evaluation.run import readable_name
    from hfnet_ros.files.atomic import atomic_file
    from hfnet_ros.map.map_io import check_map_target, save_map

    if options.out and options.write_map:
        raise ConfigError("--out and --write-map write the calibration to two places; give one")
    target = options.map if options.write_map else options.out
    if target is not None:
        check_map_target(target)
    if options.json:
        check_file_target(options.json)
    visual_map, results = _localize(options)
    images = options.bag or options.images
    poses = readable_name(options.poses) if options.poses else options.ground_truth
    provenance = {"images": readable_name(images.resolve()), "poses": poses}
    report = calibrate(results, visual_map, options.take, provenance)
    _print_report(report, len(results), options.take)
    if options.json:
        with atomic_file(options.json) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(report), indent=1) + "\n")
    if target is None:
        print("not written: name a map with --out, or --write-map")
        return 0
    if not report.helps:
        raise DatasetError(
            f"not written: on held-out images ANEES went from {report.before.anees:.2f} to "
            f"{report.after.anees:.2f}, which is not nearer to 1; give more images, or of other places"
        )
    save_map(dataclasses.replace(visual_map, calibration=report.calibration), target)
    print(f"{target}: calibrated")
    return 0


def _localize(options: argparse.Namespace) -> tuple[VisualMap, list[QueryResult]]:
    from hfnet_ros.evaluation.run import localize_images
    from hfnet_ros.files.posed_images import pair_images_with_poses
    from hfnet_ros.map.map_io import load_map

    if options.every < 1:
        raise DatasetError(f"--every is {options.every}, expected 1 or more")
    if options.bag:
        run = query_bag(options, independent=True)
        return run.visual_map, run.results
    refuse_without_bag(options, *TRUTH_OPTIONS, *CAMERA_OPTIONS, *MOUNTING_OPTIONS)
    if options.poses is None:
        raise ConfigError("--images needs --poses: where the images were really taken")
    posed = pair_images_with_poses(options.images, options.poses)[:: options.every]
    config, visual_map = read_config(options), load_map(options.map)
    camera = query_camera(options.camera, visual_map)
    images = [(image.path, image.stamp_ns, image.map_from_camera) for image in posed]
    with closing(open_in_map(visual_map, config, camera, extractor_given=bool(options.extractor))) as opened:
        found = localize_images(opened.localizer, images, camera)
        return visual_map, list(tracked(found, "localize", len(images)))


def _print_report(report: CalibrationReport, num_queries: int, take: str) -> None:
    calibration, before, after = report.calibration, report.before, report.after
    sigmas = np.sqrt(np.array(calibration.pose_covariance).reshape(6, 6).diagonal())
    wrong = f", {report.num_false_fixes} wrong places left out" if report.num_false_fixes else ""
    print(f"queries        {num_queries}, {report.num_localized} localized{wrong}")
    print(
        f"calibration    from {calibration.num_queries} queries ({take}): covariance of reprojection errors times "
        f"{calibration.reprojection_scale:.2f}, plus {sigmas[0]:.4f} m and {np.rad2deg(sigmas[3]):.3f} deg per axis"
    )
    print(f"held out       {after.num_queries} queries     before   after   (honest)")
    print(f"ANEES                         {before.anees:9.2f} {after.anees:7.2f}   1.00")
    for count, honest in enumerate(("0.68", "0.95", "1.00")):
        for axis, name in enumerate(AXES):
            label = f"within {count + 1} sigma, {name}"
            print(
                f"{label:30s}{before.coverage[axis][count]:9.2f} {after.coverage[axis][count]:7.2f}   {honest}"
            )
