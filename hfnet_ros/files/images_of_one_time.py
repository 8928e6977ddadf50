"""Which images of several cameras were taken at one time, by the numbers in their names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import DatasetError
from hfnet_ros.files.images import list_images, numbers_in_name
from hfnet_ros.files.name_stamps import nearest_stamps, times_in_names

_logger = logging.getLogger(__name__)

_MIN_SHARED = 0.8  # of the images of the camera that has fewest


def images_of_one_time(folders: Mapping[str, Path], tolerance_s: float) -> dict[str, list[Path]]:
    """Return the images of each camera of a rig, of which the n-th of all were taken at one time.

    Images whose names hold the same numbers were, or the nearest times within a tolerance; others are left out with a
    warning. Where the names say nothing of that, the n-th images of all folders are of one time.

    Args:
        folders: images by the names of the cameras.
        tolerance_s: between stamps of one time.

    Raises:
        DatasetError: names say nothing, and the folders hold different numbers of images.
    """
    files = {name: list_images(folder) for name, folder in folders.items()}
    times = _times(list(files.values()))
    rows = max(_rows_by_numbers(list(files.values())), _rows_by_times(times, tolerance_s), key=len)
    if len(rows) >= _MIN_SHARED * min(map(len, files.values())):
        num_left_out = sum(map(len, files.values())) - len(rows) * len(files)
        if num_left_out:
            _logger.warning(
                "%d of %s have an image of their time, by their names, from each camera: %d images are left out",
                len(rows),
                _counts(files),
                num_left_out,
            )
        return {
            name: [paths[row[camera]] for row in rows] for camera, (name, paths) in enumerate(files.items())
        }
    if len({len(paths) for paths in files.values()}) > 1:
        raise DatasetError(
            f"found {_counts(files)}, expected as many images of each camera of the rig, or numbers in their "
            "names that say which are of one time"
        )
    if times:
        _warn_of_times(times, list(files), tolerance_s)
    return files


def _counts(files: Mapping[str, Sequence[Path]]) -> str:
    return ", ".join(f"{len(paths)} of '{name}'" for name, paths in files.items())


def _rows_by_numbers(files: Sequence[Sequence[Path]]) -> list[tuple[int, ...]]:
    """Return which images have the same numbers in their names as one of each other camera."""
    numbers = [_varying_numbers(paths) for paths in files]
    if any(found is None for found in numbers):
        return []
    row_of = [{key: row for row, key in enumerate(found or ())} for found in numbers]
    return [tuple(of[key] for of in row_of) for key in row_of[0] if all(key in of for of in row_of)]


def _varying_numbers(paths: Sequence[Path]) -> list[tuple[Decimal, ...]] | None:
    """Return those numbers of names that are not the same in all; None where they do not tell the images apart."""
    numbers = [tuple(map(Decimal, numbers_in_name(path))) for path in paths]
    if len({len(found) for found in numbers}) != 1:
        return None
    columns = [column for column in range(len(numbers[0])) if len({found[column] for found in numbers}) > 1]
    varying = [tuple(found[column] for column in columns) for found in numbers]
    return varying if len(set(varying)) == len(varying) else None


def _times(files: Sequence[Sequence[Path]]) -> list[NDArray[np.int64]]:
    """Return the times in the names of each camera's images, ns; nothing where one's are none, or do not ascend."""
    times = [found for paths in files if (found := times_in_names(paths)) is not None]
    return times if len(times) == len(files) and all((np.diff(found) > 0).all() for found in times) else []


def _rows_by_times(times: Sequence[NDArray[np.int64]], tolerance_s: float) -> list[tuple[int, ...]]:
    """Return which images are nearest to one of each other camera in time; none if there are no times, or few are."""
    if not times:
        return []
    first_ns, *others = times
    nearest = [nearest_stamps(first_ns, other_ns) for other_ns in others]
    is_near = np.ones(len(first_ns), np.bool_)
    for other_ns, row_of in zip(others, nearest, strict=True):
        is_near &= np.abs(other_ns[row_of] - first_ns) <= tolerance_s * 1e9
        is_near &= nearest_stamps(other_ns, first_ns)[row_of] == np.arange(len(first_ns))
    rows = np.flatnonzero(is_near)
    return list(zip(rows.tolist(), *(row_of[rows].tolist() for row_of in nearest), strict=True))


def _warn_of_times(times: Sequence[NDArray[np.int64]], names: Sequence[str], tolerance_s: float) -> None:
    """Tell of images that are taken for those of one time by their order, against their names."""
    for name, other_ns in zip(names[1:], times[1:], strict=True):
        off_s = float(np.median(np.abs(other_ns - times[0]))) / 1e9
        _logger.warning(
            "images of '%s' are %.3f s from those of '%s' at the median, by the times in their names, more than the "
            "%g s of cameras.sync_tolerance_s: the n-th of both are taken for those of one time",
            name,
            off_s,
            names[0],
            tolerance_s,
        )
