from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from hfnet_ros.evaluation.honesty import (
    NOMINAL_COVERAGE,
    anees_band,
    chi_square_band,
    nees_histogram,
    sigma_coverage,
)


def test_coverage_counted_by_hand():
    # Sigmas 1 2 1 1 1 1; x is off by 0.5, 1.5, 2.5 and 3.5 sigma, y by a quarter of that.
    errors = [np.array([value, 0.5 * value, 0.0, 0.0, 0.0, 9.0]) for value in (0.5, 1.5, 2.5, 3.5)]
    covariance = np.diag([1.0, 4.0, 1.0, 1.0, 1.0, 1.0])
    shares = sigma_coverage(errors, [covariance] * 4)
    np.testing.assert_allclose(shares[0], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(shares[1], [1.0, 1.0, 1.0])
    np.testing.assert_allclose(shares[5], [0.0, 0.0, 0.0])


def test_coverage_of_sampled_errors_is_nominal():
    rng = np.random.default_rng(3)
    factor = rng.normal(size=(6, 6))
    covariance = factor @ factor.T + 0.1 * np.eye(6)
    errors = rng.multivariate_normal(np.zeros(6), covariance, size=4000)
    shares = sigma_coverage(list(errors), [covariance] * 4000)
    np.testing.assert_allclose(shares, np.tile(NOMINAL_COVERAGE, (6, 1)), atol=0.03)
    tight = sigma_coverage(list(errors), [covariance / 9.0] * 4000)
    assert (tight[:, 2] < 0.75).all()


def test_nominal_coverage_is_the_table_value():
    np.testing.assert_allclose(NOMINAL_COVERAGE, (0.6827, 0.9545, 0.9973), atol=1e-4)


def test_histogram_of_chi_square_values_is_what_it_expects():
    values = chi2.ppf((np.arange(2000) + 0.5) / 2000, 6)
    histogram = nees_histogram(values)
    np.testing.assert_allclose(histogram.counts, histogram.expected, atol=1.5)
    for share, observed in histogram.share_in_band.items():
        assert observed == pytest.approx(float(share), abs=0.002)


def test_values_beyond_the_ends_are_counted_in_the_last_bins():
    histogram = nees_histogram([1e-9, 5.0, 1e9])
    assert (histogram.counts[0], histogram.counts[-1], sum(histogram.counts)) == (1, 1, 3)
    assert sum(histogram.expected) == pytest.approx(3.0)
    assert len(histogram.edges) == len(histogram.counts) + 1


def test_bands():
    np.testing.assert_allclose(chi_square_band(0.95, 6), (1.2373, 14.4494), atol=1e-4)
    low, high = anees_band(50)
    # Chi-square with 300 degrees of freedom: 253.912 to 349.874 (table).
    np.testing.assert_allclose((low, high), (253.912 / 300, 349.874 / 300), atol=1e-5)
    assert anees_band(5000)[1] - anees_band(5000)[0] < (high - low) / 9


def test_nothing_is_none():
    assert nees_histogram([]) is None
    assert sigma_coverage([], []) is None
    assert anees_band(0) is None
