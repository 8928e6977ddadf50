"""Calibrations of sensor_msgs/CameraInfo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.calibration import Calibration, as_part_of_whole
from hfnet_ros.geometry.camera import Camera, DistortionModel

if TYPE_CHECKING:
    from hfnet_ros.messages.factory import MessageFactory


def camera_from_message(message: Any, *, rectified: bool = False) -> Camera:
    """Return the calibration of the images that go with a CameraInfo of ROS 2 or ROS 1.

    K, D and P describe the full image; the region of interest is cut out of it, then pixels are binned.

    Args:
        message: sensor_msgs/CameraInfo.
        rectified: the images are rectified (`image_rect`): they follow P and have no distortion,
            though the message still holds D of the raw image.

    Raises:
        CalibrationError: see `Calibration.camera`.
    """
    return calibration_from_message(message).camera(rectified=rectified)


def calibration_from_message(message: Any) -> Calibration:
    """Return what a CameraInfo states, not yet checked."""
    roi = message.roi
    return Calibration(
        size_wh=(int(message.width), int(message.height)),
        matrix=_field(message, "k").reshape(3, 3),
        model=str(message.distortion_model),
        coefficients=_field(message, "d"),
        projection=_field(message, "p").reshape(3, 4)[:, :3],
        offset=(int(roi.x_offset), int(roi.y_offset)),
        region_wh=(int(roi.width), int(roi.height)),
        binning=(max(1, int(message.binning_x)), max(1, int(message.binning_y))),
    )


def camera_to_message(factory: MessageFactory, camera: Camera, header: Any) -> Any:
    """Return a CameraInfo of unrectified images without binning; with a region of interest where it needs one."""
    whole, (left, top) = as_part_of_whole(camera)
    matrix = whole.intrinsics
    model, distortion = camera.model, camera.distortion
    if model is DistortionModel.NONE:  # ROS has no name for it: no distortion is plumb_bob with zeros
        model, distortion = DistortionModel.PLUMB_BOB, np.zeros(5)
    fields = {
        "header": header,
        "width": whole.size_wh[0],
        "height": whole.size_wh[1],
        "distortion_model": model.value,
        "d": distortion.copy(),
        "k": matrix.reshape(-1),
        "r": np.eye(3).reshape(-1),
        "p": np.hstack([matrix, np.zeros((3, 1))]).reshape(-1),
    }
    if whole is not camera:
        width, height = camera.size_wh
        fields["roi"] = factory.make(
            "sensor_msgs/msg/RegionOfInterest", x_offset=left, y_offset=top, width=width, height=height
        )
    return factory.make("sensor_msgs/msg/CameraInfo", **fields)


def _field(message: Any, name: str) -> NDArray[np.float64]:
    """Return an array of the message; ROS 1 writes its name in upper case."""
    values = getattr(message, name) if hasattr(message, name) else getattr(message, name.upper())
    return np.array(values, np.float64)
