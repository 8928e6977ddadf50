"""How long the unit of a map of images alone is, and where its up is, by a bag of the same scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import BagError, ImageError, MappingError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.replay.sources import BagSources
from hfnet_ros.tracking.motion_pairs import MotionPair, MotionPairs
from hfnet_ros.tracking.odometry import OdometrySample
from hfnet_ros.tracking.scale_estimate import ScaleEstimate, estimate_scale
from hfnet_ros.types import ImageLocalizer

FloatArray = NDArray[np.float64]

_MIN_STEP_M, _MIN_BASELINE_M = 0.2, 0.02
_SAME_TIME_NS = 2_000_000  # stereo heads give both images one stamp, or nearly


@dataclass(frozen=True, slots=True, eq=False)
class LocalizedImage:
    """An image that was found in the map; `map_from_camera` is in the map's unit."""

    stamp_ns: int
    camera_frame_id: str
    map_from_camera: Rigid3


def localize_all(sources: BagSources, localizer: ImageLocalizer, every: int = 1) -> Iterator[LocalizedImage]:
    """Yield every N-th image that can be localized by itself."""
    for index, frame in enumerate(sources.frames):
        if index % every:
            continue
        try:
            estimate = localizer.localize(frame.frame()).estimate
        except ImageError:
            continue
        if estimate is not None:
            yield LocalizedImage(frame.stamp_ns, frame.camera_frame_id, estimate.map_from_camera)


def scale_by_odometry(
    sources: BagSources, images: Sequence[LocalizedImage]
) -> tuple[ScaleEstimate, FloatArray]:
    """Return the length of the map's unit by the motions of the robot, and [3] odometry's z in the map.

    Raises:
        BagError: there is no odometry, or the mounting of the camera is not known.
        MappingError: too few motions tell, or they contradict each other.
    """
    if sources.odometry is None or sources.mounting is None:
        raise BagError("the bag holds no odometry to say how far the robot moved")
    motions, ups = MotionPairs(len(images)), np.zeros(3)
    sample: OdometrySample | None = None
    for image in images:
        odom_from_base = sources.odometry.at(image.stamp_ns)
        base_from_camera = sources.mounting.at(image.stamp_ns, image.camera_frame_id)
        if odom_from_base is None or base_from_camera is None:
            continue
        if sample is None:
            sample = OdometrySample(image.stamp_ns, odom_from_base, run=1)
        else:
            sample = sample.moved_to(image.stamp_ns, odom_from_base)
        motions.add(sample, image.map_from_camera, base_from_camera)
        map_from_base = image.map_from_camera @ base_from_camera.inverse()
        ups += map_from_base.rotation @ odom_from_base.rotation[2]
    return _estimate(motions.pairs, _MIN_STEP_M, len(images)), ups / max(float(np.linalg.norm(ups)), 1e-12)


def scale_by_rig(
    first: BagSources,
    images: Sequence[LocalizedImage],
    second: BagSources,
    images_beside: Sequence[LocalizedImage],
) -> ScaleEstimate:
    """Return the length of the map's unit by how far apart two cameras are that take images at the same time.

    Raises:
        BagError: the mounting of a camera is not known.
        MappingError: too few images were taken at the same time, or they contradict each other.
    """
    if first.mounting is None or second.mounting is None:
        raise BagError("the mounting of the cameras is not known, which would say how far apart they are")
    stamps = np.array([image.stamp_ns for image in images_beside], np.int64)
    pairs = []
    for image in images:
        if not len(stamps):
            break
        beside = images_beside[int(np.argmin(np.abs(stamps - image.stamp_ns)))]
        mounted = first.mounting.at(image.stamp_ns, image.camera_frame_id)
        mounted_beside = second.mounting.at(image.stamp_ns, beside.camera_frame_id)
        if abs(beside.stamp_ns - image.stamp_ns) > _SAME_TIME_NS or mounted is None or mounted_beside is None:
            continue
        seen = image.map_from_camera.inverse() @ beside.map_from_camera
        pairs.append(MotionPair(mounted.inverse() @ mounted_beside, seen, Rigid3.identity()))
    return _estimate(pairs, _MIN_BASELINE_M, len(images))


def rotation_to_z(up: FloatArray) -> FloatArray:
    """Return the smallest rotation [3, 3] that turns a direction onto z."""
    axis, cosine = np.cross(up, [0.0, 0.0, 1.0]), float(up[2])
    sine = float(np.linalg.norm(axis))
    if sine < 1e-12:
        return np.eye(3) if cosine > 0.0 else np.diag([1.0, -1.0, -1.0])
    return Rigid3.from_rotvec(axis / sine * np.arctan2(sine, cosine), np.zeros(3)).rotation


def _estimate(pairs: Sequence[MotionPair], min_step_m: float, num_images: int) -> ScaleEstimate:
    found = estimate_scale(pairs, min_step_m)
    if found is None:
        raise MappingError(
            f"{num_images} images were found in the map, with {len(pairs)} motions or baselines among them, too few "
            "of which agree on a scale, expected 8 and half of them; drive farther through the mapped scene, and see "
            "that the mounting is right"
        )
    return found
