"""Read back what `writers.write_run` wrote, or say what is wrong with it."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from hfnet_ros.errors import DatasetError
from hfnet_ros.evaluation.metrics import PoseError
from hfnet_ros.files.tum import read_tum
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import Verdict

_AGAIN = "run `hfnet-ros evaluate` again, or name the folder it wrote"
_FILES = ("results.json", "queries.csv", "estimated.tum", "groundtruth.tum")
_COLUMNS = ("name", "stamp", "outcome", "inliers", "translation_error_m", "rotation_error_deg", "nees")


@dataclass(frozen=True, slots=True)
class QueryRow:
    """One line of queries.csv.

    Attributes:
        name: of the query.
        stamp_ns: time of exposure, nanoseconds.
        outcome: word of `types.Outcome`.
        inliers: matches the best pose explains.
        verdict: word of `types.Verdict`; "" without a gate or without a pose.
        has_groundtruth: the true pose is known.
        error: None without a pose or without ground truth.
        latency_ms: of every stage that ran.
    """

    name: str
    stamp_ns: int
    outcome: str
    inliers: int
    verdict: str
    has_groundtruth: bool
    error: PoseError | None
    latency_ms: Mapping[str, float]

    @property
    def is_localized(self) -> bool:
        """Tell whether a pose was given."""
        return self.outcome == "LOCALIZED"

    @property
    def is_accepted(self) -> bool:
        """Tell whether a robot would have used the pose: without a gate, whether there is one."""
        return self.is_localized and self.verdict in ("", Verdict.ACCEPTED.value)


@dataclass(frozen=True, slots=True, eq=False)
class RunFolder:
    """A run on disk.

    Attributes:
        folder: where it is.
        results: results.json.
        rows: queries.csv by stamp_ns, in order of time.
        estimated: map_from_camera by stamp_ns.
        groundtruth: true map_from_camera by stamp_ns.
    """

    folder: Path
    results: Mapping[str, object]
    rows: Mapping[int, QueryRow]
    estimated: Mapping[int, Rigid3]
    groundtruth: Mapping[int, Rigid3]


def read_run(folder: str | os.PathLike[str]) -> RunFolder:
    """Read a folder that `hfnet-ros evaluate` wrote.

    Raises:
        DatasetError: a file is missing, damaged, or does not belong to the others.
    """
    path = Path(folder)
    if not path.is_dir():
        raise DatasetError(f"{path}: is no folder, expected one with {', '.join(_FILES)}; {_AGAIN}")
    missing = [name for name in _FILES if not (path / name).is_file()]
    if missing:
        raise DatasetError(f"{path}: {', '.join(missing)} missing, so this is no complete run; {_AGAIN}")
    results = _read_results(path / "results.json")
    groundtruth = {pose.stamp_ns: pose.map_from_camera for pose in read_tum(path / "groundtruth.tum")}
    rows = _read_rows(path / "queries.csv", groundtruth)
    run = RunFolder(
        path,
        results,
        {row.stamp_ns: row for row in sorted(rows, key=lambda row: row.stamp_ns)},
        {pose.stamp_ns: pose.map_from_camera for pose in read_tum(path / "estimated.tum")},
        groundtruth,
    )
    _check_agreement(run, len(rows))
    return run


def _read_results(path: Path) -> Mapping[str, object]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as JSON ({error}); {_AGAIN}") from error
    if not isinstance(values, dict) or not isinstance(values.get("queries"), int):
        raise DatasetError(f"{path}: found no count 'queries', so these are no results of a run; {_AGAIN}")
    return values


def _read_rows(path: Path, groundtruth: Collection[int]) -> list[QueryRow]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = reader.fieldnames or []
            absent = [name for name in _COLUMNS if name not in header]
            if absent:
                raise DatasetError(f"{path}: columns {', '.join(absent)} missing; {_AGAIN}")
            return [_read_row(path, reader.line_num, cells, groundtruth) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as a table ({error}); {_AGAIN}") from error


def _read_row(
    path: Path, line: int, cells: Mapping[str, str | None], groundtruth: Collection[int]
) -> QueryRow:
    try:
        texts = {name: _text(value) for name, value in cells.items()}
        translation, rotation = _number(texts["translation_error_m"]), _number(texts["rotation_error_deg"])
        timings = {name[:-3]: _number(text) for name, text in texts.items() if name.endswith("_ms")}
        stamp_ns = _stamp_ns(texts["stamp"])
        return QueryRow(
            name=texts["name"],
            stamp_ns=stamp_ns,
            outcome=texts["outcome"],
            inliers=int(texts["inliers"]),
            verdict=texts.get("verdict", ""),
            has_groundtruth=stamp_ns in groundtruth,
            error=None
            if translation is None or rotation is None
            else PoseError(translation, rotation, _number(texts["nees"])),
            latency_ms={stage: value for stage, value in timings.items() if value is not None},
        )
    except ValueError as error:
        raise DatasetError(f"{path}, line {line}: {error}; {_AGAIN}") from None


def _text(value: object) -> str:
    # DictReader gives None for cells that are missing and a list for cells beyond the header.
    if not isinstance(value, str):
        raise ValueError("the number of cells is not that of the header")
    return value


def _number(text: str) -> float | None:
    if text == "":
        return None
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"found '{text}', expected a finite number")
    return value


def _stamp_ns(text: str) -> int:
    try:
        return int((Decimal(text) * 1_000_000_000).to_integral_value())
    except (InvalidOperation, OverflowError, ValueError):
        raise ValueError(f"stamp is '{text}', expected seconds") from None


def _check_agreement(run: RunFolder, num_rows: int) -> None:
    localized = {stamp for stamp, row in run.rows.items() if row.is_localized}
    found = (
        (num_rows, len(run.rows), "rows in queries.csv", "different stamps in it"),
        (num_rows, run.results["queries"], "rows in queries.csv", "queries in results.json"),
        (len(localized), len(run.estimated), "localized rows in queries.csv", "poses in estimated.tum"),
        (
            len(localized),
            len(localized & set(run.estimated)),
            "localized rows",
            "of their stamps in estimated.tum",
        ),
    )
    for count, other, name, other_name in found:
        if count != other:
            raise DatasetError(
                f"{run.folder}: {count} {name} but {other} {other_name}: files of different runs, or cut off; {_AGAIN}"
            )
