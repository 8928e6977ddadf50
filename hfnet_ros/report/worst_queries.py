"""List the queries a person should look at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from hfnet_ros.evaluation.metrics import FALSE_FIX, QueryScore
from hfnet_ros.report.drawn_queries import error_class
from hfnet_ros.report.thumbnails import TABLE_SIZE, data_uri, thumbnail_of
from hfnet_ros.report.words import length_text

_MOST_FALSE, _MOST_LOST, _MOST_ROWS = 12, 6, 20
_HEADER = ("image", "query", "outcome", "off by", "reported σ", "NEES", "inliers / matches / keypoints")


def pick_worst(scores: Sequence[QueryScore]) -> list[QueryScore]:
    """Return false fixes, then queries without a pose, then the largest errors left.

    Among false fixes the farthest come first. Queries without a pose are taken evenly from
    the run, because neighbours usually fail for the same reason.
    """
    false = sorted((score for score in scores if score.is_false_fix()), key=_badness, reverse=True)
    lost = [score for score in scores if not score.is_localized]
    rest = [score for score in scores if score.error is not None and not score.is_false_fix()]
    rows = false[:_MOST_FALSE] + lost[:: -(-len(lost) // _MOST_LOST) or 1]
    room = max(0, _MOST_ROWS - len(rows))
    return rows + sorted(rest, key=_badness, reverse=True)[:room]


def _badness(score: QueryScore) -> float:
    if score.error is None:
        return 0.0
    # Half a metre counts as much as ten degrees: the two limits of a false fix.
    return max(
        score.error.translation_m / FALSE_FIX.translation_m, score.error.rotation_deg / FALSE_FIX.rotation_deg
    )


def draw_worst(scores: Sequence[QueryScore], index_of: Mapping[int, int]) -> str:
    """Return the HTML table; `index_of` maps id(score) to its number in the charts."""
    worst = pick_worst(scores)
    if not worst:
        return '<figure><p class="nothing">Nothing to show.</p></figure>'
    header = "".join(f"<th{_number_class(column)}>{escape(name)}</th>" for column, name in enumerate(_HEADER))
    rows = "".join(_row(score, index_of.get(id(score))) for score in worst)
    return (
        f'<div class="scroll"><table class="worst"><thead><tr>{header}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(score: QueryScore, index: int | None) -> str:
    localization, error = score.query.localization, score.error
    evidence = localization.evidence
    thumbnail = thumbnail_of(score.query, TABLE_SIZE)
    picture = (
        f'<img src="{data_uri(thumbnail)}" alt="">' if thumbnail else '<div class="blank">no image</div>'
    )
    outcome = "FALSE FIX" if score.is_false_fix() else localization.outcome.value
    sigma_t, sigma_r = score.sigma_t_m, score.sigma_r_deg
    cells = (
        picture,
        f'<span class="name">{escape(score.query.name)}</span>',
        f'<span class="pill {error_class(score)}">{escape(outcome.replace("_", " ").lower())}</span>'
        f"<small>{escape(evidence.reason)}</small>",
        _lengths(error.translation_m, error.rotation_deg) if error is not None else "–",
        "–" if sigma_t is None or sigma_r is None else _lengths(sigma_t, sigma_r),
        "–" if error is None or error.nees is None else _nees_text(error.nees),
        f"{evidence.num_inliers} / {evidence.num_matches} / {evidence.num_keypoints}",
    )
    link = "" if index is None else f' data-q="{index}"'
    inside = "".join(f"<td{_number_class(column)}>{cell}</td>" for column, cell in enumerate(cells))
    return f"<tr{link}>{inside}</tr>"


def _nees_text(nees: float) -> str:
    return f"{nees:.1f}" if nees < 100.0 else f"{nees:,.0f}".replace(",", "\u202f")


def _lengths(metres: float, degrees: float) -> str:
    return f"{length_text(metres)}<br>{degrees:.2f}°"


def _number_class(column: int) -> str:
    return ' class="number"' if column >= 3 else ""
