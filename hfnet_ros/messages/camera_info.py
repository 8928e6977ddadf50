"""Calibrations of sensor_msgs/CameraInfo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import CalibrationError
from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.pixels import rescale_pixels

if TYPE_CHECKING:
    from hfnet_ros.messages.factory import MessageFactory

_MAX_SKEW = 1e-6  # of the focal length; the pinhole model here has none


def camera_from_message(message: Any, *, rectified: bool = False) -> Camera:
    """Return the calibration of the images that go with a CameraInfo of ROS 2 or ROS 1.

    K, D and P describe the full image; the region of interest is cut out of it, then pixels are
    binned. Pixel areas scale, so the centre moves by `(c - offset + 0.5) / binning - 0.5`
    (image_geometry leaves out the halves).

    Args:
        message: sensor_msgs/CameraInfo.
        rectified: the images are rectified (`image_rect`): they follow P and have no distortion,
            though the message still holds D of the raw image.

    Raises:
        CalibrationError: the camera is not calibrated (K is zero), a value is not finite, a size
            is zero, the distortion model is unknown, or region and binning do not fit the size.
    """
    full_wh = (int(message.width), int(message.height))
    if min(full_wh) <= 0:
        raise CalibrationError(f"CameraInfo says {full_wh[0]}x{full_wh[1]} px, expected both positive")
    name = str(message.distortion_model)
    if rectified:
        matrix, model, distortion = _field(message, "p", (3, 4))[:, :3], DistortionModel.NONE, np.zeros(0)
    else:
        matrix = _field(message, "k", (3, 3))
        model, distortion = DistortionModel.from_ros(name), _field(message, "d", (-1,))
    _check_matrix(matrix, "P" if rectified else "K")
    full = Camera(model, full_wh, matrix[[0, 1], [0, 1]], matrix[:2, 2], distortion)
    return _cut_and_bin(full, message)


def camera_to_message(factory: MessageFactory, camera: Camera, header: Any) -> Any:
    """Return a CameraInfo of unrectified images without region of interest or binning."""
    matrix = camera.intrinsics
    model, distortion = camera.model, camera.distortion
    if model is DistortionModel.NONE:  # ROS has no name for it: no distortion is plumb_bob with zeros
        model, distortion = DistortionModel.PLUMB_BOB, np.zeros(5)
    return factory.make(
        "sensor_msgs/msg/CameraInfo",
        header=header,
        width=camera.size_wh[0],
        height=camera.size_wh[1],
        distortion_model=model.value,
        d=distortion.copy(),
        k=matrix.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.hstack([matrix, np.zeros((3, 1))]).reshape(-1),
    )


def _field(message: Any, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an array of the message; ROS 1 writes its name in upper case."""
    values = getattr(message, name) if hasattr(message, name) else getattr(message, name.upper())
    array = np.array(values, np.float64)
    if not np.isfinite(array).all():
        raise CalibrationError(f"CameraInfo's {name.upper()} is not finite: {array.tolist()}")
    return array.reshape(shape)


def _check_matrix(matrix: NDArray[np.float64], name: str) -> None:
    """Refuse a camera matrix [3, 3] that is zero or no pinhole's."""
    if not matrix.any():
        raise CalibrationError(
            f"CameraInfo's {name} is all zeros: the driver has no calibration; calibrate the camera first"
        )
    rest = [matrix[0, 1], matrix[1, 0], *matrix[2, :2], matrix[2, 2] - 1.0]
    if np.abs(rest).max() > _MAX_SKEW * max(1.0, abs(matrix[0, 0])):
        raise CalibrationError(
            f"CameraInfo's {name} is {matrix.tolist()}, expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"
        )


def _cut_and_bin(full: Camera, message: Any) -> Camera:
    """Return the calibration of the region of interest after binning."""
    roi = message.roi
    offset = (int(roi.x_offset), int(roi.y_offset))
    size = (int(roi.width) or full.size_wh[0] - offset[0], int(roi.height) or full.size_wh[1] - offset[1])
    binning = np.array([max(1, int(message.binning_x)), max(1, int(message.binning_y))])
    end = np.add(offset, size)
    if (end > full.size_wh).any() or min(size) < 1 or (np.array(size) < binning).any():
        raise CalibrationError(
            f"CameraInfo's region of interest {size[0]}x{size[1]} at {offset} with binning "
            f"{binning[0]}x{binning[1]} does not fit the image of {full.size_wh[0]}x{full.size_wh[1]} px"
        )
    width, height = (np.array(size) // binning).tolist()
    scale = 1.0 / binning
    center = rescale_pixels(full.center - offset, scale)
    return Camera(full.model, (width, height), full.focal * scale, center, full.distortion)
