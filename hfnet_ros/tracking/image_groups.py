"""Images of several cameras by the time they were taken at: what one query of a rig is made of.

Stamps and arrivals in, groups out, by nothing but these numbers, so that a live node and a replay group alike.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

_NS_PER_S = 1_000_000_000
# Stamps that far from those of the other cameras are of another clock, or of a recording that begins again.
_ANOTHER_CLOCK_S = 1.0
_RECENT_S = 2.0  # a camera that was silent for longer says nothing of the others' clocks
_PATIENCE = 5  # groups without a camera, after which it is not waited for
_REMEMBERED = 20  # groups that went out
_LAGS = 5
_FASTEST = 20.0  # replay


@dataclass(frozen=True, slots=True, eq=False)
class ImageGroup(Generic[T]):
    """Images of one time.

    Attributes:
        stamp_ns: that of the first camera in order that has an image here.
        arrived_s: when the first of them came.
        images: one of each camera in order; None of those that have none.
    """

    stamp_ns: int
    arrived_s: float
    images: tuple[T | None, ...]


@dataclass(frozen=True, slots=True)
class CameraTiming:
    """How the images of one camera fit those of the others.

    Attributes:
        behind_s: how much later its images come after their stamps than those of most cameras; None where unknown.
        group_share: part of the last groups that have an image of it; None before the first.
    """

    behind_s: float | None = None
    group_share: float | None = None


@dataclass(eq=False)
class _Open(Generic[T]):
    """A group that waits: by camera, the stamp and the image."""

    anchor_ns: int
    arrived_s: float
    images: dict[int, tuple[int, T]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Gone:
    """A group that went out."""

    anchor_ns: int
    arrived_s: float
    cameras: frozenset[int]


class ImageGroups(Generic[T]):
    """Gathers images whose stamps lie within a tolerance of the one that came first.

    A group goes out when it has an image of every camera that is there, or when its first image has waited. Groups
    that are older go out before it, incomplete as they are. An image that comes when its group is gone is dropped,
    and so is one whose stamp is far from that of most others, by a clock of its own. With one camera every image is a
    group, whatever its stamp.
    """

    def __init__(
        self, num_cameras: int, tolerance_s: float, wait_s: float, patience: int | None = _PATIENCE
    ) -> None:
        """Start with nothing seen.

        Args:
            num_cameras: they are numbered in the order in which their stamps go before others.
            tolerance_s: how far stamps may be from that of the image that opens a group.
            wait_s: how long an image waits for those of other cameras.
            patience: groups without a camera after which it is not waited for any more, until an image of it comes
                in time again; None always waits.
        """
        self._num_cameras = num_cameras
        self._tolerance_ns, self._wait_s = round(tolerance_s * _NS_PER_S), wait_s
        self._patience = patience
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._open: list[_Open[T]] = []  # by anchor
        self._gone: deque[_Gone] = deque(maxlen=_REMEMBERED)
        self._missed = [0] * self._num_cameras
        # Stamp and arrival of the last ones of each camera, and how late after the others' they came.
        self._seen: list[deque[tuple[float, float]]] = [deque(maxlen=_LAGS) for _ in range(self._num_cameras)]
        self._behind: list[deque[float]] = [deque(maxlen=_LAGS) for _ in range(self._num_cameras)]

    @property
    def due_s(self) -> float | None:
        """Return when the next group has waited long enough; None where none waits."""
        return min((group.arrived_s + self._wait_s for group in self._open), default=None)

    def add(self, camera_idx: int, stamp_ns: int, arrived_s: float, image: T) -> list[ImageGroup[T]]:
        """Take an image; return the groups that go out now, the oldest first."""
        if self._num_cameras == 1:
            return [ImageGroup(stamp_ns, arrived_s, (image,))]
        out = self.take_due(arrived_s)
        is_known = any(group.images.get(camera_idx, (0,))[0] == stamp_ns for group in self._open)
        if stamp_ns <= 0 or self._is_out_of_time(camera_idx, stamp_ns, arrived_s) or is_known:
            return out
        group = self._group_of(camera_idx, stamp_ns, arrived_s)
        group.images[camera_idx] = stamp_ns, image
        return out + self._take_until(group) if self._is_complete(group) else out

    def take_due(self, now_s: float) -> list[ImageGroup[T]]:
        """Return the groups that have waited long enough, and those that are older."""
        due = [group for group in self._open if now_s >= group.arrived_s + self._wait_s]
        return self._take_until(due[-1]) if due else []

    def timing(self, camera_idx: int) -> CameraTiming:
        """Return how the images of a camera fit those of the others."""
        behind, share = self._behind[camera_idx], None
        if self._gone:
            share = sum(camera_idx in group.cameras for group in self._gone) / len(self._gone)
        return CameraTiming(statistics.median(behind) if behind else None, share)

    def _usual_stamp_s(self, now_s: float, rate: float) -> float:
        """Return which stamp images of most cameras have that come now; of two cameras those of the quicker.

        Args:
            now_s: the time.
            rate: by which stamps of a replay pass while they have not come.
        """
        last = [seen[-1] for seen in self._seen if seen]
        recent = [(stamp_s, arrived_s) for stamp_s, arrived_s in last if now_s - arrived_s <= _RECENT_S]
        return statistics.median_high(
            stamp_s + rate * (now_s - arrived_s) for stamp_s, arrived_s in recent or last[:1]
        )

    def _is_out_of_time(self, camera_idx: int, stamp_ns: int, arrived_s: float) -> bool:
        """Tell whether an image is of another clock, or its group is gone."""
        stamp_s, seen, behind = stamp_ns / _NS_PER_S, self._seen[camera_idx], self._behind[camera_idx]
        seen.append((stamp_s, arrived_s))
        behind.append(self._usual_stamp_s(arrived_s, _rate(seen)) - stamp_s)
        # Those of a slow replay, or of a busy machine, pass more slowly than time.
        if min(abs(behind[-1]), abs(self._usual_stamp_s(arrived_s, 1.0) - stamp_s)) > _ANOTHER_CLOCK_S:
            return True
        if statistics.median(behind) < -self._wait_s - self._tolerance_ns / _NS_PER_S:
            return True  # others would find their groups gone, which it had opened too soon
        if not self._gone:
            return False
        newest_ns = max(group.anchor_ns for group in self._gone)
        if stamp_ns < newest_ns - _ANOTHER_CLOCK_S * _NS_PER_S:
            # Most cameras say so: a recording begins again.
            self._open.clear()
            self._gone.clear()
            return False
        missed = [
            group
            for group in self._gone
            if self._is_near(group, stamp_ns) and camera_idx not in group.cameras
        ]
        if any(arrived_s <= group.arrived_s + self._wait_s for group in missed):
            self._missed[camera_idx] = 0  # it would have been in time
        return bool(missed) or stamp_ns <= newest_ns

    def _is_near(self, group: _Open[T] | _Gone, stamp_ns: int) -> bool:
        return abs(stamp_ns - group.anchor_ns) <= self._tolerance_ns

    def _group_of(self, camera_idx: int, stamp_ns: int, arrived_s: float) -> _Open[T]:
        """Return the nearest group that lacks this camera, or a new one."""
        fitting = [
            group for group in self._open if self._is_near(group, stamp_ns) and camera_idx not in group.images
        ]
        if fitting:
            return min(fitting, key=lambda group: abs(stamp_ns - group.anchor_ns))
        opened = _Open[T](stamp_ns, arrived_s)
        self._open.append(opened)
        self._open.sort(key=lambda group: group.anchor_ns)
        return opened

    def _is_complete(self, group: _Open[T]) -> bool:
        return all(
            camera_idx in group.images
            or (self._patience is not None and self._missed[camera_idx] >= self._patience)
            for camera_idx in range(self._num_cameras)
        )

    def _take_until(self, last: _Open[T]) -> list[ImageGroup[T]]:
        """Let a group and all that are older go out."""
        count = self._open.index(last) + 1
        taken, self._open = self._open[:count], self._open[count:]
        for group in taken:
            self._gone.append(_Gone(group.anchor_ns, group.arrived_s, frozenset(group.images)))
            for camera_idx in range(self._num_cameras):
                self._missed[camera_idx] = 0 if camera_idx in group.images else self._missed[camera_idx] + 1
        return [self._as_group(group) for group in taken]

    def _as_group(self, group: _Open[T]) -> ImageGroup[T]:
        stamp_ns = group.images[min(group.images)][0]
        images = [
            group.images[index][1] if index in group.images else None for index in range(self._num_cameras)
        ]
        return ImageGroup(stamp_ns, group.arrived_s, tuple(images))


def _rate(seen: Sequence[tuple[float, float]]) -> float:
    """Return how fast the stamps of a camera pass; 1 where a clock was set, or images had piled up."""
    (first_s, since_s), (last_s, until_s) = seen[0], seen[-1]
    rate = (last_s - first_s) / (until_s - since_s) if until_s > since_s else 1.0
    return rate if 1.0 / _FASTEST <= rate <= _FASTEST else 1.0
