"""Everything diagnostics say, from those who know it."""

from __future__ import annotations

from collections.abc import Callable

from hfnet_ros.config import Config
from hfnet_ros.messages.diagnostics import ImageHealth, MapHealth, NodeHealth, OdometryHealth
from hfnet_ros.node.health_recorder import HealthRecorder
from hfnet_ros.node.map_in_use import MapInUse
from hfnet_ros.node.odometry import NodeOdometry
from hfnet_ros.node.served_map import ServedMap
from hfnet_ros.node.transport import Transport
from hfnet_ros.types import Tracking

_ODOMETRY_TIMEOUT_S = 1.0


def node_health(
    config: Config,
    transport: Transport,
    map_in_use: MapInUse,
    recorder: HealthRecorder,
    images: tuple[ImageHealth, ...],
    odometry: NodeOdometry,
    *,
    map_problem: str,
    map_frame: Callable[[ServedMap], str],
    rival: str,
) -> NodeHealth:
    """Return how a node is.

    Args:
        config: the parameters in force.
        transport: its clock and name.
        map_in_use: map and engine.
        recorder: what became of the images.
        images: how those of each camera come.
        odometry: what it brings.
        map_problem: why the last map could not be loaded; empty if it could.
        map_frame: names the frame of a map.
        rival: who else broadcasts map->odom; empty if nobody does.
    """
    live, served, now_ns = map_in_use.live, map_in_use.served, transport.now_ns()
    tracking = live.tracking_at(now_ns) if live is not None else Tracking()
    pending = live.pending if live is not None else None
    odometry_ns = odometry.newest_stamp_ns
    return NodeHealth(
        node_name=transport.node_name,
        hardware_id=recorder.camera_frame,
        lifecycle=(
            "active" if map_in_use.is_active else "inactive" if map_in_use.is_configured else "unconfigured"
        ),
        localization=recorder.localization_health(config, tracking, map_in_use.not_ready, rival),
        images=images,
        odometry=OdometryHealth(
            source=odometry.used or config.odometry.source,
            age_s=None if odometry_ns is None else 1e-9 * (now_ns - odometry_ns),
            max_age_s=_ODOMETRY_TIMEOUT_S,
            last_error=odometry.problem,
            doubt=odometry.doubt,
            silence=odometry.explain_silence() if odometry_ns is None else "",
        ),
        map=MapHealth(error=map_problem)
        if served is None
        else served.health(
            map_frame(served),
            map_problem,
            is_open=live is not None and pending is None,
            engine_progress="" if pending is None else str(pending),
            engine_error=map_in_use.engine_problem,
        ),
    )
