"""Odometry, transforms and ground truth of a bag, each read in a pass of its own."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from hfnet_ros.bags.pose_samples import PoseCollector, PoseSamples
from hfnet_ros.bags.reader import BagMessage, BagReader
from hfnet_ros.bags.topics import ODOMETRY, POSE, POSE_WITH_COVARIANCE, TF, TRANSFORM
from hfnet_ros.bags.transform_gaps import TransformGaps
from hfnet_ros.errors import BagError, MessageError, TransformError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.headers import plain_frame_id, stamp_from_message
from hfnet_ros.messages.poses import rigid_from_pose, rigid_from_transform
from hfnet_ros.messages.transform_tree import TransformTree

StampedPose = tuple[int, str, str, Rigid3]  # stamp_ns, parent frame, child frame, parent_from_child


def read_odometry(bag: BagReader, topic: str = "") -> PoseSamples | None:
    """Return `odom_from_base` of a nav_msgs/Odometry topic.

    Args:
        bag: open.
        topic: name, or "" for the only one; None comes back if there is none at all.

    Raises:
        BagError: the topic is not there or another type, several would do, or nothing is usable.
    """
    if not topic and not any(entry.type_name == ODOMETRY and entry.count for entry in bag.topics):
        return None
    chosen = bag.choose([ODOMETRY], topic, purpose="odometry", option="--odometry-topic")
    return _read_poses(bag, chosen.name, _READERS[ODOMETRY])


def read_ground_truth(bag: BagReader, source: str) -> PoseSamples:
    """Return the true poses from a topic, or from transforms named `map:base_link`.

    A topic may hold PoseStamped, PoseWithCovarianceStamped, Odometry or TransformStamped. The first
    two do not say which frame the pose is of: `child_frame` is then "".

    Raises:
        BagError: the topic or a frame is not there, or nothing is usable.
    """
    if ":" in source:
        parent, _, child = source.partition(":")
        try:
            return read_transform(bag, parent, child)
        except BagError as error:
            names = ", ".join(sorted({topic.name for topic in bag.topics if topic.type_name in _READERS}))
            raise BagError(f"{error}; poses are on {names}" if names else str(error)) from error
    if not source:
        raise BagError("ground truth needs a topic, or two frames such as map:base_link")
    chosen = bag.choose(list(_READERS), source, purpose="ground truth", option="--ground-truth")
    return _read_poses(bag, chosen.name, _READERS[chosen.type_name])


def read_transform(bag: BagReader, parent: str, child: str) -> PoseSamples:
    """Return `parent_from_child` over time, composed of the transforms between them.

    There is a sample at every time at which one of those transforms was given; a single one at
    time 0 where all are static. None is in a gap of one of them, whatever the others give there; gaps are noted in
    the bag.

    Raises:
        BagError: the frames are never connected.
    """
    parent, child = plain_frame_id(parent), plain_frame_id(child)
    tree, collector, pending = TransformTree(), PoseCollector(), _PendingStamps(parent, child)
    gaps = TransformGaps()
    for message, is_static in _transform_messages(bag):
        tree.add_all(message.data, static=is_static)
        pending.add(message.data, is_static=is_static)
        if not is_static:
            gaps.add(message.data)
        for stamp_ns in pending.until(_known_until(tree, parent, child)):
            # Before the first of a transform that starts later there is no pose.
            with suppress(TransformError):
                collector.add(stamp_ns, tree.look_up(parent, child, stamp_ns), message.stamp_ns)
    if not len(collector):
        collector.add(0, _static_pose(tree, parent, child))
        return collector.samples(parent, child)
    samples, sentences = gaps.left_out_of(collector.samples(parent, child), pending.frames_between())
    for sentence in sentences:
        bag.note(sentence)
    return samples


def _known_until(tree: TransformTree, parent: str, child: str) -> int:
    """Return the newest time at which all transforms between two frames are known, else 0."""
    try:
        return tree.look_up_latest(parent, child)[0]
    except TransformError:
        return 0


def _static_pose(tree: TransformTree, parent: str, child: str) -> Rigid3:
    try:
        newest_ns, pose = tree.look_up_latest(parent, child)
    except TransformError as error:
        raise BagError(f"no transform from '{child}' to '{parent}' in the bag: {error}") from error
    if newest_ns:
        raise BagError(f"the transforms between '{child}' and '{parent}' are at no time known all at once")
    return pose


class _PendingStamps:
    """Times at which a transform between two frames was given and that were not yet asked for."""

    def __init__(self, parent: str, child: str) -> None:
        self._ends = (parent, child)
        self._parent_of: dict[str, str] = {}
        self._on_path: set[str] = set()
        self._heap: list[int] = []
        self._last_ns = -1

    def add(self, message: Any, *, is_static: bool) -> None:
        """Take note of the times in a tf2_msgs/TFMessage that matter."""
        for transform in message.transforms:
            child = plain_frame_id(transform.child_frame_id)
            parent = plain_frame_id(transform.header.frame_id)
            if self._parent_of.get(child) != parent:
                self._parent_of[child] = parent
                self._on_path = {*self._ancestry(self._ends[0]), *self._ancestry(self._ends[1])}
            if child in self._on_path and not is_static:
                with suppress(MessageError):  # the tree has refused it, too
                    heapq.heappush(self._heap, stamp_from_message(transform.header.stamp))

    def until(self, stamp_ns: int) -> Iterator[int]:
        """Yield the times up to this one, each once, in order."""
        while self._heap and self._heap[0] <= stamp_ns:
            earliest = heapq.heappop(self._heap)
            if earliest > self._last_ns:
                self._last_ns = earliest
                yield earliest

    def frames_between(self) -> list[str]:
        """Return the frames whose transforms lead from one end to the other."""
        up, down = (self._ancestry(end) for end in self._ends)
        return sorted(set(up) ^ set(down))

    def _ancestry(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._parent_of and self._parent_of[chain[-1]] not in chain:
            chain.append(self._parent_of[chain[-1]])
        return chain


def _transform_messages(bag: BagReader) -> Iterator[tuple[BagMessage, bool]]:
    """Yield every TFMessage and whether it is static; all static ones first."""
    topics = [topic for topic in bag.topics if topic.type_name == TF]
    if not topics:
        raise BagError(f"the bag holds no transforms ({TF}); it holds:\n{bag.table()}")
    static = [topic for topic in topics if topic.name.endswith("tf_static")]
    moving = [topic for topic in topics if topic not in static]
    for group, is_static in ((static, True), (moving, False)):
        if group:
            yield from ((message, is_static) for message in bag.messages(group))


def _read_poses(bag: BagReader, topic: str, read: Callable[[Any], StampedPose]) -> PoseSamples:
    collector, frames = PoseCollector(), ("", "")
    num_unusable, first_problem = 0, ""
    for message in bag.messages([topic]):
        try:
            stamp_ns, parent, child, pose = read(message.data)
        except MessageError as error:
            num_unusable, first_problem = num_unusable + 1, first_problem or str(error)
            continue
        if len(collector) and (parent, child) != frames:
            problem = f"pose of '{child}' in '{parent}' among those of '{frames[1]}' in '{frames[0]}'"
            num_unusable, first_problem = num_unusable + 1, first_problem or problem
            continue
        frames = (parent, child)
        collector.add(stamp_ns or message.stamp_ns, pose, message.stamp_ns)
    if num_unusable:
        bag.note(f"{topic}: {num_unusable} poses cannot be used, the first because: {first_problem}")
    if not len(collector):
        problem = first_problem or "there is no message on it"
        raise BagError(
            f"{topic}: no pose can be used: {problem}; name another topic; the bag holds:\n{bag.table()}"
        )
    return collector.samples(*frames)


def _read_pose(message: Any) -> StampedPose:
    header = message.header
    return (
        stamp_from_message(header.stamp),
        plain_frame_id(header.frame_id),
        "",
        rigid_from_pose(message.pose),
    )


def _read_pose_with_covariance(message: Any) -> StampedPose:
    header, pose = message.header, rigid_from_pose(message.pose.pose)
    return stamp_from_message(header.stamp), plain_frame_id(header.frame_id), "", pose


def _read_odometry(message: Any) -> StampedPose:
    stamp_ns, parent, _, pose = _read_pose_with_covariance(message)
    return stamp_ns, parent, plain_frame_id(message.child_frame_id), pose


def _read_transform(message: Any) -> StampedPose:
    header, pose = message.header, rigid_from_transform(message.transform)
    child = plain_frame_id(message.child_frame_id)
    return stamp_from_message(header.stamp), plain_frame_id(header.frame_id), child, pose


_READERS: dict[str, Callable[[Any], StampedPose]] = {
    POSE: _read_pose,
    POSE_WITH_COVARIANCE: _read_pose_with_covariance,
    ODOMETRY: _read_odometry,
    TRANSFORM: _read_transform,
}
