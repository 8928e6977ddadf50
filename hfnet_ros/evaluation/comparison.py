"""Compare runs on the queries they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from hfnet_ros.errors import DatasetError
from hfnet_ros.evaluation.metrics import (
    FALSE_FIX,
    RECALL_THRESHOLDS,
    PoseError,
    PoseThreshold,
    median,
    recall,
    summarize_nees,
)
from hfnet_ros.evaluation.run_folder import QueryRow, RunFolder

_SAME_TRUTH_M, _SAME_TRUTH_DEG = 1e-3, 0.01
# Less than this between two answers is not worth a line.
_LEAST_CHANGE_M, _LEAST_RATIO = 0.01, 1.5
_IDENTITY_KEYS = ("map", "extractor_id", "backend", "version", "commit", "machine", "config")
_FLOOR_M = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class RunColumn:
    """One run in the comparison: its name and its rows at the common stamps, in order of time."""

    label: str
    run: RunFolder
    rows: Sequence[QueryRow]

    @property
    def errors(self) -> list[PoseError]:
        """Return the errors of poses with ground truth."""
        return [row.error for row in self.rows if row.error is not None]


@dataclass(frozen=True, slots=True, eq=False)
class QueryChange:
    """A query on which runs differ.

    Attributes:
        name: of the query in the first run.
        stamp_ns: of the query.
        rows: one per run.
        weight: how much it matters; a pose gained or lost weighs most.
        ratio: largest error over smallest; None unless two runs have errors.
    """

    name: str
    stamp_ns: int
    rows: Sequence[QueryRow]
    weight: float
    ratio: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """A number of every run.

    Attributes:
        name: what it is, with its unit.
        values: one per run; None where unknown.
        form: format of the values.
        best: which of them is better: "high", "low" or "" for neither.
    """

    name: str
    values: Sequence[float | None]
    form: str = ".3f"
    best: str = ""

    def text(self, value: float | None) -> str:
        """Return a value as text."""
        return "–" if value is None else format(value, self.form)

    @property
    def winners(self) -> set[int]:
        """Return the numbers of the runs that are best, nothing if all are the same."""
        known = [value for value in self.values if value is not None]
        if not self.best or len(set(known)) < 2:
            return set()
        top = max(known) if self.best == "high" else min(known)
        return {number for number, value in enumerate(self.values) if value == top}


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Runs side by side.

    Attributes:
        columns: the runs.
        stamps_ns: the common stamps, in order of time.
        notes: sentences a reader must know before the figures.
        figures: numbers of every run.
        changes: queries on which they differ, most important first.
        settings: parameters that differ: name -> text of every run.
    """

    columns: Sequence[RunColumn]
    stamps_ns: Sequence[int]
    notes: Sequence[str]
    figures: Sequence[Figure]
    changes: Sequence[QueryChange]
    settings: Mapping[str, Sequence[str]]


def compare_runs(runs: Sequence[RunFolder]) -> Comparison:
    """Compare two or more runs query by query, matched by stamp.

    Raises:
        DatasetError: fewer than two runs, or no stamp that all of them have.
    """
    if len(runs) < 2:
        raise DatasetError(f"found {len(runs)} run to compare, expected 2 or more")
    common = sorted(set.intersection(*(set(run.rows) for run in runs)))
    if not common:
        spans = "; ".join(f"{run.folder}: {_span(run)}" for run in runs)
        raise DatasetError(
            f"the runs have no query stamp in common ({spans}); compare runs over the same recording"
        )
    labels = _labels(runs)
    columns = [
        RunColumn(label, run, [run.rows[stamp] for stamp in common])
        for label, run in zip(labels, runs, strict=True)
    ]
    return Comparison(
        columns,
        common,
        _notes(columns, common),
        _figures(columns),
        _changes(columns),
        _different_settings(runs),
    )


def _span(run: RunFolder) -> str:
    if not run.rows:
        return "no query"
    return f"{len(run.rows)} queries from {min(run.rows) / 1e9:.3f} to {max(run.rows) / 1e9:.3f} s"


def _labels(runs: Sequence[RunFolder]) -> list[str]:
    """Return the folder names, with as many parents as tell them apart."""
    paths = [run.folder.resolve() for run in runs]
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{path.name} ({number})" for number, path in enumerate(paths, start=1)]


def _notes(columns: Sequence[RunColumn], common: Sequence[int]) -> list[str]:
    notes = []
    counts = [len(column.run.rows) for column in columns]
    if any(count != len(common) for count in counts):
        listed = ", ".join(f"{column.label} {count}" for column, count in zip(columns, counts, strict=True))
        notes.append(
            f"The runs asked different queries ({listed}); every figure here is over the {len(common)} stamps "
            "they have in common."
        )
    first = columns[0].run.groundtruth
    for column in columns[1:]:
        other = column.run.groundtruth
        shared = [stamp for stamp in common if stamp in first and stamp in other]
        metres = max((first[stamp].translation_to(other[stamp]) for stamp in shared), default=0.0)
        degrees = float(np.degrees(max((first[s].rotation_to(other[s]) for s in shared), default=0.0)))
        if metres > _SAME_TRUTH_M or degrees > _SAME_TRUTH_DEG:
            notes.append(
                f"The ground truth of {column.label} differs from that of {columns[0].label} by up to "
                f"{metres:.3f} m and {degrees:.2f} deg; each run is judged by its own."
            )
    without = [column.label for column in columns if not column.run.groundtruth]
    if without:
        notes.append(f"No ground truth in {', '.join(without)}: accuracy is unknown there.")
    return notes


def _figures(columns: Sequence[RunColumn]) -> list[Figure]:
    def every(value: Callable[[RunColumn], float | None]) -> list[float | None]:
        return [value(column) for column in columns]

    in_all = [
        place
        for place in range(len(columns[0].rows))
        if all(c.rows[place].error is not None for c in columns)
    ]
    figures = [
        Figure("queries", every(lambda column: len(column.rows)), "d"),
        Figure("localized", every(lambda c: sum(row.is_localized for row in c.rows)), "d", "high"),
        Figure("false fixes", every(_false_fixes), "d", "low"),
    ]
    figures += [
        Figure(
            f"recall {limit.translation_m:g} m, {limit.rotation_deg:g}°",
            every(partial(_recall, limit)),
            ".3f",
            "high",
        )
        for limit in RECALL_THRESHOLDS
    ]
    figures += [
        Figure("median error, m", every(lambda c: median([e.translation_m for e in c.errors])), ".4f", "low"),
        Figure(
            "median error, deg", every(lambda c: median([e.rotation_deg for e in c.errors])), ".3f", "low"
        ),
        Figure(
            f"median error of the {len(in_all)} localized by all, m",
            every(lambda c: _median_at(c, in_all)),
            ".4f",
            "low",
        ),
        Figure("ANEES (1 is honest)", every(lambda c: _nees(c, "anees")), ".3g"),
        Figure("share of NEES in 95 % band (0.95)", every(lambda c: _nees(c, "nees_share_in_95")), ".3f"),
    ]
    figures += [
        Figure(f"latency p{percent}, ms", every(partial(_latency, percent)), ".1f", "low")
        for percent in (50, 95, 99)
    ]
    return figures


def _recall(limit: PoseThreshold, column: RunColumn) -> float | None:
    return recall(column.errors, _num_with_truth(column), limit)


def _num_with_truth(column: RunColumn) -> int:
    return sum(row.stamp_ns in column.run.groundtruth for row in column.rows)


def _false_fixes(column: RunColumn) -> int | None:
    if _num_with_truth(column) == 0:
        return None
    return sum(not error.is_within(FALSE_FIX) for error in column.errors)


def _median_at(column: RunColumn, places: Sequence[int]) -> float | None:
    errors = [column.rows[place].error for place in places]
    return median([error.translation_m for error in errors if error is not None])


def _nees(column: RunColumn, key: str) -> float | None:
    return summarize_nees([error.nees for error in column.errors if error.nees is not None])[key]


def _latency(percent: float, column: RunColumn) -> float | None:
    totals = [row.latency_ms["total"] for row in column.rows if "total" in row.latency_ms]
    return float(np.percentile(totals, percent)) if totals else None


def _changes(columns: Sequence[RunColumn]) -> list[QueryChange]:
    changes = []
    for rows in zip(*(column.rows for column in columns), strict=True):
        errors = [row.error.translation_m for row in rows if row.error is not None]
        ratio = None
        if len(errors) > 1:
            ratio = max(errors) / max(min(errors), _FLOOR_M)
        is_split = len({row.is_localized for row in rows}) > 1
        is_moved = (
            ratio is not None and ratio >= _LEAST_RATIO and max(errors) - min(errors) >= _LEAST_CHANGE_M
        )
        if not (is_split or is_moved):
            continue
        is_wrong = any(row.error is not None and not row.error.is_within(FALSE_FIX) for row in rows)
        weight = 1e3 * is_wrong + 1e2 * is_split + (0.0 if ratio is None else float(np.log(ratio)))
        changes.append(QueryChange(rows[0].name, rows[0].stamp_ns, rows, weight, ratio))
    return sorted(changes, key=lambda change: -change.weight)


def count_splits(comparison: Comparison) -> Counter[tuple[bool, ...]]:
    """Count queries by which runs localized them, a flag per run."""
    rows = zip(*(column.rows for column in comparison.columns), strict=True)
    return Counter(tuple(row.is_localized for row in query) for query in rows)


def _different_settings(runs: Sequence[RunFolder]) -> dict[str, list[str]]:
    flat = [_flatten({key: run.results.get(key) for key in _IDENTITY_KEYS}, "") for run in runs]
    names = sorted({name for values in flat for name in values})
    rows = {name: [values.get(name, "–") for values in flat] for name in names}
    return {name: texts for name, texts in rows.items() if len(set(texts)) > 1}


def _flatten(values: Mapping[str, object], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = f"{value:.6g}" if isinstance(value, float) else str(value)
    return found
