"""Show a map: a page to turn around in, or a picture."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hfnet_ros.evaluation.json_values import plain_json
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.report.map_points import FloatArray, as_points, break_jumps, thin, view_box
from hfnet_ros.report.map_viewer import SCRIPT, STYLE
from hfnet_ros.report.page import fact_table, script_json

_MAX_POINTS_HTML, _MAX_POINTS_PNG = 150_000, 60_000
_POINT_COLOR, _PATH_COLOR, _GRAY = "#5b7ea8", "#d9531e", "#5b6675"
_PNG_WIDTH_IN, _PNG_DPI = 11.0, 140
_PANEL_HEIGHT_IN = (1.4, 7.0)


def map_view_html(
    path: str | os.PathLike[str],
    landmark_xyz: ArrayLike,
    landmark_colors: ArrayLike | None,
    keyframe_centers: ArrayLike,
    title: str,
    info: Mapping[str, object],
) -> None:
    """Write a self-contained page to orbit, zoom and pan around the map's points.

    Args:
        path: file to create or replace.
        landmark_xyz: [L, 3] m, map frame; above 150 000 they are thinned and the page says so.
        landmark_colors: [L, 3] uint8 RGB; None colours by height.
        keyframe_centers: [F, 3] m, map frame, in the order they were taken.
        title: plain text.
        info: facts shown beside the map, nested as you like.

    Raises:
        OSError: the file cannot be written.
        ValueError: points are not [N, 3], or there is not one colour per landmark.
    """
    points, colors = _points_with_colors(landmark_xyz, landmark_colors)
    centers = as_points(keyframe_centers)
    low, high = view_box(points, centers, np.zeros((0, 3)))
    order = np.arange(len(points), dtype=np.float64)[:, None]
    kept = thin(order, _MAX_POINTS_HTML)[:, 0].astype(np.int64)
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
    document = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        '<canvas id="view" tabindex="0" aria-label="points and keyframes of the map"></canvas>\n'
        f"{_panel(title, facts, has_colors=colors is not None)}"
        f'<script type="application/json" id="data">{script_json(data)}</script>\n'
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
    with atomic_file(path) as temporary:
        temporary.write_text(document, encoding="utf-8")


def map_view_png(
    path: str | os.PathLike[str],
    landmark_xyz: ArrayLike,
    landmark_colors: ArrayLike | None,
    keyframe_centers: ArrayLike,
    title: str,
    info: Mapping[str, object],
) -> None:
    """Write a picture of the map from above and from the side, at one scale.

    Args:
        path: file to create or replace; its suffix tells the format (png, svg, pdf).
        landmark_xyz: [L, 3] m, map frame.
        landmark_colors: [L, 3] uint8 RGB, or None for one colour.
        keyframe_centers: [F, 3] m, map frame, in the order they were taken.
        title: plain text.
        info: facts for the line below the title; nested ones are left out.

    Raises:
        OSError: the file cannot be written.
        ValueError: points are not [N, 3], or there is not one colour per landmark.
    """
    # Loading matplotlib takes a second; Figure without pyplot keeps to the Agg backend.
    from matplotlib.figure import Figure

    points, colors = _points_with_colors(landmark_xyz, landmark_colors)
    centers = as_points(keyframe_centers)
    low, high = view_box(points, centers, np.zeros((0, 3)))
    across = 0 if (high - low)[0] >= (high - low)[1] else 1
    ups = (1 - across, 2)
    most = (_PNG_WIDTH_IN - 1.0, _PANEL_HEIGHT_IN[1], _PANEL_HEIGHT_IN[1])
    inch_per_m = float(np.min(most / (high - low)[[across, *ups]]))
    heights = [max(_PANEL_HEIGHT_IN[0], float((high - low)[up]) * inch_per_m) for up in ups]
    figure = Figure(figsize=(_PNG_WIDTH_IN, sum(heights) + 1.9), dpi=_PNG_DPI, layout="constrained")
    figure.suptitle(_caption(title, info), fontsize=11)
    panels = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    rows = thin(np.arange(len(points), dtype=np.float64)[:, None], _MAX_POINTS_PNG)[:, 0].astype(np.int64)
    for panel, up, height in zip(panels, ups, heights, strict=True):
        shades = _POINT_COLOR if colors is None else colors[rows] / 255.0
        panel.scatter(points[rows, across], points[rows, up], s=1.2, c=shades, linewidths=0, rasterized=True)
        _draw_path(panel, break_jumps(centers), across, up)
        _frame_panel(panel, low, high, (across, up), height / inch_per_m)
    panels[1].set_xlabel(f"{'xyz'[across]}, m")
    with atomic_file(path) as temporary:
        figure.savefig(temporary)


def _draw_path(panel: Any, path: FloatArray, across: int, up: int) -> None:
    panel.plot(path[:, across], path[:, up], ".-", color=_PATH_COLOR, linewidth=0.9, markersize=3.5)


def _frame_panel(
    panel: Any, low: FloatArray, high: FloatArray, axes: tuple[int, int], height_m: float
) -> None:
    across, up = axes
    panel.set_xlim(low[across], high[across])
    # With y to the right, x must point down: otherwise the map would be seen from below.
    half = -height_m / 2 if up == 0 else height_m / 2
    middle = (low[up] + high[up]) / 2
    panel.set_ylim(middle - half, middle + half)
    panel.set_aspect("equal")
    panel.set_ylabel(f"{'xyz'[up]}, m")
    panel.grid(color="#e1e5ea", linewidth=0.6)
    panel.set_axisbelow(True)
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.tick_params(length=0, labelcolor=_GRAY)


def _caption(title: str, info: Mapping[str, object]) -> str:
    facts = [f"{key}: {plain_json(value)}" for key, value in info.items() if not isinstance(value, Mapping)]
    # A dollar sign would start a formula.
    return f"{title}\n{'   '.join(facts)}".replace("$", r"\$")


def _points_with_colors(
    landmark_xyz: ArrayLike, landmark_colors: ArrayLike | None
) -> tuple[FloatArray, NDArray[np.uint8] | None]:
    raw = np.asarray(landmark_xyz, dtype=np.float64)
    points = as_points(raw)
    if landmark_colors is None:
        return points, None
    colors = np.asarray(landmark_colors, dtype=np.uint8)
    if len(colors) == 0 and len(points) == 0:
        return points, None
    if colors.shape != raw.shape:
        raise ValueError(f"colours have shape {colors.shape}, expected {raw.shape}: one RGB per landmark")
    return points, colors[np.isfinite(raw).all(axis=1)]


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _panel(title: str, facts: Mapping[str, object], *, has_colors: bool) -> str:
    color_choice = (
        '<label>colour <select id="mode"><option value="0">image</option>'
        '<option value="1">height</option></select></label>'
        if has_colors
        else ""
    )
    return (
        f"<aside><details open><summary>{escape(title)}</summary>{fact_table(facts)}</details>"
        '<div class="row"><button id="above">From above</button><button id="side">From the side</button>'
        '<button id="reset">Reset</button></div>'
        f'<div class="row">{color_choice}<label>points <input id="size" type="range" min="1" max="8" '
        'step="0.5" value="2.5"></label><label><input id="keyframes" type="checkbox" checked> keyframes'
        '</label></div><p id="hint">Drag to turn, right-drag or two fingers to move, wheel or pinch to '
        "zoom.</p></aside>\n"
    )
