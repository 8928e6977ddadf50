"""What a map can be built from; they differ in where poses and calibrations come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hfnet_ros.config import CamerasConfig
from hfnet_ros.errors import DatasetError, MappingError
from hfnet_ros.files.camera_mask import CameraMask
from hfnet_ros.files.images_of_one_time import images_of_one_time
from hfnet_ros.files.posed_images import PosedImage
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.keyframe_selection import select_every
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.types import RigCamera


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
    def of_files(
        cls, posed: Sequence[PosedImage], camera: Camera, mask: CameraMask | None = None
    ) -> PosedImages:
        """Return the images of one camera, which may have a mask."""
        images = [
            MappingImage.of_file(entry.path, entry.path.name, entry.stamp_ns, 0, mask) for entry in posed
        ]
        return cls(images, [entry.map_from_camera for entry in posed], [camera])


@dataclass(frozen=True)
class ColmapModel:
    """Poses and cameras of a COLMAP model, whose features are not used.

    Attributes:
        model: folder with cameras, images and points3D, .bin or .txt.
        image_folder: where the model's image names start.
        mask: of all images, if they have one.
    """

    model: Path
    image_folder: Path
    mask: CameraMask | None = None


@dataclass(frozen=True, eq=False)
class UnposedImages:
    """Images alone: their poses come from the images, at an arbitrary scale.

    Attributes:
        images: at least two.
        cameras: calibrations by the images' `camera_idx`, held as they are unless refinement is
            "on"; None to estimate them too, one for all images if all have one size, otherwise
            one for each.
        rig_from_camera: where each camera sits on the rig that carries all of them; images of one stamp were then
            taken at one time, and lengths are metres.
    """

    images: Sequence[MappingImage]
    cameras: Sequence[Camera] | None = None
    rig_from_camera: Sequence[Rigid3] | None = None

    @classmethod
    def of_rig(
        cls,
        folders: Mapping[str, Path],
        rig: Mapping[str, RigCamera],
        every: int = 1,
        masks: Mapping[str, CameraMask] | None = None,
        tolerance_s: float = CamerasConfig.sync_tolerance_s,
    ) -> UnposedImages:
        """Return the images of a rig's cameras, paired as by `images_of_one_time`.

        Args:
            folders: images of each camera, by its name in the rig.
            rig: calibrations and mountings by name.
            every: take every N-th frame.
            masks: by name, of cameras that have one.
            tolerance_s: between images of one time, where their names are times.

        Raises:
            DatasetError: a camera is not in the rig, or as `images_of_one_time`.
        """
        unknown = [name for name in folders if name not in rig]
        if unknown:
            raise DatasetError(f"camera '{unknown[0]}' is not in the rig, which has {', '.join(rig)}")
        files = images_of_one_time(folders, tolerance_s)
        chosen = select_every(min(map(len, files.values())), every)
        # Stamps say what was taken at one time, no more; frames count as one a second.
        images = [
            MappingImage.of_file(
                paths[row], f"{name}/{paths[row].name}", row * 1_000_000_000, idx, (masks or {}).get(name)
            )
            for row in chosen
            for idx, (name, paths) in enumerate(files.items())
        ]
        mounted = [rig[name] for name in folders]
        return cls(images, [one.camera for one in mounted], [one.rig_from_camera for one in mounted])


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
