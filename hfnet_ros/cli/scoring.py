"""Score a run, write everything about it, and print the figures a person asks for first."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hfnet_ros
from hfnet_ros.config import Config
from hfnet_ros.evaluation.records import QueryResult, RunContext, RunIdentity, describe_machine
from hfnet_ros.features.extractor import with_extractor_of
from hfnet_ros.map.visual_map import VisualMap


def write_scored_run(
    out: Path,
    results: Sequence[QueryResult],
    visual_map: VisualMap,
    identity: RunIdentity,
    context: RunContext,
    rerun: Path | None = None,
) -> None:
    """Write results.json, queries.csv, trajectories and report.html into a folder, and print a summary.

    Args:
        out: folder, made if it is missing.
        results: of all queries.
        visual_map: in which they were localized.
        identity: what produced them.
        context: what surrounds them.
        rerun: file for a recording of the Rerun viewer, if wanted.
    """
    from hfnet_ros.evaluation.summary import summarize
    from hfnet_ros.evaluation.writers import write_run
    from hfnet_ros.report.rerun_file import write_rerun
    from hfnet_ros.report.run_report import write_report

    summary = summarize(results, identity, context)
    out.mkdir(parents=True, exist_ok=True)
    write_run(out, results, summary, context)
    write_report(
        out / "report.html",
        results,
        summary,
        visual_map.landmark_xyz,
        visual_map.keyframe_poses[:, :3],
        context,
    )
    if rerun is not None:
        write_rerun(rerun, results, visual_map.landmark_xyz, visual_map.landmark_colors, context)
    print_summary(summary, results)
    print(f"report: {out / 'report.html'}")


def identify_run(
    visual_map: VisualMap, map_path: Path, extractor_id: str, backend: str, config: Config
) -> RunIdentity:
    """Return what produced the results of a run."""
    return RunIdentity(
        map=describe_map(visual_map, map_path),
        extractor_id=extractor_id,
        backend=backend,
        config=dataclasses.asdict(with_extractor_of(config, visual_map.extractor_id)),
        version=hfnet_ros.__version__,
        commit=_commit(),
        machine=describe_machine(),
    )


def describe_map(visual_map: VisualMap, path: Path) -> dict[str, Any]:
    """Return what a report says about the map of a run."""
    from hfnet_ros.evaluation.run import readable_name

    return {
        "name": readable_name(path.resolve()),
        "keyframes": visual_map.num_keyframes,
        "landmarks": visual_map.num_landmarks,
        "self_test": dataclasses.asdict(visual_map.consistency),
        **visual_map.build_info,
    }


def print_summary(summary: dict[str, Any], results: Sequence[QueryResult]) -> None:
    """Print the figures a person asks for first."""
    latency = summary["latency_ms"]["total"]

    def figure(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    print(f"queries              {summary['queries']}")
    print(f"localized            {summary['localized']}")
    print(f"false fixes          {figure(summary['false_fixes'], 'd')}")
    for threshold, share in summary["recall"].items():
        print(f"recall {threshold:13s} {figure(share, '.2f')}")
    print(
        f"median error         {figure(summary['median_translation_m'], '.3f')} m, "
        f"{figure(summary['median_rotation_deg'], '.2f')} deg"
    )
    print(f"ANEES                {figure(summary['anees'], '.2f')}")
    print(
        f"latency p50/p95/p99  {figure(latency['p50'], '.0f')} / {figure(latency['p95'], '.0f')} / "
        f"{figure(latency['p99'], '.0f')} ms"
    )
    if summary["verdicts"] is not None:
        _print_usable(summary, figure)
    refused = {
        outcome: count for outcome, count in summary["outcomes"].items() if count and outcome != "LOCALIZED"
    }
    for warning in summary["warnings"]:
        print(f"warning              {warning}")
    if refused and results:
        print("not localized        " + ", ".join(f"{outcome} {count}" for outcome, count in refused.items()))


def _print_usable(summary: dict[str, Any], figure: Callable[[float | None, str], str]) -> None:
    """Print what the robot made of the fixes."""
    wrong, found = summary["accepted_false_fixes"], summary["availability"]
    print(f"accepted             {summary['accepted']}, wrong {figure(wrong, 'd')}")
    if found and "tracking" in found:
        tracking = found["tracking"]
        first_s, lost_s = (
            figure(tracking["time_to_first_s"], ".1f"),
            figure(tracking["longest_lost_s"], ".1f"),
        )
        print(
            f"position known       {figure(tracking['share_of_time'], '.2f')} of the time, first after {first_s} s, "
            f"longest without {lost_s} s"
        )
    error = summary["trajectory"]["ate"]
    if error is not None and summary["trajectory"]["pose"].startswith("map_from_base"):
        print(
            f"fused trajectory     {error['translation_m']['rmse']:.3f} m, {error['rotation_deg']['rmse']:.2f} deg "
            "(ATE, not aligned)"
        )


def _commit() -> str:
    """Return the commit of a source checkout, empty elsewhere."""
    folder = Path(hfnet_ros.__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()
