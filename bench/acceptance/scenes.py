"""The scenes by name: how each is mapped, and what is asked in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from acceptance.asks import Ask
from acceptance.workspace import RememberingExtractor, Workspace
from hfnet_ros.geometry import Camera, DistortionModel
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.types import ImageArray

# Given poses are refined as a build does by default, or wherever held-out landmarks agree.
REFINED = BuildOptions(refine_poses=BuildOptions().refine_poses or True)


@dataclass(frozen=True)
class Picture:
    """An image of a scene whatever it is asked for.

    Attributes:
        name: unique within the scene.
        read: returns the image.
        camera: its calibration; None where it comes out of the map.
    """

    name: str
    read: Callable[[], ImageArray]
    camera: Camera | None = None


@dataclass(frozen=True)
class Scene:
    """A map and its queries.

    Attributes:
        name: of the scene.
        place: scenes of one place are left out together.
        build: makes the map.
        asks: makes the queries that belong to the scene, with and without an answer in the map.
        pictures: images taken there, to be asked in the maps of other places.
        mapped: images of the map, to be hung up elsewhere as posters.
    """

    name: str
    place: str
    build: Callable[[Workspace, RememberingExtractor], VisualMap]
    asks: Callable[[Workspace, VisualMap], Sequence[Ask]]
    pictures: Callable[[Workspace], Sequence[Picture]]
    mapped: Callable[[Workspace], Sequence[Picture]]


def plain_camera(size_wh: tuple[int, int]) -> Camera:
    """Return what an uncalibrated camera is taken for."""
    focal = 0.8 * max(size_wh)
    centre = (np.array(size_wh, np.float64) - 1.0) / 2.0
    return Camera(DistortionModel.NONE, size_wh, np.array([focal, focal]), centre, np.zeros(0))
