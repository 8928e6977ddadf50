"""Draw where the queries were, over the map's points, from above and from the side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.map.map_points import MapPoints
from hfnet_ros.report.drawn_queries import DrawnQueries, DrawnQuery
from hfnet_ros.report.map_points import as_points, axes_from_above, break_jumps, thin, view_box
from hfnet_ros.report.svg import Axis, Chart, inner_size_px

FloatArray = NDArray[np.float64]

_WIDTH = 780.0
_FRAME_WIDTH = inner_size_px((_WIDTH, 0.0))[0]
_FRAME_HEIGHT_EXTRA = -inner_size_px((0.0, 0.0))[1]
_ABOVE_HEIGHT, _SIDE_HEIGHT = (240.0, 520.0), (110.0, 300.0)
_MAX_DUST = 6000
_ERROR_LINE_M = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class MapView:
    """A look along one axis of the map; `across` and `up` are 0, 1, 2 for x, y, z."""

    across: int
    up: int
    chart: Chart

    def to_px(self, points: FloatArray) -> FloatArray:
        """Return pixels [N, 2] of points [N, 3]."""
        return self.chart.to_px(points[:, self.across], points[:, self.up])

    @property
    def px_from_m(self) -> FloatArray:
        """Return the matrix [2, 3] that turns a direction or a distance in the map into pixels."""
        scale_x = inner_size_px((self.chart.width, 0.0))[0] / (self.chart.x.high - self.chart.x.low)
        matrix = np.zeros((2, 3))
        matrix[0, self.across] = scale_x
        # The y axis of a picture points down.
        matrix[1, self.up] = scale_x if self.chart.y.is_flipped else -scale_x
        return matrix


def draw_trajectory(
    drawn: DrawnQueries, map_points: MapPoints, fused_centers: FloatArray
) -> tuple[MapView, MapView]:
    """Draw the map from above and from the side.

    Both have the same scale and share the horizontal axis, as the two views of an engineering
    drawing: the longer of x and y. Far points of the map may lie outside; poses outside are
    put on the frame.

    Args:
        drawn: the queries.
        map_points: of the scene.
        fused_centers: [P, 3] m, path of the filter in the map frame; P may be 0.
    """
    points, keyframes = as_points(map_points.landmark_xyz), as_points(map_points.keyframe_centers)
    low, high = view_box(points, keyframes, true_centers(drawn.queries))
    extent = high - low
    across, up = axes_from_above((low, high))
    px_per_m = min(_FRAME_WIDTH / extent[across], _ABOVE_HEIGHT[1] / extent[up], _SIDE_HEIGHT[1] / extent[2])
    # With y to the right, x must point down: otherwise the map would be seen from below.
    above = _empty_view((across, up), up == 0, (low, high), px_per_m, _ABOVE_HEIGHT, "above")
    side = _empty_view((across, 2), False, (low, high), px_per_m, _SIDE_HEIGHT, "the side")
    dust, fused = thin(points, _MAX_DUST), break_jumps(fused_centers)
    for view in (above, side):
        _draw_map(view, dust, keyframes)
        if len(fused):
            view.chart.add_line(fused[:, view.across], fused[:, view.up], "fused")
        _draw_queries(view, drawn.queries)
    return above, side


def _empty_view(
    axes: tuple[int, int],
    is_up_flipped: bool,
    box: tuple[FloatArray, FloatArray],
    px_per_m: float,
    heights: tuple[float, float],
    origin: str,
) -> MapView:
    across, up = axes
    low, high = box
    # The frame keeps its width; the shorter side of the view is widened to keep the scale.
    height = float(np.clip((high - low)[up] * px_per_m, *heights))
    size_m = np.array([_FRAME_WIDTH, height]) / px_per_m
    center = 0.5 * (low + high)
    x0, y0 = center[across] - size_m[0] / 2, center[up] - size_m[1] / 2
    x = Axis(x0, x0 + size_m[0], f"{'xyz'[across]}, m")
    y = Axis(y0, y0 + size_m[1], f"{'xyz'[up]}, m", is_flipped=is_up_flipped)
    size_px = (_WIDTH, height + _FRAME_HEIGHT_EXTRA)
    return MapView(across, up, Chart(x, y, size_px, f"Map and camera positions from {origin}"))


def true_centers(queries: Sequence[DrawnQuery]) -> FloatArray:
    """Return where the queries with ground truth were taken, [T, 3] m."""
    truths = [query.score.query.groundtruth for query in queries]
    centers = [truth.translation for truth in truths if truth is not None]
    return np.stack(centers) if centers else np.zeros((0, 3))


def _draw_map(view: MapView, dust: FloatArray, keyframe_centers: FloatArray) -> None:
    view.chart.add_dust(dust[:, view.across], dust[:, view.up], "dust")
    view.chart.add_dust(keyframe_centers[:, view.across], keyframe_centers[:, view.up], "keyframe")


def _draw_queries(view: MapView, queries: Sequence[DrawnQuery]) -> None:
    path = break_jumps(true_centers(queries))
    view.chart.add_line(path[:, view.across], path[:, view.up], "truth")
    # What went wrong is drawn last: it must not hide under what went right.
    for query in sorted(queries, key=lambda query: query.css):
        _draw_query(view.chart, [view.across, view.up], query)


def _draw_query(chart: Chart, axes: list[int], query: DrawnQuery) -> None:
    estimate, truth = query.score.query.localization.estimate, query.score.query.groundtruth
    if estimate is None:
        if truth is not None:
            true_x, true_y = truth.translation[axes]
            chart.add_cross(true_x, true_y, "lost", query=query.index)
        return
    x, y = estimate.map_from_camera.translation[axes]
    if truth is not None and truth.translation_to(estimate.map_from_camera) > _ERROR_LINE_M:
        true_x, true_y = truth.translation[axes]
        chart.add_line([x, true_x], [y, true_y], f"astray {query.css}")
    chart.add_dot(x, y, f"dot {query.css}", query=query.index)
