"""Metres for structure from motion with a rig: the distances between its cameras are known.

The images are put into relation each for itself, which needs no scale to begin with. Where two cameras of one frame
are in the model, their distance gives the scale; all frames are then adjusted as what they are, one body with several
cameras.

Reference: Schneider and Foerstner, Bundle Adjustment for Multi-Camera Systems with Points at Infinity, ISPRS 2012.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.calibration_adjustment import add_landmarks, adjustment_config, adjustment_options
from hfnet_ros.mapping.colmap_convention import pose_from_colmap, quiet_colmap
from hfnet_ros.mapping.colmap_database import colmap_cameras_from, image_id_of, rig_reconstruction
from hfnet_ros.mapping.matches import filter_by_known_poses
from hfnet_ros.mapping.pycolmap_library import pycolmap
from hfnet_ros.mapping.rig_mountings import MountingReport, check_mountings
from hfnet_ros.mapping.structure_from_motion import RecoveredMotion
from hfnet_ros.mapping.triangulation import triangulate
from hfnet_ros.mapping.views import Keyframe, View, views_of

_logger = logging.getLogger(__name__)

# Cameras closer than this give no scale worth the name.
_MIN_BASELINE_M = 0.005
_MIN_FRAMES = 3
# Of the matches the free model explains, the rig must explain this share.
_MIN_KEPT_SHARE = 0.8
_TOLERANCE = 2.0
_NUM_ROUNDS = 3
_MIN_RELATIVE_DECREASE = 1e-6
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, eq=False)
class RigMotion:
    """A model in metres, and how well it goes with the rig.

    Attributes:
        motion: poses in metres that obey the rig.
        num_frames: frames that two or more cameras of the model share.
        scale_spread: standard error of the scale that the single frames give, as a part of it.
        mountings: of each camera of the model what the images say of its mounting, the first one's excepted.
    """

    motion: RecoveredMotion
    num_frames: int
    scale_spread: float
    mountings: list[MountingReport]

    def facts(self) -> dict[str, Any]:
        """Return what the map keeps of it, as JSON values."""
        return {
            "scale": "rig",
            "scale_estimate": {"num_frames": self.num_frames, "standard_error": round(self.scale_spread, 5)},
            "mountings": [report.facts() for report in self.mountings],
        }


def hold_rig(
    motion: RecoveredMotion, keyframes: Sequence[Keyframe], rig_from_camera: Sequence[Rigid3], config: Config
) -> RigMotion:
    """Bring a model of arbitrary scale to metres, its frames to the shape of the rig.

    Args:
        motion: the model.
        keyframes: all images, by whose positions the model names its own; those of one stamp are of one frame.
        rig_from_camera: mountings by the images' `camera_idx`.
        config: parameters.

    Raises:
        MappingError: too few frames have two cameras in the model, or their images contradict the mountings.
    """
    images = [keyframes[idx].image for idx in motion.image_idxs]
    camera_of = dict(zip(motion.camera_idxs, (image.camera_idx for image in images), strict=True))
    mounted = [rig_from_camera[camera_of[idx]] for idx in range(len(motion.cameras))]
    mounted = [mounted[0].inverse() @ mounting for mounting in mounted]
    stamps = {stamp: idx for idx, stamp in enumerate(sorted({image.stamp_ns for image in images}))}
    frame_idxs = [stamps[image.stamp_ns] for image in images]
    free = views_of([keyframes[idx] for idx in motion.image_idxs], motion.map_from_camera, motion.camera_idxs)
    scale, spread, num_frames = _scale(free, frame_idxs, mounted)
    free = [dataclasses.replace(view, map_from_camera=_scaled(view.map_from_camera, scale)) for view in free]
    mountings = check_mountings(free, frame_idxs, mounted, [camera_of[idx] for idx in range(len(mounted))])
    views = _rigid(free, frame_idxs, mounted)
    for round_idx in range(_NUM_ROUNDS):
        views = _adjust(views, motion, frame_idxs, mounted, _TOLERANCE * (_NUM_ROUNDS - round_idx), config)
    before, after = (_num_agreeing(motion, poses, config) for poses in (free, views))
    if after < _MIN_KEPT_SHARE * before:
        raise MappingError(
            f"the images contradict the rig: of {before} matches that agree when each image has a pose of its own, "
            f"{after} do when the cameras sit where the rig file says ({100 * after / max(before, 1):.0f} %, expected "
            f"{100 * _MIN_KEPT_SHARE:.0f} % or more); {_worst_text(mountings)}"
        )
    _logger.info("scale from %d frames of the rig, standard error %.1f %%", num_frames, 100 * spread)
    poses = [view.map_from_camera for view in views]
    return RigMotion(dataclasses.replace(motion, map_from_camera=poses), num_frames, spread, mountings)


def _worst_text(mountings: Sequence[MountingReport]) -> str:
    worst = max(mountings, key=lambda report: report.angle_deg)
    return (
        f"of camera {worst.camera_idx} they say a mounting that is turned by {worst.angle_deg:.1f} deg and moved by "
        f"{worst.distance_m:.3f} m against it: are images of one time paired, and is the rig file of this rig?"
    )


def _scale(
    views: Sequence[View], frame_idxs: Sequence[int], mounted: Sequence[Rigid3]
) -> tuple[float, float, int]:
    """Return metres per unit, its standard error as a part of it, and of how many frames."""
    by_frame: dict[int, list[View]] = {}
    for view, frame_idx in zip(views, frame_idxs, strict=True):
        by_frame.setdefault(frame_idx, []).append(view)
    ratios, shared, longest = [], 0, 0.0
    for members in by_frame.values():
        shared += len(members) > 1
        found, known = 0.0, 0.0
        for row, first in enumerate(members):
            for second in members[row + 1 :]:
                baseline = mounted[first.camera_idx].translation_to(mounted[second.camera_idx])
                known, found = (
                    known + baseline,
                    found + first.map_from_camera.translation_to(second.map_from_camera),
                )
                longest = max(longest, baseline)
        if known > 0.0 and found > 0.0:
            ratios.append(known / found)
    if len(ratios) < _MIN_FRAMES or longest < _MIN_BASELINE_M:
        raise MappingError(
            f"the rig gives no scale: {shared} of {len(by_frame)} frames have two cameras in the model, expected "
            f"{_MIN_FRAMES} or more, and the cameras are up to {longest:.3f} m apart, expected "
            f"{_MIN_BASELINE_M:g} m or more; without --rig a map of one camera has an arbitrary scale"
        )
    scale = float(np.median(ratios))
    sigma = _MAD_TO_SIGMA * float(np.median(np.abs(np.array(ratios) - scale)))
    return scale, sigma / scale / len(ratios) ** 0.5, len(ratios)


def _scaled(pose: Rigid3, scale: float) -> Rigid3:
    return Rigid3(pose.rotation, scale * pose.translation)


def _rigid(views: Sequence[View], frame_idxs: Sequence[int], mounted: Sequence[Rigid3]) -> list[View]:
    """Return the views with each frame's cameras where the first of them puts the rig."""
    map_from_rig: dict[int, Rigid3] = {}
    for view, frame_idx in zip(views, frame_idxs, strict=True):
        map_from_rig.setdefault(frame_idx, view.map_from_camera @ mounted[view.camera_idx].inverse())
    return [
        dataclasses.replace(view, map_from_camera=map_from_rig[frame_idx] @ mounted[view.camera_idx])
        for view, frame_idx in zip(views, frame_idxs, strict=True)
    ]


def _adjust(
    views: Sequence[View],
    motion: RecoveredMotion,
    frame_idxs: Sequence[int],
    mounted: Sequence[Rigid3],
    tolerance: float,
    config: Config,
) -> list[View]:
    """Return the views after a bundle adjustment of frames and landmarks, cameras and mountings held."""
    agreeing = filter_by_known_poses(
        motion.matches, views, motion.cameras, tolerance * config.mapping.max_epipolar_error_px
    )
    structure = triangulate(
        views,
        motion.cameras,
        agreeing,
        config.mapping,
        num_threads=config.inference.num_threads,
        seed=config.pose.seed,
        tolerance=tolerance,
    )
    options = adjustment_options(
        config.mapping.max_reprojection_error_px, _MIN_RELATIVE_DECREASE, config.inference.num_threads
    )
    adjusted = adjustment_config(structure, range(len(mounted)))
    adjusted.set_constant_rig_from_world_pose(image_id_of(frame_idxs[int(structure.view_idx.min(initial=0))]))
    with quiet_colmap():
        reconstruction = rig_reconstruction(
            views,
            [view.keypoints for view in views],
            colmap_cameras_from(motion.cameras),
            frame_idxs,
            mounted,
        )
        add_landmarks(reconstruction, structure)
        pycolmap.create_default_bundle_adjuster(options, adjusted, reconstruction).solve()
    return [
        dataclasses.replace(view, map_from_camera=pose_from_colmap(reconstruction.images[image_id_of(idx)]))
        for idx, view in enumerate(views)
    ]


def _num_agreeing(motion: RecoveredMotion, views: Sequence[View], config: Config) -> int:
    agreeing = filter_by_known_poses(
        motion.matches, views, motion.cameras, config.mapping.max_epipolar_error_px
    )
    return sum(map(len, agreeing.values()))
