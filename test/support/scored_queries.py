"""Queries with known errors, for whatever scores or shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from hfnet_ros.evaluation import QueryResult
from hfnet_ros.geometry import Rigid3
from hfnet_ros.types import (
    Correspondences,
    Evidence,
    GateDecision,
    Localization,
    Outcome,
    Place,
    PoseEstimate,
    Relocalization,
    TrackingState,
    Verdict,
)

TRUTH = Rigid3.from_rotvec([0.3, -1.1, 0.4], [4.0, -2.0, 1.5])
COVARIANCE = np.diag([0.01, 0.01, 0.04, 1e-4, 1e-4, 1e-4])

ResultFactory = Callable[..., QueryResult]


def make_query_result(
    tau: tuple[float, float, float] | None = (0.0, 0.0, 0.0),
    phi_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    *,
    number: int = 0,
    name: str | None = None,
    image_path: Path | None = None,
    truth: Rigid3 | None = TRUTH,
    covariance: np.ndarray = COVARIANCE,
    outcome: Outcome = Outcome.NO_CONSENSUS,
    timings_s: Mapping[str, float] | None = None,
    scores: Mapping[str, float] | None = None,
    reason: str = "",
) -> QueryResult:
    """A query off by tau (m) and phi (deg) in map axes; tau None is a query without a pose."""
    estimate = None
    if tau is not None:
        turn = Rigid3.from_rotvec(np.radians(phi_deg), np.zeros(3)).rotation
        pose = Rigid3(turn @ TRUTH.rotation, TRUTH.translation + tau)
        estimate = PoseEstimate(pose, covariance, np.ones(30, dtype=bool), 1.0)
        outcome = Outcome.LOCALIZED
    evidence = Evidence(500, 80, 30 if estimate else 4, reason, scores or {})
    stamp_ns = 1_700_000_000_123_456_789 + number * 100_000_000
    localization = Localization(stamp_ns, outcome, estimate, None, evidence, timings_s or {})
    return QueryResult(name or f"{number:06d}.png", image_path, stamp_ns, localization, truth)


@pytest.fixture
def make_result() -> ResultFactory:
    return make_query_result


@pytest.fixture
def run_results() -> list[QueryResult]:
    """120 queries on a circle: some without a pose, two of them false fixes."""
    rng = np.random.default_rng(7)
    results = []
    for number in range(120):
        angle = 2.0 * np.pi * number / 120
        truth = Rigid3.from_rotvec([0.0, 0.0, angle], [5 * np.cos(angle), 2 * np.sin(angle), 1.0])
        error = rng.multivariate_normal(np.zeros(6), COVARIANCE / 25)
        if number in (40, 77):
            error[:3] += (2.0, -1.0, 0.0)
        estimate = None
        if number % 15:
            turn = Rigid3.from_rotvec(error[3:], np.zeros(3)).rotation
            pose = Rigid3(turn @ truth.rotation, truth.translation + error[:3])
            estimate = PoseEstimate(pose, COVARIANCE / 25, np.ones(60, dtype=bool), 1.0)
        timings = {"extract": 0.03, "retrieve": 0.001, "match": 0.005, "pose": 0.004, "total": 0.0405}
        outcome = Outcome.LOCALIZED if estimate else Outcome.TOO_FEW_INLIERS
        evidence = Evidence(900, 150, 60 if estimate else 7, "", {"coverage": 0.5})
        stamp_ns = number * 50_000_000
        localization = Localization(stamp_ns, outcome, estimate, None, evidence, timings)
        results.append(QueryResult(f"<img {number}>", None, stamp_ns, localization, truth))
    return results


@pytest.fixture
def relocalize():
    """A function that returns a result as if a gate and a filter had seen it."""

    def relocalize(result: QueryResult, verdict: Verdict | None, state: TrackingState) -> QueryResult:
        decision = None if verdict is None else GateDecision(verdict, "because")
        seen = Relocalization(result.localization, decision, None, None, state, None)
        return QueryResult(
            result.name, result.image_path, result.stamp_ns, result.localization, result.groundtruth, seen
        )

    return relocalize


@pytest.fixture
def matched_result() -> QueryResult:
    """A localized query of a 640x480 image with three inliers, two outliers and two prior keyframes."""
    points = np.array([[0.0, 0.0], [639.0, 479.0], [319.5, 239.5], [10.0, 20.0], [30.0, 40.0]])
    indices = np.arange(5)
    matches = Correspondences(points, np.zeros((5, 3)), indices, indices, np.ones(5, np.float32))
    mask = np.array([True, True, True, False, False])
    localization = Localization(
        1_000,
        Outcome.LOCALIZED,
        PoseEstimate(TRUTH, COVARIANCE, mask, 1.0),
        Place((1, 0), 0.8, 1.5),
        Evidence(500, 5, 3),
        {"total": 0.02},
        matches,
    )
    return QueryResult("q.png", None, 1_000, localization, TRUTH)
