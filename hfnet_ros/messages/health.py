"""What the node knows of its own condition, and what is good or bad about it.

docs/diagnostics.md lists every key with its conditions; a test compares the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum

from hfnet_ros.types import TrackingState, Verdict

ACTIVE = "active"
# Verdicts that no later image changes by itself.
_LASTING = (Verdict.NO_EXTRINSIC.value, Verdict.NO_SCALE.value)


class Level(IntEnum):
    """Levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One key of a diagnostic status: its value, how bad that is, and what to say of it if it is."""

    key: str
    value: str
    level: Level = Level.OK
    sentence: str = ""


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


@dataclass(frozen=True, slots=True)
class ImageHealth:
    """What comes from the camera.

    Attributes:
        age_s: since the last image message; None before the first.
        silence: who publishes them, and how, where none comes.
        timeout_s: age that is an error.
        rate_hz: of image messages; None where unknown.
        size_wh: of the last image, px.
        num_refused: images that could not be used, since activation.
        last_error: why the last image could not be used; empty if it could.
        camera_info_error: why there is no calibration; empty if there is one.
        extrinsic_error: why base_from_camera is unknown; empty if it is known.
        clock_error: how stamps and the node's time disagree; empty if they do not.
        doubts: what is doubtful about calibration, mounting and map, one sentence each.
        superseded_share: part of the images replaced in the mailbox by newer ones, last minute.
    """

    topic: str = ""
    num_received: int = 0
    age_s: float | None = None
    silence: str = ""
    timeout_s: float = 2.0
    rate_hz: float | None = None
    size_wh: tuple[int, int] | None = None
    num_refused: int = 0
    last_error: str = ""
    camera_info_error: str = "none received"
    extrinsic_error: str = "not looked up yet"
    clock_error: str = ""
    doubts: tuple[str, ...] = ()
    superseded_share: float | None = None

    @property
    def is_silent(self) -> bool:
        """Tell whether no image comes."""
        return self.age_s is None or not self.age_s <= self.timeout_s


@dataclass(frozen=True, slots=True)
class OdometryHealth:
    """What odometry brings.

    Attributes:
        source: tf, topic, auto (neither seen yet) or none (switched off).
        age_s: of the newest pose; None before the first.
        max_age_s: age that is a warning.
        last_error: why odometry could not be used last time; empty if it could.
    """

    source: str = "auto"
    age_s: float | None = None
    max_age_s: float = 1.0
    last_error: str = ""


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


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """Everything diagnostics say.

    Attributes:
        node_name: stands before the name of every status.
        hardware_id: what camera and machine this is about, e.g. the optical frame.
        lifecycle: state of the node as ROS names it; only an active one has anything to complain of
            but its map.
    """

    node_name: str = "relocalizer"
    hardware_id: str = ""
    lifecycle: str = "unconfigured"
    localization: LocalizationHealth = field(default_factory=LocalizationHealth)
    images: ImageHealth = field(default_factory=ImageHealth)
    odometry: OdometryHealth = field(default_factory=OdometryHealth)
    map: MapHealth = field(default_factory=MapHealth)


def find(health: NodeHealth) -> dict[str, list[Finding]]:
    """Return what there is to say under localization, images, odometry and map."""
    findings = {
        "localization": _of_localization(health.localization),
        "images": _of_images(health.images),
        "odometry": _of_odometry(health.odometry),
        "map": _of_map(health.map),
    }
    is_active = health.lifecycle == ACTIVE
    if not is_active:
        for name in ("localization", "images", "odometry"):
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
        Finding("fix age (s)", _number(now.age_s, 2)),
        Finding("distance since fix (m)", _number(now.distance_m, 2)),
        Finding("position sigma (m)", _number(now.position_sigma_m, 3)),
        Finding("rotation sigma (deg)", _number(_degrees(now.rotation_sigma_rad), 2)),
        Finding(
            "not accepted in a row",
            str(now.rejected_in_a_row),
            Level.WARN if rejected else Level.OK,
            f"{now.rejected_in_a_row} fixes in a row were not accepted" if rejected else "",
        ),
        Finding("images processed", str(now.num_processed)),
        Finding("latency median (s)", _number(now.latency_p50_s, 4)),
        Finding("latency 99 % (s)", _number(now.latency_p99_s, 4)),
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
    age = f", {now.age_s:.1f} s ago" if now.age_s is not None else ""
    distance = f" and {now.distance_m:.1f} m back" if now.distance_m is not None else ""
    return f"the last fix{age}{distance}, says nothing of the present any more"


def _verdict(now: LocalizationHealth) -> Finding:
    if now.verdict in ("", Verdict.ACCEPTED.value):
        return Finding("last verdict", now.verdict)
    level = Level.ERROR if now.verdict in _LASTING else Level.WARN
    return Finding("last verdict", now.verdict, level, f"last fix not used: {now.reason or now.verdict}")


def _of_images(now: ImageHealth) -> list[Finding]:
    size = f"{now.size_wh[0]}x{now.size_wh[1]}" if now.size_wh else ""
    return [
        Finding("topic", now.topic),
        Finding("images received", str(now.num_received)),
        _image_age(now),
        Finding("rate (Hz)", _number(now.rate_hz, 1)),
        Finding("size (px)", size),
        Finding("images refused", str(now.num_refused)),
        _complaint("last image error", now.last_error, Level.WARN, "the last image could not be used"),
        _complaint("camera info", now.camera_info_error, Level.ERROR, "no calibration", good="received"),
        _complaint("camera mounting", now.extrinsic_error, Level.ERROR, "base to camera", good="known"),
        _complaint("clock", now.clock_error, Level.WARN, "stamps", good="agrees" if now.num_received else ""),
        _complaint("doubts", "; ".join(now.doubts), Level.WARN, "doubtful"),
        Finding("superseded share", _number(now.superseded_share, 3)),
    ]


def _image_age(now: ImageHealth) -> Finding:
    value, silence = _number(now.age_s, 2), now.silence or now.topic
    if now.age_s is None:
        return Finding("image age (s)", value, Level.ERROR, f"no image has come on {silence}")
    if now.is_silent:
        sentence = f"no image for {now.age_s:.1f} s, expected {now.timeout_s:g} s at most, on {silence}"
        return Finding("image age (s)", value, Level.ERROR, sentence)
    return Finding("image age (s)", value)


def _of_odometry(now: OdometryHealth) -> list[Finding]:
    value, level, sentence = _number(now.age_s, 2), Level.OK, ""
    if now.source != "none":
        if now.age_s is None:
            level, sentence = Level.WARN, f"no odometry has come (source {now.source})"
        elif not now.age_s <= now.max_age_s:
            level = Level.WARN
            sentence = f"newest odometry is {now.age_s:.2f} s old, expected {now.max_age_s:g} s at most"
    return [
        Finding("source", now.source),
        Finding("odometry age (s)", value, level, sentence),
        _complaint("last odometry error", now.last_error, Level.WARN, "odometry could not be used"),
    ]


def _of_map(now: MapHealth) -> list[Finding]:
    loaded = Finding("map", now.path)
    if not now.path:
        loaded = Finding("map", "", Level.ERROR, f"no map is loaded: {now.error or 'none was asked for'}")
    return [
        loaded,
        _complaint("last map error", now.error, Level.WARN, "the last map could not be loaded"),
        Finding("frame", now.frame_id),
        _complaint("scale", now.scale_error, Level.WARN, "no metres", good="metric" if now.path else ""),
        Finding("keyframes", str(now.num_keyframes)),
        Finding("landmarks", str(now.num_landmarks)),
        Finding("self-test residual (px)", _number(now.residual_px, 2)),
        _look_alikes(now.elsewhere_share),
        Finding("extractor", now.extractor),
        Finding("backend", now.backend),
        _engine(now),
    ]


def _look_alikes(share: float) -> Finding:
    key, value = "self-test elsewhere (share)", _number(share, 2)
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
        return _complaint("engine", now.engine_error, Level.ERROR, "the engine could not be made ready")
    good = "ready" if now.backend else ""
    return _complaint("engine", now.engine_progress, Level.WARN, "engine is not ready", good=good)


def _complaint(key: str, error: str, level: Level, what: str, good: str = "") -> Finding:
    """Return a finding that is bad exactly if there is an error to tell."""
    return Finding(key, error, level, f"{what}: {error}") if error else Finding(key, good)


def _degrees(angle_rad: float | None) -> float | None:
    return None if angle_rad is None else math.degrees(angle_rad)


def _number(value: float | None, digits: int) -> str:
    """Return a number to print; empty where it is unknown."""
    return "" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
