"""Whether true poses are meant as they are read, told by the answers of the map.

A map whose answers are wrong is wrong each time in another way. Where most answers meet the truth
once all of it is read in another way (inverted, other axes, shifted, scaled), the truth is at fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.evaluation.beyond_covariances import MOST_NEES, median_nees
from hfnet_ros.evaluation.metrics import FALSE_FIX
from hfnet_ros.evaluation.records import QueryResult, RunContext
from hfnet_ros.geometry.pose_readings import (
    Poses,
    axis_turns,
    describe_reading,
    file_readings,
    signed_permutations,
)
from hfnet_ros.geometry.rigid3 import Rigid3

FloatArray = NDArray[np.float64]

_LEAST_ANSWERS, _MOST_ANSWERS = 5, 300
_MAX_ROWS = 10
LEAST_LEFT = 0.25  # of the median error as given, by which another reading must beat it
_LEAST_ERROR = 0.2  # median error as given, in limits of a false fix, that asks for another reading
_MIN_SCALE = 2.0  # of the truth, up or down, that no map's own scale error comes near
_SAME_SCALE, _SAME_UNIT = 0.01, 0.05
_UNITS = {"millimetres": 1e-3, "centimetres": 1e-2, "inches": 0.0254, "feet": 0.3048, "kilometres": 1e3}
_FRAMES_TRIED = 20
_LEAST_EXTENT = 0.1  # of the largest, of an axis along which a stretch shows


@dataclass(frozen=True, slots=True)
class TruthReading:
    """How the true poses must be read to meet the answers.

    Attributes:
        name: what they are.
        remedy: what to do.
        num_answers: answers compared.
        num_as_given: those that meet the truth as it was given, within the limit of a false fix.
        num_read_so: those that meet it read this way.
        error_left: median error when read so, as a part of the one as given.
        is_fault_of_truth: whether figures against this truth say nothing about the map; if not, the
            map may be off in the same way.
    """

    name: str
    remedy: str
    num_answers: int
    num_as_given: int
    num_read_so: int
    error_left: float
    is_fault_of_truth: bool

    def describe(self) -> str:
        """Say what was found and what to do, as part of a sentence."""
        return (
            f"the true poses look {self.name}: {self.num_as_given} of {self.num_answers} answers meet them as given, "
            f"{self.num_read_so} when they are read so, by which errors fall to {100 * self.error_left:.0f} % at the "
            f"median; {self.remedy}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    name: str
    remedy: str
    read: Poses
    known: NDArray[np.bool_] | None = None  # answers that have a truth under this reading; None of all
    may_be_the_map: bool = False

    def errors(self, answers: Poses) -> FloatArray:
        """Return the errors of the answers that have a truth."""
        errors = _errors(answers, self.read)
        return errors if self.known is None else errors[self.known]


def find_truth_reading(results: Sequence[QueryResult], context: RunContext) -> TruthReading | None:
    """Return the plainest reading of the true poses that the answers meet; None if they meet them as given.

    Args:
        results: answers and truth.
        context: with the true poses of all rows, to try others than an answer's own.
    """
    known = [result for result in results if result.localization.is_valid and result.groundtruth is not None]
    known = known[:: -(-len(known) // _MOST_ANSWERS) or 1]
    estimates = [result.localization.estimate for result in known]
    answers = Poses.of([estimate.map_from_camera for estimate in estimates if estimate is not None])
    truth = Poses.of([result.groundtruth for result in known if result.groundtruth is not None])
    if len(known) < _LEAST_ANSWERS:
        return None
    given = _errors(answers, truth)
    is_far_off = bool(np.median(given) > _LEAST_ERROR)
    if not is_far_off and median_nees(known) <= MOST_NEES:
        return None
    tiers: tuple[Iterable[_Candidate], ...] = (
        _scaled(answers, truth),
        chain(_in_another_frame(answers, truth), _stretched(answers, truth)),
    )
    if is_far_off:
        tiers = (
            _conventions(truth),
            _shifted_rows([result.stamp_ns for result in known], context),
            # Together: where a camera moves little, a scale or other axes stand in for a lever arm, but not as well.
            chain(
                _scaled(answers, truth),
                _with_other_position_axes(answers, truth),
                _of_another_point(answers, truth),
            ),
            tiers[1],
        )
    for tier in tiers:
        best = _best(answers, tier, float(np.median(given)))
        if best is None:
            continue
        errors = best.errors(answers)
        if best.may_be_the_map and np.median(errors) >= _error_of_mounting(answers, truth):
            return None  # measured and named beside this
        num_as_given = int(np.count_nonzero(given <= 1.0))
        is_fault = not best.may_be_the_map and num_as_given < 0.5 * len(known)
        num_read_so = int(np.count_nonzero(errors <= 1.0))
        left = float(np.median(errors) / np.median(given))
        return TruthReading(best.name, best.remedy, len(known), num_as_given, num_read_so, left, is_fault)
    return None


def _error_of_mounting(answers: Poses, truth: Poses) -> float:
    """Return the median error once a constant on the camera's side is taken out, as `extrinsic_offset` measures it."""
    tried = []
    for row in np.linspace(0, len(truth.centers) - 1, _FRAMES_TRIED).astype(int).tolist():
        back = truth.rotations[row].T
        turn, lever = back @ answers.rotations[row], back @ (answers.centers[row] - truth.centers[row])
        moved = Poses(truth.rotations @ turn, truth.centers + truth.rotations @ lever)
        tried.append(float(np.median(_errors(answers, moved))))
    return min(tried)


def _errors(answers: Poses, truth: Poses) -> FloatArray:
    """Return how far answers [N] are off, in limits of a false fix; the worse of position and angle."""
    moved = np.linalg.norm(answers.centers - truth.centers, axis=1) / FALSE_FIX.translation_m
    return np.asarray(np.maximum(moved, _angles_deg(answers, truth) / FALSE_FIX.rotation_deg))


def _angles_deg(answers: Poses, truth: Poses) -> FloatArray:
    cosine = 0.5 * (np.einsum("nij,nij->n", answers.rotations, truth.rotations) - 1.0)
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _best(answers: Poses, candidates: Iterable[_Candidate], given_error: float) -> _Candidate | None:
    """Return the candidate whose median error is least, if it beats the poses as given clearly."""
    best, best_error = None, min(1.0, LEAST_LEFT * given_error)
    for candidate in candidates:
        errors = candidate.errors(answers)
        if len(errors) < max(_LEAST_ANSWERS, 0.5 * len(answers.centers)):
            continue
        error = float(np.median(errors))
        if error < best_error:
            best, best_error = candidate, error
    return best


def _rotated(truth: Poses) -> Iterator[tuple[str, str, Poses, FloatArray]]:
    """Yield readings of rotations: name and remedy of the file's, the poses, and the turn of axes taken."""
    for base, remedy, poses in file_readings(truth):
        for turn in axis_turns():
            yield base, remedy, Poses(poses.rotations @ turn, poses.centers), turn


def _conventions(truth: Poses) -> Iterator[_Candidate]:
    for base, remedy, poses, turn in _rotated(truth):
        name, advice = describe_reading(base, remedy, turn, np.eye(3))
        if name:
            yield _Candidate(name, advice, poses)


def _shifted_rows(stamps_ns: Sequence[int], context: RunContext) -> Iterator[_Candidate]:
    row_of = {stamp_ns: row for row, (stamp_ns, _) in enumerate(context.groundtruth)}
    rows = np.array([row_of.get(stamp_ns, -1) for stamp_ns in stamps_ns])
    if not len(row_of) or (rows < 0).any():
        return
    everything = Poses.of([pose for _, pose in context.groundtruth])
    for shift in sorted(range(-_MAX_ROWS, _MAX_ROWS + 1), key=abs)[1:]:
        meant = rows + shift
        inside = (meant >= 0) & (meant < len(row_of))
        meant = np.clip(meant, 0, len(row_of) - 1)
        yield _Candidate(
            f"shifted by {abs(shift)} row{'s' if abs(shift) > 1 else ''}",
            f"each image was taken where the truth is {abs(shift)} row{'s' if abs(shift) > 1 else ''} "
            f"{'later' if shift > 0 else 'earlier'}: look for an image or a pose that is missing at the beginning, or "
            "correct the stamps",
            Poses(everything.rotations[meant], everything.centers[meant]),
            inside,
        )


def _scaled(answers: Poses, truth: Poses) -> Iterator[_Candidate]:
    for base, remedy, poses, turn in _turned_alike(answers, truth):
        squared = np.sum(poses.centers**2, axis=1)
        ratios = np.sum(poses.centers * answers.centers, axis=1)[squared > 0.0] / squared[squared > 0.0]
        scale = float(np.median(ratios)) if len(ratios) else 1.0
        if scale <= 0.0 or abs(scale - 1.0) < _SAME_SCALE:
            continue
        unit = _unit(scale)
        name, advice = describe_reading(base, remedy, turn, np.eye(3))
        yield _Candidate(
            _and(name, f"in {unit}" if unit else f"{1.0 / scale:.4g} times as large as the map"),
            _and(
                advice,
                f"multiply positions by {scale:.4g}" + ("" if unit else ", or correct the map's scale"),
            ),
            Poses(poses.rotations, scale * poses.centers),
            may_be_the_map=1.0 / _MIN_SCALE < scale < _MIN_SCALE,
        )


def _with_other_position_axes(answers: Poses, truth: Poses) -> Iterator[_Candidate]:
    for base, remedy, poses, turn in _turned_alike(answers, truth):
        for axes in signed_permutations()[1:]:
            name, advice = describe_reading(base, remedy, turn, axes)
            yield _Candidate(name, advice, Poses(poses.rotations, poses.centers @ axes.T))


def _of_another_point(answers: Poses, truth: Poses) -> Iterator[_Candidate]:
    for base, remedy, poses, turn in _turned_alike(answers, truth):
        name, advice = describe_reading(base, remedy, turn, np.eye(3))
        if not name:  # a constant offset alone is measured and named beside this
            continue
        offsets = np.einsum("nji,nj->ni", poses.rotations, answers.centers - poses.centers)
        lever = np.median(offsets, axis=0)
        yield _Candidate(
            f"{name}, of a point beside the camera",
            f"{advice} and move them by {_numbers(lever)} m in optical axes",
            Poses(poses.rotations, poses.centers + poses.rotations @ lever),
        )


def _in_another_frame(answers: Poses, truth: Poses) -> Iterator[_Candidate]:
    for base, remedy, poses, turn in _rotated(truth):
        scale = _relative_scale(answers.centers, poses.centers)
        name, advice = describe_reading(base, remedy, turn, np.eye(3))
        for row in np.linspace(0, len(poses.centers) - 1, _FRAMES_TRIED).astype(int).tolist():
            rotation = answers.rotations[row] @ poses.rotations[row].T
            moved = Rigid3(rotation, answers.centers[row] - scale * rotation @ poses.centers[row])
            quat = _numbers(moved.quat_xyzw)
            scaled = "" if scale == 1.0 else f"multiply positions by {scale:.4g} and "
            yield _Candidate(
                _and(name, "in another frame than the map's"),
                _and(
                    advice,
                    f"{scaled}move them by about map_from_truth = translation {_numbers(moved.translation)} m, "
                    f"quaternion x y z w {quat}, or align the map",
                ),
                Poses(rotation @ poses.rotations, moved @ (scale * poses.centers)),
                may_be_the_map=not name,
            )


def _stretched(answers: Poses, truth: Poses) -> Iterator[_Candidate]:
    """Yield the truth with a scale of its own along each axis of the map."""
    half = len(answers.centers) // 2
    walked = answers.centers[half:] - answers.centers[: len(answers.centers) - half]
    meant = truth.centers[half:] - truth.centers[: len(truth.centers) - half]
    extents = np.abs(meant).max(axis=0)
    scales = np.ones(3)
    for axis in np.flatnonzero(extents > _LEAST_EXTENT * extents.max()).tolist():
        told = np.abs(meant[:, axis]) > 0.5 * extents[axis]
        scales[axis] = np.median(walked[told, axis] / meant[told, axis])
    if scales.min() <= 0.0 or np.abs(scales - 1.0).max() < _SAME_SCALE:
        return
    moved = np.median(answers.centers - scales * truth.centers, axis=0)
    times = ", ".join(f"{1.0 / scale:.4g}" for scale in scales.tolist())
    yield _Candidate(
        f"stretched, {times} times as large as the map along x, y and z",
        f"multiply positions by {_numbers(scales)} and add {_numbers(moved)} m, or correct the map's scale along these",
        Poses(truth.rotations, scales * truth.centers + moved),
        may_be_the_map=True,
    )


def _turned_alike(answers: Poses, truth: Poses) -> Iterator[tuple[str, str, Poses, FloatArray]]:
    """Yield the readings of `_rotated` whose orientations the answers meet."""
    for reading in _rotated(truth):
        if np.median(_angles_deg(answers, reading[2])) <= FALSE_FIX.rotation_deg:
            yield reading


def _relative_scale(answers: FloatArray, truth: FloatArray) -> float:
    """Return the factor by which distances among positions [N, 3] are larger; 1 if about that."""
    half = len(answers) // 2
    walked = np.linalg.norm(answers[half:] - answers[: len(answers) - half], axis=1)
    meant = np.linalg.norm(truth[half:] - truth[: len(truth) - half], axis=1)
    if not (meant > 0.0).any():
        return 1.0
    scale = float(np.median(walked[meant > 0.0] / meant[meant > 0.0]))
    return scale if scale > 0.0 and abs(scale - 1.0) > _SAME_UNIT else 1.0


def _unit(scale: float) -> str:
    near = (name for name, metres in _UNITS.items() if abs(scale / metres - 1.0) < _SAME_UNIT)
    return next(near, "")


def _and(first: str, second: str) -> str:
    return f"{first} and {second}" if first else second


def _numbers(values: FloatArray) -> str:
    return f"({', '.join(f'{value:.3f}' for value in values.tolist())})"
