"""Where the images say a camera of a rig sits, against where the rig file puts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.views import View

_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, eq=False)
class MountingReport:
    """What frames say of one camera's mounting, by images whose poses were found each for itself.

    Attributes:
        camera_idx: the camera.
        num_frames: frames that have it beside the first camera.
        angle_deg: by how much the camera is turned against its given mounting, median of the frames.
        distance_m: by how much it is moved.
        angle_spread_deg: standard deviation of single frames, per axis.
        distance_spread_m: the same of positions.
        first_from_camera: the mounting found, in the first camera.
    """

    camera_idx: int
    num_frames: int
    angle_deg: float
    distance_m: float
    angle_spread_deg: float
    distance_spread_m: float
    first_from_camera: Rigid3

    def facts(self) -> dict[str, Any]:
        """Return it as JSON values."""
        found = self.first_from_camera
        return {
            "camera": self.camera_idx,
            "num_frames": self.num_frames,
            "angle_deg": self.angle_deg,
            "distance_m": self.distance_m,
            "angle_spread_deg": self.angle_spread_deg,
            "distance_spread_m": self.distance_spread_m,
            "first_from_camera": np.round([*found.translation, *found.quat_xyzw], 6).tolist(),
        }


def check_mountings(
    views: Sequence[View],
    frame_idxs: Sequence[int],
    first_from_camera: Sequence[Rigid3],
    names: Sequence[int],
) -> list[MountingReport]:
    """Compare poses that were found for each image alone with the mountings; no report of a camera never seen beside.

    Args:
        views: with poses in metres.
        frame_idxs: which views were taken at one time.
        first_from_camera: given mountings by the views' `camera_idx`.
        names: what the reports call each camera.
    """
    firsts = {
        frame_idx: view.map_from_camera
        for view, frame_idx in zip(views, frame_idxs, strict=True)
        if view.camera_idx == 0
    }
    reports = []
    for camera_idx in range(1, len(first_from_camera)):
        given = first_from_camera[camera_idx]
        moves = [
            given.inverse() @ firsts[frame_idx].inverse() @ view.map_from_camera
            for view, frame_idx in zip(views, frame_idxs, strict=True)
            if view.camera_idx == camera_idx and frame_idx in firsts
        ]
        if moves:
            turns = np.array([move.rotvec for move in moves])
            shifts = np.array([move.translation for move in moves])
            turn, shift = np.median(turns, axis=0), np.median(shifts, axis=0)
            reports.append(
                MountingReport(
                    names[camera_idx],
                    len(moves),
                    round(float(np.degrees(np.linalg.norm(turn))), 3),
                    round(float(np.linalg.norm(shift)), 4),
                    round(float(np.degrees(_spread(turns - turn))), 3),
                    round(_spread(shifts - shift), 4),
                    given @ Rigid3.from_rotvec(turn, shift),
                )
            )
    return reports


def _spread(errors: NDArray[np.float64]) -> float:
    return _MAD_TO_SIGMA * float(np.median(np.abs(errors)))
