"""What mapping knows of its images, from the file to the structure seen in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.files.camera_mask import CameraMask, read_masked
from hfnet_ros.files.images import read_image
from hfnet_ros.geometry.camera import REFERENCE_FOCAL_PX, Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import ImageArray, ImageFeatures

PairMatches = dict[tuple[int, int], NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False)
class MappingImage:
    """An image to build a map from; read when it is needed, because all at once are too many.

    Attributes:
        name: file name, or another name that says where it comes from.
        stamp_ns: time of exposure, nanoseconds.
        camera_idx: position of its camera in the list given beside the images.
        read: returns the image, [H, W] gray or [H, W, 3] BGR, uint8.
        file: that holds it as it is read; None where it comes from elsewhere, as out of a bag, or is masked.
    """

    name: str
    stamp_ns: int
    camera_idx: int
    read: Callable[[], ImageArray]
    file: Path | None = None

    @classmethod
    def of_file(
        cls, file: Path, name: str, stamp_ns: int, camera_idx: int, mask: CameraMask | None = None
    ) -> MappingImage:
        """Return the image in a file, of a camera that may have a mask."""
        if mask is not None:
            return cls(name, stamp_ns, camera_idx, partial(read_masked, file, mask))
        return cls(name, stamp_ns, camera_idx, partial(read_image, file), file)


@dataclass(frozen=True, slots=True, eq=False)
class Keyframe:
    """A described image.

    Attributes:
        image: where it comes from.
        extracted: all that the extractor found, as a query has it.
        features: those of it that mapping uses, at most as many as the configuration allows.
        colors: [N, 3] uint8 RGB at the keypoints.
    """

    image: MappingImage
    extracted: ImageFeatures
    features: ImageFeatures
    colors: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A keyframe as geometry sees it.

    Attributes:
        features: keypoints and descriptors.
        camera_idx: position of its camera in the list given beside the views.
        map_from_camera: pose.
    """

    features: ImageFeatures
    camera_idx: int
    map_from_camera: Rigid3

    @property
    def keypoints(self) -> NDArray[np.float32]:
        """Keypoints [N, 2], px."""
        return self.features.local.keypoints

    @property
    def descriptors(self) -> NDArray[np.float32]:
        """Descriptors [N, D], unit norm."""
        return self.features.local.descriptors


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """Landmarks and who sees them: L landmarks, O observations sorted by landmark, then view.

    Attributes:
        xyz: [L, 3] float64, map frame, m.
        landmark_idx: [O] int64.
        view_idx: [O] int64.
        keypoint_idx: [O] int64, row in the view's keypoints.
    """

    xyz: NDArray[np.float64]
    landmark_idx: NDArray[np.int64]
    view_idx: NDArray[np.int64]
    keypoint_idx: NDArray[np.int64]

    @property
    def num_landmarks(self) -> int:
        """Number of landmarks, L."""
        return len(self.xyz)

    @property
    def track_lengths(self) -> NDArray[np.int64]:
        """Number of observations of each landmark, [L]."""
        return np.bincount(self.landmark_idx, minlength=len(self.xyz)).astype(np.int64)

    def keep_observations(self, kept: NDArray[np.bool_], min_track_length: int) -> Structure:
        """Return the structure of the kept observations [O] and the landmarks that still have enough."""
        lengths = np.bincount(self.landmark_idx[kept], minlength=len(self.xyz))
        long_enough = lengths >= min_track_length
        kept = kept & long_enough[self.landmark_idx]
        renumbered = np.cumsum(long_enough) - 1
        return Structure(
            self.xyz[long_enough],
            renumbered[self.landmark_idx[kept]],
            self.view_idx[kept],
            self.keypoint_idx[kept],
        )


def among(matches: PairMatches, kept: Sequence[int]) -> PairMatches:
    """Return the matches between images that are kept, by their new positions."""
    position = {row: idx for idx, row in enumerate(kept)}
    return {
        (position[first], position[second]): rows
        for (first, second), rows in matches.items()
        if first in position and second in position
    }


def focal_scale(camera: Camera) -> float:
    """Return the factor from pixels at the reference focal length to pixels of this camera."""
    return float(camera.focal.mean()) / REFERENCE_FOCAL_PX


def views_of(
    keyframes: Sequence[Keyframe],
    map_from_camera: Sequence[Rigid3],
    camera_idxs: Sequence[int] | None = None,
) -> list[View]:
    """Return the keyframes with their poses; cameras are the images' own unless given."""
    if camera_idxs is None:
        camera_idxs = [keyframe.image.camera_idx for keyframe in keyframes]
    return [
        View(keyframe.features, camera_idx, pose)
        for keyframe, camera_idx, pose in zip(keyframes, camera_idxs, map_from_camera, strict=True)
    ]
