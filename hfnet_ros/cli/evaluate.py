"""Verb `evaluate`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from hfnet_ros.cli.bag_sources import add_odometry_options
from hfnet_ros.cli.options import add_answer_frame, add_area, check_file_target, check_folder_target, new_verb
from hfnet_ros.cli.queries import add_query_options, localize_queries
from hfnet_ros.cli.scoring import identify_run, write_scored_run
from hfnet_ros.errors import ConfigError
from hfnet_ros.localization.scene_model import training_curves

_EXAMPLE = """hfnet-ros evaluate --map kitchen.map --images query --poses query.tum --camera camera.yaml --out report
  hfnet-ros evaluate --map kitchen.map --bag robot.bag --ground-truth /ground_truth/pose --out report
  hfnet-ros evaluate --map hall.map --images left=left,right=right --rig rig.yaml --poses rig.tum --out report"""


def add_verbs(verbs: Any) -> None:
    """Add `evaluate`."""
    evaluate = new_verb(verbs, "evaluate", "score localization against known poses", _EXAMPLE, _evaluate)
    evaluate.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for report and results"
    )
    evaluate.add_argument(
        "--rerun", type=Path, metavar="FILE", help="also write a recording for the Rerun viewer (.rrd)"
    )
    of_bag = add_query_options(evaluate, "map to localize in")
    add_answer_frame(evaluate)
    add_area(evaluate)
    add_odometry_options(of_bag)
    of_bag.add_argument(
        "--independent",
        action="store_true",
        help="localize each image by itself, without odometry and gate, as a folder of images is",
    )


def _evaluate(options: argparse.Namespace) -> int:
    from hfnet_ros.report.rerun_file import load_rerun

    check_folder_target(options.out)
    if options.images and options.out.resolve() == options.images.resolve():
        raise ConfigError(
            f"{options.out}: holds the images, to which the report's picture would be added; name another folder"
        )
    if options.rerun:
        load_rerun()
        check_file_target(options.rerun)
    run = localize_queries(options, independent=options.independent)
    identity = identify_run(run.model, options.map, run.backend, run.config)
    context = dataclasses.replace(run.context, training_curves=training_curves(run.model))
    write_scored_run(options.out, run.results, identity, context, options.rerun)
    return 0
