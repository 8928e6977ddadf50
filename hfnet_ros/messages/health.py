"""What the node knows of its own condition, and what is good or bad about it.

docs/diagnostics.md lists every key with its conditions; a test compares the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hfnet_ros.messages.findings import Finding, Level, complaint, number
from hfnet_ros.messages.image_health import ImageHealth, of_images
from hfnet_ros.types import TrackingState, Verdict

ACTIVE = "active"
# Verdicts that no later image changes by itself.
_LASTING = (Verdict.NO_EXTRINSIC.value, Verdict.NO_SCALE.value)


@dataclass(frozen=True, slots=True)
class LocalizationHealth:
    """What localization last did.

    Attributes:
        on_demand: images are localized only when asked, so that LOST is no error.
        not_ready: why no image is localized, while the engine is being prepared; empty when it is ready.
        outcome: of the last image that was answered; empty before the first.
        verdict: of it; empty unless it was localized.
        reason: one sentence to both.
        age_s: since the last accepted fix; None before the first.
        distance_m: travelled since then; None where unknown.
        position_sigma_m: largest standard deviation of what is known now; None while LOST.
        rotation_sigma_rad: likewise.
        rejected_in_a_row: fixes that were localized but not accepted since the last accepted one.
        latency_p50_s: from arrival of an image to its answer, median of the last minute.
        latency_p99_s: likewise, 99th percentile.
        broadcasts: map->odom is broadcast while the position is known.
        rival: who else does so, and what to do; empty if nobody does.
    """

    on_demand: bool = False
    not_ready: str = ""
    state: TrackingState = TrackingState.LOST
    outcome: str = ""
    verdict: str = ""
    reason: str = ""
    age_s: float | None = None
    distance_m: float | None = None
    position_sigma_m: float | None = None
    rotation_sigma_rad: float | None = None
    rejected_in_a_row: int = 0
    num_processed: int = 0
    latency_p50_s: float | None = None
    latency_p99_s: float | None = None
    broadcasts: bool = False
    rival: str = ""


@dataclass(frozen=True, slots=True)
class OdometryHealth:
    """What odometry brings.

    Attributes:
        source: tf, topic, auto (neither seen yet) or none (switched off).
        age_s: of the newest pose; None before the first.
        max_age_s: age that is a warning.
        last_error: why odometry could not be used last time; empty if it could.
        doubt: what may be wrong with it though it is used.
        silence: what TF lacks and who publishes on the topic, where none has come.
    """

    source: str = "auto"
    age_s: float | None = None
    max_age_s: float = 1.0
    last_error: str = ""
    doubt: str = ""
    silence: str = ""


@dataclass(frozen=True, slots=True)
class MapHealth:
    """The map and what describes images.

    Attributes:
        path: folder of the map in use; empty while there is none.
        error: why the last attempt to load one failed; empty if it did not.
        residual_px: reprojection noise the map found in itself; None if it was not tested.
        elsewhere_share: of the keyframes held out for that test, those localized elsewhere.
        engine_progress: what is going on while an engine is built or loaded; empty when it is ready.
        engine_error: why it cannot be made ready; empty if it can.
        scale_error: why lengths are no metres; empty if they are.
        changed_on_disk: how its folder differs from what was loaded, and what to do; empty if it does not.
    """

    path: str = ""
    error: str = ""
    frame_id: str = ""
    num_keyframes: int = 0
    num_landmarks: int = 0
    residual_px: float | None = None
    elsewhere_share: float = 0.0
    extractor: str = ""
    backend: str = ""
    engine_progress: str = ""
    engine_error: str = ""
    scale_error: str = ""
    changed_on_disk: str = ""


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """Everything diagnostics say.

    Attributes:
        node_name: stands before the name of every status.
        hardware_id: what camera and machine this is about, e.g. the optical frame.
        images: of each camera, in their order.
        lifecycle: state of the node as ROS names it; only an active one has anything to complain of
            but its map.
    """

    node_name: str = "relocalizer"
    hardware_id: str = ""
    lifecycle: str = "unconfigured"
    localization: LocalizationHealth = field(default_factory=LocalizationHealth)
    images: tuple[ImageHealth, ...] = (ImageHealth(),)
    odometry: OdometryHealth = field(default_factory=OdometryHealth)
    map: MapHealth = field(default_factory=MapHealth)


def find(health: NodeHealth) -> dict[str, list[Finding]]:
    """Return what there is to say under localization, images of each camera, odometry and map."""
    findings = {
        "localization": _of_localization(health.localization),
        **{f"images {images.camera}".rstrip(): of_images(images) for images in health.images},
        "odometry": _of_odometry(health.odometry),
        "map": _of_map(health.map),
    }
    is_active = health.lifecycle == ACTIVE
    if not is_active:
        for name in findings.keys() - {"map"}:
            findings[name] = [Finding(entry.key, entry.value) for entry in findings[name]]
    sentence = "" if is_active else f"the node is {health.lifecycle}: it localizes when activated"
    level = Level.OK if is_active else Level.WARN
    findings["localization"].insert(0, Finding("lifecycle", health.lifecycle, level, sentence))
    return findings


def _of_localization(now: LocalizationHealth) -> list[Finding]:
    rejected = now.rejected_in_a_row > 0
    return [
        _state(now),
        Finding("last outcome", now.outcome),
        _verdict(now),
        Finding("last reason", now.reason),
        Finding("fix age (s)", number(now.age_s, 2)),
        Finding("distance since fix (m)", number(now.distance_m, 2)),
        Finding("position sigma (m)", number(now.position_sigma_m, 3)),
        Finding("rotation sigma (deg)", number(_degrees(now.rotation_sigma_rad), 2)),
        Finding(
            "not accepted in a row",
            str(now.rejected_in_a_row),
            Level.WARN if rejected else Level.OK,
            f"{now.rejected_in_a_row} fixes in a row were not accepted" if rejected else "",
        ),
        Finding("images processed", str(now.num_processed)),
        Finding("latency median (s)", number(now.latency_p50_s, 4)),
        Finding("latency 99 % (s)", number(now.latency_p99_s, 4)),
        complaint(
            "map to odom",
            now.rival,
            Level.ERROR,
            "map to odom",
            good="broadcast" if now.broadcasts else "left to others",
        ),
    ]


def _state(now: LocalizationHealth) -> Finding:
    value = now.state.value
    if now.state is TrackingState.TRACKING:
        return Finding("state", value)
    if now.state is TrackingState.STALE:
        return Finding("state", value, Level.WARN, "position is stale: its uncertainty exceeds the limit")
    if now.not_ready:
        return Finding("state", value, Level.WARN, f"not localized yet: {now.not_ready}")
    if now.on_demand:
        return Finding("state", value, Level.WARN, "position unknown; localizes when asked by service")
    if now.verdict == Verdict.AWAITING_AGREEMENT.value:
        return Finding("state", value, Level.WARN, "position not yet known: a fix awaits confirmation")
    return Finding("state", value, Level.ERROR, f"not localized: {_why_lost(now)}")


def _why_lost(now: LocalizationHealth) -> str:
    """Return why the position is unknown; of an accepted fix the reason is why it was good."""
    if now.verdict != Verdict.ACCEPTED.value:
        return now.reason or "no image processed yet"
    age = "" if now.age_s is None else f", {now.age_s:.1f} s ago"
    if now.age_s is not None and now.age_s < 0.0:
        age = f", stamped {-now.age_s:.1f} s ahead of this node's time"
    distance = f" and {now.distance_m:.1f} m back" if now.distance_m is not None else ""
    return f"the last fix{age}{distance}, says nothing of the present any more"


def _verdict(now: LocalizationHealth) -> Finding:
    if now.verdict in ("", Verdict.ACCEPTED.value):
        return Finding("last verdict", now.verdict)
    level = Level.ERROR if now.verdict in _LASTING else Level.WARN
    return Finding("last verdict", now.verdict, level, f"last fix not used: {now.reason or now.verdict}")


def _of_odometry(now: OdometryHealth) -> list[Finding]:
    value, level, sentence = number(now.age_s, 2), Level.OK, ""
    if now.source != "none":
        if now.age_s is None:
            why = f": {now.silence}" if now.silence else ""
            level, sentence = Level.WARN, f"no odometry has come (source {now.source}){why}"
        elif not now.age_s <= now.max_age_s:
            level = Level.WARN
            sentence = f"newest odometry is {now.age_s:.2f} s old, expected {now.max_age_s:g} s at most"
    return [
        Finding("source", now.source),
        Finding("odometry age (s)", value, level, sentence),
        complaint("last odometry error", now.last_error, Level.WARN, "odometry could not be used"),
        complaint("doubts", now.doubt, Level.WARN, "odometry is doubtful"),
    ]


def _of_map(now: MapHealth) -> list[Finding]:
    loaded = Finding("map", now.path)
    if not now.path:
        loaded = Finding("map", "", Level.ERROR, f"no map is loaded: {now.error or 'none was asked for'}")
    return [
        loaded,
        complaint("last map error", now.error, Level.WARN, "the last map could not be loaded"),
        complaint(
            "map on disk",
            now.changed_on_disk,
            Level.WARN,
            "the map on disk is not the one in use",
            good="as loaded" if now.path else "",
        ),
        Finding("frame", now.frame_id),
        complaint("scale", now.scale_error, Level.WARN, "no metres", good="metric" if now.path else ""),
        Finding("keyframes", str(now.num_keyframes)),
        Finding("landmarks", str(now.num_landmarks)),
        Finding("self-test residual (px)", number(now.residual_px, 2)),
        _look_alikes(now.elsewhere_share),
        Finding("extractor", now.extractor),
        Finding("backend", now.backend),
        _engine(now),
    ]


def _look_alikes(share: float) -> Finding:
    key, value = "self-test elsewhere (share)", number(share, 2)
    if share <= 0.0:
        return Finding(key, value)
    return Finding(
        key,
        value,
        Level.WARN,
        f"places of the map look alike: a share of {value} of the self-test's keyframes was localized elsewhere",
    )


def _engine(now: MapHealth) -> Finding:
    if now.engine_error:
        return complaint("engine", now.engine_error, Level.ERROR, "the engine could not be made ready")
    good = "ready" if now.backend else ""
    return complaint("engine", now.engine_progress, Level.WARN, "engine is not ready", good=good)


def _degrees(angle_rad: float | None) -> float | None:
    return None if angle_rad is None else math.degrees(angle_rad)
