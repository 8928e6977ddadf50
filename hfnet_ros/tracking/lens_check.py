"""Is the calibration that of the images? Asked of many images, for what a single one cannot tell.

A camera that zooms by a few percent, moves its region of interest, or sends rectified images under the calibration of
raw ones makes poses that fit well, and are off again and again by far more than their covariance: the pose of an image
takes most of it. What is left in each is gathered here.
"""

from __future__ import annotations

from collections import deque
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
        # Moments of what the calibration is off by, about none.
        self._square = np.zeros((len(_LASTING), len(_LASTING)))
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
            self.text = self._found(camera)

    def widened(self, estimate: PoseEstimate) -> PoseEstimate:
        """Return a pose with what a calibration that is off does to it in its covariance, in `common` too."""
        if not self.text:
            return estimate
        turned = np.kron(np.eye(2), estimate.map_from_camera.rotation)
        moved = turned @ self._rests[-1].taken
        shared = moved @ self._square @ moved.T
        covariance = estimate.covariance + shared
        common = shared if estimate.common is None else estimate.common + shared
        return replace(estimate, covariance=covariance, common=common)

    def _found(self, camera: Camera) -> str:
        off, covariance = _solve(list(self._rests))
        self._square = np.outer(off, off) + covariance
        if float(off @ np.linalg.solve(covariance, off)) <= self._quantile:
            return ""
        focal, sigmas = float(camera.focal.mean()), np.sqrt(np.diag(covariance))
        longer, (x, y) = 1.0 + off[0], focal * off[1:3]
        return (
            f"images fit another calibration than theirs: a focal length {longer:.3f} (+- {sigmas[0]:.3f}) times as "
            f"long, a centre ({x:.1f}, {y:.1f}) (+- {focal * sigmas[1]:.1f}) px aside, a k1 {off[3]:+.2f} (+- "
            f"{sigmas[3]:.2f}) more, and poses are off by that; are they zoomed, cropped, stabilized, or rectified "
            "where the calibration is of raw ones?"
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
