"""Score localization runs on posed images and report them; no ROS and no network runtime.

`summarize` turns query results into the dictionary of results.json, `write_run` puts the files
a machine reads beside it, `write_report` the page a person reads.
"""

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
