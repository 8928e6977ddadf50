"""What is asked: images, their calibrations and their features.

Arrays inside records are never modified; lengths are written as letters that stay the same
within one record (N keypoints, D descriptor size, M matches, L landmarks, F keyframes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types.scene_coordinates import SceneCoordinates

ImageArray = NDArray[np.uint8]

# Told in a few words what goes on while something is made ready; an empty text means it is.
ReportProgress = Callable[[str], None]
# Told a stage of long work, how many of its steps are done, and how many there are.
Progress = Callable[[str, int, int], None]


def ignore_progress(stage: str, done: int, total: int) -> None:
    """Stand in where nobody wants to know how far long work is."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One camera image with its calibration.

    Attributes:
        stamp_ns: time of exposure, nanoseconds.
        image: [H, W] gray or [H, W, 3] BGR, uint8.
        camera: calibration of exactly this image size.
        camera_frame_id: name of the optical frame (REP-103: z forward, x right, y down).
    """

    stamp_ns: int
    image: ImageArray
    camera: Camera
    camera_frame_id: str = "camera"


@dataclass(frozen=True, slots=True, eq=False)
class RigCamera:
    """A calibrated camera of a rig.

    Attributes:
        camera: calibration of the images it takes.
        rig_from_camera: pose of its optical frame on the rig; identity where the camera is the rig.
    """

    camera: Camera
    rig_from_camera: Rigid3 = field(default_factory=Rigid3.identity)


@dataclass(frozen=True, slots=True, eq=False)
class LocalFeatures:
    """Keypoints of one image, best first.

    Attributes:
        keypoints: [N, 2] float32, px of the original image, top-left pixel centre is (0, 0).
        scores: [N] float32, descending.
        descriptors: [N, D] float32, unit norm.
    """

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    descriptors: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of keypoints."""
        return len(self.keypoints)

    def moved_to(self, keypoints: NDArray[np.float32]) -> LocalFeatures:
        """Return the same features at other points [N, 2]."""
        return LocalFeatures(keypoints, self.scores, self.descriptors)

    def chosen(self, rows: NDArray[np.int64]) -> LocalFeatures:
        """Return some of the features [M], in the order of `rows`."""
        return LocalFeatures(self.keypoints[rows], self.scores[rows], self.descriptors[rows])


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """Everything the networks say about one image.

    Attributes:
        local: keypoints and descriptors.
        global_descriptor: [G] float32 unit norm; None from an extractor without a global head,
            whose local descriptors are then aggregated (see `features.aggregation`).
        extractor_id: network and digest of its weights.
        size_wh: of the image, px; None where that is not known any more.
        turn_rad: by how much the image was turned clockwise to be described; keypoints are of the image as it is.
        coordinates: what a dense scene network said of the image; None without one.
    """

    local: LocalFeatures
    global_descriptor: NDArray[np.float32] | None
    extractor_id: str
    size_wh: tuple[int, int] | None = None
    turn_rad: float = 0.0
    coordinates: SceneCoordinates | None = None

    def chosen(self, rows: NDArray[np.int64]) -> ImageFeatures:
        """Return the same image with some of its local features [M], in the order of `rows`."""
        return replace(self, local=self.local.chosen(rows))

    @property
    def extent_wh(self) -> tuple[int, int]:
        """Return the size of the image, px; where that is not known, of what its keypoints reach."""
        if self.size_wh is not None:
            return self.size_wh
        width, height = np.ceil(self.local.keypoints.max(axis=0, initial=0.0)).astype(int) + 1
        return int(width), int(height)

    def strongest(self, count: int) -> ImageFeatures:
        """Return the same image with at most `count` of its local features, the best ones."""
        return self if len(self.local) <= count else self.chosen(np.arange(count))


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What one camera of a rig saw at one time: an image, or what is left of one that was described before.

    Attributes:
        calibration: of the camera, and where it is on the rig.
        image: [H, W] gray or [H, W, 3] BGR, uint8; None where `features` are given.
        features: of the image, if they are there already.
        is_doubted: its camera is not proven right: what it says counts only where another view agrees.
    """

    calibration: RigCamera
    image: ImageArray | None
    features: ImageFeatures | None = None
    is_doubted: bool = False

    def __post_init__(self) -> None:
        """Refuse a view of nothing."""
        if self.image is None and self.features is None:
            raise ValueError("a view has neither an image nor features, expected one of them")


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What is to be localized: all that a rig saw at one time, one view at least.

    One view is the trivial rig, whose frame is the optical frame of its camera.

    Attributes:
        stamp_ns: time of exposure, nanoseconds.
        views: in any order; answers refer to a view by its position here.
        compares_views: the answer is to say where the rig is by each view alone, which takes some 5 ms a view.
        rolled_as: map_from_rig of the stream's last answer, if its images had to be turned: these are looked at with
            the same roll first.
        seeks_roll: images that are not localized are to be looked for turned by every angle, which takes eight times
            as long.
    """

    stamp_ns: int
    views: tuple[View, ...]
    compares_views: bool = False
    rolled_as: Rigid3 | None = None
    seeks_roll: bool = True

    def __post_init__(self) -> None:
        """Refuse a question about nothing."""
        if not self.views:
            raise ValueError("a query has no view, expected at least one")

    @classmethod
    def of(cls, asked: Frame | Query) -> Query:
        """Return a query of one image; a query as it is."""
        if isinstance(asked, Query):
            return asked
        return cls(asked.stamp_ns, (View(RigCamera(asked.camera), asked.image),))

    @property
    def cameras(self) -> tuple[RigCamera, ...]:
        """The calibrations of the views."""
        return tuple(view.calibration for view in self.views)

    @property
    def doubted(self) -> frozenset[int]:
        """The positions of views whose camera is doubted; none of a query of one view."""
        if len(self.views) == 1:
            return frozenset()
        return frozenset(view_idx for view_idx, view in enumerate(self.views) if view.is_doubted)
