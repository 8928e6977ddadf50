"""Which images a benchmark asks a map: some with known poses, and photographs of other places."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from hfnet_ros.files.images import list_images, read_image
from hfnet_ros.files.posed_images import pair_images_with_poses
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import ImageArray


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add the map, its camera and what is asked."""
    parser.add_argument("--map", type=Path, required=True)
    parser.add_argument("--camera", type=Path, required=True)
    parser.add_argument("--queries", nargs=3, action="append", default=[], metavar=("DIR", "TUM", "EVERY"))
    parser.add_argument("--photos", nargs=2, action="append", default=[], metavar=("DIR", "COUNT"))


def query_images(folder: str, poses: str, every: str) -> list[tuple[Path, Rigid3]]:
    """Return images of `--queries` and their true map_from_camera."""
    paired = pair_images_with_poses(Path(folder), Path(poses))[:: int(every)]
    return [(image.path, image.map_from_camera) for image in paired]


def photo_paths(folder: str, count: str) -> list[Path]:
    """Return some photographs of `--photos`, the same ones every time."""
    paths = list_images(Path(folder))
    chosen = np.random.default_rng(0).choice(len(paths), min(int(count), len(paths)), replace=False)
    return [paths[index] for index in sorted(chosen)]


def image_of_size(path: Path, size_wh: tuple[int, int]) -> ImageArray:
    """Read an image; one of another size is stretched to that of the camera."""
    image = read_image(path)
    return image if image.shape[1::-1] == size_wh else cv2.resize(image, size_wh)
