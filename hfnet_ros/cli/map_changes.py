"""Verbs `map merge`, `map prune` and `map convert`: new maps from maps; the old ones stay."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfnet_ros.cli import scene_maps
from hfnet_ros.cli.options import add_config_options, new_verb, read_config
from hfnet_ros.errors import MappingError
from hfnet_ros.localization.doubts import ARBITRARY_SCALE, SCALED_ALONE
from hfnet_ros.types import ImageArray, ImageFeatures

if TYPE_CHECKING:
    from hfnet_ros.config import Config
    from hfnet_ros.geometry.camera import Camera
    from hfnet_ros.geometry.rigid3 import Rigid3
    from hfnet_ros.map.visual_map import VisualMap
    from hfnet_ros.mapping.alignment import Alignment, Locate

_MERGE = """hfnet-ros map merge floor1.map floor2.map --out both.map
  hfnet-ros map merge morning.map evening.map --align --out both.map   # in different frames"""

FEW_SHARED = 0.01
_ALIGN = "bring the second map into the frame of the first by --align"


def add_verbs(maps: Any) -> None:
    """Add the verbs that make a map from maps to those of `map`."""
    merge = new_verb(maps, "merge", "put two maps together", _MERGE, _merge)
    merge.add_argument("first", type=Path, metavar="A", help="map that gives frame and vocabulary")
    merge.add_argument("second", type=Path, metavar="B", help="map to add")
    merge.add_argument(
        "--align", action="store_true", help="bring B into A's frame through the places they share"
    )
    add_config_options(merge, extractor=False)
    prune = new_verb(
        maps,
        "prune",
        "drop landmarks of little use",
        "hfnet-ros map prune kitchen.map --min-observations 3 --out small.map",
        _prune,
    )
    prune.add_argument("map", type=Path, metavar="MAP")
    prune.add_argument(
        "--min-observations",
        type=int,
        default=2,
        metavar="N",
        help="keyframes that must see a landmark; besides, those that most keyframes see through are dropped "
        "(default: 2)",
    )
    convert = new_verb(
        maps,
        "convert",
        "write a map of an older format in today's",
        "hfnet-ros map convert kitchen.map --out new.map",
        _convert,
    )
    convert.add_argument("map", type=Path, metavar="OLD")
    for parser in (merge, prune, convert):
        parser.add_argument("--out", type=Path, required=True, metavar="MAP", help="map to write")


class _StoredFeatures:
    """Stands where a localizer wants an extractor and only features from a map will come."""

    backend = "none"

    def __init__(self, extractor_id: str) -> None:
        self.extractor_id = extractor_id

    def extract(self, image: ImageArray) -> ImageFeatures:
        """Refuse: there are no images."""
        raise MappingError(f"no image was expected, found one of shape {image.shape}")

    def close(self) -> None:
        """Do nothing."""


def _merge(options: argparse.Namespace) -> int:
    from hfnet_ros.map.map_io import check_map_target, load_map, save_map
    from hfnet_ros.map.scene_map import need_landmarks
    from hfnet_ros.mapping.copies import common_keyframes, refuse_contained
    from hfnet_ros.mapping.disagreement import with_disagreement
    from hfnet_ros.mapping.joining import check_joinable, find_same_landmarks, join_maps
    from hfnet_ros.mapping.pruning import with_build_info
    from hfnet_ros.mapping.session_frame import check_session_frame

    check_map_target(options.out)
    first, second = load_map(options.first), load_map(options.second)
    for visual_map, path in ((first, options.first), (second, options.second)):
        need_landmarks(visual_map, path, "`map merge`")
    scene_maps.say_left_out(first, second)
    info: dict[str, Any] = {"method": "merged", "maps": [_origin(first), _origin(second)]}
    if options.align:
        aligned = dataclasses.replace(second, frame_id=first.frame_id)
        check_joinable(first, aligned)
        second, alignment = _align(first, aligned, read_config(options))
        info["alignment"] = dataclasses.asdict(alignment) | {
            "first_from_second": {
                "scale": alignment.first_from_second.scale,
                "rotation": alignment.first_from_second.rotation.tolist(),
                "translation": alignment.first_from_second.translation.tolist(),
            }
        }
    elif first.has_arbitrary_scale or second.has_arbitrary_scale:
        unscaled = options.first if first.has_arbitrary_scale else options.second
        raise MappingError(f"{unscaled}: {ARBITRARY_SCALE}; or bring both into one frame by --align")
    elif _have_own_frames(first, second):
        scaled = options.first if _scale_estimate(first) else options.second
        raise MappingError(f"{scaled}: it was {SCALED_ALONE}; bring both maps into one frame by --align")
    if not options.align:
        check_joinable(first, second)
    common = common_keyframes(first, second)
    refuse_contained(first, second, common, (str(options.first), str(options.second)))
    disagreement = np.zeros((6, 6))
    if not options.align:
        locate = by_what_was_seen(first, read_config(options))
        disagreement = check_session_frame(first, second, locate, _ALIGN)
    same = find_same_landmarks(first, second)
    merged = with_disagreement(join_maps(first, second, same, common=common), disagreement)
    shared = int((same >= 0).sum())
    info["shared_landmarks"] = shared
    save_map(with_build_info(merged, info), options.out)
    print(
        f"{options.out}: {merged.num_keyframes} keyframes, {merged.num_landmarks} landmarks, {shared} of them in "
        "both maps" + (f", as {len(common)} keyframes are" if common else "")
    )
    note_calibration(merged)
    if shared < FEW_SHARED * min(first.num_landmarks, second.num_landmarks):
        print("the maps have next to no landmark in common; if they show the same place, use --align")
    return 0


def _scale_estimate(visual_map: VisualMap) -> Any:
    """Return what `map scale` wrote into a map; None of others."""
    return visual_map.build_info.get("scale_estimate")


def _have_own_frames(first: VisualMap, second: VisualMap) -> bool:
    """Tell whether a map was built of images alone, and the other is not of the same origin."""
    if first.has_arbitrary_scale or second.has_arbitrary_scale:
        return True
    return bool(_scale_estimate(first) != _scale_estimate(second))


def note_calibration(visual_map: VisualMap) -> None:
    """Print that a calibration of covariances is of the map as it was."""
    if visual_map.calibration is not None:
        print("the covariance was calibrated before: check it with `hfnet-ros calibrate`")


def _origin(visual_map: VisualMap) -> dict[str, Any]:
    return {
        "keyframes": visual_map.num_keyframes,
        "landmarks": visual_map.num_landmarks,
        "method": visual_map.build_info.get("method", ""),
    }


def _align(first: VisualMap, second: VisualMap, config: Config) -> tuple[VisualMap, Alignment]:
    from hfnet_ros.mapping.alignment import align_through_places, move_map

    with_scale = _have_own_frames(first, second)
    locate = by_what_was_seen(first, config)
    alignment = align_through_places(first, second, locate, with_scale=with_scale)
    scale = f", scale {alignment.first_from_second.scale:.4f}" if with_scale else ""
    spread = f"{alignment.spread_m:.3f} m and {alignment.spread_deg:.2f} deg at the median"
    print(
        f"aligned: {alignment.num_localized} of {alignment.num_asked} keyframes were found in the other map, "
        f"{alignment.num_agreeing} of them agree, within {spread}{scale}"
    )
    return move_map(second, alignment.first_from_second, first.frame_id), alignment


def by_what_was_seen(visual_map: VisualMap, config: Config) -> Locate:
    """Return what finds a keyframe of another map in this one, among its refined poses."""
    from hfnet_ros.localization.localizer import Localizer

    # Landmarks of both are put onto each other, so what their poses agree with counts.
    decided = by_landmarks(config)
    decided = dataclasses.replace(decided, pose=dataclasses.replace(config.pose, answer_frame="refined"))
    localizer = Localizer(visual_map, _StoredFeatures(visual_map.extractor_id), decided)

    def locate(features: ImageFeatures, camera: Camera, stamp_ns: int) -> Rigid3 | None:
        estimate = localizer.localize_features(features, camera, stamp_ns).estimate
        return None if estimate is None else estimate.map_from_camera

    return locate


def by_landmarks(config: Config) -> Config:
    """Return the parameters for what has landmarks, and looks at no image for a dense scene-coordinate network."""
    return dataclasses.replace(
        config, localization=dataclasses.replace(config.localization, method="landmarks")
    )


def _convert(options: argparse.Namespace) -> int:
    from hfnet_ros.map.keyframe_codes import MIN_CODED_KEYFRAMES
    from hfnet_ros.map.manifest import FORMAT_VERSION
    from hfnet_ros.map.map_io import check_map_target, load_map, read_map_header, save_map

    check_map_target(options.out)
    before = read_map_header(options.map)
    lacks_codes = before["num_keyframes"] > MIN_CODED_KEYFRAMES and "codes" not in before["arrays"]
    if before["format_version"] == FORMAT_VERSION and not lacks_codes:
        raise MappingError(
            f"{options.map}: is of format {FORMAT_VERSION} already, there is nothing to convert"
        )
    save_map(load_map(options.map, verify=True, note_format=False), options.out)
    after = read_map_header(options.out)
    sizes = [header["bytes"] / header["num_keyframes"] / 1e3 for header in (before, after)]
    print(
        f"{options.out}: {after['num_keyframes']} keyframes, {after['num_landmarks']} landmarks in format "
        f"{FORMAT_VERSION}; {sizes[0]:.0f} -> {sizes[1]:.0f} kB a keyframe"
    )
    return 0


def _prune(options: argparse.Namespace) -> int:
    from hfnet_ros.map.map_io import check_map_target, load_map, save_map
    from hfnet_ros.map.scene_map import need_landmarks
    from hfnet_ros.mapping.pruning import prune_map

    check_map_target(options.out)
    visual_map = load_map(options.map)
    need_landmarks(visual_map, options.map, "`map prune`")
    pruned, reasons = prune_map(visual_map, options.min_observations)
    save_map(pruned, options.out)
    dropped = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    print(
        f"{options.out}: {pruned.num_landmarks} of {visual_map.num_landmarks} landmarks kept; dropped {dropped}"
    )
    return 0
