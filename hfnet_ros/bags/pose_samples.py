"""Poses of one frame over the time of a bag: odometry and ground truth."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.files.name_stamps import MAX_GAP_S
from hfnet_ros.geometry.rigid3 import Rigid3, interpolate

_NS_PER_S = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class PoseSamples:
    """Poses `parent_from_child`, sorted by time; N samples.

    Attributes:
        parent_frame: frame the poses are in.
        child_frame: frame they are of; "" where the messages do not say (PoseStamped).
        stamps_ns: [N] int64, increasing.
        rotations: [N, 3, 3] float64.
        translations: [N, 3] float64, m.
        receipts_ns: [N] int64, when the recorder had received what the sample is made of.
    """

    parent_frame: str
    child_frame: str
    stamps_ns: NDArray[np.int64]
    rotations: NDArray[np.float64]
    translations: NDArray[np.float64]
    receipts_ns: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.stamps_ns)

    def pose(self, index: int) -> Rigid3:
        """Return one sample as it was recorded."""
        return Rigid3(self.rotations[index], self.translations[index])

    def chosen(self, rows: NDArray[np.bool_]) -> PoseSamples:
        """Return some of the samples; rows [N] are true for those."""
        return replace(
            self,
            stamps_ns=self.stamps_ns[rows],
            rotations=self.rotations[rows],
            translations=self.translations[rows],
            receipts_ns=self.receipts_ns[rows],
        )

    def at(self, stamp_ns: int, max_gap_s: float = MAX_GAP_S) -> Rigid3 | None:
        """Return `parent_from_child` at a time; None where it is not known.

        A sample of that very time comes back as it is. Between two that are no further apart than
        `max_gap_s`, the origin moves along a line and the orientation turns at a constant rate.
        Nothing is extrapolated.
        """
        after = int(np.searchsorted(self.stamps_ns, stamp_ns))
        if after < len(self) and int(self.stamps_ns[after]) == stamp_ns:
            return self.pose(after)
        if after in (0, len(self)):
            return None
        before_ns, after_ns = int(self.stamps_ns[after - 1]), int(self.stamps_ns[after])
        if after_ns - before_ns > max_gap_s * _NS_PER_S:
            return None
        fraction = (stamp_ns - before_ns) / (after_ns - before_ns)
        return interpolate(self.pose(after - 1), self.pose(after), fraction)


@dataclass(slots=True)
class PoseCollector:
    """Gathers samples in 112 bytes each, in whatever order they come."""

    _stamps: array[int] = field(default_factory=lambda: array("q"))
    _receipts: array[int] = field(default_factory=lambda: array("q"))
    _numbers: array[float] = field(default_factory=lambda: array("d"))

    def __len__(self) -> int:
        """Return the number of samples so far."""
        return len(self._stamps)

    def add(self, stamp_ns: int, parent_from_child: Rigid3, receipt_ns: int | None = None) -> None:
        """Take one sample; where its receipt is not known, it is taken to come at once."""
        self._stamps.append(stamp_ns)
        self._receipts.append(stamp_ns if receipt_ns is None else receipt_ns)
        self._numbers.extend(parent_from_child.rotation.ravel().tolist())
        self._numbers.extend(parent_from_child.translation.tolist())

    def samples(self, parent_frame: str, child_frame: str) -> PoseSamples:
        """Return what was gathered, sorted; of samples of one time the first."""
        stamps = np.array(self._stamps, np.int64)
        numbers = np.array(self._numbers, np.float64).reshape(-1, 12)
        stamps, first = np.unique(stamps, return_index=True)
        rotations, translations = numbers[first, :9].reshape(-1, 3, 3), numbers[first, 9:]
        receipts = np.array(self._receipts, np.int64)[first]
        return PoseSamples(parent_frame, child_frame, stamps, rotations, translations, receipts)
