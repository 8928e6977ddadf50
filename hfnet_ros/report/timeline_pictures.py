"""Choose which queries bring their picture into the report, within a limit of bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hfnet_ros.report.drawn_queries import DrawnQuery
from hfnet_ros.report.thumbnails import PictureSize, data_uri, thumbnail_of

MAX_PICTURE_BYTES = 6_000_000
# The largest that fits for every query is used; of the smallest, every k-th query.
_SIZES = (PictureSize(480, 480, 72), PictureSize(360, 360, 68), PictureSize(256, 256, 60))
_PROBES = 6


@dataclass(frozen=True, slots=True, eq=False)
class TimelinePictures:
    """P pictures of queries.

    Attributes:
        uris: [P] data URIs, together at most `MAX_PICTURE_BYTES` letters.
        sizes_wh: [P] size of the image behind each, px.
        number_of: index of a drawn query -> its picture.
        corners_px: [P] where in each image those of the views begin.
    """

    uris: list[str]
    sizes_wh: list[tuple[int, int]]
    number_of: Mapping[int, int]
    corners_px: list[tuple[tuple[int, int], ...]]


def choose_pictures(queries: Sequence[DrawnQuery], max_bytes: int = MAX_PICTURE_BYTES) -> TimelinePictures:
    """Encode pictures of all queries, or of evenly spread ones, false fixes first.

    Queries without a readable image have none.
    """
    uris: list[str] = []
    sizes_wh: list[tuple[int, int]] = []
    number_of: dict[int, int] = {}
    corners_px: list[tuple[tuple[int, int], ...]] = []
    size, most = _plan(queries, max_bytes)
    room = max_bytes
    for query in _spread(queries, most):
        thumbnail = thumbnail_of(query.score.query, size)
        if thumbnail is None:
            continue
        uri = data_uri(thumbnail)
        if len(uri) > room:
            continue
        room -= len(uri)
        number_of[query.index] = len(uris)
        uris.append(uri)
        sizes_wh.append(thumbnail.image_size_wh)
        corners_px.append(thumbnail.corners_px)
    return TimelinePictures(uris, sizes_wh, number_of, corners_px)


def _plan(queries: Sequence[DrawnQuery], max_bytes: int) -> tuple[PictureSize, int]:
    """Return the picture size and how many of it fit, from a few probes."""
    for size in _SIZES:
        mean_bytes = _mean_bytes(queries, size)
        if mean_bytes is None or mean_bytes * len(queries) <= 0.9 * max_bytes:
            return size, len(queries)
    return _SIZES[-1], int(0.9 * max_bytes / mean_bytes) if mean_bytes else len(queries)


def _mean_bytes(queries: Sequence[DrawnQuery], size: PictureSize) -> float | None:
    probes = np.linspace(0, len(queries) - 1, min(_PROBES, len(queries))).astype(np.int64)
    found = [thumbnail_of(queries[number].score.query, size) for number in probes]
    sizes = [len(data_uri(thumbnail)) for thumbnail in found if thumbnail is not None]
    return float(np.mean(sizes)) if sizes else None


def _spread(queries: Sequence[DrawnQuery], most: int) -> list[DrawnQuery]:
    """Return false fixes, then the rest evenly thinned to `most` in all."""
    if len(queries) <= most:
        return list(queries)
    false = [query for query in queries if query.score.is_false_fix()][:most]
    rest = [query for query in queries if not query.score.is_false_fix()]
    every = -(-len(rest) // max(1, most - len(false)))
    return false + (rest[::every] if most > len(false) else [])
