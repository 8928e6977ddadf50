"""Whether covariances say how large the errors are.

The bands assume independent errors of normal distribution. Queries of one drive are not quite
independent, so a figure just outside of its band proves little.

Reference: Bar-Shalom, Li, Kirubarajan, "Estimation with Applications to Tracking and Navigation",
    section 5.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# chdtri inverts the chi-square tail; scipy.stats would double the start-up time.
from scipy.special import chdtr, chdtri, erf

FloatArray = NDArray[np.float64]

POSE_DOF = 6
AXES = ("x", "y", "z", "rx", "ry", "rz")
SIGMAS = (1, 2, 3)
# Share of a normal variable within 1, 2, 3 standard deviations.
NOMINAL_COVERAGE = tuple(float(erf(sigma / np.sqrt(2.0))) for sigma in SIGMAS)
BANDS = (0.5, 0.9, 0.95, 0.99)
NEES_RANGE = (0.1, 1000.0)
_BINS = 32


@dataclass(frozen=True, slots=True, eq=False)
class NeesHistogram:
    """NEES beside what honest covariances give; B bins.

    Attributes:
        edges: [B + 1], equal ratios; values beyond the ends fall in the last bin there.
        counts: [B] queries.
        expected: [B] queries of the chi-square distribution with 6 degrees of freedom.
        share_in_band: nominal share of a central chi-square band -> share observed.
    """

    edges: list[float]
    counts: list[int]
    expected: list[float]
    share_in_band: dict[str, float]


def nees_histogram(nees: ArrayLike) -> NeesHistogram | None:
    """Count NEES values [N]; None of nothing."""
    values = np.asarray(nees, dtype=np.float64)
    if len(values) == 0:
        return None
    edges = np.geomspace(*NEES_RANGE, _BINS + 1)
    counts, _ = np.histogram(np.clip(values, *NEES_RANGE), edges)
    cumulative = chdtr(POSE_DOF, edges)
    cumulative[0], cumulative[-1] = 0.0, 1.0
    shares = {}
    for share in BANDS:
        low, high = chi_square_band(share, POSE_DOF)
        shares[f"{share:g}"] = float(np.mean((values >= low) & (values <= high)))
    return NeesHistogram(
        edges.tolist(), counts.tolist(), (len(values) * np.diff(cumulative)).tolist(), shares
    )


def chi_square_band(share: float, dof: int) -> tuple[float, float]:
    """Return the central interval that holds this share of a chi-square variable."""
    tail = 0.5 * (1.0 - share)
    return float(chdtri(dof, 1.0 - tail)), float(chdtri(dof, tail))


def anees_band(num_queries: int) -> tuple[float, float] | None:
    """Return the central 95 % interval of the ANEES of honest covariances; None of no query.

    The sum of n NEES is a chi-square variable with 6 n degrees of freedom.
    """
    if num_queries == 0:
        return None
    low, high = chi_square_band(0.95, POSE_DOF * num_queries)
    return low / (POSE_DOF * num_queries), high / (POSE_DOF * num_queries)


def sigma_coverage(errors: Sequence[FloatArray], covariances: Sequence[FloatArray]) -> FloatArray | None:
    """Return the share [6, 3] of errors within 1, 2, 3 reported standard deviations, by axis.

    Args:
        errors: N of [6], order x y z rx ry rz, axes of the map, m and rad.
        covariances: N of [6, 6] in the same order and axes; positive definite.

    Returns:
        None of nothing. Compare with `NOMINAL_COVERAGE`.
    """
    if len(errors) == 0:
        return None
    variances = np.stack([np.diag(covariance) for covariance in covariances])
    in_sigmas = np.abs(np.stack(errors)) / np.sqrt(variances)
    return np.stack([np.mean(in_sigmas <= sigma, axis=0) for sigma in SIGMAS], axis=1)
