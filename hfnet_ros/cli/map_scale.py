"""Verb `map scale`: metres for a map of images alone."""

from __future__ import annotations

import argparse
import dataclasses
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_ros.cli import scene_maps
from hfnet_ros.cli.bag_sources import (
    add_camera_options,
    add_mounting_options,
    add_odometry_options,
    bag_choices,
    print_notes,
)
from hfnet_ros.cli.opening import open_for_images
from hfnet_ros.cli.options import add_config_options, add_mask_option, new_verb, read_config, tracked
from hfnet_ros.errors import ConfigError, MappingError
from hfnet_ros.localization.doubts import ARBITRARY_SCALE
from hfnet_ros.map.visual_map import VisualMap

_EXAMPLE = """hfnet-ros map scale photos.map --bag robot.bag --out metric.map
  hfnet-ros map scale photos.map --bag rig.bag --image-topic /left/image --beside /right/image --out metric.map"""


def add_verb(maps: Any) -> None:
    """Add `map scale` to the verbs of `map`."""
    scale = new_verb(
        maps, "scale", "give a map of images alone a scale, by odometry or by a rig", _EXAMPLE, _scale
    )
    scale.add_argument("map", type=Path, metavar="MAP", help="map to scale, which stays as it is")
    scale.add_argument("--bag", type=Path, required=True, metavar="BAG", help="recording of the mapped scene")
    scale.add_argument("--out", type=Path, metavar="NEW", help="map to write (default: only print the scale)")
    scale.add_argument("--camera", type=Path, metavar="FILE", help="calibration (default: the bag's)")
    scale.add_argument(
        "--beside",
        default="",
        metavar="T",
        help="images of a second camera, whose distance from the first the bag's transforms say; instead of odometry",
    )
    scale.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th image (default: 1)")
    add_mask_option(scale)
    add_camera_options(scale)
    add_odometry_options(scale)
    add_mounting_options(scale)
    add_config_options(scale, extractor=False)


def print_scale(visual_map: VisualMap) -> None:
    """Print what a unit of a map of images alone is; nothing of maps whose given poses say it."""
    estimate = visual_map.build_info.get("scale_estimate", {})
    if visual_map.has_arbitrary_scale:
        print(f"scale: arbitrary: {ARBITRARY_SCALE}")
    elif "standard_error" in estimate:
        error = 100.0 * estimate["standard_error"]
        print(f"scale: metres, by {estimate['num_frames']} frames of the rig, standard error {error:.1f} %")


def _scale(options: argparse.Namespace) -> int:
    from hfnet_ros.bags import BagReader
    from hfnet_ros.localization.landmark_model import LandmarkModel
    from hfnet_ros.localization.scene_model import load_scene_model
    from hfnet_ros.map.map_io import check_map_target, save_map
    from hfnet_ros.map.scene_map import need_landmarks
    from hfnet_ros.mapping.alignment import Similarity, move_map
    from hfnet_ros.replay import open_sources
    from hfnet_ros.replay.map_scale import localize_all, rotation_to_z, scale_by_odometry, scale_by_rig
    from hfnet_ros.replay.sources import refuse_several

    if options.every < 1:
        raise ConfigError(f"--every is {options.every}, expected 1 or more")
    if options.out:
        check_map_target(options.out)
    model = load_scene_model(options.map)
    if not isinstance(model, LandmarkModel) or model.is_metric:
        raise MappingError(f"{options.map}: its lengths are metres, there is nothing to scale")
    if options.out:
        need_landmarks(model.visual_map, options.map, "`map scale`")
    config, choices, turn = read_config(options), bag_choices(options), np.eye(3)
    with BagReader(options.bag) as bag:
        sources = open_sources(bag, choices, config)
        refuse_several(sources)
        camera = sources.first.camera
        with closing(open_for_images(model, sources.config, camera, extractor_given=False)) as opened:
            count = len(sources.frames) // options.every
            images = list(tracked(localize_all(sources, opened.localizer, options.every), "localize", count))
            if options.beside:
                beside = dataclasses.replace(
                    choices,
                    image_topic=options.beside,
                    camera_info_topic="",
                    camera=None,
                    base_from_camera="",
                )
                second = open_sources(bag, beside, config)
                found = localize_all(second, opened.localizer, options.every)
                scale = scale_by_rig(sources, images, second, list(tracked(found, "localize", count)))
            else:
                scale, up = scale_by_odometry(sources, images)
                turn = rotation_to_z(up)
        print_notes(bag)
    print(f"{options.map}: a unit is {scale}")
    if not options.out:
        return 0
    visual_map = model.visual_map
    similarity = Similarity(scale.metres_per_unit, turn, np.zeros(3))
    facts = {
        "scale": "rig" if options.beside else "odometry",
        "scale_estimate": dataclasses.asdict(scale),
    }
    scene_maps.say_left_out(visual_map)
    moved = move_map(visual_map, similarity, visual_map.frame_id)
    save_map(dataclasses.replace(moved, build_info={**visual_map.build_info, **facts}), options.out)
    print(f"{options.out}: lengths are metres" + ("" if options.beside else ", z is odometry's"))
    return 0
