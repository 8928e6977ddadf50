"""By how much cameras sit askew, or are late, against the others, by what views of one time say.

Views of one time need no odometry: that one says the rig is elsewhere than another does is a fault of one of the two,
or an error of the map. Small faults, which no answer contradicts, gather over many answers: a camera is turned about
each axis, shifted along each, and late; each sample bounds that in the directions that its views and the robot's motion
show.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3, skew
from hfnet_ros.tracking.gate import chi_square_quantile
from hfnet_ros.types import ViewOffset

FloatArray = NDArray[np.float64]

# Chosen on generated apartments 22 and 31 to 33. Matches of a view err in common, and so does the map: what a view says
# scatters more than its matches tell, and neighbouring samples do so alike.
_COVARIANCE_SCALE = 4.0
_MAP_M, _MAP_RAD = 0.01, np.deg2rad(0.2)
_APART_M, _APART_RAD = 0.5, np.deg2rad(20.0)
_REMEMBERED = 60
_MIN_SAMPLES = 4
# What does not average out: a lens that is calibrated as well as lenses are, and how a map of one camera suits another.
_LASTING_SIGMAS = np.array([np.deg2rad(0.2)] * 3 + [0.007] * 3 + [0.005])
_PROBABILITY = 0.99
# Before anything is known: a turn, a shift, a delay.
_PRIOR_SIGMAS = np.array([np.deg2rad(20.0)] * 3 + [0.5] * 3 + [1.0])
# A sample further off than this many times what is expected pulls less the further it is.
_OUTLYING = 3.0
_ITERATIONS = 8
# Of the robust cost: what one camera has to explain better than another for that one to be cleared.
_DECISIVE = 14.0
_NUM_FAULTS = len(_PRIOR_SIGMAS)


@dataclass(frozen=True, slots=True, eq=False)
class MountingOffset:
    """By how much a camera is off against the others.

    Attributes:
        vector: [7] turn (rad) about and shift (m) along the axes of the rig, of the camera against what its mounting
            says, and by how much (s) its image is older than its stamp.
        sigmas: [7] standard deviations.
        is_askew: that is no chance.
        num_samples: what it was learned from.
        surprise: squared Mahalanobis distance from a camera that sits right.
        cost: what remains unexplained, robustly.
        others: cameras that would explain what was seen as well.
    """

    vector: FloatArray
    sigmas: FloatArray
    is_askew: bool
    num_samples: int
    surprise: float
    cost: float
    others: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Return the numbers in words."""
        turns = _by_axis(np.rad2deg(self.vector[:3]), np.rad2deg(self.sigmas[:3]))
        shifts = _by_axis(100.0 * self.vector[3:6], 100.0 * self.sigmas[3:6])
        late = f"{self.vector[6]:.3f} +- {self.sigmas[6]:.3f} s late"
        said = f"turned by {turns} deg, shifted by {shifts} cm in axes of the robot, {late}"
        return f"{said}, or {' or '.join(self.others)} is" if self.others else said


@dataclass(frozen=True, eq=False)
class _Sample:
    """What views of one time said.

    Attributes:
        names: of their cameras.
        offsets: [6 V] one after another.
        faults: [V, 6, 7] what they are off by through faults of their camera.
        information: [6 V, 6 V] of the offsets when nobody knows where the rig is.
    """

    names: tuple[str, ...]
    offsets: FloatArray
    faults: FloatArray
    information: FloatArray

    @property
    def freedom(self) -> int:
        """Return how many numbers the views say more than a pose has."""
        return len(self.offsets) - 6

    def distance(self, explained: FloatArray) -> float:
        """Return the squared Mahalanobis distance of what was said from offsets [6 V], by degree of freedom."""
        rest = self.offsets - explained
        return float(rest @ self.information @ rest) / self.freedom

    def by(self, name: str) -> FloatArray:
        """Return [6 V, 7] what faults of one camera make of the offsets; nothing where it took no part."""
        found = np.zeros((len(self.offsets), _NUM_FAULTS))
        for row, of_view in enumerate(self.names):
            if of_view == name:
                found[6 * row : 6 * row + 6] = self.faults[row]
        return found


class ViewMountings:
    """Remembers what views of one time said; belongs to one rig."""

    def __init__(self) -> None:
        """Know nothing."""
        self._samples: deque[_Sample] = deque(maxlen=_REMEMBERED)
        self._last: dict[frozenset[str], Rigid3] = {}
        self._found: dict[str, MountingOffset] = {}
        self._quantile = chi_square_quantile(_PROBABILITY, _NUM_FAULTS)

    def add(
        self,
        map_from_rig: Rigid3,
        twist: FloatArray,
        offsets: Mapping[str, ViewOffset],
        centres: Mapping[str, FloatArray],
    ) -> None:
        """Take an answer of several views.

        Args:
            map_from_rig: its pose; from near where the same cameras spoke last it brings nothing new.
            twist: [6] velocity of the rig, m/s and rad/s, in its axes; zero where nobody knows.
            offsets: of the views, by the names of their cameras.
            centres: [3] where these are said to be in the rig.
        """
        names = tuple(sorted(offsets))
        if len(names) < 2:
            return
        last = self._last.get(frozenset(names))
        if (
            last is not None
            and last.translation_to(map_from_rig) < _APART_M
            and last.rotation_to(map_from_rig) < _APART_RAD
        ):
            return
        self._last[frozenset(names)] = map_from_rig
        faults = np.stack([_faults_at(centres[name], twist) for name in names])
        self._samples.append(
            _Sample(
                names,
                np.concatenate([offsets[name].vector for name in names]),
                faults,
                _information([offsets[name].covariance for name in names]),
            )
        )
        self._found.clear()

    def of(self, name: str) -> MountingOffset | None:
        """Return by how much a camera is off against the others; None before it was compared often enough."""
        if not self._found:
            self._solve()
        return self._found.get(name)

    def _solve(self) -> None:
        """Find the camera whose faults explain most of what was seen; then another one, if both explain more."""
        samples = list(self._samples)
        left = sorted({name for sample in samples for name in sample.names})
        named: list[str] = []
        while left:
            solved = {name: self._solve_for([*named, name], samples) for name in left}
            first = min(left, key=lambda name: solved[name].cost)
            alike = [
                name
                for name in left
                if solved[name].is_askew and solved[name].cost < solved[first].cost + _DECISIVE
            ]
            if not solved[first].is_askew or len(alike) > 1:
                for name in left:
                    others = tuple(other for other in alike if other != name)
                    self._found[name] = dataclasses.replace(
                        solved[name], is_askew=name in alike, others=others if name in alike else ()
                    )
                break
            self._found[first] = solved[first]
            left.remove(first)
            named.append(first)
        self._found = {
            name: found for name, found in self._found.items() if found.num_samples >= _MIN_SAMPLES
        }

    def _solve_for(self, names: Sequence[str], samples: Sequence[_Sample]) -> MountingOffset:
        """Find the faults of some cameras that explain samples best, were they all there are; return the last one's."""
        prior = np.diag(np.tile(1.0 / np.square(_PRIOR_SIGMAS), len(names)))
        faults, information = np.zeros(len(prior)), prior
        by_faults = [np.concatenate([sample.by(name) for name in names], axis=1) for sample in samples]
        for _ in range(_ITERATIONS):
            information, weighted = prior.copy(), np.zeros(len(prior))
            for sample, by in zip(samples, by_faults, strict=True):
                weight = 1.0 / (1.0 + sample.distance(by @ faults) / _OUTLYING)
                told = weight * by.T @ sample.information
                information += told @ by
                weighted += told @ sample.offsets
            faults = np.linalg.solve(information, weighted)
        cost = 0.0
        for sample, by in zip(samples, by_faults, strict=True):
            cost += _OUTLYING * sample.freedom * np.log1p(sample.distance(by @ faults) / _OUTLYING)
        vector, covariance = faults[-_NUM_FAULTS:], np.linalg.inv(information)[-_NUM_FAULTS:, -_NUM_FAULTS:]
        covariance += np.diag(np.square(_LASTING_SIGMAS))
        surprise = float(vector @ np.linalg.solve(covariance, vector))
        num_samples = sum(names[-1] in sample.names for sample in samples)
        is_askew = surprise > self._quantile and num_samples >= _MIN_SAMPLES
        return MountingOffset(
            vector, np.sqrt(np.diag(covariance)), is_askew, num_samples, surprise, float(cost)
        )


def _by_axis(values: FloatArray, sigmas: FloatArray) -> str:
    return ", ".join(
        f"{axis} {value:.1f} +- {sigma:.1f}" for axis, value, sigma in zip("xyz", values, sigmas, strict=True)
    )


def _faults_at(centre: FloatArray, twist: FloatArray) -> FloatArray:
    """Return [6, 7] what the rig seems to be moved by, by a turn, a shift and a delay of a camera at a place on it."""
    found = np.zeros((6, _NUM_FAULTS))
    found[:3, :3], found[3:, :3] = skew(centre), np.eye(3)
    found[:3, 3:6] = np.eye(3)
    found[:, 6] = -twist
    return found


def _information(covariances: Sequence[FloatArray]) -> FloatArray:
    """Return [6 V, 6 V] inverse covariance of the offsets of V views from a pose that nobody knows."""
    of_map = np.diag(np.square([_MAP_M] * 3 + [_MAP_RAD] * 3))
    each = [np.linalg.inv(_COVARIANCE_SCALE * covariance + of_map) for covariance in covariances]
    stacked = np.concatenate(each)
    whole = np.zeros((len(stacked), len(stacked)))
    for row, information in enumerate(each):
        whole[6 * row : 6 * row + 6, 6 * row : 6 * row + 6] = information
    return np.asarray(whole - stacked @ np.linalg.solve(np.sum(each, axis=0), stacked.T))
