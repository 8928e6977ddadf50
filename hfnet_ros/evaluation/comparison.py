"""Compare runs on the queries they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hfnet_ros.errors import DatasetError
from hfnet_ros.evaluation.json_values import flat_texts
from hfnet_ros.evaluation.metric_table import METRICS, Metric, ScoredRun
from hfnet_ros.evaluation.metrics import FALSE_FIX, median
from hfnet_ros.evaluation.records import IDENTITY_KEYS
from hfnet_ros.evaluation.run_folder import QueryRow, RunFolder

_SAME_TRUTH_M, _SAME_TRUTH_DEG = 1e-3, 0.01
# Less than this between two answers is not worth a line.
_LEAST_CHANGE_M, _LEAST_RATIO = 0.01, 1.5
_FLOOR_M = 1e-4


@dataclass(frozen=True, eq=False)
class RunColumn:
    """One run in the comparison: its name and its rows at the common stamps, in order of time."""

    label: str
    run: RunFolder
    rows: Sequence[QueryRow]

    @cached_property
    def scored(self) -> ScoredRun:
        """Return the rows as metrics are computed from."""
        return ScoredRun(self.rows)


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
    """A metric of every run; a value is None where unknown."""

    metric: Metric
    values: Sequence[float | None]

    @property
    def name(self) -> str:
        """Return what it is, with its unit."""
        return self.metric.label

    @property
    def winners(self) -> set[int]:
        """Return the numbers of the runs that are best, nothing if all are the same."""
        known = [value for value in self.values if value is not None]
        if not self.metric.better or len(set(known)) < 2:
            return set()
        top = max(known) if self.metric.better == "high" else min(known)
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
    queries = list(zip(*(column.rows for column in columns), strict=True))
    in_all = [place for place, rows in enumerate(queries) if all(row.error is not None for row in rows)]

    def median_of_common(run: ScoredRun) -> float | None:
        errors = [run.queries[place].error for place in in_all]
        return median([error.translation_m for error in errors if error is not None])

    name = f"median error of the {len(in_all)} localized by all"
    metrics = (*METRICS, Metric("", name, "m", ".4f", "low", median_of_common))
    runs = [column.scored for column in columns]
    return [
        Figure(metric, [metric.value(run) for run in runs]) for metric in metrics if metric.value is not None
    ]


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
    flat = [flat_texts({key: run.results.get(key) for key in IDENTITY_KEYS}) for run in runs]
    names = sorted({name for values in flat for name in values})
    rows = {name: [values.get(name, "–") for values in flat] for name in names}
    return {name: texts for name, texts in rows.items() if len(set(texts)) > 1}
