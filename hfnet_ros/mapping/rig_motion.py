"""Metres for structure from motion with a rig: the distances between its cameras are known.

The images are put into relation each for itself, which needs no scale to begin with. Where two cameras of one frame
are in the model, their distance gives the scale; all frames are then adjusted as what they are, one body with several
cameras. What the images say of the mountings before that is held against the given ones.

Reference: Schneider and Foerstner, Bundle Adjustment for Multi-Camera Systems with Points at Infinity, ISPRS 2012.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.robust import median_with_sigma
from hfnet_ros.mapping.calibration_adjustment import add_landmarks, adjustment_config, adjustment_options
from hfnet_ros.mapping.colmap_convention import pose_from_colmap, quiet_colmap
from hfnet_ros.mapping.colmap_database import colmap_cameras_from, image_id_of, rig_reconstruction
from hfnet_ros.mapping.matches import filter_by_known_poses
from hfnet_ros.mapping.pycolmap_library import pycolmap
from hfnet_ros.mapping.rig_mountings import FoundMounting, find_mountings, turned_mountings
from hfnet_ros.mapping.structure_from_motion import RecoveredMotion
from hfnet_ros.mapping.triangulation import triangulate
from hfnet_ros.mapping.turned_cameras import camera_name
from hfnet_ros.mapping.views import Keyframe, View, views_of

_logger = logging.getLogger(__name__)

_MIN_FRAMES = 3
# Of the matches that the model explains when each image has a pose of its own, the rig must explain this share.
_MIN_KEPT_SHARE = 0.8
_TOLERANCES = (6.0, 4.0, 2.0)  # of the configured errors: frames come into shape step by step
_MIN_RELATIVE_DECREASE = 1e-6


@dataclass(frozen=True, eq=False)
class RigMotion:
    """A model in metres, and how well it goes with the rig.

    Attributes:
        motion: poses in metres that obey the rig.
        facts: what the map keeps of it, as JSON values.
    """

    motion: RecoveredMotion
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Scale:
    """Metres per unit: its value, its standard error as a part of it, and of how many frames."""

    value: float
    error: float
    num_frames: int


def hold_rig(
    motion: RecoveredMotion, keyframes: Sequence[Keyframe], rig_from_camera: Sequence[Rigid3], config: Config
) -> RigMotion:
    """Bring a model of arbitrary scale to metres, its frames to the shape of the rig.

    A camera that is turned against its given mounting is turned back, if more matches agree then.

    Args:
        motion: the model.
        keyframes: all images, by whose positions the model names its own; those of one stamp are of one frame.
        rig_from_camera: mountings by the images' `camera_idx`.
        config: parameters.

    Raises:
        MappingError: too few frames have two cameras in the model, or their images contradict the mountings.
    """
    registered = [keyframes[idx] for idx in motion.image_idxs]
    camera_of = {
        idx: frame.image.camera_idx for idx, frame in zip(motion.camera_idxs, registered, strict=True)
    }
    mounted = [rig_from_camera[camera_of[idx]] for idx in range(len(motion.cameras))]
    mounted = [mounted[0].inverse() @ mounting for mounting in mounted]
    stamps = sorted({frame.image.stamp_ns for frame in registered})
    frame_idxs = [stamps.index(frame.image.stamp_ns) for frame in registered]
    free = views_of(registered, motion.map_from_camera, motion.camera_idxs)
    scale = _scale(free, frame_idxs, mounted)
    free = [dataclasses.replace(view, map_from_camera=_scaled(view, scale.value)) for view in free]
    mountings = find_mountings(free, frame_idxs, mounted)
    views, corrected = _held(free, motion, frame_idxs, mounted, config), False
    if any(found.is_turned for found in mountings):
        turned = _held(free, motion, frame_idxs, turned_mountings(mounted, mountings), config)
        corrected = _num_agreeing(motion, turned, config) > _num_agreeing(motion, views, config)
        views = turned if corrected else views
    names = {found.camera_idx: _name(found, registered, motion, camera_of) for found in mountings}
    _check(motion, free, views, mountings, names, config)
    for found in mountings:
        if corrected and found.is_turned:
            _logger.warning("%s; it is turned back in this map: correct the rig file", _text(found, names))
    facts = {
        "scale": "rig",
        "scale_estimate": {"num_frames": scale.num_frames, "standard_error": round(scale.error, 5)},
        "mountings": [
            found.facts(names[found.camera_idx], corrected=corrected and found.is_turned)
            for found in mountings
        ],
    }
    poses = [view.map_from_camera for view in views]
    return RigMotion(dataclasses.replace(motion, map_from_camera=poses), facts)


def _name(
    found: FoundMounting, registered: Sequence[Keyframe], motion: RecoveredMotion, camera_of: dict[int, int]
) -> str:
    """Return what the camera is called: the folder of its images, if they have one."""
    example = registered[motion.camera_idxs.index(found.camera_idx)].image.name
    return camera_name(example, camera_of[found.camera_idx])


def _text(found: FoundMounting, names: dict[int, str]) -> str:
    return (
        f"{names[found.camera_idx]} is mounted {np.degrees(found.angle_rad):.2f} deg (+- "
        f"{np.degrees(found.sigma_rad):.2f}) and {np.linalg.norm(found.moved):.3f} m (+- {found.sigma_m:.3f}) "
        f"otherwise than the rig says, by {found.num_frames} frames"
    )


def _check(
    motion: RecoveredMotion,
    free: Sequence[View],
    views: Sequence[View],
    mountings: Sequence[FoundMounting],
    names: dict[int, str],
    config: Config,
) -> None:
    """Refuse a rig whose shape the images contradict.

    Raises:
        MappingError: names the camera that is off most.
    """
    before, after = _num_agreeing(motion, free, config), _num_agreeing(motion, views, config)
    if after < _MIN_KEPT_SHARE * before:
        worst = max(mountings, key=lambda found: found.angle_rad, default=None)
        raise MappingError(
            f"the images contradict the rig: of {before} matches that agree when each image has a pose of its own, "
            f"{after} do when the cameras sit on it ({100 * after / max(before, 1):.0f} %, expected "
            f"{100 * _MIN_KEPT_SHARE:.0f} % or more){f'; {_text(worst, names)}' if worst else ''}: are the images of "
            "one time paired, and is the file that of this rig?"
        )


def _scale(views: Sequence[View], frame_idxs: Sequence[int], mounted: Sequence[Rigid3]) -> _Scale:
    """Return metres per unit by what each frame says, the median."""
    by_frame: dict[int, list[View]] = {}
    for view, frame_idx in zip(views, frame_idxs, strict=True):
        by_frame.setdefault(frame_idx, []).append(view)
    ratios = []
    for members in by_frame.values():
        pairs = list(combinations(members, 2))
        known = sum(mounted[one.camera_idx].translation_to(mounted[other.camera_idx]) for one, other in pairs)
        found = sum(one.map_from_camera.translation_to(other.map_from_camera) for one, other in pairs)
        if known > 0.0 and found > 0.0:
            ratios.append(known / found)
    if len(ratios) < _MIN_FRAMES:
        shared = sum(len(members) > 1 for members in by_frame.values())
        raise MappingError(
            f"the rig gives no scale: {shared} of {len(by_frame)} frames have two cameras in the model, "
            f"{len(ratios)} of them cameras that are apart, expected {_MIN_FRAMES} or more; a map of one camera's "
            "images has an arbitrary scale"
        )
    (scale,), sigma = median_with_sigma(np.array(ratios)[:, None])
    return _Scale(float(scale), sigma / float(scale), len(ratios))


def _scaled(view: View, scale: float) -> Rigid3:
    return Rigid3(view.map_from_camera.rotation, scale * view.map_from_camera.translation)


def _held(
    free: Sequence[View],
    motion: RecoveredMotion,
    frame_idxs: Sequence[int],
    mounted: Sequence[Rigid3],
    config: Config,
) -> list[View]:
    """Return the views with poses that obey the rig: at first where the first camera of a frame puts it."""
    map_from_rig: dict[int, Rigid3] = {}
    for view, frame_idx in zip(free, frame_idxs, strict=True):
        map_from_rig.setdefault(frame_idx, view.map_from_camera @ mounted[view.camera_idx].inverse())
    views = [
        dataclasses.replace(view, map_from_camera=map_from_rig[frame_idx] @ mounted[view.camera_idx])
        for view, frame_idx in zip(free, frame_idxs, strict=True)
    ]
    for tolerance in _TOLERANCES:
        views = _adjusted(views, motion, frame_idxs, mounted, tolerance, config)
    return views


def _adjusted(
    views: Sequence[View],
    motion: RecoveredMotion,
    frame_idxs: Sequence[int],
    mounted: Sequence[Rigid3],
    tolerance: float,
    config: Config,
) -> list[View]:
    """Return the views after a bundle adjustment of frames and landmarks, cameras and mountings held."""
    threads = config.inference.num_threads
    agreeing = filter_by_known_poses(
        motion.matches, views, motion.cameras, tolerance * config.mapping.max_epipolar_error_px
    )
    structure = triangulate(
        views,
        motion.cameras,
        agreeing,
        config.mapping,
        num_threads=threads,
        seed=config.pose.seed,
        tolerance=tolerance,
    )
    if structure.num_landmarks == 0:
        return list(views)
    options = adjustment_options(config.mapping.max_reprojection_error_px, _MIN_RELATIVE_DECREASE, threads)
    adjusted = adjustment_config(structure, range(len(mounted)))
    adjusted.set_constant_rig_from_world_pose(image_id_of(frame_idxs[int(structure.view_idx.min())]))
    colmap_cameras = colmap_cameras_from(motion.cameras)
    with quiet_colmap():
        keypoints = [view.keypoints for view in views]
        reconstruction = rig_reconstruction(views, keypoints, colmap_cameras, frame_idxs, mounted)
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
