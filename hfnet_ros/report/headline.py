"""Say in a sentence and a row of cards how a run went."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from html import escape

from hfnet_ros.evaluation.metric_table import METRICS, look_up
from hfnet_ros.report.words import in_words, length_text

_HONEST_FACTOR = 1.3
_BY_KEY = {metric.key: metric for metric in METRICS}
_PLACE = re.compile(r"{([^}]*)}")
# Recall has a row of cards to itself, and what a robot on the way would feel another.
_CARD_ROWS = {"recall": 1, "availability": 2, "trajectory": 2}


def headline_sentences(summary: Mapping[str, object]) -> tuple[str, str]:
    """Return the title of the report and the sentence below it, plain text."""
    queries, localized = summary.get("queries", 0), summary.get("localized", 0)
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
    latency = look_up(summary, "latency_ms/total/p95")
    if latency is not None:
        sentences.append(f"95 % of the images took less than {in_words(latency, 'ms')}.")
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
    """Return the HTML cards of the figures that have one; unknown figures are dashes."""
    rows: dict[int, list[str]] = {}
    for metric in METRICS:
        if metric.card is None or not metric.is_in(summary):
            continue
        detail = _PLACE.sub(lambda place: _figure(summary, place[1]), metric.card)
        row = _CARD_ROWS.get(metric.key.partition("/")[0], 0)
        mood = _mood(summary) if metric.key == "false_fixes" else ""
        rows.setdefault(row, []).append(_card(metric.name, _figure(summary, metric.key), detail, mood))
    return "".join(f'<div class="cards">{"".join(rows[row])}</div>' for row in sorted(rows))


def _figure(summary: Mapping[str, object], key: str) -> str:
    """Return a figure of results.json in words; what is no metric has its unit at the end of its key."""
    metric, value = _BY_KEY.get(key), look_up(summary, key)
    if metric is not None:
        return in_words(value, metric.unit, metric.format)
    if key == "false_fix_limit":
        return str(value).replace("m_", " m or ").replace("deg", "°")
    return in_words(value, key.rpartition("_")[2])


def _mood(summary: Mapping[str, object]) -> str:
    false_fixes = summary.get("false_fixes")
    if false_fixes is None or not summary.get("localized"):
        return ""
    return "good" if false_fixes == 0 else "bad"


def _card(name: str, figure: str, detail: str, mood: str = "") -> str:
    return (
        f'<div class="card {mood}"><span class="name">{escape(name)}</span><b>{escape(figure)}</b>'
        f"<span>{escape(detail)}</span></div>"
    )
