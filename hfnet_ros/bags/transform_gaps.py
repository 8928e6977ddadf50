"""Times at which a transform of a bag was not given, though those above or below it were.

Several transforms lead from a map to a camera, each given at its own times. Where one falls silent for some
seconds and the others go on, a pose composed of them all is interpolated over the silence, and dense as any other.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.bags.pose_samples import PoseSamples
from hfnet_ros.errors import MessageError
from hfnet_ros.files.name_stamps import MAX_GAP_S
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.headers import plain_frame_id, stamp_from_message
from hfnet_ros.messages.poses import rigid_from_transform

_NS_PER_S = 1e9
# Of the usual time between two transforms: where that is long, as of a map that is corrected once a second.
_MANY_INTERVALS = 5.0
_SAME_M, _SAME_RAD = 1e-4, 2e-4  # by which a transform may be rounded otherwise


class _Gap(NamedTuple):
    begin_ns: int
    end_ns: int


class TransformGaps:
    """Gathers when moving transforms were given, 8 bytes each, and where one is another after a silence."""

    def __init__(self) -> None:
        """Start with none."""
        self._stamps_ns: dict[str, array[int]] = {}
        self._last: dict[str, tuple[int, Any]] = {}
        self._parents: dict[str, str] = {}
        self._silences: dict[str, list[_Gap]] = {}

    def add(self, message: Any) -> None:
        """Take note of a tf2_msgs/TFMessage of transforms that move."""
        for transform in message.transforms:
            with suppress(MessageError):
                self._add(transform)

    def left_out_of(self, samples: PoseSamples, frames: Iterable[str]) -> tuple[PoseSamples, list[str]]:
        """Return samples without those within gaps, and a sentence for each transform that has gaps.

        Args:
            samples: composed of the transforms of `frames`.
            frames: each below its parent.
        """
        kept = np.ones(len(samples), np.bool_)
        sentences = []
        for frame in frames:
            gaps = self._gaps(frame)
            for gap in gaps:
                kept &= (samples.stamps_ns <= gap.begin_ns) | (samples.stamps_ns >= gap.end_ns)
            if gaps:
                longest = max(gaps, key=lambda gap: gap.end_ns - gap.begin_ns)
                seconds, begin_s = (
                    (longest.end_ns - longest.begin_ns) / _NS_PER_S,
                    longest.begin_ns / _NS_PER_S,
                )
                more = f", and {len(gaps) - 1} times more" if len(gaps) > 1 else ""
                sentences.append(
                    f"the transform of '{frame}' in '{self._parents[frame]}' is not given for {seconds:.1f} s from "
                    f"{begin_s:.3f} s on{more}: no pose is known there"
                )
        return samples if kept.all() else samples.chosen(kept), sentences

    def _add(self, transform: Any) -> None:
        stamp_ns = stamp_from_message(transform.header.stamp)
        child = plain_frame_id(transform.child_frame_id)
        self._stamps_ns.setdefault(child, array("q")).append(stamp_ns)
        self._parents[child] = plain_frame_id(transform.header.frame_id)
        last = self._last.get(child)
        if last is not None and stamp_ns - last[0] > MAX_GAP_S * _NS_PER_S:
            before, after = rigid_from_transform(last[1]), rigid_from_transform(transform.transform)
            if not _is_same(before, after):
                self._silences.setdefault(child, []).append(_Gap(last[0], stamp_ns))
        if last is None or stamp_ns > last[0]:
            self._last[child] = stamp_ns, transform.transform

    def _gaps(self, frame: str) -> list[_Gap]:
        """Return the silences of a transform that are long for it; what came later in the bag ends them, too."""
        silences = self._silences.get(frame)
        if not silences:
            return []
        stamps_ns: NDArray[np.int64] = np.unique(np.frombuffer(self._stamps_ns[frame], np.int64))
        least_ns = max(MAX_GAP_S * _NS_PER_S, _MANY_INTERVALS * float(np.median(np.diff(stamps_ns))))
        return [
            gap
            for gap in silences
            if gap.end_ns - gap.begin_ns > least_ns
            and np.searchsorted(stamps_ns, gap.end_ns) == np.searchsorted(stamps_ns, gap.begin_ns) + 1
        ]


def _is_same(before: Rigid3, after: Rigid3) -> bool:
    return before.translation_to(after) <= _SAME_M and before.rotation_to(after) <= _SAME_RAD
