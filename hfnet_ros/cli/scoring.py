"""Score a run, write everything about it, and print the figures a person asks for first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hfnet_ros.evaluation.records import QueryResult, RunContext, RunIdentity
from hfnet_ros.map.visual_map import VisualMap


def write_scored_run(
    out: Path,
    results: Sequence[QueryResult],
    visual_map: VisualMap,
    identity: RunIdentity,
    context: RunContext,
) -> None:
    """Write results.json, queries.csv, trajectories and report.html into a folder, and print a summary."""
    from hfnet_ros.cli.localize import print_summary
    from hfnet_ros.evaluation.report import write_report
    from hfnet_ros.evaluation.summary import summarize
    from hfnet_ros.evaluation.writers import write_run

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
    print_summary(summary, results)
    print(f"report: {out / 'report.html'}")
