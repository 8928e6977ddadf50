"""Open a map for the images that a verb asks about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.localization.scene_model import OpenedLocalizer, SceneModel
from hfnet_ros.map.visual_map import MapCamera


def open_for_images(
    model: SceneModel, config: Config, camera: Camera, *, extractor_given: bool
) -> OpenedLocalizer:
    """Open a localizer for images of a camera, with the extractor asked for, else the map's own."""
    return model.open(config if extractor_given else model.configured(config), camera.size_wh)


def query_camera(path: Path | None, cameras: Sequence[MapCamera]) -> Camera:
    """Return the calibration of a file, or the map's camera where no file is named.

    Raises:
        CalibrationError: the file cannot be read.
        ConfigError: no file is named, and the map was taken with several cameras.
    """
    from hfnet_ros.files.camera_yaml import read_camera_yaml

    if path is not None:
        return read_camera_yaml(path)
    if len(cameras) != 1:
        raise ConfigError(
            f"the map was taken with {len(cameras)} cameras; name the calibration with --camera"
        )
    return cameras[0].refined
