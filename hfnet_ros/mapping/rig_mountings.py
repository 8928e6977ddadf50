"""Where the images say a camera of a rig sits, against where the rig file puts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.robust import median_with_sigma
from hfnet_ros.mapping.turned_cameras import is_beyond_noise
from hfnet_ros.mapping.views import View

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FoundMounting:
    """What frames say of one camera's mounting, by images whose poses were found each for itself.

    Attributes:
        camera_idx: the camera, which is not the first one.
        num_frames: frames that have it beside the first camera.
        rotvec: [3] rad, by how much it is turned against its given mounting, about its own axes.
        moved: [3] m, by how much it is moved, along its own axes.
        sigma_rad: of the angle, by the scatter of the frames.
        sigma_m: of the distance.
    """

    camera_idx: int
    num_frames: int
    rotvec: FloatArray
    moved: FloatArray
    sigma_rad: float
    sigma_m: float

    @property
    def angle_rad(self) -> float:
        """Return how far it is turned."""
        return float(np.linalg.norm(self.rotvec))

    @property
    def is_turned(self) -> bool:
        """Tell whether it is turned beyond noise."""
        return is_beyond_noise(self.rotvec, self.sigma_rad)

    def facts(self, name: str, *, corrected: bool) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "camera": name,
            "num_frames": self.num_frames,
            "turned_deg": np.degrees(self.rotvec).round(3).tolist(),
            "sigma_deg": round(float(np.degrees(self.sigma_rad)), 3),
            "moved_m": self.moved.round(4).tolist(),
            "sigma_m": round(self.sigma_m, 4),
            "corrected": corrected,
        }


def find_mountings(
    views: Sequence[View], frame_idxs: Sequence[int], first_from_camera: Sequence[Rigid3]
) -> list[FoundMounting]:
    """Return what frames say of the mountings of all cameras that they have beside the first.

    Args:
        views: with poses in metres, found for each image alone.
        frame_idxs: which views were taken at one time.
        first_from_camera: given mountings by the views' `camera_idx`.
    """
    taken = list(zip(views, frame_idxs, strict=True))
    firsts = {frame_idx: view.map_from_camera for view, frame_idx in taken if view.camera_idx == 0}
    found = []
    for camera_idx, given in enumerate(first_from_camera):
        moves = [
            given.inverse() @ firsts[frame_idx].inverse() @ view.map_from_camera
            for view, frame_idx in taken
            if view.camera_idx == camera_idx and frame_idx in firsts
        ]
        if camera_idx > 0 and moves:
            rotvec, sigma_rad = median_with_sigma(np.array([move.rotvec for move in moves]))
            moved, sigma_m = median_with_sigma(np.array([move.translation for move in moves]))
            found.append(FoundMounting(camera_idx, len(moves), rotvec, moved, sigma_rad, sigma_m))
    return found


def turned_mountings(first_from_camera: Sequence[Rigid3], mountings: Sequence[FoundMounting]) -> list[Rigid3]:
    """Return the mountings with cameras turned that are off beyond noise; where they sit, which is the scale, stays."""
    turned = list(first_from_camera)
    for found in mountings:
        if found.is_turned:
            turned[found.camera_idx] = turned[found.camera_idx] @ Rigid3.from_rotvec(
                found.rotvec, np.zeros(3)
            )
    return turned
