"""What a query would be if its image were mirrored.

A facade, a corridor, all that is nearly symmetric looks in a mirror like itself, a little: left is matched with right,
and a pose explains that. Nothing within the image tells it from the place. But turned back, a mirrored image shows the
place as it is, and explains more of the map.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import ImageArray, ImageFeatures, RigCamera

_MIRROR = np.diag([-1.0, 1.0, 1.0])


def mirror_image(image: ImageArray) -> ImageArray:
    """Return the image as a mirror shows it."""
    return np.ascontiguousarray(image[:, ::-1])


def mirrored_view(view: RigCamera, features: ImageFeatures) -> tuple[RigCamera, ImageFeatures]:
    """Return which camera would see what was described in a mirrored image.

    It has no lens, since not every lens has a mirrored one: the lens is taken out of the keypoints instead.

    Args:
        view: calibration of the image before it was mirrored.
        features: of the mirrored image.

    Returns:
        The camera, mounted in the mirrored rig, and the features in its pixels; those that no ray leads to are dropped.
    """
    camera, mounting = view.camera, view.rig_from_camera
    pixels = np.asarray(features.local.keypoints, np.float64).copy()
    pixels[:, 0] = camera.size_wh[0] - 1.0 - pixels[:, 0]
    slopes = camera.undistort(pixels) * np.array([-1.0, 1.0])
    seen = np.flatnonzero(np.isfinite(slopes).all(axis=1))
    pinhole = Camera(DistortionModel.NONE, camera.size_wh, camera.focal, camera.center, np.zeros(0))
    placed = Rigid3(_MIRROR @ mounting.rotation @ _MIRROR, _MIRROR @ mounting.translation)
    moved = features.local.moved_to((slopes * camera.focal + camera.center).astype(np.float32)).chosen(seen)
    return RigCamera(pinhole, placed), dataclasses.replace(features, local=moved, coordinates=None)
