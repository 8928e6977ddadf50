"""Are wrong poses of keyframes found? Injects each kind of fault into good poses, seeded, and counts.

    python bench/pose_faults.py --images DIR --poses FILE --camera FILE [--every 5] [--cases 20] [--good 20]
    python bench/pose_faults.py --apartment 3                # a generated one

Features are extracted once (--cache FILE keeps them) and pairs matched once; a fault changes poses
only. Pairs that wrong poses alone would choose show different things and are not matched. Jumps are
0.1 to 0.5 of the median distance to what the keyframe sees, or 5 to 30 deg; repeated and swapped
poses differ by at least 0.1 of it or 5 deg; a path slips where at least three pairs of images show
both sides. A pose counts as corrected within 0.07 of the distance and 2.5 deg. Nothing is asserted.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from hfnet_ros.config import Config
from hfnet_ros.errors import PoseFaultError
from hfnet_ros.files.camera_yaml import read_camera_yaml
from hfnet_ros.files.images import read_image
from hfnet_ros.files.posed_images import pair_images_with_poses
from hfnet_ros.geometry import Camera, Rigid3
from hfnet_ros.mapping.pair_matcher import PairMatch, create_pair_matcher
from hfnet_ros.mapping.pairs import choose_pairs_by_pose
from hfnet_ros.mapping.pose_evidence import choose_check_pairs, explain, join_evidence, strongest_of
from hfnet_ros.mapping.pose_faults import CheckedPoses, judge_poses
from hfnet_ros.mapping.resection import triangulate_pairs
from hfnet_ros.mapping.views import View
from hfnet_ros.types import ImageFeatures, LocalFeatures

CONFIG = Config()
_MIN_ACROSS = 3  # pairs of images that show both sides of a slip; fewer cannot tell of it
_NEAR = 2  # keyframes by which the place of a slip may be missed


@dataclass
class GoodKeyframes:
    """Good keyframes, F of them, and what is known of their images."""

    rows: list[int]  # of the keyframes in `path`
    features: list[ImageFeatures]
    stamps_ns: list[int]
    path: list[Rigid3]
    camera: Camera
    matches: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    explained: dict[tuple[int, int], object] = field(default_factory=dict)
    depths: np.ndarray = field(default_factory=lambda: np.ones(0))  # [F] median distance to what each sees

    def __post_init__(self) -> None:
        self._matcher = create_pair_matcher(CONFIG)
        self._index = {id(entry): idx for idx, entry in enumerate(self.features)}
        self.good_pairs: set[tuple[int, int]] = set()

    @property
    def poses(self) -> list[Rigid3]:
        return [self.path[row] for row in self.rows]

    @cached_property
    def normalized(self) -> list[np.ndarray]:
        return [self.camera.undistort(entry.local.keypoints) for entry in self.features]

    def match(self, first: ImageFeatures, second: ImageFeatures) -> PairMatch:
        pair = (self._index[id(first)], self._index[id(second)])
        if pair not in self.matches:
            self.matches[pair] = self._matcher.match(first, second).rows
        return PairMatch(self.matches[pair])

    def check(self, keyframes: Sequence[int], poses: Sequence[Rigid3], is_good: bool = False) -> CheckedPoses:
        """Judge some keyframes with these poses, as `map build` does."""
        views = [View(self.features[idx], 0, pose) for idx, pose in zip(keyframes, poses, strict=True)]
        chosen = choose_pairs_by_pose(views, [self.camera], self, CONFIG.mapping, 1)
        of_all = [(keyframes[first], keyframes[second]) for first, second in chosen]
        if is_good:
            self.good_pairs |= set(of_all)
        by_pose = {}
        for pair, whole in zip(chosen, of_all, strict=True):
            if whole in self.good_pairs:
                by_pose[pair] = self.match(self.features[whole[0]], self.features[whole[1]]).rows
        descriptors = np.stack([view.features.global_descriptor for view in views])
        pairs = choose_check_pairs([0] * len(views), descriptors, by_pose)
        known, explained = {}, {}
        for pair in pairs:
            whole = (keyframes[pair[0]], keyframes[pair[1]])
            if whole not in self.explained:
                if whole not in self.matches:
                    few = [strongest_of(self.features[idx]) for idx in whole]
                    self.matches[whole] = self._matcher.match(*few).rows
                self.explained[whole] = explain(self.normalized, whole, self.matches[whole], 0)
            known[pair] = self.matches[whole]
            if self.explained[whole] is not None:
                explained[pair] = self.explained[whole]
        normalized = [self.normalized[idx] for idx in keyframes]
        stamps_ns = np.array([self.stamps_ns[idx] for idx in keyframes])
        names = [str(idx) for idx in keyframes]
        return judge_poses(join_evidence(explained), known, normalized, poses, stamps_ns, names, CONFIG)


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
    return everywhere(
        seq, lambda pose: pose @ mounting, "mounting", float(np.degrees(np.linalg.norm(rotvec)))
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


def verdict(seq: GoodKeyframes, case: Case) -> tuple[str, str]:
    """Return "found", "misattributed" or "missed", and what was said."""
    try:
        checked = seq.check(case.keyframes, case.poses)
    except PoseFaultError as error:
        right = error.fault == case.fault
        if right and case.place >= 0:
            right = all(abs(place - case.place) <= _NEAR for place in error.places)
        if right and case.amount is not None:
            least = 2.0 if case.fault == "mounting" else 0.15  # deg, keyframes
            right = abs(error.amount - case.amount) <= max(least, 0.1 * abs(case.amount))
        return ("found" if right else "misattributed"), str(error)
    named = {int(entry["name"]) for entry in checked.report["keyframes"]}
    if not named:
        return "missed", str(case.wrong or (case.place, case.amount))
    if named != case.wrong:
        return "misattributed", f"{sorted(case.wrong) or case.fault}: {checked.report['keyframes']}"
    true = seq.poses
    good = all(
        row not in checked.kept
        or (
            checked.map_from_camera[row].translation_to(true[row]) < 0.07 * seq.depths[row]
            and checked.map_from_camera[row].rotation_to(true[row]) < np.radians(2.5)
        )
        for row in case.wrong
    )
    left_out = len(case.wrong - set(checked.kept))
    return "found", "left out" if left_out else "corrected" if good else "corrected wrongly"


def complaint_of(seq: GoodKeyframes, part: Sequence[int]) -> str:
    """Return what is said of good poses, empty if nothing."""
    try:
        named = seq.check(part, [seq.poses[idx] for idx in part], is_good=True).report["keyframes"]
    except PoseFaultError as error:
        return str(error)
    return str(named) if named else ""


def count_complaints(seq: GoodKeyframes, num_parts: int) -> None:
    """Judge the whole and random parts of it with good poses."""
    rng = np.random.default_rng(0)
    parts = [list(range(len(seq.rows)))]
    while len(parts) <= num_parts:
        step, length = int(rng.integers(1, 4)), int(rng.integers(15, len(seq.rows) + 1))
        start = int(rng.integers(0, max(1, len(seq.rows) - length)))
        part = list(range(start, min(start + length, len(seq.rows)), step))
        if len(part) >= 8:
            parts.append(part)
    told = [(part, complaint_of(seq, part)) for part in parts]
    complaints = [f"{part[0]}..{part[-1]} by {part[1] - part[0]}: {text}" for part, text in told if text]
    print(f"| good | {len(parts)} | {len(complaints)} complain | |", *complaints, sep="\n  ", flush=True)


def generated(seed: int) -> tuple[list[int], list[np.ndarray], list[int], list[Rigid3], Camera]:
    from hfnet_ros.scene import SensorModel, build_apartment, demo_camera, mapping_walk, render

    scene, camera, rng = build_apartment(seed, num_rooms=2), demo_camera(), np.random.default_rng(seed)
    walk, sensor = mapping_walk(scene), SensorModel()
    rows = list(range(0, len(walk), 3))
    images = [sensor.expose(render(scene, camera, walk[row][1], 1), rng) for row in rows]
    return rows, images, [walk[row][0] for row in rows], [pose for _, pose in walk], camera


def read_sequence(options: argparse.Namespace) -> GoodKeyframes:
    if options.apartment is not None:
        rows, images, stamps_ns, path, camera = generated(options.apartment)
        readers = [lambda image=image: image for image in images]
    else:
        posed = pair_images_with_poses(options.images, options.poses)
        rows, camera = list(range(0, len(posed), options.every)), read_camera_yaml(options.camera)
        readers = [lambda path=posed[row].path: read_image(path) for row in rows]
        stamps_ns, path = [posed[row].stamp_ns for row in rows], [entry.map_from_camera for entry in posed]
    if options.cache and options.cache.exists():
        stored = np.load(options.cache)
        features = [_features(*(stored[f"{idx}_{part}"] for part in "xsdg")) for idx in range(len(rows))]
    else:
        features = _extracted(readers)
        if options.cache:
            np.savez(options.cache, **{f"{idx}_{part}": array for idx, entry in enumerate(features)
                                       for part, array in zip("xsdg", (entry.local.keypoints, entry.local.scores,
                                       entry.local.descriptors, entry.global_descriptor), strict=True)})  # fmt: skip
    return GoodKeyframes(rows, features, stamps_ns, path, camera)


def _features(
    keypoints: np.ndarray, scores: np.ndarray, descriptors: np.ndarray, whole: np.ndarray
) -> ImageFeatures:
    return ImageFeatures(LocalFeatures(keypoints, scores, descriptors), whole, "cached")


def _extracted(readers: Sequence[Callable[[], np.ndarray]]) -> list[ImageFeatures]:
    from hfnet_ros.features.extractor import create_extractor

    extractor, count = create_extractor(CONFIG), CONFIG.mapping.max_keypoints
    found = []
    for read in readers:
        entry = extractor.extract(read())
        local = entry.local
        found.append(
            _features(
                local.keypoints[:count],
                local.scores[:count],
                local.descriptors[:count],
                entry.global_descriptor,
            )
        )
    extractor.close()
    return found


def main() -> None:
    """Print a table of kinds and verdicts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--poses", type=Path)
    parser.add_argument("--camera", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--apartment", type=int, help="seed of a generated apartment, instead of images")
    parser.add_argument("--cases", type=int, default=20, help="of each kind")
    parser.add_argument("--good", type=int, default=20, help="parts of the sequence judged as they are")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--cache", type=Path, help=".npz with the features, written if it does not exist")
    parser.add_argument("--verbose", action="store_true", help="print every case that is not found")
    options = parser.parse_args()
    with threadpool_limits(1):
        seq = read_sequence(options)
        whole = list(range(len(seq.rows)))
        seq.check(whole, seq.poses, is_good=True)
        seq.depths = depths_of(seq)
        print(f"{len(whole)} keyframes, depth {np.median(seq.depths):.2f}")
        count_complaints(seq, options.good)
        for kind in options.kinds:
            verdicts, told = Counter(), Counter()
            for case_idx in range(options.cases):
                rng = np.random.default_rng([case_idx, list(KINDS).index(kind)])
                said, detail = verdict(seq, KINDS[kind](seq, rng))
                verdicts[said] += 1
                if said == "found":
                    told[detail if len(detail) < 20 else "refused"] += 1
                elif options.verbose:
                    print(f"  {said}: {detail}")
            counts = ", ".join(f"{count} {what}" for what, count in told.items())
            print(
                f"| {kind} | {options.cases} | {verdicts['found']} found, {verdicts['misattributed']} misattributed, "
                f"{verdicts['missed']} missed | {counts} |",
                flush=True,
            )


def depths_of(seq: GoodKeyframes) -> np.ndarray:
    """Return the median distance [F] to what each keyframe sees, in units of the poses."""
    matches = {pair: rows for pair, rows in seq.matches.items() if seq.explained.get(pair) is not None}
    points = triangulate_pairs(seq.normalized, seq.poses, matches, CONFIG.mapping.max_epipolar_error_px)
    distances = [
        np.linalg.norm(points.xyz[points.of(row)] - pose.translation, axis=1)
        for row, pose in enumerate(seq.poses)
    ]
    usual = np.median(np.concatenate(distances))
    return np.array([np.median(some) if len(some) else usual for some in distances])


if __name__ == "__main__":
    main()
