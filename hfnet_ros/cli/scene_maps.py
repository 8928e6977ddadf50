"""Scene-coordinate networks in maps: verb `map train`, and what `map build` and `map update` do about them."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfnet_ros.cli.options import ProgressBars, add_config_options, new_verb, read_config
from hfnet_ros.cli.scene_training import (
    KINDS,
    NO_TORCH,
    add_training_options,
    depths_of,
    has_torch,
    need_torch,
    network_text,
    refuse_depth,
    train_network,
    with_training_options,
)
from hfnet_ros.errors import ConfigError, DatasetError, ImageError, MappingError

if TYPE_CHECKING:
    from hfnet_ros.cli.training_folder import TrainingFolder
    from hfnet_ros.config import CamerasConfig, Config
    from hfnet_ros.features.extractor import NetworkExtractor
    from hfnet_ros.map.visual_map import VisualMap
    from hfnet_ros.mapping.sources import ColmapModel, PosedImages, UnposedImages

    Source = PosedImages | ColmapModel | UnposedImages

_TRAIN = """hfnet-ros map train kitchen.map --images map --out trained.map
  hfnet-ros map train kitchen.map --bag robot.bag --kind scene --out small.map   # without landmarks
  hfnet-ros map train kitchen.map --out trained.map    # a map built with --keep-observations needs no images"""
# Options that do not decide what comes out.
_NO_MATTER = ("run", "verbose", "threads", "params")
LEFT_OUT = "scene network: left out"


def add_verb(maps: Any) -> None:
    """Add `map train` to the verbs of `map`."""
    from hfnet_ros.cli.keyframe_images import add_image_options

    train = new_verb(
        maps, "train", "train a scene-coordinate network for a map (needs PyTorch)", _TRAIN, _train
    )
    train.add_argument("map", type=Path, metavar="MAP", help="map with landmarks, which stays as it is")
    train.add_argument("--out", type=Path, required=True, metavar="NEW", help="map to write")
    train.add_argument(
        "--kind",
        choices=KINDS[1:],
        default="both",
        help="keep the landmarks beside the network, or leave them out (scene: a map of a few MB) (default: both)",
    )
    add_image_options(train)
    add_training_options(train)
    add_config_options(train, extractor=False)


def add_kind_option(build: argparse.ArgumentParser) -> None:
    """Add the options of `map build` about what kind of map it makes."""
    build.add_argument(
        "--kind",
        choices=KINDS,
        default="landmarks",
        help="what localizes: landmarks; a scene-coordinate network that is trained (scene); or both, a network beside "
        "the landmarks (docs/scene_coordinates.md) (default: landmarks)",
    )
    add_training_options(build)


def refuse_kind(options: argparse.Namespace) -> None:
    """Refuse what `map build` cannot do, before anything is loaded.

    Raises:
        ConfigError: PyTorch is missing, or an option of training goes with no training.
    """
    if options.kind != "landmarks":
        need_torch()
        return
    for name in ("scene_network", "depth_images", "depth_camera"):
        if getattr(options, name):
            raise ConfigError(f"--{name.replace('_', '-')} needs --kind scene or both")


class NetworkBuild:
    """What `map build --kind scene` and `both` do after the map is built, and what an interruption leaves of it."""

    def __init__(
        self, options: argparse.Namespace, config: Config, source: Source, extractor: NetworkExtractor
    ) -> None:
        """Look for an interrupted build of the same map.

        Raises:
            ConfigError: something else is beside the map to write.
            DatasetError: a COLMAP model cannot be read.
        """
        from hfnet_ros.cli.training_folder import TrainingFolder
        from hfnet_ros.mapping.colmap_model import read_colmap_model
        from hfnet_ros.mapping.sources import ColmapModel

        if isinstance(source, ColmapModel):
            source = read_colmap_model(source)
        self.source = source
        self._options = options
        self._config = config
        self._extractor = extractor
        wanted = {name: value for name, value in vars(options).items() if name not in _NO_MATTER}
        images = [(image.name, image.stamp_ns) for image in source.images]
        self._folder = TrainingFolder(
            options.out, {"options": wanted, "config": _deciding(config), "images": images}
        )
        say_resumed(self._folder)

    def finish(self, make: Callable[[], VisualMap], bars: ProgressBars) -> VisualMap:
        """Return the map with its network, without landmarks where that was asked for."""
        from hfnet_ros.cli.keyframe_images import by_name, pixels_by_row

        visual_map = self._folder.map_of(make)
        images = by_name({image.name: image.read for image in self.source.images})
        rows = range(visual_map.num_keyframes)
        pixels = pixels_by_row(visual_map, rows, [images], "the images")
        return with_network(
            visual_map, pixels, self._extractor, self._config, bars, self._folder, self._options
        )

    def remove(self) -> None:
        """Delete what an interrupted build would go on from."""
        self._folder.remove()


def with_network(
    visual_map: VisualMap,
    pixels: Any,
    extractor: NetworkExtractor,
    config: Config,
    bars: ProgressBars,
    folder: TrainingFolder,
    options: argparse.Namespace,
) -> VisualMap:
    """Return the map with a network trained for it, without landmarks if it shall be of kind `scene`."""
    from hfnet_ros.map.scene_map import without_landmarks

    try:
        depths = depths_of(visual_map, options)
        scene = train_network(visual_map, pixels, extractor, config, bars, folder.checkpoint, depths=depths)
    except (MappingError, DatasetError) as error:
        folder.remove_without_checkpoint()
        if folder.holds_map:
            raise type(error)(f"{error} (the map of landmarks is in {folder.path / 'map'})") from error
        raise
    trained = dataclasses.replace(visual_map, scene=scene)
    return without_landmarks(trained) if options.kind == "scene" else trained


def _deciding(config: Config) -> dict[str, Any]:
    """Return the parameters but for those of how networks are run."""
    return {section: values for section, values in config.to_dict().items() if section != "inference"}


def say_resumed(folder: TrainingFolder) -> None:
    """Print where an interrupted run went on, or would."""
    if folder.is_resumed:
        print(f"going on with what was interrupted: {folder.path}")
    else:
        print(f"if it is interrupted, the same command goes on: {folder.path}")


def _train(options: argparse.Namespace) -> int:
    from hfnet_ros.cli.keyframe_images import images_of
    from hfnet_ros.cli.training_folder import TrainingFolder
    from hfnet_ros.features.extractor import create_mapping_extractor, with_extractor_of
    from hfnet_ros.map.manifest import read_manifest
    from hfnet_ros.map.map_io import check_map_target, load_map, save_map
    from hfnet_ros.map.scene_map import need_landmarks

    need_torch()
    check_map_target(options.out)
    visual_map = load_map(options.map)
    need_landmarks(visual_map, options.map, "`map train`")
    config = with_training_options(read_config(options), options)
    refuse_depth(options, config)
    config = with_extractor_of(config, visual_map.extractor_id)
    bars = ProgressBars()
    with ExitStack() as kept:
        pixels = images_of(visual_map, options, config, kept)
        wanted = {
            "map": read_manifest(options.map)[0]["manifest_sha256"],
            "config": _deciding(config),
            "images": [*options.images, *options.bag, options.depth_images, options.depth_camera],
        }
        extractor = create_mapping_extractor(config)
        kept.callback(extractor.close)
        folder = TrainingFolder(options.out, wanted)
        say_resumed(folder)
        trained = with_network(visual_map, pixels, extractor, config, bars, folder, options)
        save_map(trained, options.out)
        folder.remove()
    assert trained.scene is not None
    print(f"{options.out}: scene network: {network_text(trained.scene)}")
    return 0


def gone_on(
    before: VisualMap,
    updated: VisualMap,
    session: PosedImages,
    earlier: Sequence[str],
    extractor: NetworkExtractor,
    config: Config,
    bars: ProgressBars,
) -> VisualMap:
    """Return an updated map with the network of the map before, trained on; without it where that cannot be.

    What was done, or why not, is printed.

    Args:
        before: with a network.
        updated: its keyframes come first in it.
        session: images of the others.
        earlier: folders with images of the first ones.
        extractor: of the map.
        config: parameters.
        bars: shows how far it is.
    """
    assert before.scene is not None
    remedy = "train one by `hfnet-ros map train`"
    if not has_torch():
        print(f"{LEFT_OUT}: {NO_TORCH}, or {remedy} where it is", file=sys.stderr)
        return updated
    if not earlier:
        print(
            f"{LEFT_OUT}: to go on it needs the images of all keyframes; name those of the map before by "
            f"--earlier-images, or {remedy}",
            file=sys.stderr,
        )
        return updated
    network = str(before.scene.facts.get("network", config.scene.network))
    config = dataclasses.replace(config, scene=dataclasses.replace(config.scene, network=network))
    try:
        pixels = _pixels_of_update(before, updated, session, earlier, config.cameras)
        scene = train_network(updated, pixels, extractor, config, bars, start_from=before.scene)
    except (ConfigError, MappingError, DatasetError, ImageError) as error:
        # The landmarks are updated; that work is not lost for the network.
        print(f"{LEFT_OUT}: {error}; {remedy}", file=sys.stderr)
        return updated
    print(f"scene network: {network_text(scene)}")
    return dataclasses.replace(updated, scene=scene)


def _pixels_of_update(
    before: VisualMap,
    updated: VisualMap,
    session: PosedImages,
    earlier: Sequence[str],
    cameras: CamerasConfig,
) -> Any:
    from hfnet_ros.cli.keyframe_images import by_name, in_folder, pixels_by_row

    first_new = before.num_keyframes
    places = [in_folder(folder, cameras) for folder in earlier]
    old = pixels_by_row(updated, range(first_new), places, ", ".join(earlier))
    images = by_name({image.name: image.read for image in session.images})
    new = pixels_by_row(updated, range(first_new, updated.num_keyframes), [images], "the new session")
    return lambda row: old(row) if row < first_new else new(row)


def say_left_out(*maps: VisualMap) -> None:
    """Print that a network does not go with a map that is made of others; nothing where none has one."""
    if any(one.scene is not None for one in maps):
        print(
            f"{LEFT_OUT}: it is of one map and its frame; train one by `hfnet-ros map train`", file=sys.stderr
        )
