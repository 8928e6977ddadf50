"""Which maps and queries the benchmarks of scene-coordinate networks take, and the networks of these maps.

`NAME[-EVERY][@SEED]`: redkitchen, redkitchen-hard, redkitchen-photos, euroc-1, euroc-3, walk-6@61 (generated apartment
61, of whose mapping walk every sixth image is mapped, asked along another walk) and aside-6@61 (from beside the walk).
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from matching import SETS, Asked, _aside, _euroc, picture

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import create_mapping_extractor, with_extractor_of
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.scene import build_apartment, demo_camera, query_walk
from hfnet_ros.trust.tested_build import build_map

_WALK_ASKED = 8  # of the walk's images, every so many


def asked_of(name: str, data: Path, photos: int = 400) -> Asked:
    """Return images to map and images to ask."""
    base, seed = _parts(name)
    kind, _, every = base.rpartition("-")
    options = argparse.Namespace(data=data, seed=seed, photos=photos)
    if kind == "walk":
        return _walk(options, int(every))
    if kind == "aside":
        return _aside(options, int(every))
    if kind == "euroc":
        return _euroc(options, int(every))
    return SETS[base](options)


def map_with_scene(
    name: str,
    source: Any,
    cache: Path,
    extractor: str,
    of_scene: Mapping[str, Any],
    tag: str = "",
    left_out: Mapping[str, bool] | None = None,
) -> VisualMap:
    """Return the map of a set with a network trained on it; those in the cache are taken."""
    path = cache / f"{_map_name(name)}-{extractor}.map"
    config = Config.from_dict({"extractor": {"name": extractor}, "scene": dict(of_scene)})
    if not path.exists():
        with contextlib.closing(create_mapping_extractor(config)) as opened:
            save_map(build_map(source, opened, config, BuildOptions()), path)
    trained = path.with_suffix(f".{tag or 'scene'}.map")
    if not trained.exists():
        from dataclasses import replace

        from hfnet_ros.training.scene_hybrid_network import HybridOptions
        from hfnet_ros.training.scene_training import train_scene
        from hfnet_ros.training.trainer import set_threads

        set_threads(1)
        visual_map = load_map(path)
        config = with_extractor_of(config, visual_map.extractor_id)
        images: dict[str, Callable[[], Any]] = {image.name: image.read for image in source.images}
        with contextlib.closing(create_mapping_extractor(config)) as opened:
            scene = train_scene(
                visual_map,
                partial(_read, images, visual_map),
                opened,
                config,
                options=HybridOptions(**(left_out or {})),
            )
        save_map(replace(visual_map, scene=scene), trained)
    return load_map(trained)


def _read(images: Mapping[str, Callable[[], Any]], visual_map: VisualMap, row: int) -> Any:
    return images[visual_map.keyframe_names[row]]()


def _parts(name: str) -> tuple[str, int]:
    base, _, seed = name.partition("@")
    return base, int(seed or 21)


def _map_name(name: str) -> str:
    base, seed = _parts(name)
    base = base.replace("walk", "apartment").replace("aside", "apartment")
    return f"{base.removesuffix('-hard').removesuffix('-photos')}{f'-{seed}' if 'apartment' in base else ''}"


def _walk(options: argparse.Namespace, every: int) -> Asked:
    source, camera = _aside(options, every).source, demo_camera()
    scene = build_apartment(options.seed)
    poses = [pose for _, pose in query_walk(scene)][::_WALK_ASKED]
    return Asked(
        source, [(picture(scene, camera, pose, 2000 + row), pose) for row, pose in enumerate(poses)], camera
    )
