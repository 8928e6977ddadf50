"""Times and frame numbers in the names of images, read against the stamps of a trajectory.

Which number of a name is the time, and in what unit, shows only beside the poses: of all readings
the one is taken under which most images have a pose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.files.images import numbers_in_name, without_separators

Stamps = NDArray[np.int64]

MAX_GAP_S = 0.25  # between poses that are interpolated
_UNITS_NS = (10**9, 10**6, 10**3, 1)  # s, ms, us, ns
_MAX_STAMP_NS = 2**63 - 1
_MIN_DIGITS_OF_TIME = 9  # a whole number of fewer may count frames as well
_NANOSECOND_DIGITS = 9
# Of a number after whole seconds that has as many digits in all names: what one of it is.
_UNITS_OF_DIGITS_NS = {3: 10**6, 6: 10**3}
_TOLERANCE_NS = 20_000_000  # between an image and its pose, as the benchmark of TUM pairs them
_OF_INTERVAL = 0.1  # the same, where poses are denser
_MIN_MEETING = 0.8  # share of the images, or of the poses, that must find one another
_MIN_IMAGES = 2
# 1973: numbers within a span of poses beyond it are times of their clock, and no chance.
_EARLIEST_CLOCK_NS = 10**17
_LATEST_CLOCK_NS = 8 * 10**18  # 2223


@dataclass(frozen=True, slots=True, eq=False)
class NameStamps:
    """Times of images on the clock of the poses.

    Attributes:
        stamps_ns: [N] int64.
        before, after: [N] int64, positions of the poses between which each image was taken; the
            same where it has a pose of its own, -1 where it has none.
    """

    stamps_ns: Stamps
    before: NDArray[np.int64]
    after: NDArray[np.int64]

    @property
    def has_pose(self) -> NDArray[np.bool_]:
        """Tell which images [N] have a pose."""
        return self.after >= 0


def stamps_of_names(images: Sequence[Path], poses_ns: Stamps) -> NameStamps | None:
    """Read times or frame numbers in the names of images.

    Args:
        images: files, N.
        poses_ns: [P] int64 stamps of the poses, ascending, ns.

    Returns:
        None where no number in the names stands for the times of the poses: then order alone can
        pair them.
    """
    if len(images) < _MIN_IMAGES or len(poses_ns) < _MIN_IMAGES:
        return None
    readings = (_meet(stamps_ns, poses_ns, may_count) for stamps_ns, may_count in _readings(images))
    return max(
        (reading for reading in readings if reading is not None),
        key=lambda reading: int(reading.has_pose.sum()),
        default=None,
    )


def times_in_names(images: Sequence[Path]) -> Stamps | None:
    """Return times [N], ns, that the names of images hold: numbers that are one of a clock; None where none are."""
    for stamps_ns, may_count in _readings(images):
        if not may_count and stamps_ns.min() > _EARLIEST_CLOCK_NS and stamps_ns.max() < _LATEST_CLOCK_NS:
            return stamps_ns
    return None


@dataclass(frozen=True, slots=True, eq=False)
class SparsePoses:
    """Names that are times of the poses' clock, most of which no pose is near.

    Attributes:
        num_near: images that have a pose of their time.
        farthest_s: of an image from the pose that is nearest to it.
        interval_s: median time between poses.
        is_in_order: whether there is a pose for each image, which is nearest to it.
    """

    num_near: int
    farthest_s: float
    interval_s: float
    is_in_order: bool


def sparse_poses_of_names(images: Sequence[Path], poses_ns: Stamps) -> SparsePoses | None:
    """Return how far images whose names are times are from poses of those times, where `stamps_of_names` finds none.

    None where the names are no times, or of another clock than the poses.
    """
    if len(images) < _MIN_IMAGES or len(poses_ns) < _MIN_IMAGES or poses_ns[0] < _EARLIEST_CLOCK_NS:
        return None
    interval_ns = int(np.median(np.diff(poses_ns)))
    for stamps_ns, may_count in _readings(images):
        in_range = (stamps_ns >= poses_ns[0] - interval_ns) & (stamps_ns <= poses_ns[-1] + interval_ns)
        if may_count or in_range.mean() < _MIN_MEETING:
            continue
        nearest = nearest_stamps(stamps_ns, poses_ns)
        off_ns = np.abs(poses_ns[nearest] - stamps_ns)
        return SparsePoses(
            int((off_ns <= _TOLERANCE_NS).sum()),
            float(off_ns.max()) / _UNITS_NS[0],
            interval_ns / _UNITS_NS[0],
            bool(np.array_equal(nearest, np.arange(len(poses_ns)))),
        )
    return None


def _readings(images: Sequence[Path]) -> Iterator[tuple[Stamps, bool]]:
    """Yield stamps [N] that the names may mean, and whether the numbers may count frames as well."""
    plain = without_separators([image.name for image in images])
    names = [numbers_in_name(Path(name)) for name in plain]
    width = len(names[0])
    if any(len(numbers) != width for numbers in names):
        return
    # The finer first: beside dense poses, whole seconds alone find a pose for each image as well.
    for column in range(width - 1):
        pairs = [(numbers[column], numbers[column + 1]) for numbers in names]
        if all("." not in s + part and len(part) <= _NANOSECOND_DIGITS for s, part in pairs):
            unit_ns = _unit_after_seconds([part for _, part in pairs])
            yield from _distinct([int(s) * _UNITS_NS[0] + int(part) * unit_ns for s, part in pairs], False)
    for column in range(width):
        texts = [numbers[column] for numbers in names]
        may_count = all("." not in text and len(text) < _MIN_DIGITS_OF_TIME for text in texts)
        for unit_ns in _UNITS_NS:
            yield from _distinct([int(Decimal(text) * unit_ns) for text in texts], may_count)


def _unit_after_seconds(parts: Sequence[str]) -> int:
    """Return what one of the numbers after whole seconds is, ns; nanoseconds are also written without zeros before."""
    digits = {len(part) for part in parts}
    return _UNITS_OF_DIGITS_NS.get(digits.pop(), 1) if len(digits) == 1 else 1


def _distinct(stamps_ns: list[int], may_count: bool) -> Iterator[tuple[Stamps, bool]]:
    if len(set(stamps_ns)) == len(stamps_ns) and max(stamps_ns) <= _MAX_STAMP_NS:
        yield np.array(stamps_ns, np.int64), may_count


def _meet(stamps_ns: Stamps, poses_ns: Stamps, may_count: bool) -> NameStamps | None:
    """Return which poses the images meet; None if these are not the times of the poses.

    Numbers that may count frames must all lie in the range of the poses, and are not interpolated:
    frames from 1 on beside poses from 0 on would be paired with their neighbours.
    """
    tolerance_ns = min(_TOLERANCE_NS, int(_OF_INTERVAL * float(np.median(np.diff(poses_ns)))))
    in_range = (stamps_ns >= poses_ns[0] - tolerance_ns) & (stamps_ns <= poses_ns[-1] + tolerance_ns)
    if may_count and not in_range.all():
        return None
    after = np.clip(np.searchsorted(poses_ns, stamps_ns), 1, len(poses_ns) - 1)
    before, nearest = after - 1, nearest_stamps(stamps_ns, poses_ns)
    is_between = (stamps_ns > poses_ns[before]) & (stamps_ns < poses_ns[after]) & (not may_count)
    is_between &= poses_ns[after] - poses_ns[before] <= MAX_GAP_S * _UNITS_NS[0]
    found = is_between | (np.abs(poses_ns[nearest] - stamps_ns) <= tolerance_ns)
    num_met = len(np.unique(nearest[found]))
    if num_met < max(_MIN_IMAGES, _MIN_MEETING * min(int(in_range.sum()), len(poses_ns))):
        return None
    before, after = np.where(is_between, before, nearest), np.where(is_between, after, nearest)
    return NameStamps(stamps_ns, np.where(found, before, -1), np.where(found, after, -1))


def nearest_stamps(stamps_ns: Stamps, poses_ns: Stamps) -> NDArray[np.int64]:
    """Return positions [N] of the poses nearest to some stamps; those of poses [P] ascend."""
    after = np.clip(np.searchsorted(poses_ns, stamps_ns), 1, len(poses_ns) - 1)
    nearest: NDArray[np.int64] = np.where(
        stamps_ns - poses_ns[after - 1] <= poses_ns[after] - stamps_ns, after - 1, after
    )
    return nearest
