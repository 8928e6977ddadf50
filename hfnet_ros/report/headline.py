"""Say in a sentence and a row of cards how a run went."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from hfnet_ros.report.drawn_queries import length_text

_HONEST_FACTOR = 1.3


def headline_sentences(summary: Mapping[str, object]) -> tuple[str, str]:
    """Return the title of the report and the sentence below it, plain text."""
    queries, localized = _count(summary, "queries"), _count(summary, "localized")
    if queries == 0:
        return "No query was localized, because there was none", ""
    title = f"{localized} of {queries} images localized"
    false_fixes = summary.get("false_fixes")
    if false_fixes is not None and localized:
        title += ", no false fix" if false_fixes == 0 else f", {false_fixes} of them wrong"
    sentences = []
    translation, rotation = summary.get("median_translation_m"), summary.get("median_rotation_deg")
    if isinstance(translation, float) and isinstance(rotation, float):
        sentences.append(f"Half of the poses are within {length_text(translation)} and {rotation:.2g}°.")
    sentences.append(_honesty(summary.get("nees_median_over_chi2_median")))
    latency = _percentile(summary, "p95")
    if latency is not None:
        sentences.append(f"95 % of the images took less than {_milliseconds(latency)}.")
    return title, " ".join(sentence for sentence in sentences if sentence)


def _honesty(nees_ratio: object) -> str:
    if not isinstance(nees_ratio, float) or nees_ratio <= 0.0:
        return ""
    # NEES is quadratic in sigma.
    factor = math.sqrt(nees_ratio)
    if 1.0 / _HONEST_FACTOR <= factor <= _HONEST_FACTOR:
        return "The reported uncertainty fits the errors."
    if factor > 1.0:
        return f"The errors are typically {factor:.1f} times what the reported uncertainty says."
    return f"The reported uncertainty is typically {1.0 / factor:.1f} times the errors: too modest."


def draw_cards(summary: Mapping[str, object]) -> str:
    """Return the HTML cards of the headline figures; unknown figures are dashes."""
    queries, localized = _count(summary, "queries"), _count(summary, "localized")
    false_fixes, limit = summary.get("false_fixes"), _words(str(summary.get("false_fix_limit", "")))
    mood = "" if false_fixes is None or not localized else "good" if false_fixes == 0 else "bad"
    translation, rotation = summary.get("median_translation_m"), summary.get("median_rotation_deg")
    cards = [
        _card("localized", _share(localized / queries if queries else None), f"{localized} of {queries}"),
        _card("false fixes", _text(false_fixes), f"off by more than {limit.replace(', ', ' or ')}", mood),
        _card(
            "median error",
            length_text(translation) if isinstance(translation, float) else "–",
            f"{rotation:.2f}°" if isinstance(rotation, float) else "no ground truth or no pose",
        ),
        _card("ANEES", _number(summary.get("anees")), _robust(summary.get("nees_median_over_chi2_median"))),
        _card(
            "latency",
            _milliseconds(_percentile(summary, "p50")),
            f"median; p95 {_milliseconds(_percentile(summary, 'p95'))}",
        ),
    ]
    rows = (cards, _recall_cards(summary), _trajectory_cards(summary))
    return "".join(f'<div class="cards">{"".join(row)}</div>' for row in rows if row)


def _recall_cards(summary: Mapping[str, object]) -> list[str]:
    recall = summary.get("recall")
    if not isinstance(recall, Mapping):
        return []
    return [_card("recall", _share(share), f"within {_words(str(name))}") for name, share in recall.items()]


def _trajectory_cards(summary: Mapping[str, object]) -> list[str]:
    """Return cards of what a robot on the way would feel."""
    fix, tracking = _part(summary, "availability", "fix"), _part(summary, "availability", "tracking")
    if fix is None:
        return []
    ate, rpe = _part(summary, "trajectory", "ate"), _part(summary, "trajectory", "rpe")
    pose = _part(summary, "trajectory", "pose")
    kind = "fused poses" if str(pose).startswith("map_from_base") else "single images"
    cards = [
        _card(
            "time with a fix",
            _share(_field(fix, "share_of_time")),
            f"of {_seconds(_field(fix, 'duration_s'))}",
        ),
        _card("first fix", _seconds(_field(fix, "time_to_first_s")), "after the first image"),
        _card("longest without", _seconds(_field(fix, "longest_lost_s")), "from a fix to the next"),
        _card("ATE", _length(_field(ate, "translation_m", "rmse")), f"RMSE, not aligned; {kind}"),
        _card(
            "RPE",
            _length(_field(rpe, "translation_m", "rmse")),
            f"RMSE over {_seconds(_field(rpe, 'delta_s'))}; {kind}",
        ),
    ]
    if tracking is not None:
        share = _share(_field(tracking, "share_of_time"))
        cards.insert(1, _card("time tracked", share, "by filter and odometry"))
    return cards


def _part(summary: Mapping[str, object], *keys: str) -> object:
    value: object = summary
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _field(value: object, *keys: str) -> float | None:
    found = _part(value, *keys) if isinstance(value, Mapping) else None
    return found if isinstance(found, float) else None


def _length(metres: float | None) -> str:
    return "–" if metres is None else length_text(metres)


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return (
        f"{seconds:.2g} s"
        if seconds < 10.0
        else f"{seconds:.0f} s"
        if seconds < 600.0
        else f"{seconds / 60:.0f} min"
    )


def _card(name: str, figure: str, detail: str, mood: str = "") -> str:
    return (
        f'<div class="card {mood}"><span class="name">{escape(name)}</span><b>{escape(figure)}</b>'
        f"<span>{escape(detail)}</span></div>"
    )


def _words(threshold: str) -> str:
    metres, _, degrees = threshold.partition("m_")
    return f"{metres} m, {degrees.removesuffix('deg')}°" if degrees else threshold


def _robust(ratio: object) -> str:
    return f"1 is honest; by medians {ratio:.2f}" if isinstance(ratio, float) else "1 is honest"


def _percentile(summary: Mapping[str, object], name: str) -> float | None:
    latency = summary.get("latency_ms")
    total = latency.get("total") if isinstance(latency, Mapping) else None
    value = total.get(name) if isinstance(total, Mapping) else None
    return value if isinstance(value, float) else None


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 10_000.0:
        return f"{value / 1e3:.1f} s"
    return f"{value:.0f} ms" if value >= 100.0 else f"{value:.1f} ms"


def _count(summary: Mapping[str, object], name: str) -> int:
    value = summary.get(name)
    return value if isinstance(value, int) else 0


def _share(value: object) -> str:
    return f"{100 * value:.1f} %" if isinstance(value, (int, float)) else "–"


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "–"


def _text(value: object) -> str:
    return "–" if value is None else str(value)
