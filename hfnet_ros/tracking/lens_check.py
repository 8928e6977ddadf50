"""Is the calibration that of the images? Asked of many images, for what a single one cannot tell.

A camera that zooms by a few percent, moves its region of interest, or sends rectified images under the calibration of
raw ones makes poses that fit well, and are off again and again by far more than their covariance: the pose of an image
takes most of it. What is left in each is gathered here: what images have in common, and by how much their centres
differ, as where each is shifted to stabilize the picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.gate import chi_square_quantile
from hfnet_ros.tracking.robust_solution import robust_solution
from hfnet_ros.types import LensRest, Localization, PoseEstimate

FloatArray = NDArray[np.float64]

_REMEMBERED, _MIN_SAMPLES = 60, 10
_APART, _APART_RAD = 0.05, 0.1  # in depths; an image from nearer than both brings nothing new
# By which sound calibrations and maps differ for good: focal length, centre (slopes), radial distortion.
_LASTING = np.array([0.004, 0.004, 0.004, 0.01])
_PRIOR = np.diag(np.square([3.0, 3.0, 3.0, 2.0]))  # no camera is off by more than a third of each
_SURE = 1.0 - 1e-5
_CENTRE = slice(1, 3)
# Median over images of how far their centres differ, squared, over what matches say of each, by axis. Of sound images
# it is not 1, as what errs in the map errs alike in much of an image: up to 4.9 in generated apartments.
_SCATTERED = 15.0
_MEDIAN = 0.455  # of a squared standard normal


class LensCheck:
    """Watches what is left in the images of one camera; says nothing while they fit its calibration.

    Attributes:
        text: by how much it is off, in a sentence; empty where that may be chance.
    """

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._quantile = chi_square_quantile(_SURE, len(_LASTING))
        self._camera: Camera | None = None
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._rests = deque[LensRest](maxlen=_REMEMBERED)
        self._last: Rigid3 | None = None
        # Moments, about none, of what the calibration is off by where that is told: in all images, and in each of them.
        self._shared = self._single = np.zeros((len(_LASTING), len(_LASTING)))
        self.text = ""

    def note(self, camera: Camera, localization: Localization) -> None:
        """Take an answer to an image with the calibration that came with it; by another one all begins anew.

        What a network says of pixels errs with where they are in the image, and is left out.
        """
        if self._camera is None or not self._camera.is_same_as(camera):
            self.clear()
            self._camera = camera
        rest, estimate = localization.lens, localization.estimate
        if rest is None or estimate is None or localization.matched_by == "scene":
            return
        pose = estimate.map_from_camera
        if self._last is not None and not _is_apart(self._last, pose, rest.depth):
            return
        self._last = pose
        self._rests.append(rest)
        if len(self._rests) >= _MIN_SAMPLES:
            self._judge(camera)

    def widened(self, estimate: PoseEstimate) -> PoseEstimate:
        """Return a pose with what a calibration that is off does to it in its covariance, in `common` too."""
        if not self.text:
            return estimate
        turned = np.kron(np.eye(2), estimate.map_from_camera.rotation)
        moved = turned @ self._rests[-1].taken
        shared = moved @ self._shared @ moved.T
        covariance = estimate.covariance + shared + moved @ self._single @ moved.T
        common = shared if estimate.common is None else estimate.common + shared
        return replace(estimate, covariance=covariance, common=common)

    def _judge(self, camera: Camera) -> None:
        """Find what is more than chance: by how much the calibration is off, and by how much images differ."""
        off, covariance = _solve(list(self._rests))
        self._shared = self._single = np.zeros_like(covariance)
        found = []
        if float(off @ np.linalg.solve(covariance, off)) > self._quantile:
            self._shared = np.outer(off, off) + covariance
            found.append(_text_of_all(camera, off, np.sqrt(np.diag(covariance))))
        scattered, variances = _scatter_of_centres(self._rests, off)
        if scattered > _SCATTERED:
            self._single = np.diag([0.0, *variances, 0.0])
            found.append(_text_of_each(camera, np.sqrt(variances)))
        self.text = "; ".join(found)


def _text_of_all(camera: Camera, off: FloatArray, sigmas: FloatArray) -> str:
    focal = float(camera.focal.mean())
    longer, (x, y) = 1.0 + off[0], focal * off[_CENTRE]
    return (
        f"images fit another calibration than theirs: a focal length {longer:.3f} (+- {sigmas[0]:.3f}) times as "
        f"long, a centre ({x:.1f}, {y:.1f}) (+- {focal * sigmas[1]:.1f}) px aside, a k1 {off[3]:+.2f} (+- "
        f"{sigmas[3]:.2f}) more, and poses are off by that; are they zoomed, cropped, stabilized, or rectified "
        "where the calibration is of raw ones?"
    )


def _text_of_each(camera: Camera, sigmas: FloatArray) -> str:
    x, y = float(camera.focal.mean()) * sigmas
    return (
        f"each image fits another centre than the calibration's, by ({x:.1f}, {y:.1f}) px to any side, and poses are "
        "off by that; does the camera stabilize its images (switch that off), or was much moved since the map was made?"
    )


def _is_apart(last: Rigid3, pose: Rigid3, depth: float) -> bool:
    return last.translation_to(pose) > _APART * depth or last.rotation_to(pose) > _APART_RAD


def _solve(rests: list[LensRest]) -> tuple[FloatArray, FloatArray]:
    """Return what a calibration is off by [4], by least squares without outlying images, and its covariance [4, 4]."""
    normals, weighted = np.stack([rest.normal for rest in rests]), np.stack([rest.weighted for rest in rests])
    off, scatter = robust_solution(
        normals, weighted, _PRIOR, lambda _, moved: np.einsum("ni,ni->n", moved, moved)
    )
    scatter *= len(rests) / (len(rests) - len(off))
    return off, scatter + np.diag(np.square(_LASTING))


def _scatter_of_centres(rests: Iterable[LensRest], off: FloatArray) -> tuple[float, FloatArray]:
    """Return how far centres of images differ, squared and over what matches say of each, and their variances [2]."""
    normals = np.stack([rest.normal[_CENTRE, _CENTRE] for rest in rests])
    left = np.stack([(rest.weighted - rest.normal @ off)[_CENTRE] for rest in rests])
    shifts = np.linalg.solve(normals, left[:, :, None])[:, :, 0]
    squares = 0.5 * np.einsum("ni,ni->n", left, shifts)
    return float(np.median(squares)), np.median(np.square(shifts), axis=0) / _MEDIAN
