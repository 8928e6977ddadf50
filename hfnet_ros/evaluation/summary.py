"""Put every figure of a run into the dictionary of results.json; docs/evaluation.md explains the keys."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import DatasetError
from hfnet_ros.evaluation.availability import measure_availability
from hfnet_ros.evaluation.beyond_covariances import BeyondCovariances, find_beyond_covariances, median_nees
from hfnet_ros.evaluation.extrinsic_offset import ExtrinsicOffset, measure_extrinsic_offset
from hfnet_ros.evaluation.false_fix_curve import FalseFixCurve, false_fix_curve
from hfnet_ros.evaluation.honesty import (
    AXES,
    NOMINAL_COVERAGE,
    SIGMAS,
    anees_band,
    nees_histogram,
    sigma_coverage,
)
from hfnet_ros.evaluation.json_values import plain_json
from hfnet_ros.evaluation.metric_table import ScoredRun, metric_table, tabulate
from hfnet_ros.evaluation.metrics import (
    FALSE_FIX,
    RECALL_THRESHOLDS,
    PoseThreshold,
    QueryScore,
    count_outcomes,
    latency_percentiles,
    pose_error_vector,
    score_queries,
)
from hfnet_ros.evaluation.records import IDENTITY_KEYS, QueryResult, RunContext, RunIdentity
from hfnet_ros.evaluation.time_offset import TimeOffset, estimate_time_offset
from hfnet_ros.evaluation.trajectory import (
    Trajectory,
    TrajectoryError,
    absolute_trajectory_error,
    relative_pose_error,
)
from hfnet_ros.evaluation.truth_reading import LEAST_LEFT, TruthReading, find_truth_reading
from hfnet_ros.evaluation.view_distance import (
    ANGLE_EDGES_DEG,
    DISTANCE_EDGES_M,
    NearestKeyframeRecall,
    nearest_keyframes,
    recall_by_range,
)
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import TrackingState, Verdict

NEAREST_KEYFRAME_THRESHOLD = PoseThreshold(0.25, 5.0)
_SWEPT_SCORES = ("inliers", "evidence")
_LEAST_DELTA_S = 1.0


def summarize(
    results: Sequence[QueryResult],
    identity: RunIdentity | None = None,
    context: RunContext | None = None,
    *,
    thresholds: Sequence[PoseThreshold] = RECALL_THRESHOLDS,
    false_fix: PoseThreshold = FALSE_FIX,
) -> dict[str, object]:
    """Return the content of results.json: only dict, list, str, int, float, bool and None.

    Recall is the share of all queries with ground truth, localized or not; medians and NEES are
    over those of them that were localized. Without a gate, `accepted` equals `localized`. Without
    any ground truth, recall, medians, false_fixes and anees are None: unknown is not zero.

    Args:
        results: one per query, in any order.
        identity: what produced them.
        context: map and trajectories around them.
        thresholds: recall thresholds, each a key `<t>m_<r>deg`.
        false_fix: a pose outside of it is a false fix.

    Raises:
        DatasetError: two poses of one trajectory have the same stamp.
    """
    identity, context = identity or RunIdentity(), context or RunContext()
    scores = score_queries(results)
    scored = [score for score in scores if score.error is not None]
    run = ScoredRun(scores, false_fix)
    doubts = doubt_truth(results, context)
    structures: dict[str, object] = {
        "queries_with_groundtruth": run.num_with_truth,
        "false_fix_limit": false_fix.name,
        "expected_false_fixes": expect_false_fixes(results),
        "verdicts": _count_verdicts(results),
        "anees_band_95": anees_band(len(run.nees)),
        "nees_histogram": nees_histogram(run.nees),
        "sigma_coverage": summarize_coverage(scored),
        "availability": summarize_availability(results),
        "trajectory": summarize_trajectory(results, context),
        "false_fix_curves": sweep_limits(scored, run.num_with_truth, false_fix),
        "nearest_keyframe": summarize_nearest_keyframe(scores, context, false_fix),
        "time_offset": doubts.time_offset,
        "extrinsic_offset": doubts.mounting,
        "truth_reading": doubts.reading,
        "warnings": [*warn_of_copies(results, context), *doubts.sentences()],
        "latency_ms": latency_percentiles([result.localization for result in results]),
        "outcomes": count_outcomes(results),
    }
    origin = {key: getattr(identity, key) for key in IDENTITY_KEYS}
    summary = {**tabulate(run, metric_table(thresholds)), **structures, **origin}
    return {key: plain_json(value) for key, value in summary.items()}


def expect_false_fixes(results: Sequence[QueryResult]) -> float | None:
    """Return how many poses are wrong by their own probabilities; None where no pose has one."""
    given = [result.localization.evidence for result in results if result.localization.is_valid]
    known = [found.false_probability for found in given if found.false_probability is not None]
    return sum(known) if known else None


def _count_verdicts(results: Sequence[QueryResult]) -> Mapping[str, int] | None:
    """Count the verdicts of the gate; None without a gate."""
    if all(result.relocalization is None for result in results):
        return None
    counts = Counter(result.decision.verdict for result in results if result.decision is not None)
    return {verdict.value: counts[verdict] for verdict in Verdict}


def summarize_coverage(scores: Sequence[QueryScore]) -> dict[str, object] | None:
    """Return the share of errors within 1, 2, 3 reported sigma by axis; None of nothing."""
    vectors, covariances = [], []
    for score in scores:
        estimate, truth = score.query.localization.estimate, score.query.groundtruth
        if estimate is None or truth is None or score.error is None or score.error.nees is None:
            continue
        vectors.append(pose_error_vector(estimate.map_from_camera, truth))
        covariances.append(estimate.covariance)
    shares = sigma_coverage(vectors, covariances)
    if shares is None:
        return None
    names = [str(sigma) for sigma in SIGMAS]
    by_axis = {axis: dict(zip(names, row, strict=True)) for axis, row in zip(AXES, shares, strict=True)}
    return {"queries": len(vectors), "nominal": dict(zip(names, NOMINAL_COVERAGE, strict=True)), **by_axis}


def summarize_availability(results: Sequence[QueryResult]) -> dict[str, object] | None:
    """Measure when there were usable fixes and, with a filter, when the robot was tracked."""
    if not results:
        return None
    stamps = [result.stamp_ns for result in results]
    found: dict[str, object] = {
        "fix": measure_availability(stamps, [result.is_accepted for result in results])
    }
    states = [None if result.relocalization is None else result.relocalization.state for result in results]
    if any(state is not None for state in states):
        found["tracking"] = measure_availability(
            stamps, [state is TrackingState.TRACKING for state in states]
        )
    return found


def _have_times(results: Sequence[QueryResult]) -> bool:
    """Tell whether every query has a stamp of its own; photographs may have none."""
    return len({result.stamp_ns for result in results}) == len(results)


def _estimates(results: Sequence[QueryResult]) -> Trajectory:
    found = ((result.stamp_ns, result.localization.estimate) for result in results)
    return Trajectory.from_poses((stamp, pose.map_from_camera) for stamp, pose in found if pose is not None)


def _truths(results: Sequence[QueryResult], context: RunContext) -> Trajectory:
    if context.groundtruth:
        return Trajectory.from_poses(context.groundtruth)
    known = ((result.stamp_ns, result.groundtruth) for result in results)
    return Trajectory.from_poses((stamp, truth) for stamp, truth in known if truth is not None)


def summarize_trajectory(results: Sequence[QueryResult], context: RunContext) -> dict[str, object]:
    """Return ATE and RPE of the fused base poses if there are any, else of the single camera poses."""
    if context.fused:
        source = "map_from_base, fused"
        estimated = Trajectory.from_poses(context.fused)
        truth = Trajectory.from_poses(context.groundtruth_base)
    else:
        source = "map_from_camera, each image by itself"
        if not _have_times(results):
            return {"pose": source, "ate": None, "ate_aligned": None, "rpe": None}
        estimated, truth = _estimates(results), _truths(results, RunContext())
    steps_s = np.diff(estimated.stamps_ns) / 1e9
    delta_s = max(_LEAST_DELTA_S, float(np.median(steps_s))) if len(steps_s) else _LEAST_DELTA_S
    return {
        "pose": source,
        "ate": absolute_trajectory_error(estimated, truth),
        "ate_aligned": _aligned_error(estimated, truth),
        "rpe": relative_pose_error(estimated, truth, delta_s),
    }


def _aligned_error(estimated: Trajectory, truth: Trajectory) -> TrajectoryError | None:
    try:
        return absolute_trajectory_error(estimated, truth, is_aligned=True)
    except DatasetError:  # a straight line or too few poses: nothing to align by
        return None


@dataclass(frozen=True, slots=True)
class TruthDoubts:
    """What speaks against the true poses.

    Attributes:
        reading: how they must be read instead; None as they are.
        time_offset: of their clock and that of the images; None where it is not known, or they are misread.
        mounting: constant offset on the camera's side, likewise.
        beyond: errors that covariances do not allow and none of these explains, or not all; None without such.
    """

    reading: TruthReading | None
    time_offset: TimeOffset | None
    mounting: ExtrinsicOffset | None
    beyond: BeyondCovariances | None = None

    def sentences(self) -> list[str]:
        """Return what a person should read before any figure."""
        misread = [f"Misread: {self.reading.describe()}."] if self.reading else []
        offsets = (self.time_offset, self.mounting)
        found = [offset.describe() for offset in offsets if offset and offset.significant]
        return misread + found + ([self.beyond.describe()] if self.beyond else [])


def warn_of_copies(results: Sequence[QueryResult], context: RunContext) -> list[str]:
    """Return a sentence on queries that the map was built from, if there are any."""
    if not context.copies:
        return []
    return [
        f"{len(context.copies)} of {len(results)} queries are images that the map was built from, as "
        f"{context.copies[0]}: they find themselves, and errors say nothing of other images; give images that are not "
        "in the map."
    ]


def doubt_truth(results: Sequence[QueryResult], context: RunContext) -> TruthDoubts:
    """Hold the true poses against all answers together; those of single images are not judged."""
    beyond = find_beyond_covariances(_in_order(results)) if _have_times(results) else None
    # Of a truth that is right for a part of the answers no reading suits all.
    if beyond is not None and beyond.is_right_in_part:
        return TruthDoubts(None, None, None, beyond)
    reading = find_truth_reading(results, context)
    # Against a truth read wrongly, clocks and mounting are measured to no purpose.
    if reading is not None or not _have_times(results):
        return TruthDoubts(reading, None, None)
    estimated, truth = _estimates(results), _truths(results, context)
    time_offset = estimate_time_offset(estimated, truth)
    # A late clock of a robot that drives ahead looks like a camera that is mounted behind.
    in_time = truth
    if time_offset is not None and time_offset.significant:
        in_time = _in_time(truth, estimated.stamps_ns, time_offset)
    mounting = measure_extrinsic_offset(estimated, in_time)
    if beyond is not None and (in_time is not truth or (mounting is not None and mounting.significant)):
        corrected = _with_offsets(results, in_time, mounting)
        is_explained = median_nees(corrected) < LEAST_LEFT**2 * median_nees(results)
        beyond = None if is_explained else find_beyond_covariances(_in_order(corrected))
    return TruthDoubts(None, time_offset, mounting, beyond)


def _in_time(truth: Trajectory, stamps_ns: NDArray[np.int64], offset: TimeOffset) -> Trajectory:
    """Return the truth of images with stamps [N] that are off."""
    late_ns = round(1e9 * offset.offset_s)
    late, _ = truth.at(stamps_ns + late_ns)
    return Trajectory(late.stamps_ns - late_ns, late.positions, late.rotations)


def _with_offsets(
    results: Sequence[QueryResult], truth: Trajectory, offset: ExtrinsicOffset | None
) -> list[QueryResult]:
    """Return the results that have a truth in a trajectory, with the mounting that was measured."""
    mounting = Rigid3.identity()
    if offset is not None and offset.significant:
        mounting = Rigid3.from_rotvec(np.radians(offset.rotation_deg), np.array(offset.translation_m))
    numbers = zip(truth.stamps_ns.tolist(), truth.rotations, truth.positions, strict=True)
    poses = {stamp: Rigid3(rotation, position) @ mounting for stamp, rotation, position in numbers}
    return [
        dataclasses.replace(result, groundtruth=poses[result.stamp_ns])
        for result in results
        if result.stamp_ns in poses
    ]


def _in_order(results: Sequence[QueryResult]) -> list[QueryResult]:
    return sorted(results, key=lambda result: result.stamp_ns)


def sweep_limits(
    scores: Sequence[QueryScore], num_queries: int, false_fix: PoseThreshold = FALSE_FIX
) -> dict[str, FalseFixCurve]:
    """Return the false-fix curve of each number that verification records, by its name."""
    wrong = [score.is_false_fix(false_fix) for score in scores]
    curves = {}
    for name in _SWEPT_SCORES:
        evidences = [score.query.localization.evidence for score in scores]
        if name == "inliers":
            values = [float(evidence.num_inliers) for evidence in evidences]
        else:
            values = [evidence.scores.get(name, np.nan) for evidence in evidences]
        curve = false_fix_curve(values, wrong, num_queries) if num_queries else None
        if curve is not None:
            curves[name] = curve
    return curves


def summarize_nearest_keyframe(
    scores: Sequence[QueryScore], context: RunContext, false_fix: PoseThreshold = FALSE_FIX
) -> NearestKeyframeRecall | None:
    """Return recall by distance and by angle to the nearest keyframe; None without map or truth."""
    known = [(score, score.query.groundtruth) for score in scores if score.query.groundtruth is not None]
    keyframe_poses = context.map_points.keyframe_poses
    if len(keyframe_poses) == 0 or not known:
        return None
    truths = [truth for _, truth in known if truth is not None]
    distances, angles = nearest_keyframes(truths, keyframe_poses)
    flags = (
        [score.is_localized for score, _ in known],
        [s.error is not None and s.error.is_within(NEAREST_KEYFRAME_THRESHOLD) for s, _ in known],
        [score.is_false_fix(false_fix) for score, _ in known],
    )
    return NearestKeyframeRecall(
        NEAREST_KEYFRAME_THRESHOLD.name,
        recall_by_range(distances, DISTANCE_EDGES_M, *flags),
        recall_by_range(angles, ANGLE_EDGES_DEG, *flags),
    )
