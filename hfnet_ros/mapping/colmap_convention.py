"""Between this package and COLMAP: cameras, poses, and its talkative log.

Convention: COLMAP's `cam_from_world` is `map_from_camera.inverse()`; its pixels differ by the
half pixel that only `geometry.pixels` knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.pixels import colmap_from_pixels, pixels_from_colmap
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.pycolmap_library import pycolmap

# COLMAP drops every point of a camera whose coefficients it finds implausible (|k| > 1, as
# k3 = 1.16 of TUM fr1) without a word; a given calibration is not its business.
MAX_EXTRA_PARAM = 1e6
_LOG_FATAL_ONLY = 3  # failures arrive as exceptions anyway

# Per COLMAP model: number of focal lengths, our model, and the places of its coefficients in ours.
_MODELS: dict[str, tuple[int, DistortionModel, tuple[int, ...]]] = {
    "SIMPLE_PINHOLE": (1, DistortionModel.NONE, ()),
    "PINHOLE": (2, DistortionModel.NONE, ()),
    "SIMPLE_RADIAL": (1, DistortionModel.PLUMB_BOB, (0,)),
    "RADIAL": (1, DistortionModel.PLUMB_BOB, (0, 1)),
    "OPENCV": (2, DistortionModel.PLUMB_BOB, (0, 1, 2, 3)),
    "FULL_OPENCV": (2, DistortionModel.RATIONAL_POLYNOMIAL, tuple(range(8))),
    "SIMPLE_RADIAL_FISHEYE": (1, DistortionModel.EQUIDISTANT, (0,)),
    "RADIAL_FISHEYE": (1, DistortionModel.EQUIDISTANT, (0, 1)),
    "OPENCV_FISHEYE": (2, DistortionModel.EQUIDISTANT, (0, 1, 2, 3)),
}


def colmap_camera_from(camera: Camera, camera_id: int, with_distortion: bool = False) -> pycolmap.Camera:
    """Return COLMAP's camera with the same projection.

    Args:
        camera: ours.
        camera_id: COLMAP's id for it.
        with_distortion: choose a model that has coefficients to refine, even if all are zero.

    Raises:
        MappingError: COLMAP does not have the camera's distortion model.
    """
    if not has_colmap_equal(camera):
        known = ", ".join(dict.fromkeys(model for _, model, _ in _MODELS.values()))
        raise MappingError(
            f"COLMAP has no equal of the distortion model '{camera.model}'; known are {known}: give poses that are "
            "not to be refined, rectify the images, or express the calibration in one of these"
        )
    name, coefficients = "PINHOLE", camera.distortion[:0]
    if camera.model is DistortionModel.EQUIDISTANT:
        name, coefficients = "OPENCV_FISHEYE", camera.distortion
    elif needs_full_opencv(camera):
        name, coefficients = "FULL_OPENCV", np.resize(np.append(camera.distortion, np.zeros(8)), 8)
    elif camera.has_distortion or with_distortion:
        name, coefficients = "OPENCV", np.resize(np.append(camera.distortion, np.zeros(4)), 4)
    params = np.concatenate([camera.focal, colmap_from_pixels(camera.center), coefficients])
    width, height = camera.size_wh
    return pycolmap.Camera(model=name, width=width, height=height, params=params, camera_id=camera_id)


def has_colmap_equal(camera: Camera) -> bool:
    """Tell whether COLMAP knows the camera's distortion model; one that was registered later it does not."""
    return any(camera.model is model for _, model, _ in _MODELS.values())


def needs_full_opencv(camera: Camera) -> bool:
    """Tell whether COLMAP can express the lens only with all of k1 to k6."""
    return camera.model is not DistortionModel.EQUIDISTANT and bool(camera.distortion[4:].any())


def camera_from_colmap(camera: pycolmap.Camera) -> Camera:
    """Return our camera with the same projection as COLMAP's.

    Raises:
        MappingError: the camera model has no equal in ROS CameraInfo.
    """
    name = camera.model.name
    if name not in _MODELS:
        raise MappingError(
            f"camera {camera.camera_id} has COLMAP's model {name}, which ROS cannot express; known are "
            f"{', '.join(_MODELS)}: run COLMAP again with --ImageReader.camera_model OPENCV"
        )
    num_focals, model, places = _MODELS[name]
    params = np.array(camera.params, np.float64)
    distortion = np.zeros(max(places, default=-1) + 1)
    distortion[list(places)] = params[num_focals + 2 :]
    return Camera(
        model,
        (int(camera.width), int(camera.height)),
        np.broadcast_to(params[:num_focals], 2).copy(),
        pixels_from_colmap(params[num_focals : num_focals + 2]),
        distortion,
    )


def colmap_pose_from(map_from_camera: Rigid3) -> pycolmap.Rigid3d:
    """Return COLMAP's `cam_from_world` of a pose."""
    camera_from_map = map_from_camera.inverse()
    rotation = pycolmap.Rotation3d(camera_from_map.quat_xyzw)
    return pycolmap.Rigid3d(rotation, camera_from_map.translation)


def pose_from_colmap(image: pycolmap.Image) -> Rigid3:
    """Return map_from_camera of a registered COLMAP image."""
    camera_from_map = image.cam_from_world()
    rotation = np.array(camera_from_map.rotation.matrix(), np.float64)
    return Rigid3(rotation, np.array(camera_from_map.translation, np.float64)).inverse()


@contextmanager
def quiet_colmap() -> Iterator[None]:
    """Keep COLMAP's messages off the console for a while; its failures are exceptions."""
    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = max(before, _LOG_FATAL_ONLY)
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before
