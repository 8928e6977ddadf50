"""Train the scene-coordinate network of a map for `map build`, `map train` and `map update`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfnet_ros.config import SCENE_NETWORKS, Config
from hfnet_ros.errors import ConfigError, MappingError

if TYPE_CHECKING:
    from hfnet_ros.cli.keyframe_images import ReadPixels
    from hfnet_ros.cli.options import ProgressBars
    from hfnet_ros.features.extractor import NetworkExtractor
    from hfnet_ros.map.scene_network import SceneNetwork
    from hfnet_ros.map.visual_map import VisualMap
    from hfnet_ros.training.scene_depth import DepthSource

NO_TORCH = "training a scene-coordinate network needs PyTorch: pip install torch"
KINDS = ("landmarks", "scene", "both")
_HYBRID, _IMAGE_NETWORKS = "hybrid", ("dense", "dense-full")
# Of two cores of a PC with HF-Net at 640x480: a view described, and a step of training, s.
_VIEW_S, _STEP_S = 0.06, 0.2
_SHOWN_PER_OBSERVATION = 0.6
_DENSE_TIME = {"dense": "up to an hour on two cores", "dense-full": "hours on a GPU, weeks on two cores"}


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a network and what it learns from; `scene.*` of --params has all others."""
    parser.add_argument(
        "--scene-network",
        choices=SCENE_NETWORKS,
        help=f"network to train (default: {Config().scene.network}; docs/scene_coordinates.md)",
    )
    parser.add_argument(
        "--depth-images",
        type=Path,
        metavar="DIR",
        help="depth images of keyframes for a dense network to learn from: PNG of 16 bit, mm, named as these",
    )
    parser.add_argument(
        "--depth-camera", type=Path, metavar="FILE", help="calibration of the camera that took them"
    )


def refuse_depth(options: argparse.Namespace, config: Config) -> None:
    """Refuse depth images that nothing would learn from, before the work.

    Raises:
        ConfigError: says what is missing.
    """
    if bool(options.depth_images) != bool(options.depth_camera):
        raise ConfigError("--depth-images and --depth-camera are given together")
    if options.depth_images and config.scene.network not in _IMAGE_NETWORKS:
        raise ConfigError(
            f"--depth-images is for --scene-network {' or '.join(_IMAGE_NETWORKS)}: a {config.scene.network} network "
            "learns from landmarks"
        )


def depths_of(visual_map: VisualMap, options: argparse.Namespace) -> DepthSource | None:
    """Return the depth images that the options name; None without.

    Raises:
        CalibrationError: the calibration cannot be read.
        DatasetError: none is of a keyframe of the map.
    """
    if not options.depth_images:
        return None
    from hfnet_ros.files.camera_yaml import read_camera_yaml
    from hfnet_ros.training.scene_depth import depth_folder

    return depth_folder(visual_map, options.depth_images, read_camera_yaml(options.depth_camera))


def with_training_options(config: Config, options: argparse.Namespace) -> Config:
    """Return the parameters with what `add_training_options` added."""
    if not options.scene_network:
        return config
    return dataclasses.replace(config, scene=dataclasses.replace(config.scene, network=options.scene_network))


def has_torch() -> bool:
    """Tell whether PyTorch is installed; it is not loaded."""
    return importlib.util.find_spec("torch") is not None


def need_torch() -> None:
    """Refuse to begin what cannot be finished.

    Raises:
        ConfigError: PyTorch is not installed.
    """
    if not has_torch():
        raise ConfigError(NO_TORCH)


def load_trainer(num_threads: int) -> Callable[..., SceneNetwork]:
    """Return `training.scene_training.train_scene`; loading it takes seconds."""
    from hfnet_ros.training.scene_training import train_scene
    from hfnet_ros.training.trainer import set_threads

    set_threads(num_threads)
    return train_scene


def train_network(
    visual_map: VisualMap,
    pixels: ReadPixels | None,
    extractor: NetworkExtractor,
    config: Config,
    bars: ProgressBars,
    checkpoint: Path | None = None,
    start_from: SceneNetwork | None = None,
    depths: DepthSource | None = None,
) -> SceneNetwork:
    """Say what is trained and how long that takes, and do it.

    Args:
        visual_map: with landmarks.
        pixels: reads the image of a keyframe; None takes what the map kept of them.
        extractor: of the map.
        config: parameters.
        bars: shows how far it is.
        checkpoint: folder that an interrupted training goes on from.
        start_from: network to go on with.
        depths: depth images for a dense network.

    Raises:
        ConfigError: PyTorch is not installed, or a dense network shall learn without images.
        MappingError: keyframes, landmarks or memory do not suffice.
        ImageError: an image cannot be read.
    """
    need_torch()
    if pixels is None and config.scene.network in _IMAGE_NETWORKS:
        raise ConfigError(
            f"scene.network is '{config.scene.network}', which learns from images; name them, or take '{_HYBRID}'"
        )
    print(announcement(visual_map, config, with_images=pixels is not None), flush=True)
    train_scene = load_trainer(config.inference.num_threads)
    try:
        return train_scene(
            visual_map,
            pixels,
            extractor,
            config,
            progress=bars,
            checkpoint=checkpoint,
            start_from=start_from,
            depths=depths,
        )
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        raise MappingError(
            f"memory does not suffice to train a {config.scene.network} network ({error}); lower scene.views, take a "
            "smaller network, or train on another machine by `hfnet-ros map train`"
        ) from error
    finally:
        bars.close()


def announcement(visual_map: VisualMap, config: Config, *, with_images: bool) -> str:
    """Return the sentence that comes before a training: what is trained, on what, and for how long."""
    from hfnet_ros.training.scene_map_labels import held_out_rows
    from hfnet_ros.training.scene_samples import default_steps

    scene, count = config.scene, visual_map.num_keyframes
    held_out = len(held_out_rows(count))
    on = f"{count - held_out} of {count} keyframes"
    if scene.network != _HYBRID:
        duration = _DENSE_TIME[scene.network]
    else:
        views = (count - held_out) * (scene.views + 1 if with_images else 1)
        samples = _SHOWN_PER_OBSERVATION * views * visual_map.num_observations / max(count, 1)
        steps = scene.steps or default_steps(round(samples))
        minutes = (steps * _STEP_S + with_images * views * _VIEW_S) / 60.0
        duration = f"some {max(math.ceil(minutes), 1)} min on two cores"
        on += f", {scene.views} altered views of each" if with_images else ", by what the map kept of them"
    return f"training: {scene.network} network on {on}; {duration}; the others measure it"


def network_text(scene: SceneNetwork) -> str:
    """Return what a network is and how good, in a line."""
    facts = scene.facts
    parts = [
        f"{facts.get('network', 'network')}, {scene.num_leaves} leaves, {len(scene.network) / 1e6:.1f} MB",
        f"trained in {facts['duration_s']:.0f} s" if "duration_s" in facts else "",
        held_out_text(facts),
    ]
    tested = scene.consistency
    if tested.num_keyframes:
        parts.append(
            f"{tested.num_keyframes} of {tested.num_asked} held-out keyframes localized by it alone, "
            f"{tested.translation_m:.3f} m and {np.rad2deg(tested.rotation_rad):.2f} deg per axis"
        )
    elif tested.num_asked:
        parts.append(
            f"too few of {tested.num_asked} held-out keyframes localized by it alone: covariances are "
            "those of an untested network, the size of its leaves"
        )
    return "; ".join(filter(None, parts))


def held_out_text(facts: Any) -> str:
    """Return the best figures that training measured on held-out keyframes; "" without."""
    curves = facts.get("curves") or [{}]
    best = max(curves, key=lambda entry: entry.get("near", 0.0))
    if "near" not in best or "median_m" not in best:
        return ""
    return f"held-out points {best['median_m']:.3f} m off at the median, {100 * best['near']:.0f} % near"
