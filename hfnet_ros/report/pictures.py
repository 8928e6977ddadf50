"""Pictures of a map and of a run, 1200 pixels wide, for a README or a message."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hfnet_ros.evaluation.json_values import plain_json
from hfnet_ros.evaluation.metrics import score_queries
from hfnet_ros.evaluation.records import QueryResult
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.map.map_points import MapPoints
from hfnet_ros.report.drawn_queries import DrawnQueries, arrange_queries
from hfnet_ros.report.headline import headline_sentences
from hfnet_ros.report.map_points import (
    FloatArray,
    as_points,
    axes_from_above,
    break_jumps,
    points_with_colors,
    thin,
    view_box,
)
from hfnet_ros.report.page_style import LIGHT_COLORS
from hfnet_ros.report.svg import log_range
from hfnet_ros.report.trajectory_plots import true_centers

_WIDTH_IN, _DPI = 10.0, 120
_MOST_HEIGHT_IN = 5.6
_LETTERS_A_LINE = 135
_MAX_POINTS, _POINT_SIZE = 24_000, 1.0
_NUM_COLORS = 64  # of the file, which is so a third as long
_POINT_COLOR, _PATH_COLOR = "#5b7ea8", "#d9531e"


def map_picture(
    path: str | os.PathLike[str], map_points: MapPoints, title: str, info: Mapping[str, object]
) -> None:
    """Write a PNG of the map from above and from the side, at one scale, and how far its given poses disagree.

    Args:
        path: file to create or replace.
        map_points: of the map.
        title: plain text.
        info: facts for the line below the title; nested ones are left out.

    Raises:
        OSError: the file cannot be written.
        ValueError: landmarks are not [L, 3], or there is not one colour per landmark.
    """
    points, colors = points_with_colors(map_points)
    centers = as_points(map_points.keyframe_centers)
    box = view_box(points, centers, np.zeros((0, 3)))
    across, up = axes_from_above(box)
    rows = thin(np.arange(len(points)), _MAX_POINTS)
    shades = _POINT_COLOR if colors is None else colors[rows] / 255.0
    facts = [f"{key}: {plain_json(value)}" for key, value in info.items() if not isinstance(value, Mapping)]
    moves = map_points.keyframe_moves
    more = [] if moves is None else [1.5]
    figure, panels, inch_per_m = _new_figure(box, (up, 2), more, title, "   ".join(facts))
    path_xyz = break_jumps(centers)
    for panel, vertical in zip(panels[:2], (up, 2), strict=True):
        _scatter(panel, points[rows][:, [across, vertical]], shades)
        panel.plot(
            path_xyz[:, across], path_xyz[:, vertical], ".-", color=_PATH_COLOR, linewidth=0.9, markersize=3.5
        )
        _frame_map(panel, box, (across, vertical), inch_per_m)
    panels[1].set_xlabel(f"{'xyz'[across]}, m")
    if moves is not None:
        _draw_moves(panels[2], moves)
    _save(figure, path)


def _draw_moves(panel: Any, moves: FloatArray) -> None:
    """Draw how far given poses are from the refined ones, keyframe by keyframe, metres left and degrees right."""
    turns = panel.twinx()
    for axes, values, label, color in (
        (panel, moves[:, 0], "moved, m", _PATH_COLOR),
        (turns, np.degrees(moves[:, 1]), "turned, deg", _POINT_COLOR),
    ):
        axes.plot(values, ".-", color=color, linewidth=0.9, markersize=3.5)
        axes.set_ylim(0.0, max(1.1 * float(values.max()), 1e-6))
        axes.set_ylabel(label)
        _style(axes)
        axes.yaxis.label.set(color=color)
    turns.grid(visible=False)
    panel.set_xlabel("keyframe; given against refined pose")


def run_picture(
    path: str | os.PathLike[str],
    results: Sequence[QueryResult],
    summary: Mapping[str, object],
    map_points: MapPoints,
) -> None:
    """Write a PNG of a run: where the queries were, over the map from above, and their errors over time.

    Args:
        path: file to create or replace.
        results: one per query, in any order.
        summary: what `summarize` returned for them.
        map_points: of the scene.

    Raises:
        OSError: the file cannot be written.
        ValueError: landmarks are not [L, 3].
    """
    drawn = arrange_queries(score_queries(results))
    points, truth = as_points(map_points.landmark_xyz), true_centers(drawn.queries)
    box = view_box(points, as_points(map_points.keyframe_centers), truth)
    across, up = axes_from_above(box)
    figure, (above, errors), inch_per_m = _new_figure(box, (up,), [1.7], *headline_sentences(summary))
    _scatter(above, thin(points, _MAX_POINTS)[:, [across, up]], LIGHT_COLORS["dust"])
    line = break_jumps(truth)
    above.plot(line[:, across], line[:, up], color=LIGHT_COLORS["ink"], linewidth=0.9, label="ground truth")
    _draw_answers(above, drawn, (across, up))
    _frame_map(above, box, (across, up), inch_per_m)
    above.set_xlabel(f"{'xyz'[across]}, m")
    above.legend(loc="upper left", ncol=4, fontsize=8.5, frameon=True, framealpha=0.9, edgecolor="none")
    _draw_errors(errors, drawn)
    _save(figure, path)


def _draw_answers(panel: Any, drawn: DrawnQueries, axes: tuple[int, int]) -> None:
    """Draw the poses found in the colour of their error, with a line to where they should be."""
    for css, label in drawn.legend:
        kind = css.split()[-1]
        color, is_first = LIGHT_COLORS.get(kind, LIGHT_COLORS["soft"]), True
        for query in drawn.queries:
            if query.css != kind:
                continue
            estimate, truth = query.score.query.localization.estimate, query.score.query.groundtruth
            shown = truth if estimate is None else estimate.map_from_camera
            if shown is None:
                continue
            if estimate is not None and truth is not None:
                ends = np.stack([shown.translation, truth.translation])[:, axes]
                panel.plot(*ends.T, color=color, linewidth=1.0)
            panel.plot(
                *shown.translation[list(axes)], "x" if estimate is None else "o", color=color, markersize=5,
                markeredgecolor=color if estimate is None else "white", markeredgewidth=0.6,
                label=label if is_first else None,
            )  # fmt: skip
            is_first = False


def _draw_errors(panel: Any, drawn: DrawnQueries) -> None:
    """Draw the error of translation and its reported sigma over time."""
    times = [query.time for query in drawn.queries]
    sigmas = [np.nan if (sigma := query.score.sigma_t_m) is None else sigma for query in drawn.queries]
    errors = [query.score.error for query in drawn.queries]
    lengths = [np.nan if error is None else error.translation_m for error in errors]
    panel.set_yscale("log")
    panel.set_ylim(*log_range([*lengths, *sigmas], 1e-4, 1e3))
    panel.plot(times, sigmas, color=LIGHT_COLORS["soft"], linewidth=1.0, label="reported σ")
    colors = [LIGHT_COLORS.get(query.css, LIGHT_COLORS["soft"]) for query in drawn.queries]
    panel.scatter(times, lengths, s=14, c=colors, zorder=3, label="error")
    panel.yaxis.set_major_formatter(lambda metres, _: f"{metres:g}")
    panel.set_ylabel("error, m")
    panel.set_xlabel(drawn.time_label)
    panel.legend(loc="upper right", ncol=2, fontsize=8.5, frameon=False)
    _style(panel)


def _new_figure(
    box: tuple[FloatArray, FloatArray],
    ups: tuple[int, ...],
    more_heights_in: list[float],
    title: str,
    subtitle: str,
) -> tuple[Any, Any, float]:
    """Return figure, panels, and inches per metre; a panel for each upward axis, then further ones."""
    # Loading matplotlib takes a second; Figure without pyplot keeps to the Agg backend.
    from matplotlib.figure import Figure

    extent = box[1] - box[0]
    inch_per_m = min(
        (_WIDTH_IN - 1.0) / extent[axes_from_above(box)[0]], _MOST_HEIGHT_IN / extent[list(ups)].max()
    )
    heights = [max(1.2, float(extent[up]) * inch_per_m) for up in ups] + more_heights_in
    # A dollar sign would start a formula.
    title, subtitle = (text.replace("$", r"\$") for text in (title, subtitle))
    lines = textwrap.wrap(subtitle, _LETTERS_A_LINE)
    height = sum(heights) + 1.1 + 0.2 * len(lines)
    figure = Figure(figsize=(_WIDTH_IN, height), dpi=_DPI, layout="constrained")
    # The empty lines keep the room in which the smaller ones stand.
    figure.suptitle(title + "\n" * len(lines), fontsize=14, fontweight="bold", x=0.012, ha="left")
    figure.text(
        0.012, 1.0 - 0.36 / height, "\n".join(lines), fontsize=9.5, color=LIGHT_COLORS["soft"], va="top"
    )
    return figure, figure.subplots(len(heights), 1, gridspec_kw={"height_ratios": heights}), inch_per_m


def _scatter(panel: Any, points: FloatArray, shades: Any) -> None:
    panel.scatter(
        points[:, 0], points[:, 1], s=_POINT_SIZE, c=shades, marker="s", linewidths=0, antialiased=False
    )


def _frame_map(
    panel: Any, box: tuple[FloatArray, FloatArray], axes: tuple[int, int], inch_per_m: float
) -> None:
    across, up = axes
    low, high = box
    height_m = max(1.2 / inch_per_m, high[up] - low[up])
    middle = (low[up] + high[up]) / 2
    # With y to the right, x must point down: otherwise the map would be seen from below.
    half = -height_m / 2 if up == 0 else height_m / 2
    panel.set_xlim(low[across], high[across])
    panel.set_ylim(middle - half, middle + half)
    panel.set_aspect("equal")
    panel.set_ylabel(f"{'xyz'[up]}, m")
    _style(panel)


def _style(panel: Any) -> None:
    panel.grid(color=LIGHT_COLORS["line"], linewidth=0.6)
    panel.set_axisbelow(True)
    for spine in panel.spines.values():
        spine.set_visible(False)
    panel.tick_params(which="both", length=0, labelcolor=LIGHT_COLORS["soft"], labelsize=9)
    for axis in (panel.xaxis, panel.yaxis):
        axis.label.set(color=LIGHT_COLORS["soft"], fontsize=10)


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write the figure with few colours, so that a page of pictures stays small."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image  # comes with matplotlib

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    with atomic_file(path) as temporary:
        # Six times as fast as the slower ways, which save 3 %.
        picture.quantize(_NUM_COLORS, method=Image.Quantize.FASTOCTREE).save(temporary, format="PNG")
