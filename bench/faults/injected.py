"""Faults of poses, injected into good ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from faults.keyframes import GoodKeyframes
from hfnet_ros.geometry import Rigid3

_MIN_ACROSS = 3  # pairs of images that show both sides of a slip; fewer cannot tell of it


def direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def turn(rng: np.random.Generator, low_deg: float = 5.0, high_deg: float = 30.0) -> np.ndarray:
    return direction(rng) * np.radians(rng.uniform(low_deg, high_deg))


@dataclass
class Case:
    """Poses with a fault, and what should be said of it."""

    keyframes: list[int]
    poses: list[Rigid3]
    wrong: set[int] = field(default_factory=set)
    fault: str = "corrected"
    place: int = -1
    amount: float | None = None


def jumped(seq: GoodKeyframes, rng: np.random.Generator, move: bool, rotate: bool) -> Case:
    poses, row = seq.poses, int(rng.integers(len(seq.rows)))
    rotvec = turn(rng) if rotate else np.zeros(3)
    offset = direction(rng) * seq.depths[row] * rng.uniform(0.1, 0.5) if move else np.zeros(3)
    poses[row] = poses[row] @ Rigid3.from_rotvec(rotvec, offset)
    return Case(list(range(len(poses))), poses, {row})


def differ(seq: GoodKeyframes, first: int, second: int) -> bool:
    pose, other = seq.poses[first], seq.poses[second]
    depth = max(seq.depths[first], seq.depths[second])
    return pose.translation_to(other) > 0.1 * depth or pose.rotation_to(other) > np.radians(5.0)


def repeated(seq: GoodKeyframes, rng: np.random.Generator) -> Case:
    poses = seq.poses
    rows = [row for row in range(1, len(poses)) if differ(seq, row, row - 1)]
    row = int(rng.choice(rows))
    poses[row] = poses[row - 1]
    return Case(list(range(len(poses))), poses, {row})


def swapped(seq: GoodKeyframes, rng: np.random.Generator, near: bool) -> Case:
    poses = seq.poses
    while True:
        first = int(rng.integers(len(poses) - 1))
        second = first + 1 if near else int(rng.integers(len(poses)))
        if first != second and differ(seq, first, second):
            break
    poses[first], poses[second] = poses[second], poses[first]
    return Case(list(range(len(poses))), poses, {first, second})


def slipped(seq: GoodKeyframes, rng: np.random.Generator, move: bool, rotate: bool) -> Case:
    poses = seq.poses
    pairs = np.array([pair for pair, found in seq.explained.items() if found is not None])
    seen_across = [
        place
        for place in range(5, len(poses) - 5)
        if np.sum((pairs[:, 0] < place) & (pairs[:, 1] >= place) & (pairs[:, 1] - pairs[:, 0] < 10))
        >= _MIN_ACROSS
    ]
    place = int(rng.choice(seen_across))
    rotvec = turn(rng) if rotate else np.zeros(3)
    offset = direction(rng) * seq.depths[place] * rng.uniform(0.1, 0.5) if move else np.zeros(3)
    hinge = Rigid3(np.eye(3), poses[place].translation)
    slip = hinge @ Rigid3.from_rotvec(rotvec, offset) @ hinge.inverse()
    moved = poses[:place] + [slip @ pose for pose in poses[place:]]
    return Case(list(range(len(poses))), moved, fault="slip", place=place)


def everywhere(
    seq: GoodKeyframes, change: Callable[[Rigid3], Rigid3], fault: str, amount: float | None = None
) -> Case:
    return Case(list(range(len(seq.rows))), [change(pose) for pose in seq.poses], fault=fault, amount=amount)


def mounted(seq: GoodKeyframes, rng: np.random.Generator) -> Case:
    rotvec = turn(rng, 4.0, 40.0)
    mounting = Rigid3.from_rotvec(rotvec, direction(rng) * np.median(seq.depths) * rng.uniform(0.0, 0.1))
    wanted = mounting.inverse() @ seq.own_turn
    return everywhere(
        seq, lambda pose: pose @ mounting, "mounting", float(np.degrees(np.linalg.norm(wanted.rotvec)))
    )


def late(seq: GoodKeyframes, rng: np.random.Generator) -> Case:
    """Poses of up to three keyframes later or earlier, where the path has them between keyframes too."""
    step = int(np.median(np.diff(seq.rows)))
    rows = int(rng.integers(max(1, round(0.3 * step)), 3 * step + 1)) * int(rng.choice([-1, 1]))
    kept = [idx for idx, row in enumerate(seq.rows) if 0 <= row + rows < len(seq.path)]
    return Case(kept, [seq.path[seq.rows[idx] + rows] for idx in kept], fault="time", amount=-rows / step)


BODY = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # body axes of optical ones
MIRROR = np.diag([1.0, -1.0, 1.0])


def quaternion_w_first(pose: Rigid3) -> Rigid3:
    x, y, z, w = pose.quat_xyzw
    return Rigid3.from_quat([w, x, y, z], pose.translation)


def somehow_turned(rng: np.random.Generator) -> Rigid3:
    return Rigid3.from_rotvec(turn(rng, 0.0, 180.0), direction(rng))


def reread(change: Callable[[Rigid3], Rigid3]) -> Callable[[GoodKeyframes, np.random.Generator], Case]:
    """All poses in another convention, of a map whose axes lie anyhow."""

    def make(seq: GoodKeyframes, rng: np.random.Generator) -> Case:
        new_from_map = somehow_turned(rng)
        return everywhere(seq, lambda pose: change(new_from_map @ pose), "convention")

    return make


KINDS: dict[str, Callable[[GoodKeyframes, np.random.Generator], Case]] = {
    "jump": lambda seq, rng: jumped(seq, rng, True, False),
    "turn": lambda seq, rng: jumped(seq, rng, False, True),
    "jump and turn": lambda seq, rng: jumped(seq, rng, True, True),
    "pose repeated": repeated,
    "neighbours swapped": lambda seq, rng: swapped(seq, rng, True),
    "two swapped": lambda seq, rng: swapped(seq, rng, False),
    "slip, moved": lambda seq, rng: slipped(seq, rng, True, False),
    "slip, turned": lambda seq, rng: slipped(seq, rng, False, True),
    "inverted": reread(Rigid3.inverse),
    "quaternion w first": reread(quaternion_w_first),
    "body axes": reread(lambda pose: Rigid3(pose.rotation @ BODY.T, pose.translation)),
    "OpenGL axes": reread(lambda pose: Rigid3(pose.rotation @ np.diag([1.0, -1.0, -1.0]), pose.translation)),
    "mirrored": reread(lambda pose: Rigid3(MIRROR @ pose.rotation @ MIRROR, MIRROR @ pose.translation)),
    "axis of positions mirrored": reread(lambda pose: Rigid3(pose.rotation, MIRROR @ pose.translation)),
    "axes of positions swapped": reread(lambda pose: Rigid3(pose.rotation, pose.translation[[0, 2, 1]])),
    "hand-eye": mounted,
    "time offset": late,
}
