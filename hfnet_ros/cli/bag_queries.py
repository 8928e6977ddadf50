"""Localize the images of a bag whose true poses are known, by the options of `evaluate` and `calibrate`."""

from __future__ import annotations

import argparse
import itertools
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hfnet_ros.cli.bag_sources import bag_choices, print_notes
from hfnet_ros.cli.localize import open_in_map
from hfnet_ros.cli.options import read_config, tracked
from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError
from hfnet_ros.evaluation.records import QueryResult
from hfnet_ros.map.map_io import load_map
from hfnet_ros.map.visual_map import VisualMap

if TYPE_CHECKING:
    from hfnet_ros.bags import BagReader
    from hfnet_ros.localization.localizer import Localizer
    from hfnet_ros.replay import BagSources
    from hfnet_ros.replay.truth import BagTruth


@dataclass(frozen=True, eq=False)
class BagRun:
    """The queries of a bag and what answered them; `config` has the frames the options named."""

    visual_map: VisualMap
    extractor_id: str
    backend: str
    config: Config
    results: list[QueryResult]
    truth: BagTruth


def query_bag(options: argparse.Namespace, *, independent: bool) -> BagRun:
    """Localize the images of `options.bag`.

    Args:
        options: of a verb with the options of `bag_sources`, --map, --every and those of the parameters.
        independent: each image by itself, instead of following the robot with odometry.

    Raises:
        BagError: a topic or frame is not there, or no image has a true pose.
    """
    from hfnet_ros.bags import BagReader
    from hfnet_ros.replay import open_camera, open_sources

    if bool(options.ground_truth) == bool(options.poses):
        raise ConfigError(
            "--bag needs true poses: either --ground-truth (a topic or map:base_link) or --poses"
        )
    config, choices = read_config(options), bag_choices(options)
    with BagReader(options.bag) as bag:
        opened = open_camera if independent else open_sources
        sources = opened(bag, choices, config)
        truth = read_bag_truth(options, bag, sources, options.ground_truth)
        visual_map, camera = load_map(options.map), sources.first.camera
        with closing(
            open_in_map(visual_map, sources.config, camera, extractor_given=bool(options.extractor))
        ) as session:
            results = _localize(
                options.every, bag, sources, truth, session.localizer, independent=independent
            )
        if truth.samples.parent_frame not in ("", visual_map.frame_id):
            bag.note(
                f"true poses are in '{truth.samples.parent_frame}', the map is '{visual_map.frame_id}': taken for "
                "the same frame"
            )
        print_notes(bag)
    return BagRun(visual_map, visual_map.extractor_id, session.backend, sources.config, results, truth)


def read_bag_truth(options: argparse.Namespace, bag: BagReader, sources: BagSources, source: str) -> BagTruth:
    """Read known poses by the options of `add_truth_options`; `source` is a topic or two frames."""
    from hfnet_ros.replay.truth import read_truth

    return read_truth(
        bag,
        sources.first,
        sources.config,
        source=source,
        tum=options.poses,
        frame=options.ground_truth_frame,
        base_from_camera=options.base_from_camera,
        base_mounting=sources.mounting,
    )


def _localize(
    every: int,
    bag: BagReader,
    sources: BagSources,
    truth: BagTruth,
    localizer: Localizer,
    *,
    independent: bool,
) -> list[QueryResult]:
    from hfnet_ros.replay import Replay
    from hfnet_ros.replay.queries import BagQueries
    from hfnet_ros.replay.truth import check_overlap

    count = -(-len(sources.frames) // every)
    frames = itertools.islice(iter(sources.frames), 0, None, every)
    queries = BagQueries(bag, truth, count)
    if independent:
        found = queries.each_by_itself(localizer, frames)
    else:
        found = queries.in_order(Replay(sources, localizer), frames)
    results = list(tracked(found, "localize", count))
    check_overlap(truth, results)
    return results
