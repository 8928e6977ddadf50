"""Images with known camera poses: what a map is built from and what an evaluation compares to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hfnet_ros.errors import DatasetError, ImageError
from hfnet_ros.files.images import list_images, read_image
from hfnet_ros.files.tum import read_tum
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import Frame

if TYPE_CHECKING:
    import os

    from hfnet_ros.geometry.camera import Camera


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
    """Pair the sorted images of a folder with the lines of a TUM trajectory, one to one.

    Raises:
        DatasetError: there are more images than poses or the other way round, or the folder
            or the trajectory cannot be read.
    """
    images, poses = list_images(folder), read_tum(tum_path)
    if len(images) != len(poses):
        raise DatasetError(
            f"found {len(images)} images in {folder} ({images[0].name} to {images[-1].name}) but "
            f"{len(poses)} poses in {tum_path}, expected one pose per image in the same order; "
            "remove images without a pose or add the missing lines"
        )
    return [
        PosedImage(image, pose.stamp_ns, pose.map_from_camera)
        for image, pose in zip(images, poses, strict=True)
    ]


def load_frame(posed: PosedImage, camera: Camera, camera_frame_id: str = "camera") -> Frame:
    """Read the image of `posed` as a Frame of `camera`; it is never resized to fit.

    Raises:
        ImageError: the image cannot be read or is not of the calibration's size.
    """
    image = read_image(posed.path)
    height, width = image.shape[:2]
    if (width, height) != tuple(camera.size_wh):
        turned = (height, width) == tuple(camera.size_wh)
        advice = (
            "the pixels are stored turned by 90 degrees, and EXIF orientation is ignored: calibrate "
            "with images as stored"
            if turned
            else "give the calibration of this camera at this size, or resize image and calibration together"
        )
        raise ImageError(
            f"{posed.path}: found {width}x{height} px, expected the calibration's "
            f"{camera.size_wh[0]}x{camera.size_wh[1]} px; {advice}"
        )
    return Frame(posed.stamp_ns, image, camera, camera_frame_id)
