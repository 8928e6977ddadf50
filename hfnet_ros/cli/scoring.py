"""Score a run, write everything about it, and print the figures a person asks for first."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hfnet_ros
from hfnet_ros.config import Config
from hfnet_ros.evaluation.records import QueryResult, RunContext, RunIdentity, describe_machine
from hfnet_ros.localization.scene_model import SceneModel, asked_by


def write_scored_run(
    out: Path,
    results: Sequence[QueryResult],
    identity: RunIdentity,
    context: RunContext,
    rerun: Path | None = None,
) -> None:
    """Write results, trajectories, report.html and trajectory.png into a folder, and print a summary.

    Args:
        out: folder, made if it is missing.
        results: of all queries.
        identity: what produced them.
        context: what surrounds them.
        rerun: file for a recording of the Rerun viewer, if wanted.
    """
    from hfnet_ros.evaluation.summary import summarize
    from hfnet_ros.evaluation.writers import write_run
    from hfnet_ros.report.pictures import run_picture
    from hfnet_ros.report.rerun_file import write_rerun
    from hfnet_ros.report.run_report import write_report

    summary = summarize(results, identity, context)
    out.mkdir(parents=True, exist_ok=True)
    write_run(out, results, summary, context)
    write_report(out / "report.html", results, summary, context)
    run_picture(out / "trajectory.png", results, summary, context.map_points)
    if rerun is not None:
        write_rerun(rerun, results, context)
    print_summary(summary)
    _print_commonest_reason(results)
    print(f"report: {out / 'report.html'}")


def identify_run(model: SceneModel, map_path: Path, backend: str, config: Config) -> RunIdentity:
    """Return what produced the results of a run."""
    from hfnet_ros.evaluation.run import readable_name

    model = asked_by(model, config)
    return RunIdentity(
        map={"name": readable_name(map_path.resolve()), **model.sizes, **model.facts},
        extractor_id=model.extractor_id,
        backend=backend,
        config=dataclasses.asdict(model.configured(config)),
        version=hfnet_ros.__version__,
        commit=_commit(),
        machine=describe_machine(),
    )


def _print_commonest_reason(results: Sequence[QueryResult]) -> None:
    from hfnet_ros.evaluation.reasons import Reasons, reason_of

    unused = Reasons()
    for result in results:
        reason = reason_of(result.localization, result.relocalization)
        if reason:
            unused.add(result.name, reason)
    for sentence in unused.sentences(len(results))[:1]:
        print(f"{'not used, mostly':<36} {sentence}")


def print_summary(summary: dict[str, Any]) -> None:
    """Print every figure, what was refused, and what looks wrong."""
    from hfnet_ros.evaluation.metric_table import METRICS, look_up

    for metric in METRICS:
        if metric.is_in(summary):
            print(f"{metric.label:<36} {metric.text(look_up(summary, metric.key))}")
    error = summary["trajectory"]["ate"]
    if error is not None and summary["trajectory"]["pose"].startswith("map_from_base"):
        translation, rotation = error["translation_m"]["rmse"], error["rotation_deg"]["rmse"]
        print(f"{'fused trajectory':<36} {translation:.3f} m, {rotation:.2f} deg (ATE, not aligned)")
    counts = summary["outcomes"].items()
    refused = [f"{outcome} {count}" for outcome, count in counts if count and outcome != "LOCALIZED"]
    if refused:
        print(f"{'not localized':<36} {', '.join(refused)}")
    for warning in summary["warnings"]:
        print(f"warning: {warning}")


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
