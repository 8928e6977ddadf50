"""Calibrations that cannot be: a principal point or focal length that no image of that size has.

A pose found with the focal length of another resolution is metres off and thinks itself exact, so that this is
the place to notice it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import CalibrationError
from hfnet_ros.geometry.camera import Camera, DistortionModel

FloatArray = NDArray[np.float64]

_BORDER = 0.03  # of width or height; a principal point nearer to an edge is none
_ODD_OFFSET = 0.1  # of width or height from the middle; sensors and lenses are mounted better than that
_OTHER_SIZE = 1.15  # both coordinates point to an image larger or smaller by at least this
_SAME_RATIO = 0.08
_ASPECTS = (5 / 4, 4 / 3, 3 / 2, 16 / 10, 16 / 9)
_FOCAL_LIMITS = (0.08, 50.0)  # of the longer side
_ODD_FOCAL = (0.2, 8.0)
_ASPECT_LIMIT, _ODD_ASPECT = 4.0, 1.2  # of fx to fy, either way
_MAX_FOLDED = 0.1  # part of the image that no ray may lead to
_GRID = 12
_SAME_CAMERA = 0.08


def check_plausible(camera: Camera) -> list[str]:
    """Return what is odd about a calibration of a full image, in sentences; nothing as a rule.

    Raises:
        CalibrationError: no camera is like that, or its numbers are those of another resolution.
    """
    problem = principal_point_problem(camera)
    if problem:
        raise CalibrationError(problem)
    check_focal(camera)
    return [*_oddities(camera)]


def check_focal(camera: Camera) -> None:
    """Refuse a focal length that no lens has, whether the images are whole or parts of larger ones.

    Raises:
        CalibrationError: it cannot be.
    """
    share, aspect = _focal_shares(camera)
    if share.min() < _FOCAL_LIMITS[0] or share.max() > _FOCAL_LIMITS[1] or aspect > _ASPECT_LIMIT:
        raise CalibrationError(
            f"{_focal(camera)} for an image of {_size(camera)} px, which no lens has; is it in mm, or of another "
            "camera?"
        )


def differs_from(camera: Camera, known: Camera) -> str:
    """Return in what a calibration differs from one of the map of the same size; empty if it does not much."""
    if camera.size_wh != known.size_wh:
        return ""
    ratio = camera.focal / known.focal
    offset = np.abs(camera.center - known.center) / camera.size_wh
    if np.abs(np.log(ratio)).max() <= np.log1p(_SAME_CAMERA) and offset.max() <= 0.5 * _SAME_CAMERA:
        return ""
    return (
        f"the calibration has a focal length of ({camera.focal[0]:.1f}, {camera.focal[1]:.1f}) px and its centre "
        f"at ({camera.center[0]:.1f}, {camera.center[1]:.1f}), the map's camera of {_size(camera)} px "
        f"({known.focal[0]:.1f}, {known.focal[1]:.1f}) and ({known.center[0]:.1f}, {known.center[1]:.1f}); if "
        "that is the same camera, one of the two is wrong"
    )


def _oddities(camera: Camera) -> Iterator[str]:
    focal, (share, aspect) = _focal(camera), _focal_shares(camera)
    offset = np.abs(_relative_offset(camera)).max()
    if offset > _ODD_OFFSET:
        yield (
            f"{_principal_point(camera)}, {100 * offset:.0f} % of the side from the middle; is that the "
            "calibration of another resolution, or was the image cut?"
        )
    is_wide = camera.model is DistortionModel.EQUIDISTANT
    if (share.min() < _ODD_FOCAL[0] and not is_wide) or share.max() > _ODD_FOCAL[1]:
        yield f"{focal} for an image of {_size(camera)} px, which is unusual; is it of that resolution?"
    if aspect > _ODD_ASPECT:
        yield f"{focal}: pixels are seldom that far from square; was the image stretched, or cut?"
    if not is_wide and camera.has_distortion:
        grid = np.stack(np.meshgrid(*(np.linspace(0, side - 1, _GRID) for side in camera.size_wh)), axis=-1)
        folded = float(np.isnan(camera.undistort(grid.reshape(-1, 2))[:, 0]).mean())
        if folded > _MAX_FOLDED:
            yield (
                f"no ray leads to {100 * folded:.0f} % of the image by its distortion "
                f"({camera.model.value}); are these the coefficients of that model and resolution?"
            )


def principal_point_problem(camera: Camera) -> str:
    """Return why the principal point of a full image cannot be; empty if it can."""
    size, center = np.array(camera.size_wh, np.float64), camera.center
    said, other = _principal_point(camera), f"expected near {_pair((size - 1.0) / 2.0)}"
    if np.abs(_relative_offset(camera)).max() > _ODD_OFFSET:
        swapped = np.abs((center[::-1] + 0.5) / size - 0.5).max()
        if swapped < 0.5 * np.abs(_relative_offset(camera)).max() and swapped < _ODD_OFFSET:
            return f"{said}, {other}: cx and cy are swapped, or width and height"
        # The image whose middle this is.
        implied = 2.0 * center + 1.0
        ratio = implied / size
        if (ratio > _OTHER_SIZE).all() or ((ratio > 0.0) & (ratio < 1.0 / _OTHER_SIZE)).all():
            aspect = implied.max() / implied.min()
            is_scaled = abs(ratio[0] / ratio[1] - 1.0) < _SAME_RATIO
            if is_scaled or min(abs(aspect / usual - 1.0) for usual in _ASPECTS) < 0.5 * _SAME_RATIO:
                return (
                    f"{said}, {other}: the calibration is that of an image of about {implied[0]:.0f}x"
                    f"{implied[1]:.0f} px; scale it, or calibrate at this resolution"
                )
    edge = _BORDER * size
    if (center < edge - 0.5).any() or (center > size - 0.5 - edge).any():
        return f"{said}, outside of it or at its edge, {other}; a part of an image needs CameraInfo's roi"
    return ""


def _focal_shares(camera: Camera) -> tuple[FloatArray, float]:
    """Return the focal lengths, [2] of the longer side, and by which factor one is larger than the other."""
    aspect = float(camera.focal[0] / camera.focal[1])
    return camera.focal / max(camera.size_wh), max(aspect, 1.0 / aspect)


def _relative_offset(camera: Camera) -> FloatArray:
    """Return how far the principal point is from the middle, [2] of width and height."""
    offset: FloatArray = (camera.center + 0.5) / camera.size_wh - 0.5
    return offset


def _focal(camera: Camera) -> str:
    return f"the focal length is ({camera.focal[0]:g}, {camera.focal[1]:g}) px"


def _principal_point(camera: Camera) -> str:
    return f"the principal point is {_pair(camera.center)} in an image of {_size(camera)} px"


def _pair(values: FloatArray) -> str:
    return f"({values[0]:.1f}, {values[1]:.1f})"


def _size(camera: Camera) -> str:
    return f"{camera.size_wh[0]}x{camera.size_wh[1]}"
