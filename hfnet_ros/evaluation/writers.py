"""Write a scored run as files other programs read; each appears whole or not at all."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hfnet_ros.evaluation.metrics import STAGES, QueryScore, score_queries
from hfnet_ros.evaluation.records import QueryResult, RunContext, TimedPose
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.files.tum import StampedPose, format_stamp, write_tum
from hfnet_ros.types import Localization

_COLUMNS = (
    "name",
    "stamp",
    "outcome",
    "keypoints",
    "matches",
    "inliers",
    "translation_error_m",
    "rotation_error_deg",
    "nees",
    "sigma_t_m",
    "sigma_r_deg",
    "verdict",
)


def write_run(
    directory: str | os.PathLike[str],
    results: Sequence[QueryResult],
    summary: Mapping[str, object],
    context: RunContext | None = None,
) -> None:
    """Write results.json, queries.csv, estimated.tum and groundtruth.tum into an existing folder.

    With fused poses, fused.tum and fused_groundtruth.tum (map_from_base) as well.

    Raises:
        DatasetError: two queries have the same stamp, or a pose is not finite.
        OSError: the folder is missing or cannot be written to.
        ValueError: the summary holds NaN or infinity; `summarize` never gives them.
    """
    folder = Path(directory)
    write_results_json(folder / "results.json", summary)
    write_queries_csv(folder / "queries.csv", results)
    write_trajectories(folder, results)
    if context is not None and context.fused:
        _write_track(folder / "fused.tum", context.fused)
        _write_track(folder / "fused_groundtruth.tum", context.groundtruth_base)


def _write_track(path: Path, poses: Sequence[TimedPose]) -> None:
    ordered = sorted(poses, key=lambda timed: timed[0])
    write_tum(path, (StampedPose(stamp_ns, pose) for stamp_ns, pose in ordered), name="map_from_base")


def write_results_json(path: str | os.PathLike[str], summary: Mapping[str, object]) -> None:
    """Write what `summarize` returned.

    Raises:
        OSError: the file cannot be written.
        ValueError: the summary holds NaN or infinity, which are not JSON.
    """
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_queries_csv(path: str | os.PathLike[str], results: Sequence[QueryResult]) -> None:
    """Write one row a query, in the order given; what is unknown is an empty cell.

    After the fixed columns come `<stage>_ms` for every stage any query timed, the reason, and
    `score_<name>` for every score of the evidence.

    Raises:
        OSError: the file cannot be written.
    """
    timed = {stage for result in results for stage in result.localization.timings_s}
    stages = [*STAGES, *sorted(timed.difference(STAGES))]
    names = sorted({name for result in results for name in result.localization.evidence.scores})
    num_views = max((len(result.localization.views) for result in results), default=1)
    of_views = [f"view{view}_inliers" for view in range(num_views)] if num_views > 1 else []
    header = [
        *_COLUMNS,
        *(f"{stage}_ms" for stage in stages),
        "reason",
        *(f"score_{name}" for name in names),
        *of_views,
    ]
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(_row(score, stages, names, len(of_views)) for score in score_queries(results))


def _row(score: QueryScore, stages: Sequence[str], names: Sequence[str], num_views: int) -> list[object]:
    localization, error = score.query.localization, score.error
    evidence, timings = localization.evidence, localization.timings_s
    return [
        score.query.name,
        format_stamp(score.query.stamp_ns),
        localization.outcome.value,
        evidence.num_keypoints,
        evidence.num_matches,
        evidence.num_inliers,
        _cell(error.translation_m if error else None),
        _cell(error.rotation_deg if error else None),
        _cell(error.nees if error else None),
        _cell(score.sigma_t_m),
        _cell(score.sigma_r_deg),
        "" if score.query.decision is None else score.query.decision.verdict.value,
        *(f"{timings[stage] * 1e3:.3f}" if stage in timings else "" for stage in stages),
        evidence.reason,
        *(_cell(evidence.scores.get(name)) for name in names),
        *_inliers_of_views(localization, num_views),
    ]


def _inliers_of_views(localization: Localization, num_views: int) -> list[object]:
    """Return how many each view of a rig has, blank where it had no image."""
    inliers: list[object] = [share.num_inliers for share in localization.views[:num_views]]
    return inliers + [""] * (num_views - len(inliers))


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def write_trajectories(directory: str | os.PathLike[str], results: Sequence[QueryResult]) -> None:
    """Write map_from_camera as estimated.tum (localized only) and groundtruth.tum, by time.

    A query has the same stamp in both files, so evo associates them exactly.

    Raises:
        DatasetError: two queries have the same stamp, or a pose is not finite.
        OSError: the folder is missing or cannot be written to.
    """
    folder = Path(directory)
    ordered = sorted(results, key=lambda result: result.stamp_ns)
    estimates = ((result.stamp_ns, result.localization.estimate) for result in ordered)
    write_tum(
        folder / "estimated.tum",
        (
            StampedPose(stamp_ns, estimate.map_from_camera)
            for stamp_ns, estimate in estimates
            if estimate is not None
        ),
    )
    truths = ((result.stamp_ns, result.groundtruth) for result in ordered)
    write_tum(
        folder / "groundtruth.tum",
        (StampedPose(stamp_ns, truth) for stamp_ns, truth in truths if truth is not None),
    )
