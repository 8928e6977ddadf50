"""Single keyframes whose poses are wrong, and places where the path slips; what they should be.

Each keyframe is placed twice among the points of others, of those before it and of those after it.
A keyframe that both put elsewhere is wrong; a place is a slip if those before it put elsewhere what
comes after, and the other way round.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.pose_readings import Poses
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.pose_evidence import PairEvidence, agreement
from hfnet_ros.mapping.pose_outliers import Links, find_outliers
from hfnet_ros.mapping.resection import PairPoints, Resection, resect, triangulate_pairs
from hfnet_ros.mapping.views import PairMatches

FloatArray = NDArray[np.float64]

# Right poses explain at least 0.7 of every pair's matches on generated apartments and fox, 0.64 on
# RedKitchen and EuRoC. They differ from where others put them by up to 2 deg and 0.06 of the depth
# on RedKitchen; by more only on EuRoC, where the points explained lie so that they hardly tell.
PAIR_DISAGREES = 0.5
_PLACEMENT_DISAGREES = 0.8
_PLACEMENT_WEIGHT = 3.0
_AGREEING_PAIR_WEIGHT = 0.2  # a pair is blind to what moves along its epipolar lines
_MIN_TURN = np.radians(2.5)  # of a fault; less is noise, which refinement takes care of
_MIN_MOVE = 0.07  # of the distance to what is seen
_MIN_PAIRS_UNPLACED = 2  # that disagree with a keyframe which nothing else is known of
_MIN_AROUND_SLIP = 3  # keyframes that put the other side elsewhere, all by one motion
_MIN_SHARE_AROUND_SLIP = 0.6
_NUM_AROUND_SLIP = 6
# Of the distance to what is seen: what looks alike and is nearer than that would be in view together, and told apart.
_LEAST_APART = 0.75
# Of points that tell of a slip by no more than twice what a keyframe may be off by: seen under less, as from a camera
# that turns where it stands, points are put wrong by a fifth and more by poses that drift by a degree.
_WIDE_PARALLAX = np.radians(5.0)
_FAR_SLIP = 2.0
# A pose that is farther off than that is wrong only if the path, there and back, becomes this much shorter without it.
_LESS_OF_PATH = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class KeyframeFault:
    """A keyframe whose given pose does not fit the images.

    Attributes:
        keyframe: position.
        placed: where the others put it; None if they cannot.
        num_points: points that say so.
        like: the keyframe whose given pose it has or should have; None of a jump.
        is_swapped: whether that keyframe in turn has this one's.
        is_lookalike: whether it may be right where it is and only look like the place where the others put it.
    """

    keyframe: int
    placed: Rigid3 | None
    num_points: int
    like: int | None = None
    is_swapped: bool = False
    is_lookalike: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Slip:
    """A place where the given path jumps and stays off.

    Attributes:
        keyframe: position of the first keyframe after it.
        distance: by how much the keyframes around it are off for the other side, median, m.
        angle: the same, rad.
        num_keyframes: keyframes that say so.
        depth: median distance to what is seen there, m.
        is_seen_wide: whether points say so that are seen under a wide angle.
    """

    keyframe: int
    distance: float
    angle: float
    num_keyframes: int
    depth: float
    is_seen_wide: bool = False

    @property
    def may_be_lookalikes(self) -> bool:
        """Tell whether two places that look the same, too far apart to be seen at once, would say this as well."""
        return self.distance > _LEAST_APART * self.depth

    @property
    def may_be_drift(self) -> bool:
        """Tell whether a path that nowhere jumps, but drifts within few keyframes, would say this as well."""
        is_far = self.distance > _FAR_SLIP * _MIN_MOVE * self.depth or self.angle > _FAR_SLIP * _MIN_TURN
        return not (is_far or self.is_seen_wide)


class PlacementCheck:
    """Given poses and the matches they are held against."""

    def __init__(
        self,
        normalized: Sequence[FloatArray],
        given: Sequence[Rigid3],
        evidence: PairEvidence,
        matches: PairMatches,
        max_error_px: float,
        seed: int,
    ) -> None:
        """Triangulate the pairs that agree with the given poses.

        Args:
            normalized: [N, 2] normalised image coordinates of each keyframe's keypoints.
            given: poses, map_from_camera.
            evidence: of pairs of keyframes.
            matches: at least those of these pairs.
            max_error_px: tolerance of a match, at the reference focal length.
            seed: of samples.
        """
        self._normalized, self._given, self._evidence = normalized, given, evidence
        self._max_error_px, self._seed = max_error_px, seed
        self._agreement = agreement(evidence, Poses.of(given), 2.0 * max_error_px)
        pairs = [(first, second) for first, second in evidence.pairs.tolist()]
        self._agreeing = {
            pair: matches[pair]
            for pair, share in zip(pairs, self._agreement, strict=True)
            if share >= PAIR_DISAGREES
        }
        self._points = triangulate_pairs(normalized, given, self._agreeing, max_error_px)
        self._matches_of: list[dict[int, NDArray[np.int64]]] = [{} for _ in given]
        for first, second in pairs:
            self._matches_of[first][second] = matches[first, second]
            self._matches_of[second][first] = matches[first, second][:, ::-1]

    def find(self) -> tuple[list[KeyframeFault], list[Slip]]:
        """Return the keyframes whose poses are wrong and the places where the path slips."""
        links, barred, slips = self._links(), set[int](), list[Slip]()
        while True:
            outliers = find_outliers(links, len(self._given), barred)
            wrong = np.zeros(len(self._given), np.bool_)
            wrong[outliers.keyframes] = True
            slips = [slip for place in outliers.slips if (slip := self._measure_slip(place, wrong))]
            refuted = set(outliers.slips) - {slip.keyframe for slip in slips}
            if not refuted:
                break
            barred |= refuted
        faults = []
        for keyframe in outliers.keyframes:
            placement = self._place(keyframe, wrong)
            if placement is None:
                if self._num_disagreeing(keyframe) >= _MIN_PAIRS_UNPLACED:
                    faults.append(KeyframeFault(keyframe, None, 0))
            elif self._is_elsewhere(keyframe, placement):
                sure = self._is_sure(keyframe, placement.map_from_camera, wrong)
                placed = placement.map_from_camera if sure else None
                faults.append(KeyframeFault(keyframe, placed, placement.num_inliers if sure else 0))
        return self._explained(faults), [self._held_against_wide(slip, wrong) for slip in slips]

    def _held_against_wide(self, slip: Slip, wrong: NDArray[np.bool_]) -> Slip:
        """Return the same slip, and whether points that are seen under a wide angle say so, where it may be drift."""
        if not slip.may_be_drift:
            return slip
        wide = triangulate_pairs(
            self._normalized, self._given, self._agreeing, self._max_error_px, _WIDE_PARALLAX
        )
        return replace(slip, is_seen_wide=self._measure_slip(slip.keyframe, wrong, wide) is not None)

    def _num_disagreeing(self, keyframe: int) -> int:
        return int(
            np.sum((self._evidence.pairs == keyframe).any(axis=1) & (self._agreement < PAIR_DISAGREES))
        )

    def _links(self) -> Links:
        position = np.arange(len(self._given))
        of_pairs = self._agreement < PAIR_DISAGREES
        keyframes, disagrees = self._evidence.pairs.tolist(), of_pairs.tolist()
        weights = [[_pair_weight(wrong)] * 2 for wrong in disagrees]
        for keyframe in position.tolist():
            for excluded in (position >= keyframe, position <= keyframe):
                placement = self._place(keyframe, excluded)
                if placement is None:
                    continue
                wrong = self._is_elsewhere(keyframe, placement)
                keyframes.append(sorted((keyframe, placement.partner)))
                disagrees.append(wrong)
                # It tells of the keyframe placed; its partner is one of many who placed it.
                both = [_PLACEMENT_WEIGHT, _pair_weight(wrong)]
                weights.append(both if keyframe < placement.partner else both[::-1])
        return Links(np.array(keyframes), np.array(disagrees, np.bool_), np.array(weights))

    def _is_sure(self, keyframe: int, placed: Rigid3, excluded: NDArray[np.bool_]) -> bool:
        """Tell whether either half of the points puts a keyframe there as well."""
        for half in (0, 1):
            placement = self._place(keyframe, excluded, half)
            if placement is None:
                return False
            other = placement.map_from_camera
            near = other.translation_to(placed) < 0.5 * _MIN_MOVE * self._depth_around(keyframe, placed)
            if not near or other.rotation_to(placed) > 0.5 * _MIN_TURN:
                return False
        return True

    def _place(
        self,
        keyframe: int,
        excluded: NDArray[np.bool_],
        half: int | None = None,
        points: PairPoints | None = None,
    ) -> Resection | None:
        of_keyframe = self._matches_of[keyframe]
        if half is not None:
            of_keyframe = {partner: rows[rows[:, 0] % 2 == half] for partner, rows in of_keyframe.items()}
        return resect(
            self._points if points is None else points,
            keyframe,
            self._given[keyframe],
            self._normalized[keyframe],
            of_keyframe,
            excluded,
            self._max_error_px,
            self._seed,
        )

    def _measure_slip(
        self, place: int, wrong: NDArray[np.bool_], points: PairPoints | None = None
    ) -> Slip | None:
        """Return how far those around a place are off for the other side; None where that is little.

        The two beside the place count only if few others tell: both may be wrong by themselves.
        """
        beside = np.zeros(len(wrong), np.bool_)
        beside[[place - 1, place]] = True
        moves = self._moves_across(place, wrong | beside, points)
        if len(moves) < _MIN_AROUND_SLIP:
            moves = self._moves_across(place, wrong, points)
        if not moves:
            return None
        best: list[tuple[Rigid3, int]] = []
        for candidate, _ in moves:
            alike = [(slip, row) for slip, row in moves if not self._is_off_by(row, slip, candidate)]
            best = max(best, alike, key=len)
        off = [row for slip, row in best if self._is_off(row, slip @ self._given[row])]
        if len(off) < max(_MIN_AROUND_SLIP, _MIN_SHARE_AROUND_SLIP * len(moves)):
            return None
        moved = [(self._given[row], slip @ self._given[row]) for slip, row in best]
        sizes = [(before.translation_to(after), before.rotation_to(after)) for before, after in moved]
        distance, angle = np.median(sizes, axis=0).tolist()
        depth = self._depth_around(place, self._given[place])
        return Slip(place, distance, angle, len(off), depth)

    def _moves_across(
        self, place: int, left_out: NDArray[np.bool_], points: PairPoints | None
    ) -> list[tuple[Rigid3, int]]:
        """Return how the path after a place must be moved by each keyframe around it, and their positions."""
        position = np.arange(len(self._given))
        around = position[max(0, place - _NUM_AROUND_SLIP) : place + _NUM_AROUND_SLIP]
        moves = []
        for keyframe in around[~left_out[around]].tolist():
            same_side = position >= place if keyframe >= place else position < place
            placement = self._place(keyframe, same_side | left_out, points=points)
            if placement is not None:
                move = placement.map_from_camera @ self._given[keyframe].inverse()
                moves.append((move if keyframe >= place else move.inverse(), keyframe))
        return moves

    def _is_off_by(self, keyframe: int, move: Rigid3, other: Rigid3) -> bool:
        """Tell whether two motions take a keyframe to places that differ by more than noise."""
        first, second = move @ self._given[keyframe], other @ self._given[keyframe]
        far = first.translation_to(second) > _MIN_MOVE * self._depth_around(keyframe, self._given[keyframe])
        return far or first.rotation_to(second) > _MIN_TURN

    def _is_elsewhere(self, keyframe: int, placement: Resection) -> bool:
        """Tell whether a placement differs from the given pose, and the points can tell."""
        return placement.agreement < _PLACEMENT_DISAGREES and self._is_off(
            keyframe, placement.map_from_camera
        )

    def _is_off(self, keyframe: int, placed: Rigid3) -> bool:
        given = self._given[keyframe]
        move, turn = given.translation_to(placed), given.rotation_to(placed)
        return turn > _MIN_TURN or move > _MIN_MOVE * self._depth_around(keyframe, placed)

    def _depth_around(self, keyframe: int, placed: Rigid3) -> float:
        """Return the median distance to what the partners of a keyframe see."""
        points = [self._points.xyz[self._points.of(partner)] for partner in self._matches_of[keyframe]]
        seen = np.concatenate([np.zeros((0, 3)), *points])
        return float(np.median(np.linalg.norm(seen - placed.translation, axis=1))) if len(seen) else 0.0

    def _explained(self, faults: list[KeyframeFault]) -> list[KeyframeFault]:
        """Tell which faults are swapped or repeated poses."""
        named = []
        for fault in faults:
            swapped = [
                other.keyframe for other in faults if other is not fault and self._are_swapped(fault, other)
            ]
            repeated = [
                near
                for near in (fault.keyframe - 1, fault.keyframe + 1)
                if 0 <= near < len(self._given) and self._is_repeated(fault.keyframe, near)
            ]
            like = next(iter(swapped + repeated), None)
            explained = replace(fault, like=like, is_swapped=bool(swapped))
            wrong = {other.keyframe for other in faults}
            named.append(replace(explained, is_lookalike=like is None and self._may_look_alike(fault, wrong)))
        return named

    def _may_look_alike(self, fault: KeyframeFault, wrong: Collection[int]) -> bool:
        """Tell whether a placement is too far off to be seen at once and does not bring the path together."""
        if fault.placed is None:
            return False
        given, placed = self._given[fault.keyframe], fault.placed
        if given.translation_to(placed) <= _LEAST_APART * self._depth_around(fault.keyframe, placed):
            return False
        before = [row for row in range(fault.keyframe) if row not in wrong][-1:]
        after = [row for row in range(fault.keyframe + 1, len(self._given)) if row not in wrong][:1]
        neighbors = [self._given[row] for row in before + after]
        steps = [sum(pose.translation_to(near) for near in neighbors) for pose in (placed, given)]
        return steps[0] > _LESS_OF_PATH * steps[1]

    def _are_swapped(self, first: KeyframeFault, second: KeyframeFault) -> bool:
        if first.placed is None or second.placed is None:
            return False
        return not (
            self._is_off(second.keyframe, first.placed) or self._is_off(first.keyframe, second.placed)
        )

    def _is_repeated(self, keyframe: int, near: int) -> bool:
        first, second = self._given[keyframe], self._given[near]
        return first.translation_to(second) < 1e-6 and first.rotation_to(second) < 1e-6


def _pair_weight(disagrees: bool) -> float:
    return 1.0 if disagrees else _AGREEING_PAIR_WEIGHT
