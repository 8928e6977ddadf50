"""Coordinate frames over time from /tf and /tf_static: what tf2's buffer does, without ROS."""

from __future__ import annotations

import logging
import math
import threading
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hfnet_ros.errors import MessageError, TransformError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.headers import plain_frame_id, stamp_from_message
from hfnet_ros.messages.poses import MAX_COORDINATE_M

_logger = logging.getLogger(__name__)

_NS_PER_S = 1e9
# Transforms of one frame come from one publisher in order; further back than this the clock jumped
# (a bag starts again), and mixing old and new history would give poses that never were.
_JUMP_NS = 1_000_000_000
_NORM_TOLERANCE = 1e-2  # of the squared length, as in tf2
_STATIC_M, _STATIC_DEG = 1e-4, 0.01  # by which what is static may be rounded otherwise
_MAX_FRAMES = 10_000
_MAX_SAMPLES = 20_000  # of one frame
_MOST_REFUSALS = 100  # that are told, each once

_Numbers = tuple[float, float, float, float, float, float, float]


@dataclass(slots=True)
class _Edge:
    """A frame below its parent; `samples` are (stamp_ns, x y z qx qy qz qw of parent_from_child)."""

    parent: str
    is_static: bool
    samples: list[tuple[int, _Numbers]] = field(default_factory=list)


class TransformTree:
    """Remembers transforms and answers `target_from_source` at a time, interpolated.

    Methods may be called from any thread. A frame has one parent at a time; a transform with
    another parent starts its history anew. When stamps of a frame jump back by more than a second,
    twice in a row (once is a stray), all history but static transforms is dropped.
    """

    def __init__(self, history_s: float = 10.0) -> None:
        """Remember every frame's transforms for `history_s` before its newest one."""
        self._history_ns = int(history_s * _NS_PER_S)
        self._edges: dict[str, _Edge] = {}
        self._former_parents: dict[str, str] = {}
        self._moved: set[str] = set()  # static transforms that were logged to have changed
        self._suspects: set[str] = set()
        self._refused: set[str] = set()
        self._lock = threading.Lock()

    def add(self, message: Any, *, static: bool) -> None:
        """Take in a geometry_msgs/TransformStamped.

        Raises:
            TransformError: a number is not finite, the quaternion not of unit length, a name empty,
                child and parent the same, or a moving transform has no stamp; nothing was changed.
        """
        parent, child = plain_frame_id(message.header.frame_id), plain_frame_id(message.child_frame_id)
        if not parent or not child or parent == child:
            raise TransformError(f"transform of '{child}' in '{parent}', expected two different names")
        numbers = _numbers(message.transform, f"transform of '{child}' in '{parent}'")
        try:
            stamp_ns = stamp_from_message(message.header.stamp)
        except MessageError as error:
            raise TransformError(f"transform of '{child}' in '{parent}': {error}") from error
        if stamp_ns == 0 and not static:
            raise TransformError(f"moving transform of '{child}' in '{parent}' has stamp 0")
        with self._lock:
            if not static and self._is_stray(child, parent, stamp_ns):
                return
            edge = self._edge(child, parent, static)
            if static:
                self._note_moved(child, edge, numbers)
                edge.samples = [(0, numbers)]
            else:
                self._remember(edge, stamp_ns, numbers)

    def add_all(self, message: Any, *, static: bool) -> list[str]:
        """Take in a tf2_msgs/TFMessage; return a sentence for each transform that was refused."""
        refusals = [self._try_add(transform, static) for transform in message.transforms]
        return [refusal for refusal in refusals if refusal]

    def hear(self, message: Any, *, static: bool) -> None:
        """Take in a tf2_msgs/TFMessage as `add_all` does; what is refused is logged, each refusal once."""
        for refusal in self.add_all(message, static=static):
            if refusal not in self._refused and len(self._refused) < _MOST_REFUSALS:
                self._refused.add(refusal)
                _logger.warning("%s", refusal)

    def stamps_of(self, child_frame: str) -> tuple[str, tuple[int, ...]]:
        """Return the parent of a moving frame, and at which times its transforms are remembered, ns; "" for none."""
        with self._lock:
            edge = self._edges.get(plain_frame_id(child_frame))
            if edge is None or edge.is_static:
                return "", ()
            return edge.parent, tuple(stamp_ns for stamp_ns, _ in edge.samples)

    def look_up(
        self, target_frame: str, source_frame: str, stamp_ns: int, *, max_gap_s: float = math.inf
    ) -> Rigid3:
        """Return `target_from_source` at a time, interpolated, never extrapolated.

        Args:
            target_frame: frame the answer leads to.
            source_frame: frame it comes from.
            stamp_ns: time, ns.
            max_gap_s: largest time between two transforms that is interpolated, s.

        Raises:
            TransformError: a frame is unknown, the two are not connected, or a transform between
                them is not known at that time; `ahead_s` is set where newer data would help.
        """
        target, source = plain_frame_id(target_frame), plain_frame_id(source_frame)
        with self._lock:
            up, down = self._path(target, source)
            return self._compose(up, down, stamp_ns, max_gap_s)

    def look_up_latest(self, target_frame: str, source_frame: str) -> tuple[int, Rigid3]:
        """Return the newest time at which all is known, ns, and `target_from_source` then.

        The time is 0 where all transforms between them are static.

        Raises:
            TransformError: as in `look_up`.
        """
        target, source = plain_frame_id(target_frame), plain_frame_id(source_frame)
        with self._lock:
            up, down = self._path(target, source)
            moving = [self._edges[frame] for frame in up + down if not self._edges[frame].is_static]
            stamp_ns = min((edge.samples[-1][0] for edge in moving), default=0)
            return stamp_ns, self._compose(up, down, stamp_ns, math.inf)

    def clear(self) -> None:
        """Forget all but static transforms."""
        with self._lock:
            self._forget_moving()

    def _try_add(self, transform: Any, static: bool) -> str:
        """Return why a transform is refused, or ""."""
        try:
            self.add(transform, static=static)
        except TransformError as error:
            return str(error)
        return ""

    def _is_stray(self, child: str, parent: str, stamp_ns: int) -> bool:
        """Tell whether a stamp is far behind the frame's newest one, for the first time in a row."""
        edge = self._edges.get(child)
        if edge is None or edge.is_static or edge.parent != parent:
            return False
        back_ns = edge.samples[-1][0] - stamp_ns
        if back_ns <= _JUMP_NS:
            self._suspects.discard(child)
            return False
        if child not in self._suspects:
            self._suspects.add(child)
            return True
        _logger.warning(
            "time of frame '%s' jumped back by %.3f s; history is dropped", child, back_ns / _NS_PER_S
        )
        self._forget_moving()
        return False

    def _edge(self, child: str, parent: str, static: bool) -> _Edge:
        """Return the edge that a new transform belongs to."""
        edge = self._edges.get(child)
        if edge is not None and edge.parent == parent and edge.is_static == static:
            return edge
        if edge is None and len(self._edges) >= _MAX_FRAMES:
            raise TransformError(f"frame '{child}' is one too many: {_MAX_FRAMES} are known already")
        if edge is not None:
            if child not in self._former_parents:
                kinds = ["static" if is_static else "moving" for is_static in (edge.is_static, static)]
                _logger.warning(
                    "frame '%s' was %s in '%s' and is now %s in '%s'; do two nodes publish it?",
                    *(child, kinds[0], edge.parent, kinds[1], parent),
                )
            self._former_parents[child] = edge.parent
        self._edges[child] = _Edge(parent, static)
        return self._edges[child]

    def _note_moved(self, child: str, edge: _Edge, numbers: _Numbers) -> None:
        """Log, once for each frame, that a static transform is given another value; the newest holds at any time."""
        if not edge.samples or child in self._moved:
            return
        before, now = _rigid(edge.samples[0][1]), _rigid(numbers)
        moved_m, turned_deg = before.translation_to(now), math.degrees(before.rotation_to(now))
        if moved_m > _STATIC_M or turned_deg > _STATIC_DEG:
            self._moved.add(child)
            _logger.warning(
                "the static transform of '%s' in '%s' changed by %.3f m and %.2f deg: the newer holds at all times, "
                "also before; do two nodes publish it, or was it corrected meanwhile?",
                *(child, edge.parent, moved_m, turned_deg),
            )

    def _remember(self, edge: _Edge, stamp_ns: int, numbers: _Numbers) -> None:
        samples = edge.samples
        if not samples or stamp_ns > samples[-1][0]:
            samples.append((stamp_ns, numbers))
        else:
            index = bisect_left(samples, (stamp_ns,))
            if samples[index][0] == stamp_ns:
                samples[index] = (stamp_ns, numbers)
            else:
                insort(samples, (stamp_ns, numbers))
        expired = bisect_left(samples, (samples[-1][0] - self._history_ns,))
        del samples[: max(expired, len(samples) - _MAX_SAMPLES)]

    def _forget_moving(self) -> None:
        self._edges = {child: edge for child, edge in self._edges.items() if edge.is_static}
        self._suspects.clear()

    def _path(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """Return the frames from source, and from target, up to below their common ancestor."""
        from_source, from_target = self._ancestry(source), self._ancestry(target)
        above = set(from_source)
        common = next((frame for frame in from_target if frame in above), None)
        if common is None:
            reparented = self._reparented(from_source + from_target)
            self._refuse_unknown((target, source), reparented)
            raise TransformError(
                f"frames '{source}' (below '{from_source[-1]}') and '{target}' (below "
                f"'{from_target[-1]}') are not connected{reparented}"
            )
        return from_source[: from_source.index(common)], from_target[: from_target.index(common)]

    def _ancestry(self, frame: str) -> list[str]:
        """Return a frame and all above it."""
        chain = [frame]
        seen = {frame}
        while (edge := self._edges.get(chain[-1])) is not None:
            if edge.parent in seen:
                raise TransformError(f"frames form a loop: {' -> '.join([*chain, edge.parent])}")
            chain.append(edge.parent)
            seen.add(edge.parent)
        return chain

    def _reparented(self, chain: list[str]) -> str:
        """Return which frame of a chain was in another one before, and what to do; empty where none was."""
        for frame in chain:
            former, edge = self._former_parents.get(frame, ""), self._edges.get(frame)
            if former and edge is not None and former != edge.parent:
                return (
                    f"; '{frame}' is in '{edge.parent}' now and was in '{former}', as where two nodes publish it: keep "
                    "one (`ros2 run tf2_tools view_frames` names them)"
                )
        return ""

    def _refuse_unknown(self, frames: Sequence[str], reparented: str) -> None:
        known = set(self._edges) | {edge.parent for edge in self._edges.values()}
        for frame in frames:
            if frame not in known:
                names = ", ".join(sorted(known)[:20]) or "none"
                raise TransformError(f"frame '{frame}' is unknown; known are {names}{reparented}")

    def _compose(self, up: list[str], down: list[str], stamp_ns: int, max_gap_s: float) -> Rigid3:
        ancestor_from_source, ancestor_from_target = Rigid3.identity(), Rigid3.identity()
        for frame in up:
            ancestor_from_source = self._sample(frame, stamp_ns, max_gap_s) @ ancestor_from_source
        for frame in down:
            ancestor_from_target = self._sample(frame, stamp_ns, max_gap_s) @ ancestor_from_target
        return ancestor_from_target.inverse() @ ancestor_from_source

    def _sample(self, child: str, stamp_ns: int, max_gap_s: float) -> Rigid3:
        """Return `parent_from_child` at a time."""
        edge = self._edges[child]
        samples = edge.samples
        if edge.is_static:
            return _rigid(samples[0][1])
        name = f"transform of '{child}' in '{edge.parent}'"
        ahead_s, early_s = (stamp_ns - samples[-1][0]) / _NS_PER_S, (samples[0][0] - stamp_ns) / _NS_PER_S
        if ahead_s > 0.0:
            raise TransformError(f"{name} ends {ahead_s:.3f} s before the time asked for", ahead_s)
        if early_s > 0.0:
            raise TransformError(f"{name} begins {early_s:.3f} s after the time asked for")
        index = bisect_left(samples, (stamp_ns,))
        after_ns, after = samples[index]
        if after_ns == stamp_ns:
            return _rigid(after)
        before_ns, before = samples[index - 1]
        gap_s = (after_ns - before_ns) / _NS_PER_S
        if gap_s > max_gap_s:
            raise TransformError(
                f"{name} has a gap of {gap_s:.3f} s around the time asked for, expected {max_gap_s:g} s at most"
            )
        return _between(_rigid(before), _rigid(after), (stamp_ns - before_ns) / (after_ns - before_ns))


def _numbers(transform: Any, name: str) -> _Numbers:
    """Return x y z qx qy qz qw; plain floats, as tf brings thousands a second."""
    offset, turn = transform.translation, transform.rotation
    numbers = (offset.x, offset.y, offset.z, turn.x, turn.y, turn.z, turn.w)
    if not math.isfinite(sum(numbers)):
        raise TransformError(f"{name} is not finite: {numbers}")
    if max(abs(offset.x), abs(offset.y), abs(offset.z)) > MAX_COORDINATE_M:
        raise TransformError(f"{name} is {numbers[:3]} long, expected at most {MAX_COORDINATE_M:g} m")
    squared = turn.x * turn.x + turn.y * turn.y + turn.z * turn.z + turn.w * turn.w
    if abs(squared - 1.0) > _NORM_TOLERANCE:
        raise TransformError(f"{name} has a quaternion of length {math.sqrt(squared):g}, expected 1")
    return numbers


def _rigid(numbers: _Numbers) -> Rigid3:
    return Rigid3.from_quat(numbers[3:], numbers[:3])


def _between(before: Rigid3, after: Rigid3, fraction: float) -> Rigid3:
    """Interpolate: the origin along a line, the orientation at constant rate."""
    turn = Rigid3(before.rotation.T @ after.rotation, after.translation).rotvec * fraction
    offset = (1.0 - fraction) * before.translation + fraction * after.translation
    return Rigid3(before.rotation @ Rigid3.from_rotvec(turn, offset).rotation, offset)
