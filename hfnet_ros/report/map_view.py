"""Show a map on a page to turn around in; the pictures are in `pictures`."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.map.map_points import MapPoints
from hfnet_ros.report.map_points import as_points, break_jumps, points_with_colors, thin, view_box
from hfnet_ros.report.map_viewer import SCRIPT, STYLE
from hfnet_ros.report.page import fact_table, script_json
from hfnet_ros.report.training_curves import draw_median, draw_shares

_MAX_POINTS = 150_000
_NUM_WORST = 3  # keyframes that are named


def map_view_html(
    path: str | os.PathLike[str],
    map_points: MapPoints,
    title: str,
    info: Mapping[str, object],
    training_curves: Sequence[Mapping[str, float]] = (),
) -> None:
    """Write a self-contained page to orbit, zoom and pan around the map's points.

    Args:
        path: file to create or replace.
        map_points: above 150 000 landmarks they are thinned and the page says so; without colours they
            are coloured by height.
        title: plain text.
        info: facts shown beside the map, nested as you like.
        training_curves: what was measured while the scene's network was trained.

    Raises:
        OSError: the file cannot be written.
        ValueError: landmarks are not [L, 3], or there is not one colour per landmark.
    """
    origin = map_points.drawing_origin
    points, colors = points_with_colors(map_points)
    points, centers = points - origin, as_points(map_points.keyframe_centers) - origin
    low, high = view_box(points, centers, np.zeros((0, 3)))
    kept = thin(np.arange(len(points)), _MAX_POINTS)
    data = {
        "points": _base64(points[kept].astype("<f4")),
        "colors": None if colors is None else _base64(colors[kept]),
        "path": _base64(break_jumps(centers).astype("<f4")),
        "low": low.tolist(),
        "high": high.tolist(),
    }
    facts = dict(info)
    if len(kept) < len(points):
        facts["points drawn"] = f"{len(kept)} of {len(points)}"
    if origin.any():
        facts["drawn from"] = f"({', '.join(f'{value:.0f}' for value in origin)}) m, the origin of this page"
    charts = _moves_chart(map_points) + _curves_chart(training_curves)
    document = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        '<canvas id="view" tabindex="0" aria-label="points and keyframes of the map"></canvas>\n'
        f"{_panel(title, facts, charts, has_colors=colors is not None)}"
        f'<script type="application/json" id="data">{script_json(data)}</script>\n'
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
    with atomic_file(path) as temporary:
        temporary.write_text(document, encoding="utf-8")


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _moves_chart(map_points: MapPoints) -> str:
    """Return how far given poses are from the refined ones, keyframe by keyframe, as a small SVG; "" without."""
    moves = map_points.keyframe_moves
    if moves is None or len(moves) < 2:
        return ""
    lines = []
    for values, unit, css in ((moves[:, 0], "m", "far"), (np.degrees(moves[:, 1]), "deg", "turned")):
        heights = 44.0 - 40.0 * values / max(float(values.max()), 1e-9)
        points = " ".join(
            f"{x:.1f},{y:.1f}" for x, y in zip(np.linspace(0.0, 300.0, len(values)), heights, strict=True)
        )
        lines.append((f'<polyline class="{css}" points="{points}"/>', f"{values.max():.3g} {unit}"))
    (far, most_m), (turned, most_deg) = lines
    worst = np.argsort(-moves[:, 0], kind="stable")[:_NUM_WORST].tolist()
    names = ", ".join(escape(map_points.keyframe_names[row]) for row in worst)
    return (
        '<p class="moves">Given against refined poses, keyframe by keyframe: moved by up to '
        f'<b class="far">{most_m}</b>, turned by up to <b class="turned">{most_deg}</b>; farthest {names}</p>'
        f'<svg class="moves" viewBox="0 0 300 46" role="img" aria-label="given against refined">{turned}{far}</svg>'
    )


def _curves_chart(curves: Sequence[Mapping[str, float]]) -> str:
    """Return how points of held-out keyframes came into place while a network was trained; "" without."""
    shares, median = draw_shares(curves), draw_median(curves)
    if shares is None:
        return ""
    return (
        '<p class="moves">The network on keyframes that it was not trained on: points in place</p>'
        f'<div class="curves">{shares[0]}{shares[1]}{median or ""}</div>'
    )


def _panel(title: str, facts: Mapping[str, object], chart: str, *, has_colors: bool) -> str:
    color_choice = (
        '<label>colour <select id="mode"><option value="0">image</option>'
        '<option value="1">height</option></select></label>'
        if has_colors
        else ""
    )
    return (
        f"<aside><details open><summary>{escape(title)}</summary>{fact_table(facts)}{chart}</details>"
        '<div class="row"><button id="above">From above</button><button id="side">From the side</button>'
        '<button id="reset">Reset</button></div>'
        f'<div class="row">{color_choice}<label>points <input id="size" type="range" min="1" max="8" '
        'step="0.5" value="2.5"></label><label><input id="keyframes" type="checkbox" checked> keyframes'
        '</label></div><p id="hint">Drag to turn, right-drag or two fingers to move, wheel or pinch to '
        "zoom.</p></aside>\n"
    )
