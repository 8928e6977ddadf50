"""Score localization runs on posed images and report them; no ROS and no network runtime.

`summarize` turns query results into the dictionary of results.json, `write_run` puts the files
a machine reads beside it, `write_report` the page a person reads. What is named here is loaded when it
is asked for: a program that localizes needs the record of a query only.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfnet_ros.evaluation.metrics import (
        FALSE_FIX,
        RECALL_THRESHOLDS,
        PoseError,
        PoseThreshold,
        QueryScore,
        score_queries,
    )
    from hfnet_ros.evaluation.records import (
        QueryResult,
        RunContext,
        RunIdentity,
        Thumbnail,
        describe_machine,
    )
    from hfnet_ros.evaluation.summary import summarize
    from hfnet_ros.map.map_points import MapPoints

__all__ = [
    "FALSE_FIX",
    "RECALL_THRESHOLDS",
    "MapPoints",
    "PoseError",
    "PoseThreshold",
    "QueryResult",
    "QueryScore",
    "RunContext",
    "RunIdentity",
    "Thumbnail",
    "describe_machine",
    "score_queries",
    "summarize",
]

_HERE = "hfnet_ros.evaluation"
_HOMES = {
    "MapPoints": "hfnet_ros.map.map_points",
    "summarize": f"{_HERE}.summary",
    **dict.fromkeys(
        ("QueryResult", "RunContext", "RunIdentity", "Thumbnail", "describe_machine"), f"{_HERE}.records"
    ),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{_HERE}' has no attribute '{name}'")
    return getattr(import_module(_HOMES.get(name, f"{_HERE}.metrics")), name)
