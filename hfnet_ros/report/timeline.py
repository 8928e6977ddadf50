"""The data behind the player of the report: what to show at each query, in pixels of the drawings."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from hfnet_ros.evaluation.metrics import QueryScore
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.map_points import MapPoints
from hfnet_ros.report.drawn_queries import DrawnQueries, DrawnQuery, facts
from hfnet_ros.report.map_points import thin
from hfnet_ros.report.thumbnails import points_in_picture, shares_of_size
from hfnet_ros.report.timeline_pictures import TimelinePictures
from hfnet_ros.report.trajectory_plots import MapView

FloatArray = NDArray[np.float64]

# Radius of the ellipse that holds 95 % of a normal variable in the plane.
_ELLIPSE_95 = float(np.sqrt(chdtri(2, 0.05)))
_GAZE_PX = 26.0
_MAX_KEYFRAMES = 10
_MAX_MATCHES = 800
_COORDINATE_STEPS = 65535


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """What the player's script reads, ready for JSON, and how many queries have their picture."""

    data: dict[str, object]
    num_pictures: int


def arrange_timeline(
    drawn: DrawnQueries,
    views: Sequence[MapView],
    time_px: Sequence[float],
    pictures: TimelinePictures,
    map_points: MapPoints,
) -> Timeline:
    """Gather what the player shows at each drawn query.

    Args:
        drawn: the queries.
        views: drawings of the map, whose pixels are used.
        time_px: [Q] where each query lies on the time axis of the charts over time, px.
        pictures: small images of some of the queries.
        map_points: names and poses of the keyframes.
    """
    first_ns = drawn.queries[0].score.query.stamp_ns if drawn.queries else 0
    entries = [
        {
            "at": f"{(query.score.query.stamp_ns - first_ns) / 1e9:.2f} s",
            "ns": (query.score.query.stamp_ns - first_ns) / 1e9,
            "x": round(x, 1),
            "css": query.css,
            "name": query.score.query.name,
            "facts": [*facts(query.score), ("prior keyframe", _keyframe_text(query.score, map_points))],
            **_positions(query, views),
            **_keyframes(query, map_points),
            **_matches(query, pictures),
        }
        for query, x in zip(drawn.queries, time_px, strict=True)
    ]
    used = sorted({idx for entry in entries for idx in _indices(entry["keyframes"])})
    centers = map_points.keyframe_centers[used]
    data: dict[str, object] = {
        "queries": entries,
        "keyframes": {
            str(idx): _rounded(points) for idx, points in zip(used, _stack_px(views, centers), strict=True)
        },
        "pictures": pictures.uris,
        "sizes": pictures.sizes_wh,
    }
    return Timeline(data, len(pictures.uris))


def _indices(value: object) -> list[int]:
    return list(value) if isinstance(value, list) else []


def _stack_px(views: Sequence[MapView], points: FloatArray) -> FloatArray:
    """Return [N, V, 2] pixels of points [N, 3] in V views."""
    return np.stack([view.to_px(points) for view in views], axis=1)


def _rounded(values: FloatArray) -> list[object]:
    rounded: list[object] = np.round(values, 1).tolist()
    return rounded


def _positions(query: DrawnQuery, views: Sequence[MapView]) -> dict[str, object]:
    """Return where estimate and truth are in each view, where they look, and the 95 % ellipse."""
    estimate, truth = query.score.query.localization.estimate, query.score.query.groundtruth
    entry: dict[str, object] = {}
    if truth is not None:
        entry["truth"] = _rounded(_stack_px(views, truth.translation[None])[0])
    if estimate is not None:
        pose = estimate.map_from_camera
        entry["estimate"] = _rounded(_stack_px(views, pose.translation[None])[0])
        entry["ellipse"] = [_ellipse(view, estimate.covariance[:3, :3]) for view in views]
    shown = truth if estimate is None else estimate.map_from_camera
    if shown is not None:
        entry["gaze"] = [_gaze(view, shown) for view in views]
    return entry


def _ellipse(view: MapView, covariance: FloatArray) -> list[float]:
    """Return half axes (px) and turn (deg) of the ellipse that holds 95 % in a view."""
    in_px = view.px_from_m @ covariance @ view.px_from_m.T
    if not np.isfinite(in_px).all():
        return [0.0, 0.0, 0.0]
    variances, axes = np.linalg.eigh(in_px)
    minor, major = _ELLIPSE_95 * np.sqrt(np.maximum(variances, 0.0))
    turn = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
    return [round(float(value), 1) for value in (major, minor, turn)]


def _gaze(view: MapView, map_from_camera: Rigid3) -> list[float]:
    """Return the optical axis as a vector of px, shorter the more it points at the reader."""
    along = view.px_from_m @ map_from_camera.rotation[:, 2]
    scale = np.linalg.norm(view.px_from_m, axis=1).max()
    return [round(float(value), 1) for value in _GAZE_PX * along / scale]


def _keyframes(query: DrawnQuery, map_points: MapPoints) -> dict[str, object]:
    place = query.score.query.localization.place
    idxs = () if place is None else place.keyframe_idxs
    known = [idx for idx in idxs if idx < len(map_points.keyframe_poses)]
    return {"keyframes": [int(idx) for idx in known[:_MAX_KEYFRAMES]]}


def _matches(query: DrawnQuery, pictures: TimelinePictures) -> dict[str, object]:
    """Return picture number and matches: inliers, outliers, or undecided where there is no pose."""
    number = pictures.number_of.get(query.index)
    if number is None:
        return {}
    localization = query.score.query.localization
    found = localization.correspondences
    if found is None or len(found) == 0:
        return {"picture": number}
    size = pictures.sizes_wh[number]
    points, is_shown = points_in_picture(found, pictures.corners_px[number])
    estimate = localization.estimate
    if estimate is None or len(estimate.inlier_mask) != len(found):
        return {"picture": number, "undecided": _packed(points[is_shown], size)}
    mask = estimate.inlier_mask
    return {
        "picture": number,
        "inliers": _packed(points[mask & is_shown], size),
        "outliers": _packed(points[~mask & is_shown], size),
    }


def _packed(points: FloatArray, size_wh: tuple[int, int]) -> dict[str, object]:
    """Return how many points [N, 2] (px of the image) there are, and base64 of uint16 shares of its size."""
    count = len(points)
    shares = np.clip(shares_of_size(thin(points, _MAX_MATCHES), size_wh), 0.0, 1.0)
    steps = np.round(_COORDINATE_STEPS * shares).astype("<u2")
    return {"count": count, "points": base64.b64encode(steps.tobytes()).decode("ascii")}


def _keyframe_text(score: QueryScore, map_points: MapPoints) -> str:
    place = score.query.localization.place
    if place is None or not place.keyframe_idxs:
        return "–"
    best = place.keyframe_idxs[0]
    names = map_points.keyframe_names
    name = names[best] if best < len(names) else f"number {best}"
    others = len(place.keyframe_idxs) - 1
    return f"{name} (similarity {place.similarity:.2f})" + (f" and {others} more" if others else "")
