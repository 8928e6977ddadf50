"""Verb `calibrate`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfnet_ros.cli.options import check_file_target, new_verb
from hfnet_ros.cli.queries import add_query_options, localize_queries
from hfnet_ros.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from hfnet_ros.trust.calibration import CalibrationReport

_EXAMPLE = """hfnet-ros calibrate --map kitchen.map --images query --poses query.tum --camera camera.yaml --write-map
  hfnet-ros calibrate --map kitchen.map --bag robot.bag --ground-truth /ground_truth/pose --write-map"""


def add_verbs(verbs: Any) -> None:
    """Add `calibrate`."""
    verb = new_verb(
        verbs, "calibrate", "fit the reported covariance to images with known poses", _EXAMPLE, _calibrate
    )
    add_query_options(verb, "map to calibrate")
    verb.set_defaults(
        answer_frame="given"
    )  # whatever --params says: it is that frame's covariance that is fitted
    verb.add_argument(
        "--take",
        choices=("all", "even", "odd"),
        default="all",
        help="images to fit to; the others test the fit. With all, each half tests the other (default: all)",
    )
    verb.add_argument("--out", type=Path, metavar="MAP", help="write the calibrated map under this name")
    verb.add_argument("--write-map", action="store_true", help="write the calibration into the map itself")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")


def _calibrate(options: argparse.Namespace) -> int:
    from hfnet_ros.evaluation.run import readable_name
    from hfnet_ros.evaluation.summary import doubt_truth, warn_of_copies
    from hfnet_ros.files.atomic import atomic_file
    from hfnet_ros.localization.landmark_model import LandmarkModel
    from hfnet_ros.localization.scene_matching import method_of
    from hfnet_ros.map.manifest import SCENE, SET, read_manifest
    from hfnet_ros.map.map_io import check_map_target, save_map
    from hfnet_ros.trust.calibration import calibrate

    if options.out and options.write_map:
        raise ConfigError("--out and --write-map write the calibration to two places; give one")
    if read_manifest(options.map)[0]["kind"] == SET:
        raise ConfigError(
            f"{options.map}: is a set, whose sub-maps have a calibration each: calibrate {options.map}/maps/NAME with "
            "--out NEW.map and poses in its frame, then `hfnet-ros map set replace` puts NEW.map in its place"
        )
    target = options.map if options.write_map else options.out
    if target is not None:
        check_map_target(target)
    if options.json:
        check_file_target(options.json)
    run = localize_queries(options, independent=True)
    if not isinstance(run.model, LandmarkModel):
        raise ConfigError(f"a map of kind '{run.model.kind}' takes no calibration of its covariance")
    visual_map, results = run.model.visual_map, run.results
    doubts = doubt_truth(results, run.context)
    # What all errors have in common is no noise that a covariance could stand for.
    if doubts.reading is not None:
        raise DatasetError(f"{options.poses or options.ground_truth}: {doubts.reading.describe()}")
    images = options.bag or options.images
    copied = warn_of_copies(results, run.context)
    if copied and len(run.context.copies) == sum(result.localization.is_valid for result in results):
        raise DatasetError(f"{images}: {copied[0]}")
    poses = readable_name(options.poses) if options.poses else options.ground_truth
    provenance = {"images": readable_name(images.resolve()), "poses": poses}
    asked = visual_map
    if visual_map.scene is not None:
        provenance["method"] = method_of(visual_map, run.config)
        if provenance["method"] == SCENE:  # what was added to covariances is what the network's own test says
            asked = dataclasses.replace(visual_map, consistency=visual_map.scene.consistency)
    report = calibrate(results, asked, options.take, provenance)
    _print_report(report, len(results), options.take)
    for sentence in [*copied, *doubts.sentences()]:
        print(f"warning: {sentence}")
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


def _print_report(report: CalibrationReport, num_queries: int, take: str) -> None:
    from hfnet_ros.trust.calibration import AXES

    calibration, before, after = report.calibration, report.before, report.after
    sigmas = np.sqrt(np.array(calibration.pose_covariance).reshape(6, 6).diagonal())
    wrong = f", {report.num_false_fixes} wrong places left out" if report.num_false_fixes else ""
    if report.num_standing:
        wrong += f", {report.num_standing} of a camera that stood still since the one before not counted"
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
