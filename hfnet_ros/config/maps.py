"""Parameters of the map that is localized in."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_ros.config.schema import parameter


@dataclass(frozen=True)
class MapConfig:
    """How much of a map, or of a set of maps, is open."""

    areas: str = parameter(
        "",
        "Named areas to localize in, as a list or with spaces between; empty is everywhere. Of a set of maps only the "
        "sub-maps of these areas are opened, and answers elsewhere are none (docs/map_sets.md).",
        level="basic",
        is_list=True,
    )
    max_open: int = parameter(
        16,
        "Sub-maps of a set that are kept open, those used last; more than the prior frames of an image lie in are of "
        "no use, and each holds some 25 files of the 1024 that a process may mostly open.",
        low=1,
        high=10000,
    )
    max_open_mb: float = parameter(
        1000.0,
        "Megabytes that the files of all open sub-maps have together at the most (one is always open): so much of them "
        "may become resident.",
        low=1.0,
        high=1e7,
    )
