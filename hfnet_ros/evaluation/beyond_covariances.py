"""Errors far beyond their covariances that no reading of the truth explains: of what kind they are.

An ANEES of a hundred alone does not say whether the covariances are too small, the map is bent or the truth drifts;
along the path these look different.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.evaluation.metrics import FALSE_FIX, POSE_DOF, QueryScore, pose_error_vector, score_queries
from hfnet_ros.evaluation.records import QueryResult
from hfnet_ros.files.tum import format_stamp

FloatArray = NDArray[np.float64]

MOST_NEES = 9.0 * POSE_DOF  # three sigma: squared error beyond which covariances leave it open
_LEAST_ANSWERS, _LEAST_SHARE = 5, 0.1
_ASIDE = 3  # answers before and after a moment that tell what changed there
_MOST_SCATTER, _LEAST_AT_ONCE = 1.0 / 3.0, 0.5  # of a jump
# Of the error, that is left against the neighbours' mean: of what has nothing to do with them all of it.
_SLOW = 0.5


@dataclass(frozen=True, slots=True)
class BeyondCovariances:
    """Errors that their covariances do not allow.

    Attributes:
        num_beyond: answers that are off by more than three sigmas.
        num_answers: answers with a truth and a covariance.
        kind: how the errors go along the path, and what does that.
        is_right_in_part: whether they jump, and are small before or after that.
    """

    num_beyond: int
    num_answers: int
    kind: str
    is_right_in_part: bool = False

    def describe(self) -> str:
        """Return the warning a person should read."""
        return (
            f"{self.num_beyond} of {self.num_answers} answers are farther off than three of their sigmas (NEES above "
            f"{MOST_NEES:.0f}): {self.kind}."
        )


def find_beyond_covariances(results: Sequence[QueryResult]) -> BeyondCovariances | None:
    """Return of what kind errors far beyond covariances are; None where there are few.

    Args:
        results: of one drive, in order of time, with a truth that is read as it is meant.
    """
    scores = [score for score in score_queries(results) if _nees(score) is not None]
    beyond = [score for score in scores if (_nees(score) or 0.0) > MOST_NEES]
    least = max(_LEAST_ANSWERS, _LEAST_SHARE * len(scores))
    if len(beyond) < least:
        return None
    errors, is_right_in_part = _errors_in_sigmas(scores), False
    row = _jump(errors)
    if row is not None:
        parts = [[score.error for score in part if score.error] for part in (scores[:row], scores[row:])]
        before, after = (float(np.median([error.translation_m for error in part])) for part in parts)
        is_right_in_part = any(np.median([error.nees or 0.0 for error in part]) < MOST_NEES for part in parts)
        kind = (
            f"errors jump at {format_stamp(scores[row].query.stamp_ns)}, of {scores[row].query.name}, from "
            f"{before:.3f} m to {after:.3f} m at the median; the truth begins another frame there, or one part of the "
            "map lies elsewhere than the other: evaluate the two parts by themselves"
        )
    elif _left_of_neighbours(errors) < _SLOW:
        kind = (
            "errors change slowly along the path, as of a truth that drifts, is bent or late, or of a map that is "
            "bent, not as of keypoints: look in the report where they grow, and hold the truth against something else "
            "there"
        )
    elif sum(not score.is_false_fix(FALSE_FIX) for score in beyond) >= least:
        kind = (
            "errors differ from one image to the next, as of a truth that is noisy or rounded by more than the answers "
            "are off, or of covariances that are too small: those a truth that is good makes honest by "
            "`hfnet-ros calibrate`"
        )
    else:  # false fixes are counted as these
        return None
    return BeyondCovariances(len(beyond), len(scores), kind, is_right_in_part)


def median_nees(results: Sequence[QueryResult]) -> float:
    """Return the median squared error in units of the covariance; 0 of nothing."""
    found = [nees for score in score_queries(results) if (nees := _nees(score)) is not None]
    return float(np.median(found)) if found else 0.0


def _nees(score: QueryScore) -> float | None:
    return None if score.error is None else score.error.nees


def _errors_in_sigmas(scores: Sequence[QueryScore]) -> FloatArray:
    """Return errors [N, 6], x y z rx ry rz in axes of the map, in sigmas that are the same for all answers."""
    vectors = []
    for score in scores:
        estimate, truth = score.query.localization.estimate, score.query.groundtruth
        if estimate is not None and truth is not None:
            vectors.append(pose_error_vector(estimate.map_from_camera, truth))
    sigma_m = float(np.median([score.sigma_t_m or 0.0 for score in scores]))
    sigma_rad = float(np.radians(np.median([score.sigma_r_deg or 0.0 for score in scores])))
    return np.asarray(np.stack(vectors) / np.repeat([sigma_m, sigma_rad], 3))


def _jump(errors: FloatArray) -> int | None:
    """Return the row from which on errors [N, 6] are others, within one step; None where there is no such row."""
    rows = range(_LEAST_ANSWERS, len(errors) - _LEAST_ANSWERS + 1)
    if not rows:
        return None

    def change(row: int, reach: int) -> float:
        before, after = errors[max(0, row - reach) : row], errors[row : row + reach]
        return float(np.linalg.norm(np.median(after, axis=0) - np.median(before, axis=0)))

    row = max(rows, key=lambda row: change(row, _ASIDE))
    jump = change(row, len(errors))
    scatter = max(
        float(np.median(np.linalg.norm(part - np.median(part, axis=0), axis=1)))
        for part in (errors[:row], errors[row:])
    )
    return row if scatter < _MOST_SCATTER * jump and change(row, _ASIDE) > _LEAST_AT_ONCE * jump else None


def _left_of_neighbours(errors: FloatArray) -> float:
    """Return which part of the errors [N, 6] is left once the mean of the two beside it is taken off."""
    left = errors[1:-1] - 0.5 * (errors[:-2] + errors[2:])
    # Of independent errors half of a variance comes with the mean.
    part = np.linalg.norm(left, axis=1) / np.sqrt(1.5)
    return float(np.median(part) / np.median(np.linalg.norm(errors, axis=1)))
