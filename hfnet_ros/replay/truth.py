"""True poses for the images of a bag: from a topic, transforms or a TUM file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hfnet_ros.bags import BagFrame, BagReader, PoseSamples, read_ground_truth
from hfnet_ros.bags.pose_samples import PoseCollector
from hfnet_ros.config import Config
from hfnet_ros.errors import BagError, DatasetError
from hfnet_ros.evaluation.records import QueryResult, TimedPose
from hfnet_ros.files.name_stamps import MAX_GAP_S
from hfnet_ros.files.tum import read_tum
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.headers import plain_frame_id
from hfnet_ros.replay.mounting import BagMounting, find_mounting
from hfnet_ros.tracking.swings import Swings

_NS_PER_S = 1e9


class BagTruth:
    """Poses `map_from_frame` of some frame of the robot, turned into those of its camera and base."""

    def __init__(
        self, samples: PoseSamples, frame_from_camera: BagMounting, base_from_camera: BagMounting | None
    ) -> None:
        """Take the poses and how the camera is mounted on their frame.

        Args:
            samples: map_from_frame.
            frame_from_camera: mounting on the frame the poses are of.
            base_from_camera: mounting on the base, where poses of the base are wanted; the same object
                as `frame_from_camera` says that the poses are those of the base.
        """
        self.samples = samples
        self._frame_from_camera, self._base_from_camera = frame_from_camera, base_from_camera

    def camera_at(self, stamp_ns: int, camera_frame: str | None = None) -> Rigid3 | None:
        """Return `map_from_camera` at a time, interpolated; None where it is not known.

        Args:
            stamp_ns: the time.
            camera_frame: optical frame of the image; None for that of the first one.
        """
        map_from_frame = self.samples.at(stamp_ns)
        frame_from_camera = self._frame_from_camera.at(stamp_ns, camera_frame)
        if map_from_frame is None or frame_from_camera is None:
            return None
        return map_from_frame @ frame_from_camera

    def lacks_mounting(self, stamp_ns: int, camera_frame: str | None = None) -> bool:
        """Tell whether all that is unknown of an image's pose is how its camera is mounted.

        Args:
            stamp_ns: of the image.
            camera_frame: optical frame of the image; None for that of the first one.
        """
        mounting = self._frame_from_camera.at(stamp_ns, camera_frame)
        return mounting is None and self.samples.at(stamp_ns) is not None

    def base_at(self, stamp_ns: int) -> Rigid3 | None:
        """Return `map_from_base` at a time, interpolated; None where it is not known."""
        if self._base_from_camera is self._frame_from_camera:
            return self.samples.at(stamp_ns)
        map_from_camera = self.camera_at(stamp_ns)
        base_from_camera = self._base_from_camera.at(stamp_ns) if self._base_from_camera else None
        if map_from_camera is None or base_from_camera is None:
            return None
        return map_from_camera @ base_from_camera.inverse()

    def cameras(self) -> list[TimedPose]:
        """Return `map_from_camera` at every time the poses were given at."""
        found = ((stamp_ns, self.camera_at(stamp_ns)) for stamp_ns in self.samples.stamps_ns.tolist())
        return [(stamp_ns, pose) for stamp_ns, pose in found if pose is not None]

    def bases(self) -> list[TimedPose]:
        """Return `map_from_base` at every time the poses were given at."""
        found = ((stamp_ns, self.base_at(stamp_ns)) for stamp_ns in self.samples.stamps_ns.tolist())
        return [(stamp_ns, pose) for stamp_ns, pose in found if pose is not None]

    def span(self) -> str:
        """Return from when to when there are poses, how dense, and what is made of that, for a person."""
        stamps_ns = self.samples.stamps_ns
        first, last = stamps_ns[[0, -1]].tolist()
        interval_s = float(np.median(np.diff(stamps_ns))) / _NS_PER_S if len(stamps_ns) > 1 else 0.0
        apart = f", {interval_s:.{1 if interval_s >= 0.1 else 3}f} s apart" if interval_s else ""
        return (
            f"{first / _NS_PER_S:.3f} to {last / _NS_PER_S:.3f} s{apart}, and gaps of more than {MAX_GAP_S:g} s are "
            "not bridged"
        )


def read_truth(
    bag: BagReader,
    first: BagFrame,
    config: Config,
    *,
    source: str = "",
    tum: Path | None = None,
    frame: str = "",
    base_from_camera: str = "",
    base_mounting: BagMounting | None = None,
) -> BagTruth:
    """Read true poses.

    Args:
        bag: open.
        first: any image, for the name of the camera's frame.
        config: names the base frame.
        source: topic, or two frames such as map:base_link; unless `tum` is given.
        tum: file of map_from_camera.
        frame: frame the poses are of, where topic or file do not say; the base's, or the camera's for
            a file.
        base_from_camera: mounting to use whatever the bag says.
        base_mounting: of the camera on the base, where poses of the base are wanted too.

    Raises:
        BagError: a topic or frame is not there, or the mounting is unknown.
        DatasetError: the file cannot be read, or holds no pose.
    """
    base_frame, camera_frame = config.frames.base_frame, first.camera_frame_id
    if tum is not None:
        samples, frame = _read_tum(tum), plain_frame_id(frame) or camera_frame
    else:
        samples = read_ground_truth(bag, source)
        frame = samples.child_frame or plain_frame_id(frame) or base_frame
    _tell_swings(bag, samples, frame)
    if frame == base_frame and base_mounting is not None:
        return BagTruth(samples, base_mounting, base_mounting)
    mounting = find_mounting(bag, frame, camera_frame, config, base_from_camera)
    return BagTruth(samples, mounting, mounting if frame == base_frame else base_mounting)


def _tell_swings(bag: BagReader, samples: PoseSamples, frame: str) -> None:
    """Note poses that jump back and forth, as where two nodes send them: those of images would be of either."""
    swings = Swings()
    for row, stamp_ns in enumerate(samples.stamps_ns.tolist()):
        swings.take(stamp_ns, samples.pose(row))
        if swings.size:
            bag.note(
                f"poses of '{frame}' jump back and forth by {swings.size} around {stamp_ns / _NS_PER_S:.3f} s, as "
                "where two nodes publish them: images have those of either, or between; keep one"
            )
            return


def check_overlap(truth: BagTruth, results: Sequence[QueryResult]) -> None:
    """Refuse a run none of whose images has a true pose.

    Raises:
        BagError: says when both were taken.
    """
    if results and all(result.groundtruth is None for result in results):
        first, last = results[0].stamp_ns / _NS_PER_S, results[-1].stamp_ns / _NS_PER_S
        raise BagError(
            f"no image has a true pose: images are from {first:.3f} to {last:.3f} s, poses from {truth.span()}"
        )


def _read_tum(path: Path) -> PoseSamples:
    collector = PoseCollector()
    for entry in read_tum(path):
        collector.add(entry.stamp_ns, entry.map_from_camera)
    if not len(collector):
        raise DatasetError(f"{path}: holds no pose")
    return collector.samples("", "")
