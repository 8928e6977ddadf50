"""Localize the images of a folder or a bag whose true poses are known, for `evaluate` and `calibrate`."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hfnet_ros.cli.bag_sources import (
    CAMERA_OPTIONS,
    MOUNTING_OPTIONS,
    ODOMETRY_OPTIONS,
    TRUTH_OPTIONS,
    add_camera_options,
    add_cameras_option,
    add_mounting_options,
    add_truth_options,
    bag_choices,
    print_notes,
    read_bag_truth,
    refuse_without_bag,
    with_cameras,
)
from hfnet_ros.cli.opening import open_for_images, query_camera
from hfnet_ros.cli.options import add_config_options, add_mask_option, print_doubts, read_config, tracked
from hfnet_ros.cli.rigs import (
    RIG_HELP,
    localize_rig_images,
    masks_of_rig,
    read_rig_images,
    refuse_names_without_rig,
)
from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError, DatasetError
from hfnet_ros.evaluation.records import QueryResult, RunContext
from hfnet_ros.localization.landmark_model import LandmarkModel, load_scene_model
from hfnet_ros.localization.scene_model import SceneModel

if TYPE_CHECKING:
    from hfnet_ros.bags import BagReader
    from hfnet_ros.replay import BagSources
    from hfnet_ros.replay.truth import BagTruth
    from hfnet_ros.types import ImageLocalizer


@dataclass(frozen=True, eq=False)
class QueryRun:
    """Queries and what answered them; `config` has the frames the options named."""

    model: SceneModel
    backend: str
    config: Config
    results: list[QueryResult]
    context: RunContext


def add_query_options(verb: argparse.ArgumentParser, map_help: str) -> argparse._ArgumentGroup:
    """Add the options that say what to localize, and return the group of those that go with --bag."""
    verb.add_argument("--map", type=Path, required=True, metavar="MAP", help=map_help)
    queries = verb.add_mutually_exclusive_group(required=True)
    queries.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="query images, not in the map; of a rig NAME=DIR,NAME=DIR",
    )
    queries.add_argument("--bag", type=Path, metavar="BAG", help="recording of a robot; see docs/replay.md")
    verb.add_argument(
        "--poses",
        type=Path,
        metavar="FILE",
        help="true poses T_map_camera, TUM format; of images by their stamps or in order",
    )
    verb.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help="ROS camera calibration YAML (default: the bag's; of images the map's own camera)",
    )
    verb.add_argument("--rig", type=Path, metavar="FILE", help=RIG_HELP)
    add_mask_option(verb)
    verb.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th image only")
    add_config_options(verb, extractor=True)
    of_bag = verb.add_argument_group("with --bag")
    add_truth_options(of_bag, "--ground-truth")
    add_camera_options(of_bag)
    add_cameras_option(of_bag)
    add_mounting_options(of_bag)
    return of_bag


def localize_queries(options: argparse.Namespace, *, independent: bool) -> QueryRun:
    """Localize the images of `options.images` or `options.bag`.

    Args:
        options: of a verb with the options of `add_query_options`.
        independent: of a bag, each image by itself, instead of following the robot with odometry.

    Raises:
        BagError: a topic or frame is not there, or no image has a true pose.
        ConfigError: true poses are not named, or options contradict each other.
        DatasetError: images and poses do not fit, the true poses are not meant as they are read, or --every is
            not positive.
    """
    if options.rig and options.bag:
        raise ConfigError("--rig goes with --images; of a bag name the cameras by --cameras")
    if options.every < 1:
        raise DatasetError(f"--every is {options.every}, expected 1 or more")
    run = _localize_bag(options, independent=independent) if options.bag else _localize_folder(options)
    print_doubts(
        (result.name, (result.relocalization or result.localization).warnings) for result in run.results
    )
    _refuse_misread_truth(run, options.poses or options.ground_truth)
    return dataclasses.replace(run, context=dataclasses.replace(run.context, copies=_copies(run)))


def _copies(run: QueryRun) -> list[str]:
    """Return the names of queries of one camera that are the very images of keyframes."""
    from hfnet_ros.mapping.copies import copied_answers

    if not isinstance(run.model, LandmarkModel):
        return []
    names, answers = [], []
    for result in run.results:
        estimate, matches = result.localization.estimate, result.localization.correspondences
        if estimate is not None and matches is not None and matches.view_idxs is None:
            names.append(result.name)
            answers.append((matches.points2d[estimate.inlier_mask], estimate.map_from_camera))
    return [names[row] for row in copied_answers(run.model.visual_map, answers)]


def _refuse_misread_truth(run: QueryRun, source: object) -> None:
    from hfnet_ros.evaluation.truth_reading import find_truth_reading

    reading = find_truth_reading(run.results, run.context)
    if reading is not None and reading.is_fault_of_truth:
        raise DatasetError(f"{source}: {reading.describe()}")


def _localize_folder(options: argparse.Namespace) -> QueryRun:
    from hfnet_ros.evaluation.run import localize_images
    from hfnet_ros.files.camera_mask import masks_of
    from hfnet_ros.files.posed_images import pair_images_with_poses

    refuse_without_bag(
        options,
        "cameras",
        *TRUTH_OPTIONS,
        *CAMERA_OPTIONS,
        *ODOMETRY_OPTIONS,
        *MOUNTING_OPTIONS,
        "independent",
    )
    if options.rig:
        return _localize_rig(options)
    refuse_names_without_rig(options.images)
    if options.poses is None:
        raise ConfigError("--images needs --poses: where the images were really taken")
    recorded = pair_images_with_poses(options.images, options.poses)
    config, model = read_config(options), load_scene_model(options.map)
    camera, mask = query_camera(options.camera, model.cameras), masks_of(config.cameras).get("")
    images = [(image.path, image.stamp_ns, image.map_from_camera) for image in recorded[:: options.every]]
    with closing(open_for_images(model, config, camera, extractor_given=bool(options.extractor))) as opened:
        found = localize_images(opened.localizer, images, camera, mask=mask)
        results = list(tracked(found, "localize", len(images)))
    truth = [(image.stamp_ns, image.map_from_camera) for image in recorded]
    context = RunContext(model.points, truth)
    return QueryRun(model, opened.backend, config, results, context)


def _localize_rig(options: argparse.Namespace) -> QueryRun:
    """Localize what several cameras saw, a query for each time; poses are those of the rig."""
    config, model = read_config(options), load_scene_model(options.map)
    rig, recorded = read_rig_images(options, config.cameras.sync_tolerance_s)
    asked, camera = recorded[:: options.every], next(iter(rig.values())).camera
    masks = masks_of_rig(config, rig)
    with closing(open_for_images(model, config, camera, extractor_given=bool(options.extractor))) as opened:
        results = list(
            tracked(localize_rig_images(opened.localizer, rig, asked, masks), "localize", len(asked))
        )
    truth = [(group.stamp_ns, group.map_from_rig) for group in recorded if group.map_from_rig is not None]
    return QueryRun(model, opened.backend, config, results, RunContext(model.points, truth))


def _localize_bag(options: argparse.Namespace, *, independent: bool) -> QueryRun:
    from hfnet_ros.bags import BagReader
    from hfnet_ros.replay import open_camera, open_sources
    from hfnet_ros.replay.queries import run_context
    from hfnet_ros.replay.sources import refuse_several

    if bool(options.ground_truth) == bool(options.poses):
        raise ConfigError(
            "--bag needs true poses: either --ground-truth (a topic or map:base_link) or --poses"
        )
    config, choices = with_cameras(read_config(options), options), bag_choices(options)
    with BagReader(options.bag) as bag:
        opened = open_camera if independent else open_sources
        sources = opened(bag, choices, config)
        if independent:
            refuse_several(sources)
        truth = read_bag_truth(options, bag, sources, options.ground_truth)
        model, camera = load_scene_model(options.map), sources.first.camera
        with closing(
            open_for_images(model, sources.config, camera, extractor_given=bool(options.extractor))
        ) as session:
            results = _localize(
                options.every, bag, sources, truth, session.localizer, independent=independent
            )
        if truth.samples.parent_frame not in ("", model.frame_id):
            bag.note(
                f"true poses are in '{truth.samples.parent_frame}', the map is '{model.frame_id}': taken for "
                "the same frame"
            )
        print_notes(bag)
    context = run_context(results, truth, model.points)
    return QueryRun(model, session.backend, sources.config, results, context)


def _localize(
    every: int,
    bag: BagReader,
    sources: BagSources,
    truth: BagTruth,
    localizer: ImageLocalizer,
    *,
    independent: bool,
) -> list[QueryResult]:
    from hfnet_ros.replay import Replay
    from hfnet_ros.replay.queries import BagQueries
    from hfnet_ros.replay.truth import check_overlap

    count = -(-len(sources.frames) // every)
    queries = BagQueries(bag, truth, count)
    if independent:
        frames = itertools.islice(iter(sources.frames), 0, None, every)
        found = queries.each_by_itself(localizer, frames)
    else:
        found = queries.in_order(Replay(sources, localizer), every)
    results = list(tracked(found, "localize", count))
    check_overlap(truth, results)
    return results
