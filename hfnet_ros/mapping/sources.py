"""What a map can be built from; they differ in where poses and calibrations come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hfnet_ros.errors import DatasetError, MappingError
from hfnet_ros.files.images import read_image
from hfnet_ros.files.posed_images import PosedImage
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.views import MappingImage


@dataclass(frozen=True, eq=False)
class PosedImages:
    """Images whose poses are known; they stay as they are unless refinement is asked for.

    Attributes:
        images: F keyframes, in the order they were taken.
        map_from_camera: their poses.
        cameras: calibrations by the images' `camera_idx`.
        is_metric: the poses are in metres; not those of structure from motion.
    """

    images: Sequence[MappingImage]
    map_from_camera: Sequence[Rigid3]
    cameras: Sequence[Camera]
    is_metric: bool = True

    @classmethod
    def of_files(cls, posed: Sequence[PosedImage], camera: Camera) -> PosedImages:
        """Return the images of one camera."""
        images = [
            MappingImage(entry.path.name, entry.stamp_ns, 0, partial(read_image, entry.path))
            for entry in posed
        ]
        return cls(images, [entry.map_from_camera for entry in posed], [camera])


@dataclass(frozen=True)
class ColmapModel:
    """Poses and cameras of a COLMAP model, whose features are not used.

    Attributes:
        model: folder with cameras, images and points3D, .bin or .txt.
        image_folder: where the model's image names start.
    """

    model: Path
    image_folder: Path


@dataclass(frozen=True, eq=False)
class UnposedImages:
    """Images alone: their poses come from the images, at an arbitrary scale.

    Attributes:
        images: at least two.
        cameras: calibrations by the images' `camera_idx`, held as they are unless refinement is
            "on"; None to estimate them too, one for all images if all have one size, otherwise
            one for each.
    """

    images: Sequence[MappingImage]
    cameras: Sequence[Camera] | None = None


def check_counts(
    images: Sequence[MappingImage], cameras: Sequence[Camera] | None, num_poses: int | None = None
) -> None:
    """Refuse images that do not fit the poses or calibrations beside them, or are too few.

    Raises:
        DatasetError: they do not fit.
        MappingError: there are fewer than two.
    """
    if num_poses is not None and len(images) != num_poses:
        raise DatasetError(f"found {len(images)} images but {num_poses} poses, expected one pose per image")
    if len(images) < 2:
        raise MappingError(
            f"found {len(images)} keyframes, expected at least 2: landmarks come from views of the same thing"
        )
    worst = max(images, key=lambda image: image.camera_idx)
    if cameras is not None and worst.camera_idx >= len(cameras):
        raise DatasetError(f"{worst.name} is of camera {worst.camera_idx}, but only {len(cameras)} are given")
