"""The images of a map's keyframes, found again by their names: to train on them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hfnet_ros.cli.bag_sources import add_camera_options, add_cameras_option, bag_choices, with_cameras
from hfnet_ros.cli.options import add_mask_option, tracked
from hfnet_ros.errors import ConfigError
from hfnet_ros.files.camera_mask import CameraMask, masks_of, read_masked
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.types import ImageArray

if TYPE_CHECKING:
    from hfnet_ros.config import CamerasConfig, Config

# As `mapping.joining` numbers names that are taken.
_NUMBERED = re.compile(r"~\d+$")

ReadPixels = Callable[[int], ImageArray]
Find = Callable[[str], Callable[[], ImageArray] | None]


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the images of a map's keyframes are."""
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders with the images that the map was built from; of a rig NAME=DIR,NAME=DIR",
    )
    parser.add_argument(
        "--bag", nargs="+", type=Path, default=[], metavar="BAG", help="or recordings that they are in"
    )
    of_bag = parser.add_argument_group("with --bag")
    add_camera_options(of_bag)
    add_cameras_option(of_bag)
    add_mask_option(parser)
    parser.set_defaults(base_frame=None, base_from_camera="")  # where cameras sit does not matter


def images_of(
    visual_map: VisualMap, options: argparse.Namespace, config: Config, kept: ExitStack
) -> ReadPixels | None:
    """Return what reads the image of a keyframe by its row; None where no images are named.

    Args:
        visual_map: whose keyframes are meant.
        options: of `add_image_options`.
        config: parameters.
        kept: pixels of bags last as long as this.

    Raises:
        ConfigError: a keyframe has no image in what is named, or several.
    """
    if not options.images and not options.bag:
        return None
    places = [in_folder(folder, config.cameras) for folder in options.images]
    places += [_in_bag(visual_map, path, options, config, kept) for path in options.bag]
    named = ", ".join(str(place) for place in [*options.images, *options.bag])
    return pixels_by_row(visual_map, range(visual_map.num_keyframes), places, named)


def pixels_by_row(
    visual_map: VisualMap, rows: Sequence[int], places: Sequence[Find], named: str
) -> ReadPixels:
    """Return what reads the images of some keyframes.

    Keyframes of one name, which a map numbers, are of several sessions: their images are in as many places, in the
    same order.

    Args:
        visual_map: whose keyframes are meant.
        rows: of the keyframes.
        places: in which images are looked for by name, in the order in which the sessions became part of the map.
        named: the places, for messages.

    Raises:
        ConfigError: a keyframe has no image there, or several.
    """
    by_name: dict[str, list[int]] = {}
    for row in rows:
        by_name.setdefault(_own_name(visual_map.keyframe_names[row]), []).append(row)
    found: dict[int, Callable[[], ImageArray]] = {}
    for name, own_rows in by_name.items():
        images = [image for find in places if (image := find(name)) is not None]
        if len(images) > len(own_rows):
            raise ConfigError(
                f"{named}: keyframe '{name}' has {len(images)} images there, expected {len(own_rows)}"
            )
        found |= dict(zip(own_rows, images, strict=False))
    missing = [row for row in rows if row not in found]
    if missing:
        raise ConfigError(
            f"{named}: {len(missing)} of {len(rows)} keyframes have no image there, first "
            f"'{visual_map.keyframe_names[missing[0]]}'; name all folders that the map was built from"
        )

    def read(row: int) -> ImageArray:
        image = found[row]()
        camera = visual_map.cameras[visual_map.camera_idx_of(row)]
        (camera.given or camera.refined).check_size(image.shape, visual_map.keyframe_names[row])
        return image

    return read


def _own_name(name: str) -> str:
    """Return the name that an image had before it became part of a map that had one of this name already."""
    return _NUMBERED.sub("", name)


def in_folder(words: str, cameras: CamerasConfig) -> Find:
    """Return what finds images in a folder, or in the folders of a rig's cameras, NAME=DIR,NAME=DIR.

    Args:
        words: the folders.
        cameras: what is said of the cameras: their masks.

    Raises:
        ConfigError: a folder is not there, or as `masks_of`.
    """
    folders = {"": Path(words)}
    if "=" in words and not folders[""].exists():
        folders = {name: Path(path) for name, _, path in (word.partition("=") for word in words.split(","))}
    for folder in folders.values():
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder; expected images of the map's keyframes")
    return partial(_find, folders, masks_of(cameras, folders))


def by_name(images: Mapping[str, Callable[[], ImageArray]]) -> Find:
    """Return what finds images that are known by name."""
    return images.get


def _find(
    folders: Mapping[str, Path], masks: Mapping[str, CameraMask], name: str
) -> Callable[[], ImageArray] | None:
    path = PurePosixPath(name)
    # Names come from a map, which may be anybody's.
    if path.is_absolute() or ".." in path.parts:
        return None
    for camera, folder in folders.items():
        inside = path
        if camera:
            if path.parts[:1] != (camera,):
                continue
            inside = path.relative_to(camera)
        if (folder / inside).is_file():
            return partial(read_masked, folder / inside, masks.get(camera))
    return None


def _in_bag(
    visual_map: VisualMap, path: Path, options: argparse.Namespace, config: Config, kept: ExitStack
) -> Find:
    """Keep the images of a bag that keyframes are named after."""
    from hfnet_ros.bags import BagReader
    from hfnet_ros.mapping.views import MappingImage
    from hfnet_ros.replay import open_camera
    from hfnet_ros.replay.keyframes import KeyframeStore

    store, wanted = kept.enter_context(KeyframeStore()), set(map(_own_name, visual_map.keyframe_names))
    found: dict[str, Any] = {}
    with BagReader(path) as bag:
        sources = open_camera(bag, bag_choices(options), with_cameras(config, options))
        for alone in sources.each_alone(bag):
            camera = alone.cameras[0].name
            for frame in tracked(alone.frames, f"read bag {camera}".strip(), len(alone.frames)):
                name = f"{camera}/{frame.name}" if camera else frame.name
                if name in wanted:
                    found[name] = store.keep(MappingImage(name, frame.stamp_ns, 0, frame.image)).read
    return by_name(found)
