"""Choose keyframes from a stream: the sharpest image near each place where one is due.

A keyframe is due when the camera has moved or turned enough since the last one, or when what it
sees overlaps too little with what that one saw. Around that point the images are read and
compared, and the sharpest one that is well exposed is taken. Nothing but the few images of this
window is ever held, so that a stream may be as long as it likes.

Sharpness depends on what is seen, so there is no absolute limit: an image is blurred if it is
much less sharp than its neighbours in time.

Reference: Pertuz, Puig and Garcia, "Analysis of focus measure operators for shape-from-focus",
    Pattern Recognition 2013 (variance of the Laplacian).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.types import ImageArray

PosedImage = tuple[MappingImage, Rigid3]

_MEASURED_WIDTH_PX = 320
_GRID = 9  # rays per side of the image whose points tell the overlap
_DARK, _BRIGHT = 30.0, 225.0  # mean gray value
_CLIPPED_LOW, _CLIPPED_HIGH = 2, 253
_MAX_CLIPPED_SHARE = 0.5
_NUM_NEIGHBORS = 15
# Of the neighbours' sharpness: the sharper ones set the standard, or a blurred stretch would set its own.
_USUAL_PERCENTILE = 80.0


@dataclass(frozen=True)
class SelectionLimits:
    """When a keyframe is due, and what it must look like. A limit of 0 is off.

    Attributes:
        min_distance_m: after moving this far since the last one,
        min_angle_deg: or turning by this much,
        min_overlap: or when less than this share of the view was in the last one's view.
        depth_m: distance of what is seen, for the overlap.
        window: part of a step before and after the point where a keyframe is due.
        max_window: images held at the most, the sharpest ones.
        min_sharpness: least sharpness, as a part of that of the sharper neighbours.
    """

    min_distance_m: float = 0.0
    min_angle_deg: float = 0.0
    min_overlap: float = 0.0
    depth_m: float = 3.0
    window: float = 0.3
    max_window: int = 12
    min_sharpness: float = 0.5

    def __post_init__(self) -> None:
        """Refuse limits that select nothing sensible."""
        motion = (self.min_distance_m, self.min_angle_deg, self.min_overlap)
        if not all(math.isfinite(limit) and limit >= 0.0 for limit in motion) or not any(motion):
            raise MappingError(
                f"minimum distance {self.min_distance_m:g} m, angle {self.min_angle_deg:g} deg and overlap "
                f"{self.min_overlap:g} select nothing sensible; expected numbers from 0 up, not all 0"
            )
        if self.min_overlap >= 1.0:
            raise MappingError(f"minimum overlap is {self.min_overlap:g}, expected below 1")
        if not (self.depth_m > 0.0 and 0.0 <= self.window < 1.0 and self.max_window >= 1):
            raise MappingError(
                f"depth {self.depth_m:g} m, window {self.window:g} or its size {self.max_window} make no sense; "
                "expected above 0, 0 to 1, and 1 or more"
            )


@dataclass
class SelectionReport:
    """What became of the images of a stream.

    Attributes:
        num_seen: images that came.
        num_selected: keyframes.
        rejected: others by reason: `not due`, `less sharp`, `blurred`, `too dark`, `too bright`,
            `clipped`.
    """

    num_seen: int = 0
    num_selected: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def text(self) -> str:
        """Return one line for a person."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.rejected.items()) if count)
        return f"{self.num_selected} of {self.num_seen} images selected" + (f"; {reasons}" if reasons else "")


@dataclass(frozen=True, eq=False)
class _Candidate:
    entry: PosedImage
    sharpness: float


class KeyframeSelector:
    """Selects keyframes from one stream; `report` counts meanwhile."""

    def __init__(self, limits: SelectionLimits, cameras: Sequence[Camera]) -> None:
        """Take the limits and the calibrations by the images' `camera_idx`."""
        self._limits = limits
        self._cameras = cameras
        self._points = [limits.depth_m * _grid_rays(camera) for camera in cameras]
        self._neighbors: deque[float] = deque(maxlen=_NUM_NEIGHBORS)
        self._window: list[_Candidate] = []
        self._last: PosedImage | None = None
        self.report = SelectionReport()

    def select(self, stream: Iterable[PosedImage]) -> Iterator[PosedImage]:
        """Yield the keyframes of a stream in its order.

        Args:
            stream: images and their map_from_camera, in the order they were taken. Images are
                read at once, and only near the places where a keyframe is due.

        Raises:
            ImageError: an image that was needed cannot be read.
        """
        opens, closes = 1.0 - self._limits.window, 1.0 + self._limits.window
        for entry in stream:
            self.report.num_seen += 1
            if self._window and self._progress(entry) > closes:
                # What is left open here, because all of it was blurred, goes on with this image.
                yield from self._choose()
            if self._progress(entry) < opens:
                self.report.rejected["not due"] += 1
            else:
                self._consider(entry)
        if any(self._progress(candidate.entry) >= 1.0 for candidate in self._window):
            yield from self._choose()
        self.report.rejected["not due"] += len(self._window)
        self._window = []

    def _progress(self, entry: PosedImage) -> float:
        """Return how far it is from the last keyframe, in steps; 1 means that a keyframe is due."""
        if self._last is not None:
            return self._steps(self._last, entry)
        return 1.0 + (self._steps(self._window[0].entry, entry) if self._window else 0.0)

    def _steps(self, start: PosedImage, entry: PosedImage) -> float:
        limits, (_, from_pose), (image, to_pose) = self._limits, start, entry
        steps = [0.0]
        if limits.min_distance_m:
            steps.append(from_pose.translation_to(to_pose) / limits.min_distance_m)
        if limits.min_angle_deg:
            steps.append(math.degrees(from_pose.rotation_to(to_pose)) / limits.min_angle_deg)
        if limits.min_overlap:
            points = from_pose.inverse() @ (to_pose @ self._points[image.camera_idx])
            overlap = share_in_view(points, self._cameras[start[0].camera_idx])
            steps.append((1.0 - overlap) / (1.0 - limits.min_overlap))
        return max(steps)

    def _consider(self, entry: PosedImage) -> None:
        gray = _small_gray(entry[0].read())
        reason = exposure_problem(gray)
        if reason:
            self.report.rejected[reason] += 1
            return
        sharpness = measure_sharpness(gray)
        self._neighbors.append(sharpness)
        self._window.append(_Candidate(entry, sharpness))
        if len(self._window) > self._limits.max_window:
            self._window.remove(min(self._window, key=lambda candidate: candidate.sharpness))
            self.report.rejected["less sharp"] += 1

    def _choose(self) -> Iterator[PosedImage]:
        """Yield the sharpest image of the window, or nothing when all of them are blurred."""
        best = max(self._window, key=lambda candidate: candidate.sharpness)
        usual = float(np.percentile(list(self._neighbors), _USUAL_PERCENTILE))
        blurred = sum(candidate.sharpness < self._limits.min_sharpness * usual for candidate in self._window)
        self.report.rejected["blurred"] += blurred
        if blurred < len(self._window):
            self.report.rejected["less sharp"] += len(self._window) - blurred - 1
            self.report.num_selected += 1
            self._last = best.entry
            yield best.entry
        self._window = []


def share_in_view(points_camera: NDArray[np.float64], camera: Camera) -> float:
    """Return the share of points [N, 3], camera frame, that appear in the image."""
    pixels = camera.project(points_camera)
    with np.errstate(invalid="ignore"):
        inside = (pixels >= -0.5) & (pixels <= np.array(camera.size_wh) - 0.5)
    return float(np.mean(inside.all(axis=1)))


def measure_sharpness(gray: ImageArray) -> float:
    """Return the variance of the Laplacian over that of the image [H, W], which contrast cancels in."""
    contrast = float(gray.astype(np.float32).var())
    return float(cv2.Laplacian(gray, cv2.CV_32F).var()) / max(contrast, 1.0)


def exposure_problem(gray: ImageArray) -> str:
    """Return what is wrong with the exposure of an image [H, W], or ""."""
    mean = float(gray.mean())
    if mean < _DARK:
        return "too dark"
    if mean > _BRIGHT:
        return "too bright"
    clipped = float(np.mean((gray <= _CLIPPED_LOW) | (gray >= _CLIPPED_HIGH)))
    return "clipped" if clipped > _MAX_CLIPPED_SHARE else ""


def _small_gray(image: ImageArray) -> ImageArray:
    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    height, width = gray.shape
    if width > _MEASURED_WIDTH_PX:
        size = (_MEASURED_WIDTH_PX, max(1, round(height * _MEASURED_WIDTH_PX / width)))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return np.asarray(gray, np.uint8)


def _grid_rays(camera: Camera) -> NDArray[np.float64]:
    """Return rays [N, 3] of unit length through a grid of pixels; those outside the lens's range are left out."""
    width, height = camera.size_wh
    across, down = np.meshgrid(
        (np.arange(_GRID) + 0.5) * width / _GRID - 0.5, (np.arange(_GRID) + 0.5) * height / _GRID - 0.5
    )
    rays = camera.unproject(np.column_stack([across.ravel(), down.ravel()]))
    finite: NDArray[np.float64] = rays[np.isfinite(rays).all(axis=1)]
    return finite
