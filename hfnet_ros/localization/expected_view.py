"""What a camera at a pose ought to see of the map, and how much of that it does.

Evidence counts what fits a pose; this counts what is missing. A picture of a place on a poster, a mirrored image or a
wall like another one has matches that fit a pose, but around them lies much of the map that would be in view from
there and is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.problem import ObserverCones
from hfnet_ros.types import Correspondences, RigCamera

# Landmarks seen from much further around, nearer or farther need not be recognised: they are not expected.
_MAX_VIEW_CHANGE_RAD = np.deg2rad(30.0)
_MAX_SCALE_CHANGE = 1.5
_CELLS_ALONG_IMAGE = 8
# Fewer landmarks in a cell may all be missed.
_MIN_EXPECTED = 5
_MIN_INLIERS = 4


@dataclass(frozen=True, eq=False)
class ExpectedPoints:
    """Landmarks that may be in view.

    Attributes:
        xyz: [L, 3] m, map frame.
        cones: from where they were seen.
    """

    xyz: NDArray[np.float64]
    cones: ObserverCones


def seen_share(
    expected: ExpectedPoints,
    inliers: Correspondences,
    map_from_rig: Rigid3,
    cameras: Sequence[RigCamera],
) -> float:
    """Return the share of the image cells with landmarks to be seen in which an inlier is; 0 where there are none.

    A view of a rig in which nearly nothing is seen does not count: it may be dark, or covered.

    Args:
        expected: landmarks of the place.
        inliers: matches that the pose explains.
        map_from_rig: the pose.
        cameras: of the views.
    """
    num_expected = num_seen = 0
    for view_idx, view in enumerate(cameras):
        own = inliers.points2d[inliers.views == view_idx]
        if len(own) < _MIN_INLIERS and len(cameras) > 1:
            continue
        pixels = _pixels_in_view(expected, map_from_rig @ view.rig_from_camera, view)
        cells = _count_in_cells(pixels, view) >= _MIN_EXPECTED
        found = _count_in_cells(own, view) > 0
        num_expected += int(cells.sum())
        num_seen += int((cells & found).sum())
    return num_seen / max(num_expected, 1)


def _pixels_in_view(
    expected: ExpectedPoints, map_from_camera: Rigid3, view: RigCamera
) -> NDArray[np.float64]:
    """Return where [V, 2] a camera there sees the landmarks that it would recognise, walls or not."""
    toward = expected.xyz - map_from_camera.translation
    likely = expected.cones.admit(toward, _MAX_VIEW_CHANGE_RAD, _MAX_SCALE_CHANGE)
    likely &= toward @ map_from_camera.rotation[:, 2] > 1e-6
    pixels = view.camera.project(toward[likely] @ map_from_camera.rotation)
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0.0) & (pixels <= np.array(view.camera.size_wh) - 1.0)).all(axis=1)
    return pixels[inside]


def _count_in_cells(pixels: NDArray[np.float64], view: RigCamera) -> NDArray[np.int64]:
    """Return how many pixels [V, 2] of the image lie in each of its square cells."""
    side = max(view.camera.size_wh) / _CELLS_ALONG_IMAGE
    cells = np.clip(np.floor(pixels / side), 0, _CELLS_ALONG_IMAGE - 1).astype(np.int64)
    return np.bincount(cells[:, 1] * _CELLS_ALONG_IMAGE + cells[:, 0], minlength=_CELLS_ALONG_IMAGE**2)
