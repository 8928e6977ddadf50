"""OpenCV's thin prism and tilted sensor, expressed by the eight coefficients that ROS and COLMAP have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import CalibrationError
from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX, Camera, DistortionModel

FloatArray = NDArray[np.float64]

_GRID = 25
_MAX_RMS_PX = 0.25  # at the reference focal length: below the noise of keypoints


def fit_without_prism(camera: Camera, coefficients: FloatArray) -> tuple[Camera, str]:
    """Return the camera with eight coefficients that is closest to one with twelve or fourteen, and a note.

    The denominator k4 k5 k6 is kept, so that the rest is a linear problem with one solution: scale, k1 k2 k3,
    p1 p2 and the centre.

    Args:
        camera: with the first eight coefficients.
        coefficients: [12] or [14] k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 [tx ty].

    Raises:
        CalibrationError: the closest one is too far off.

    Reference: OpenCV, calib3d, "Detailed Description" (thin prism, tilt).
    """
    rays = _rays(camera)
    full = np.concatenate([coefficients, np.zeros(14 - len(coefficients))])
    target = _with_prism(rays, full)
    x, y = rays[:, 0], rays[:, 1]
    r2 = x * x + y * y
    k4, k5, k6 = full[5:8]
    below = 1.0 + r2 * (k4 + r2 * (k5 + r2 * k6))
    radial = np.stack([np.ones_like(r2), r2, r2**2, r2**3], axis=1) / below[:, None]
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate(
        [
            np.column_stack([radial * x[:, None], 2 * x * y, r2 + 2 * x * x, one, zero]),
            np.column_stack([radial * y[:, None], r2 + 2 * y * y, 2 * x * y, zero, one]),
        ]
    )
    found = np.linalg.lstsq(rows, target.T.reshape(-1), rcond=1e-10)[0]
    scale, center = found[0], camera.center + camera.focal * found[6:8]
    k1, k2, k3, p1, p2 = found[1:6] / scale
    fitted = Camera(
        DistortionModel.RATIONAL_POLYNOMIAL,
        camera.size_wh,
        camera.focal * scale,
        center,
        np.array([k1, k2, p1, p2, k3, k4, k5, k6]),
    )
    # In pixels of the reference camera.
    off = (rows @ found - target.T.reshape(-1)).reshape(2, -1) * REFERENCE_FOCAL_PX
    rms, largest = float(np.sqrt((off**2).sum(axis=0).mean())), float(np.linalg.norm(off, axis=0).max())
    if not (scale > 0.0 and rms <= _MAX_RMS_PX):
        raise CalibrationError(
            f"D has {len(coefficients)} coefficients with a thin prism or a tilted sensor that eight express only "
            f"to {rms:.2f} px, expected {_MAX_RMS_PX} px; recalibrate with eight (rational model alone), or rectify "
            "the images"
        )
    note = (
        f"D has {len(coefficients)} coefficients; thin prism and tilt are expressed by the other eight, to "
        f"{rms:.2f} px ({largest:.2f} px at the most)"
    )
    return fitted, note


def _rays(camera: Camera) -> FloatArray:
    """Return normalised coordinates [N, 2] over the image, as the first eight coefficients have it."""
    grid = np.stack(np.meshgrid(*(np.linspace(0, side - 1, _GRID) for side in camera.size_wh)), axis=-1)
    rays = camera.undistort(grid.reshape(-1, 2))
    seen: FloatArray = rays[np.isfinite(rays).all(axis=1)]
    return seen


def _with_prism(rays: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Return where OpenCV's full model puts normalised coordinates [N, 2]."""
    x, y = rays[:, 0], rays[:, 1]
    r2 = x * x + y * y
    s1, s2, s3, s4, tilt_x, tilt_y = coefficients[8:]
    bent = DistortionModel.RATIONAL_POLYNOMIAL.lens.distort(rays, coefficients[:8])
    bent = bent + np.stack([s1 * r2 + s2 * r2 * r2, s3 * r2 + s4 * r2 * r2], axis=1)
    if not (tilt_x or tilt_y):
        return bent
    sin_x, cos_x, sin_y, cos_y = np.sin(tilt_x), np.cos(tilt_x), np.sin(tilt_y), np.cos(tilt_y)
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cos_x, sin_x], [0.0, -sin_x, cos_x]])
    about_y = np.array([[cos_y, 0.0, -sin_y], [0.0, 1.0, 0.0], [sin_y, 0.0, cos_y]])
    turned = about_y @ about_x
    onto_sensor = np.array(
        [[turned[2, 2], 0.0, -turned[0, 2]], [0.0, turned[2, 2], -turned[1, 2]], [0.0, 0.0, 1.0]]
    )
    tilted = np.column_stack([bent, np.ones(len(bent))]) @ (onto_sensor @ turned).T
    return np.asarray(tilted[:, :2] / tilted[:, 2:])
