"""Images with known camera poses: what a map is built from and what an evaluation compares to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import DatasetError
from hfnet_ros.files.images import list_images, read_image
from hfnet_ros.files.name_stamps import MAX_GAP_S, NameStamps, sparse_poses_of_names, stamps_of_names
from hfnet_ros.files.tum import StampedPose, format_stamp, read_tum
from hfnet_ros.geometry.rigid3 import Rigid3, interpolate
from hfnet_ros.types import Frame

if TYPE_CHECKING:
    import os

    from hfnet_ros.geometry.camera import Camera

_logger = logging.getLogger(__name__)

_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True, eq=False)
class PosedImage:
    """An image file and the pose it was taken from.

    Attributes:
        path: image file.
        stamp_ns: time of exposure, nanoseconds.
        map_from_camera: pose of the optical frame in the map.
    """

    path: Path
    stamp_ns: int
    map_from_camera: Rigid3


def pair_images_with_poses(
    folder: str | os.PathLike[str], tum_path: str | os.PathLike[str]
) -> list[PosedImage]:
    """Pair the images of a folder with the lines of a TUM trajectory, in order of time.

    By stamp where the names of the images hold the times or frame numbers of the trajectory:
    poses less than 0.25 s apart are interpolated, images without a pose are left out with a
    warning. Otherwise one to one, in natural order of the names, unless these are times of other poses.

    Raises:
        DatasetError: neither pairs them, the poses are too far apart, or the folder or the trajectory cannot be read.
    """
    images, poses = list_images(folder), read_tum(tum_path)
    poses_ns = np.array([pose.stamp_ns for pose in poses], np.int64)
    named = stamps_of_names(images, poses_ns)
    if named is not None:
        return _pair_by_stamp(images, poses, named, tum_path)
    _check_sparse(images, poses_ns, folder, tum_path)
    if len(images) != len(poses):
        raise DatasetError(
            f"found {len(images)} images in {folder} ({images[0].name} to {images[-1].name}) but "
            f"{len(poses)} poses in {tum_path}{_range(poses)}, and no number in the images' names is a stamp of these: "
            "expected one pose per image in the same order, or names that are stamps; remove images without a pose "
            "or add the missing lines"
        )
    return [
        PosedImage(image, pose.stamp_ns, pose.map_from_camera)
        for image, pose in zip(images, poses, strict=True)
    ]


def _check_sparse(
    images: Sequence[Path],
    poses_ns: NDArray[np.int64],
    folder: str | os.PathLike[str],
    tum_path: str | os.PathLike[str],
) -> None:
    """Refuse to pair images in order with poses of other times, by their names; warn where only those times are off.

    Raises:
        DatasetError: the poses are too far apart for the images, or of other ones.
    """
    sparse = sparse_poses_of_names(images, poses_ns)
    if sparse is None:
        return
    apart = f"the poses in {tum_path} are {sparse.interval_s:.2f} s apart"
    if sparse.is_in_order:
        _logger.warning(
            "images in %s are up to %.2f s, by their names, from the poses they are paired with in order: %s",
            folder,
            sparse.farthest_s,
            f"{apart}, too far to be interpolated",
        )
        return
    raise DatasetError(
        f"the names of the {len(images)} images in {folder} are times of the poses' clock, but {sparse.num_near} have "
        f"a pose of their time: {apart}, and gaps of more than {MAX_GAP_S:g} s are not interpolated; give poses at the "
        "images' rate, or the images of these poses"
    )


def _pair_by_stamp(
    images: Sequence[Path],
    poses: Sequence[StampedPose],
    named: NameStamps,
    tum_path: str | os.PathLike[str],
) -> list[PosedImage]:
    without = [image.name for image, has_pose in zip(images, named.has_pose, strict=True) if not has_pose]
    if without:
        _logger.warning(
            "%d of %d images have no pose of their time in %s and are left out: %s",
            len(without),
            len(images),
            tum_path,
            ", ".join(without[:_NAMES_SHOWN]) + (", ..." if len(without) > _NAMES_SHOWN else ""),
        )
    stamps_ns = named.stamps_ns.tolist()
    return [
        PosedImage(images[idx], stamps_ns[idx], _pose_at(stamps_ns[idx], poses[before], poses[after]))
        for idx in np.argsort(named.stamps_ns).tolist()
        if (before := named.before[idx]) >= 0 and (after := named.after[idx]) >= 0
    ]


def _pose_at(stamp_ns: int, before: StampedPose, after: StampedPose) -> Rigid3:
    if before is after:
        return before.map_from_camera
    fraction = (stamp_ns - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
    return interpolate(before.map_from_camera, after.map_from_camera, fraction)


def _range(poses: Sequence[StampedPose]) -> str:
    if not poses:
        return ""
    return f" (stamps {format_stamp(poses[0].stamp_ns)} to {format_stamp(poses[-1].stamp_ns)})"


def load_frame(posed: PosedImage, camera: Camera, camera_frame_id: str = "camera") -> Frame:
    """Read the image of `posed` as a Frame of `camera`; it is never resized to fit.

    Raises:
        ImageError: the image cannot be read or is not of the calibration's size.
    """
    image = read_image(posed.path)
    camera.check_size(image.shape, str(posed.path))
    return Frame(posed.stamp_ns, image, camera, camera_frame_id)
