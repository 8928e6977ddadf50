"""Images to map from, out of a bag: their pixels wait on disk until the map is built."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.bags import BagFrame, BagReader
from hfnet_ros.errors import BagError
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.keyframe_selection import select_by_motion
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.replay.truth import BagTruth
from hfnet_ros.types import ImageArray, ImageLocalizer


class KeyframeStore:
    """Keeps the pixels of chosen images in a temporary folder; a context manager.

    A bag is read forwards, but a map asks for its keyframes more than once, and all of them in memory
    are too many.
    """

    def __init__(self) -> None:
        """Prepare; the folder is made when the context is entered."""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._num_kept = 0

    def __enter__(self) -> KeyframeStore:
        """Make the folder."""
        self._folder = tempfile.TemporaryDirectory(prefix="hfnet_keyframes_")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the folder with all images."""
        if self._folder is not None:
            self._folder.cleanup()

    def keep(self, image: MappingImage) -> MappingImage:
        """Store the pixels and return the same image, read from there.

        Raises:
            ImageError: the image cannot be decoded.
            OSError: the disk is full.
        """
        if self._folder is None:
            raise RuntimeError("the store is not open; use `with KeyframeStore() as store:`")
        path = Path(self._folder.name) / f"{self._num_kept:06d}.npy"
        np.save(path, image.read(), allow_pickle=False)
        self._num_kept += 1
        return MappingImage(image.name, image.stamp_ns, image.camera_idx, partial(_load, path))


def posed_images(
    bag: BagReader,
    frames: Iterable[BagFrame],
    truth: BagTruth,
    camera: Camera,
    camera_idx: int = 0,
    name: str = "",
) -> Iterator[tuple[MappingImage, Rigid3]]:
    """Yield the images with a known pose and their map_from_camera, as a stream.

    The pixels are those of a message that is in memory only until the next image is asked for, unless
    they are kept by a `KeyframeStore`. How many images have no pose is noted in the bag.

    Args:
        bag: where notes go.
        frames: images in order.
        truth: poses.
        camera: calibration all of them must have.
        camera_idx: its position among the map's.
        name: of the camera, before the names of its images; empty for the only one.

    Raises:
        BagError: the calibration changes on the way, or no image has a pose.
    """
    prefix = f"{name}/" if name else ""
    num_images = num_unposed = num_unmounted = 0
    for frame in frames:
        _check_camera(bag, frame, camera)
        num_images += 1
        pose = truth.camera_at(frame.stamp_ns, frame.camera_frame_id)
        if pose is None:
            num_unposed += 1
            num_unmounted += truth.lacks_mounting(frame.stamp_ns, frame.camera_frame_id)
            continue
        yield MappingImage(f"{prefix}{frame.name}", frame.stamp_ns, camera_idx, frame.image), pose
    mountings = ""
    if num_unmounted:
        mountings = (
            f"; of {num_unmounted} of them all that is not known is the camera's mounting at their time; one that is "
            "fixed can be given by --base-from-camera"
        )
    if num_unposed == num_images:
        raise BagError(
            f"{bag.path}: none of {num_images} images has a pose; poses are from {truth.span()}{mountings}"
        )
    if num_unposed:
        bag.note(
            f"{num_unposed} of {num_images} images have no pose and are left out; poses are from {truth.span()}"
            f"{mountings}"
        )


def of_same_times(
    bag: BagReader,
    stream: Iterable[tuple[MappingImage, Rigid3]],
    stamps_ns: Sequence[int],
    tolerance_s: float,
    name: str,
) -> Iterator[tuple[MappingImage, Rigid3]]:
    """Yield of each of some times the image of another camera whose stamp is nearest, if it is within the tolerance.

    Args:
        bag: where it is noted how many times have none.
        stream: images in order.
        stamps_ns: times of the first camera's keyframes, ascending.
        tolerance_s: `cameras.sync_tolerance_s`.
        name: of the camera, for messages.

    Raises:
        BagError: no time has an image.
    """
    wanted = np.array(stamps_ns, np.int64)
    nearest_ns = np.full(len(wanted), np.iinfo(np.int64).max)

    def off_ns(image: MappingImage) -> NDArray[np.int64]:
        return np.abs(wanted - image.stamp_ns)

    def row_of(entry: tuple[MappingImage, Rigid3]) -> int:
        off = off_ns(entry[0])
        np.minimum(nearest_ns, off, out=nearest_ns)
        return int(off.argmin())

    for row, near in groupby(stream, row_of):
        nearest = min(near, key=lambda entry: off_ns(entry[0])[row])
        if off_ns(nearest[0])[row] <= tolerance_s * 1e9:
            yield nearest
    without = nearest_ns > tolerance_s * 1e9
    if not without.any():
        return
    off_s = np.median(nearest_ns[without]) / 1e9
    told = (
        f"{without.sum()} of {len(wanted)} keyframes of the first camera have no image of '{name}' within "
        f"{tolerance_s:g} s (cameras.sync_tolerance_s): the nearest is {off_s:.3f} s off at the median"
    )
    if without.all():
        raise BagError(f"{bag.path}: {told}; raise the tolerance, or leave this camera out")
    bag.note(told)


def localized_images(
    bag: BagReader, frames: Iterable[BagFrame], localizer: ImageLocalizer, camera: Camera
) -> Iterator[tuple[MappingImage, Rigid3]]:
    """Yield the images that can be localized, with the pose found; otherwise as `posed_images`.

    Raises:
        BagError: the calibration changes on the way.
        ImageError: an image cannot be decoded.
    """
    for frame in frames:
        _check_camera(bag, frame, camera)
        estimate = localizer.localize(frame.frame()).estimate
        if estimate is not None:
            yield MappingImage(frame.name, frame.stamp_ns, 0, frame.image), estimate.map_from_camera


def keep_by_motion(
    stream: Iterable[tuple[MappingImage, Rigid3]], min_distance_m: float, min_angle_deg: float
) -> Iterator[tuple[MappingImage, Rigid3]]:
    """Yield images that moved or turned enough since the last one, as `select_by_motion` selects them.

    Raises:
        MappingError: a limit is negative or not finite, or both are zero.
    """
    last: Rigid3 | None = None
    for image, pose in stream:
        poses = [pose] if last is None else [last, pose]
        if len(poses) - 1 in select_by_motion(poses, min_distance_m, min_angle_deg):
            last = pose
            yield image, pose


def _check_camera(bag: BagReader, frame: BagFrame, camera: Camera) -> None:
    if not frame.camera.is_same_as(camera):
        raise BagError(
            f"{bag.path}: the calibration of {frame.camera_frame_id} changes at {frame.name}, expected one for "
            "the whole map; give the right one by --camera, or cut the bag"
        )


def _load(path: Path) -> ImageArray:
    return np.asarray(np.load(path, allow_pickle=False), np.uint8)
