"""Verb `map update`: a map and a new session of images; the old one stays."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfnet_ros.cli import scene_maps
from hfnet_ros.cli.bag_keyframes import (
    add_bag_options,
    has_poses,
    open_keyframes,
    open_localized,
    refuse_bag_options,
    report_localized,
)
from hfnet_ros.cli.map_changes import FEW_SHARED, by_landmarks, by_what_was_seen, note_calibration
from hfnet_ros.cli.opening import query_camera
from hfnet_ros.cli.options import ProgressBars, add_config_options, add_mask_option, new_verb, read_config
from hfnet_ros.cli.rigs import RIG_HELP, refuse_names_without_rig, rig_session
from hfnet_ros.errors import ConfigError, MappingError
from hfnet_ros.localization.doubts import ARBITRARY_SCALE

if TYPE_CHECKING:
    from hfnet_ros.config import Config
    from hfnet_ros.features.extractor import NetworkExtractor
    from hfnet_ros.localization.localizer import Localizer
    from hfnet_ros.map.visual_map import VisualMap
    from hfnet_ros.mapping.sources import PosedImages

_UPDATE = """hfnet-ros map update kitchen.map --images evening --poses evening.tum --camera camera.yaml --out new.map
  hfnet-ros map update kitchen.map --images evening --camera camera.yaml --out new.map   # poses by localization
  hfnet-ros map update hall.map --images left=l,right=r --rig rig.yaml --out new.map
  hfnet-ros map update kitchen.map --bag evening.bag --every 5 --out new.map"""


def add_verb(maps: Any) -> None:
    """Add `map update`."""
    update = new_verb(maps, "update", "add a new session to a map", _UPDATE, _update)
    update.add_argument("map", type=Path, metavar="MAP")
    images = update.add_mutually_exclusive_group(required=True)
    images.add_argument(
        "--images", type=Path, metavar="DIR", help="images of the new session; with --rig NAME=DIR,NAME=DIR"
    )
    images.add_argument("--bag", type=Path, metavar="BAG", help="or a recording of it; see docs/replay.md")
    update.add_argument(
        "--poses",
        type=Path,
        metavar="FILE",
        help="their poses in the map, TUM format (default: they are localized in it)",
    )
    update.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help="ROS camera calibration YAML (default: the map's own; of a bag the bag's)",
    )
    update.add_argument("--rig", type=Path, metavar="FILE", help=RIG_HELP)
    add_mask_option(update)
    update.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th image as keyframe")
    update.add_argument(
        "--keep-all", action="store_true", help="keep landmarks that the new images show to be gone"
    )
    update.add_argument(
        "--earlier-images",
        nargs="+",
        default=[],
        metavar="DIR",
        help="images that the map was built from, of a rig NAME=DIR,NAME=DIR: its scene-coordinate network, if it has "
        "one, goes on learning from these and the new ones",
    )
    update.add_argument("--out", type=Path, required=True, metavar="MAP", help="map to write")
    add_config_options(update, extractor=False)
    update.set_defaults(answer_frame="given")  # in which a session's poses are, given or localized
    add_bag_options(update, "(or --poses; default: images are localized in the map)")


def _update(options: argparse.Namespace) -> int:
    from hfnet_ros.features.extractor import create_mapping_extractor, with_extractor_of
    from hfnet_ros.map.map_io import check_map_target, load_map, save_map
    from hfnet_ros.map.scene_map import need_landmarks
    from hfnet_ros.mapping.options import BuildOptions
    from hfnet_ros.mapping.update import update_map

    if options.every < 1:
        raise ConfigError(f"--every is {options.every}, expected 1 or more")
    if options.rig and options.bag:
        raise ConfigError("--rig goes with --images NAME=DIR,NAME=DIR; of a --bag --cameras names several")
    if options.images and not options.rig:
        refuse_names_without_rig(options.images)
    check_map_target(options.out)
    visual_map = load_map(options.map)
    need_landmarks(visual_map, options.map, "`map update`")
    config = with_extractor_of(read_config(options), visual_map.extractor_id)
    extractor = create_mapping_extractor(config)
    bars, pixels = ProgressBars(), ExitStack()
    try:
        has_own_poses = has_poses(options) if options.bag else options.poses is not None
        if visual_map.has_arbitrary_scale:
            _refuse_metres(options, has_own_poses=has_own_poses)
        session = _posed_session(options, visual_map, extractor, config, pixels)
        updated, report = update_map(
            visual_map,
            session,
            extractor,
            config,
            BuildOptions(progress=bars),
            prune=not options.keep_all,
            locate=by_what_was_seen(visual_map, config) if has_own_poses else None,
        )
        if visual_map.scene is not None:
            updated = scene_maps.gone_on(
                visual_map, updated, session, options.earlier_images, extractor, config, bars
            )
    finally:
        bars.close()
        pixels.close()
        extractor.close()
    save_map(updated, options.out)
    dropped = ", ".join(f"{count} {reason}" for reason, count in report.num_dropped.items())
    print(
        f"{options.out}: {updated.num_keyframes} keyframes ({report.num_keyframes} new), {updated.num_landmarks} "
        f"landmarks: {report.num_new} new, {report.num_seen_again} old ones seen again"
        + (f", dropped {dropped}" if dropped else "")
    )
    note_calibration(updated)
    num_seen = report.num_new + report.num_seen_again
    if has_own_poses and report.num_seen_again < FEW_SHARED * min(visual_map.num_landmarks, num_seen):
        print(
            "the new images see next to nothing of the map, so that nothing but their poses says where they are; if "
            "they show the same place, leave the poses out and the images are localized"
        )
    return 0


def _refuse_metres(options: argparse.Namespace, *, has_own_poses: bool) -> None:
    """Refuse what is in metres beside a map whose scale is not known."""
    if has_own_poses:
        raise MappingError(
            f"{options.map}: {ARBITRARY_SCALE}; poses cannot be in its frame: leave them out, and "
            "the images are localized"
        )
    if options.rig:
        raise MappingError(f"{options.map}: {ARBITRARY_SCALE}; where cameras of a rig sit is in metres")


def _posed_session(
    options: argparse.Namespace,
    visual_map: VisualMap,
    extractor: NetworkExtractor,
    config: Config,
    pixels: ExitStack,
) -> PosedImages:
    """Return the new session's images and their poses, given or found in the map.

    Pixels of a bag are there until the stack is closed.
    """
    from hfnet_ros.files.camera_mask import masks_of
    from hfnet_ros.files.images import list_images
    from hfnet_ros.files.posed_images import PosedImage, pair_images_with_poses
    from hfnet_ros.localization.landmark_model import searching
    from hfnet_ros.mapping.sources import PosedImages

    def open_localizer(image_wh: tuple[int, int]) -> AbstractContextManager[Localizer]:
        return searching(visual_map, extractor, by_landmarks(config), image_wh)

    # Poses are in metres, which the frame of such a map is not.
    is_scaleless = visual_map.has_arbitrary_scale
    if options.bag:
        if has_poses(options):
            return pixels.enter_context(open_keyframes(options, config))
        return pixels.enter_context(
            open_localized(
                options, open_localizer, config, "" if is_scaleless else "--pose-topic, --tf or --poses"
            )
        )
    refuse_bag_options(options)
    if options.rig:
        return rig_session(options, config, open_localizer)
    camera, mask = query_camera(options.camera, visual_map.cameras), masks_of(config.cameras).get("")
    if options.poses:
        posed = pair_images_with_poses(options.images, options.poses)
        return PosedImages.of_files(posed[:: options.every], camera, mask)
    from hfnet_ros.evaluation.run import localize_images

    # Images without poses have no stamps either; their order stands in, one a second.
    images = list(enumerate(list_images(options.images)))[:: options.every]
    queries = [(path, row * 1_000_000_000, None) for row, path in images]
    with open_localizer(camera.size_wh) as localizer:
        found = [
            PosedImage(result.image_path, result.stamp_ns, result.localization.estimate.map_from_camera)
            for result in localize_images(localizer, queries, camera, mask=mask)
            if result.image_path is not None and result.localization.estimate is not None
        ]
    report_localized(len(found), len(queries), "" if is_scaleless else "--poses")
    return PosedImages.of_files(found, camera, mask)
