"""Least squares of many samples, some of them outlying, whose covariance is by what the samples differ by.

Reference: White, "A Heteroskedasticity-Consistent Covariance Matrix Estimator" (1980): not by what each sample says of
    itself, as neighbours see the same landmarks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_OUTLYING = 9.0  # squared, over the median: from where a sample counts less
_ITERATIONS = 5


def robust_solution(
    normals: FloatArray,
    weighted: FloatArray,
    prior: FloatArray,
    squares_of: Callable[[FloatArray, FloatArray], FloatArray],
) -> tuple[FloatArray, FloatArray]:
    """Return the parameters [P], and their covariance [P, P] but for the factor of few samples.

    Args:
        normals: [N, P, P] of each sample.
        weighted: [N, P] right sides.
        prior: [P, P] normal matrix of what is known before.
        squares_of: says how far off each sample is [N], by parameters [P] and what each sample moves them by [N, P].
    """
    shares = np.ones(len(normals))
    for _ in range(_ITERATIONS):
        inverse = np.linalg.inv(np.einsum("n,nij->ij", shares, normals) + prior)
        parameters = inverse @ (shares @ weighted)
        moved = (weighted - normals @ parameters) @ inverse
        scatter = np.einsum("n,ni,nj->ij", np.square(shares), moved, moved)
        squares = squares_of(parameters, moved)
        shares = 1.0 / (1.0 + squares / max(_OUTLYING * float(np.median(squares)), 1e-12))
    return parameters, scatter
