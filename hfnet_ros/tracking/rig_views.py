"""Images of several cameras as one query in the frame of the robot, by mountings and odometry."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.odometry import Odometry
from hfnet_ros.types import CameraView, Frame, Query, RigCamera, View

UNMOUNTED = "its mounting on the robot is unknown"
FROZEN = "frozen: it gave the same image {} times in a row, byte by byte, while another camera did not"


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is asked of the images of one time.

    Attributes:
        seen: a query in the frame of the robot; of a camera that is alone its image.
        base_from_camera: where the frame of the answer is on the robot; None where nobody knows.
        views: all of them, with their position in the query, or why they are not in it.
    """

    seen: Frame | Query
    base_from_camera: Rigid3 | None
    views: tuple[CameraView, ...]


class RepeatedImages:
    """Finds cameras that give the same image again, byte by byte, while another one gives a new one.

    Noise makes two images of a camera differ, so that the same one is an old one with a new stamp. Of a robot that
    stands still in a simulation without noise all cameras repeat themselves, which is no fault.
    """

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._last: dict[str, tuple[int, int]] = {}  # checksum, how often it has come again

    def clear(self) -> None:
        """Forget everything."""
        self._last.clear()

    def named(self, views: Sequence[CameraView]) -> list[CameraView]:
        """Return the views, those of repeated images with that as their problem."""
        repeats: dict[str, int] = {}
        for view in views:
            if view.frame is not None:
                checksum = zlib.crc32(np.ascontiguousarray(view.frame.image).data)
                last, count = self._last.get(view.camera, (None, 0))
                repeats[view.camera] = count + 1 if checksum == last else 0
                self._last[view.camera] = checksum, repeats[view.camera]
        if all(repeats.values()):
            return list(views)
        return [
            replace(view, problem=FROZEN.format(repeats[view.camera] + 1))
            if repeats.get(view.camera)
            else view
            for view in views
        ]


def ask(stamp_ns: int, views: Sequence[CameraView], odometry: Odometry) -> Asked:
    """Return the query that views of one time make up; one at least has an image and no problem.

    A camera of unknown mounting is left out, unless that is so of all: the first is then asked alone, as one camera
    would be, and no robot can use the answer.

    Args:
        stamp_ns: time the answer shall be valid at.
        views: with mountings at the stamps of their images.
        odometry: moves the mountings to the time of the answer, as far as it is known then; the robot counts as
            standing still between two images of one time where it is not.
    """
    at_stamp = [_at(stamp_ns, view, odometry) for view in views]
    seen = [view for view in at_stamp if view.frame is not None and not view.problem]
    mounted = [view for view in seen if view.base_from_camera is not None]
    asked = mounted or seen[:1]
    positions = {view.camera: position for position, view in enumerate(asked)}
    numbered = tuple(
        replace(view, view_idx=positions.get(view.camera), problem=view.problem or _unmounted(view))
        for view in at_stamp
    )
    frames = [(view.frame, view.base_from_camera) for view in asked if view.frame is not None]
    if len(frames) == 1:
        ((frame, base_from_camera),) = frames
        return Asked(replace(frame, stamp_ns=stamp_ns), base_from_camera, numbered)
    query = Query(
        stamp_ns,
        tuple(
            View(RigCamera(frame.camera, base_from_camera), frame.image)
            for frame, base_from_camera in frames
            if base_from_camera is not None
        ),
    )
    return Asked(query, Rigid3.identity(), numbered)


def _unmounted(view: CameraView) -> str:
    return UNMOUNTED if view.frame is not None and view.base_from_camera is None else ""


def _at(stamp_ns: int, view: CameraView, odometry: Odometry) -> CameraView:
    """Return a view with its mounting as the robot of another time sees it."""
    if view.frame is None or view.base_from_camera is None or view.frame.stamp_ns == stamp_ns:
        return view
    then, now = odometry.sample_at(view.frame.stamp_ns), odometry.sample_at(stamp_ns)
    if then is None or now is None or then.run != now.run:
        return view
    now_from_then = now.odom_from_base.inverse() @ then.odom_from_base
    return replace(view, base_from_camera=now_from_then @ view.base_from_camera)
