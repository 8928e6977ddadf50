"""Verb `compare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hfnet_ros.cli.options import check_folder_target, new_verb

_EXAMPLE = "hfnet-ros compare report_before report_after --out comparison"


def add_verbs(verbs: Any) -> None:
    """Add `compare`."""
    compare = new_verb(verbs, "compare", "set runs of `evaluate` side by side", _EXAMPLE, _compare)
    compare.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folders that `evaluate` wrote, 2 or more"
    )
    compare.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for compare.html")


def _compare(options: argparse.Namespace) -> int:
    from hfnet_ros.evaluation.comparison import compare_runs
    from hfnet_ros.evaluation.run_folder import read_run
    from hfnet_ros.report.comparison_page import write_comparison

    check_folder_target(options.out)
    comparison = compare_runs([read_run(folder) for folder in options.runs])
    options.out.mkdir(parents=True, exist_ok=True)
    page = options.out / "compare.html"
    write_comparison(page, comparison)
    for note in comparison.notes:
        print(note)
    rows = [["", *(column.label for column in comparison.columns)]]
    rows += [[entry.name, *map(entry.metric.text, entry.values)] for entry in comparison.figures]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *values in rows:
        cells = [value.rjust(width) for value, width in zip(values, widths[1:], strict=True)]
        print("  ".join([name.ljust(widths[0]), *cells]))
    print(f"queries that differ: {len(comparison.changes)}")
    print(f"comparison: {page}")
    return 0
