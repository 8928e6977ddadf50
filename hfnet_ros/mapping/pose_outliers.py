"""Which keyframes, or which step of the sequence, the disagreeing pairs have in common.

Greedy: of all single keyframes and all places between two keyframes, the one that accounts for most
disagreeing pairs, and for few agreeing ones, is taken and its pairs are set aside; until nothing
accounts for enough.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_MIN_SHARE = 0.7  # of what is known of a keyframe, or across a place, that must disagree
_MIN_WEIGHT = 2.0
_MIN_WEIGHT_ACROSS = 4.0
_MIN_PART = 3  # keyframes on either side of a slip; fewer are wrong keyframes


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """Keyframes that agree or disagree with each other, L links.

    Attributes:
        keyframes: [L, 2] int64, positions, the earlier one first.
        disagrees: [L] bool.
        weights: [L, 2] float64, how much each tells of its first and of its second keyframe.
    """

    keyframes: NDArray[np.int64]
    disagrees: NDArray[np.bool_]
    weights: FloatArray


@dataclass(frozen=True, slots=True)
class Outliers:
    """What disagreeing pairs have in common.

    Attributes:
        keyframes: whose pairs disagree.
        slips: positions of the first keyframe after a place that pairs disagree across.
    """

    keyframes: list[int]
    slips: list[int]


def find_outliers(links: Links, num_keyframes: int, barred: Collection[int] = ()) -> Outliers:
    """Find the fewest keyframes and places that account for the links that disagree.

    Args:
        links: what agrees and what does not.
        num_keyframes: F.
        barred: places that are no slips, as something else has shown.
    """
    pairs, bad = links.keyframes, links.disagrees
    weights = links.weights.copy()
    keyframes: list[int] = []
    slips: list[int] = []
    while weights[bad].any():
        keyframe, gain_of_keyframe = _best(*_of_keyframes(pairs, weights, bad, num_keyframes), _MIN_WEIGHT)
        wrong, total = _across_places(pairs, weights, bad, num_keyframes)
        wrong[list(barred)] = 0.0
        place, gain_of_place = _best(wrong, total, _MIN_WEIGHT_ACROSS)
        if max(gain_of_keyframe, gain_of_place) <= 0.0:
            break
        if gain_of_place > gain_of_keyframe:
            slips.append(place)
            weights[(pairs[:, 0] < place) & (pairs[:, 1] >= place)] = 0.0
        else:
            keyframes.append(keyframe)
            weights[(pairs == keyframe).any(axis=1)] = 0.0
    return Outliers(sorted(keyframes), sorted(slips))


def _of_keyframes(
    pairs: NDArray[np.int64], weights: FloatArray, bad: NDArray[np.bool_], num_keyframes: int
) -> tuple[FloatArray, FloatArray]:
    """Return how much disagrees with each keyframe and how much is known of it, [F] each."""
    both = pairs.ravel()
    wrong, total = np.zeros(num_keyframes), np.zeros(num_keyframes)
    np.add.at(total, both, weights.ravel())
    np.add.at(wrong, both, (weights * bad[:, None]).ravel())
    return wrong, total


def _across_places(
    pairs: NDArray[np.int64], weights: FloatArray, bad: NDArray[np.bool_], num_keyframes: int
) -> tuple[FloatArray, FloatArray]:
    """Return how much disagrees across the place before each keyframe and how much is known, [F] each."""
    sums = []
    of_link = weights.max(axis=1)
    for entries in (of_link * bad, of_link):
        change = np.zeros(num_keyframes + 2)
        np.add.at(change, pairs[:, 0] + 1, entries)
        np.subtract.at(change, pairs[:, 1] + 1, entries)
        sums.append(np.cumsum(change)[:num_keyframes])
    wrong, total = sums
    wrong[:_MIN_PART] = 0.0
    wrong[num_keyframes - _MIN_PART + 1 :] = 0.0
    return wrong, total


def _best(wrong: FloatArray, total: FloatArray, min_weight: float) -> tuple[int, float]:
    """Return the position that accounts for most: what disagrees less twice what agrees."""
    gain = wrong - 2.0 * (total - wrong)
    gain[(wrong < min_weight) | (wrong < _MIN_SHARE * total)] = -1.0
    position = int(np.argmax(gain))
    return position, float(gain[position])
