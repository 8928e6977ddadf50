"""Write a run as a recording of the Rerun viewer (rerun.io), where rerun-sdk is installed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from hfnet_ros.errors import ConfigError
from hfnet_ros.evaluation.metrics import QueryScore, score_queries
from hfnet_ros.evaluation.records import QueryResult, RunContext, TimedPose
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.map_points import MapPoints
from hfnet_ros.report.map_points import break_jumps, points_with_colors
from hfnet_ros.report.thumbnails import PictureSize, points_in_picture, shares_of_size, thumbnail_of

FloatArray = NDArray[np.float64]

_PICTURE = PictureSize(640, 640, 80)
_TIMELINE = "run"
_GRAY, _GREEN, _BLUE, _RED = (140, 150, 165), (40, 170, 110), (60, 130, 230), (215, 50, 70)
# Radius, in standard deviations, of the ellipsoid that holds 95 % of a normal variable in space.
_ELLIPSOID_95 = float(np.sqrt(chdtri(3, 0.05)))
_GAZE_M = 0.3


def load_rerun() -> Any:
    """Return the module rerun.

    Raises:
        ConfigError: rerun-sdk is not installed, or too old.
    """
    try:
        module = importlib.import_module("rerun")
    except ImportError as error:
        raise ConfigError(
            f"--rerun needs the package rerun-sdk, which cannot be loaded ({error}); install it by "
            "`pip install 'rerun-sdk>=0.23'` or leave --rerun out"
        ) from error
    if not hasattr(module, "RecordingStream") or not hasattr(module.RecordingStream, "set_time"):
        found = getattr(module, "__version__", "unknown")
        raise ConfigError(f"found rerun-sdk {found}, expected 0.23 or later; update it by pip")
    return module


def write_rerun(
    path: str | os.PathLike[str],
    results: Sequence[QueryResult],
    context: RunContext | None = None,
) -> None:
    """Write map, trajectories, images, matches and 95 % ellipsoids on a timeline.

    The timeline `run` starts at the first query. 3D is below `map`, the image below `image`. The viewer
    is of single precision: large coordinates are drawn less an origin, which the recording names.

    Args:
        path: file to create, usually .rrd; replaced as a whole or not at all.
        results: one per query, in any order.
        context: the scene and the trajectories around the queries.

    Raises:
        ConfigError: rerun-sdk is not installed, or too old.
        OSError: the file cannot be written.
        ValueError: landmarks are not [L, 3], or there is not one colour per landmark.
    """
    rerun, context = load_rerun(), context or RunContext()
    scores = sorted(score_queries(results), key=lambda score: score.query.stamp_ns)
    origin = context.map_points.drawing_origin
    first_ns = scores[0].query.stamp_ns if scores else 0
    with atomic_file(path) as temporary:
        recording = rerun.RecordingStream("hfnet_ros")
        recording.save(str(temporary))
        try:
            _log_map(rerun, recording, context.map_points, origin)
            _log_paths(rerun, recording, scores, context, origin)
            for score in scores:
                recording.set_time(_TIMELINE, duration=(score.query.stamp_ns - first_ns) / 1e9)
                _log_poses(rerun, recording, score, origin)
                _log_image(rerun, recording, score.query)
        finally:
            recording.disconnect()


def _log_map(rerun: Any, recording: Any, map_points: MapPoints, origin: FloatArray) -> None:
    points, colors = points_with_colors(map_points)
    if origin.any():
        text = f"positions are less ({', '.join(f'{value:.0f}' for value in origin)}) m, the origin of this recording"
        recording.log("map/origin", rerun.TextDocument(text), static=True)
    landmarks = rerun.Points3D(points - origin, colors=_GRAY if colors is None else colors, radii=0.01)
    recording.log("map", rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    recording.log("map/landmarks", landmarks, static=True)
    if len(map_points.keyframe_poses):
        keyframes = rerun.Points3D(
            map_points.keyframe_centers - origin,
            colors=_GRAY,
            radii=0.02,
            labels=list(map_points.keyframe_names) or None,
            show_labels=False,
        )
        recording.log("map/keyframes", keyframes, static=True)


def _log_paths(
    rerun: Any, recording: Any, scores: Sequence[QueryScore], context: RunContext, origin: FloatArray
) -> None:
    estimates = [(s.query.stamp_ns, s.query.localization.estimate) for s in scores]
    truths = [(s.query.stamp_ns, s.query.groundtruth) for s in scores]
    paths: dict[str, tuple[list[TimedPose], tuple[int, int, int]]] = {
        "estimated": ([(t, e.map_from_camera) for t, e in estimates if e is not None], _BLUE),
        "groundtruth": ([(t, truth) for t, truth in truths if truth is not None], _GREEN),
        "fused": (sorted(context.fused, key=lambda timed: timed[0]), _RED),
    }
    for name, (poses, color) in paths.items():
        strips = _strips(np.array([pose.translation for _, pose in poses]).reshape(-1, 3) - origin)
        if strips:
            strip = rerun.LineStrips3D(strips, colors=color, radii=0.005)
            recording.log(f"map/path/{name}", strip, static=True)


def _strips(centers: FloatArray) -> list[FloatArray]:
    """Cut a path where it jumps."""
    path = break_jumps(centers)
    gaps = np.flatnonzero(np.isnan(path).any(axis=1))
    parts = [part[~np.isnan(part).any(axis=1)] for part in np.split(path, gaps)]
    return [part for part in parts if len(part) > 1]


def _log_poses(rerun: Any, recording: Any, score: QueryScore, origin: FloatArray) -> None:
    query = score.query
    estimate = query.localization.estimate
    drawn_from_map = Rigid3(np.eye(3), -origin)
    truth = None if query.groundtruth is None else drawn_from_map @ query.groundtruth
    found = None if estimate is None else drawn_from_map @ estimate.map_from_camera
    _log_pose(rerun, recording, "map/groundtruth", truth, _GREEN)
    _log_pose(rerun, recording, "map/estimate", found, _BLUE)
    if estimate is None or found is None:
        recording.log("map/estimate/sigma", rerun.Clear(recursive=False))
    else:
        recording.log("map/estimate/sigma", _ellipsoid(rerun, found, estimate.covariance))
    text = f"{query.name}: {query.localization.outcome.value}: {query.localization.evidence.reason}"
    recording.log("outcome", rerun.TextLog(text))
    if score.error is not None:
        recording.log("error/translation_m", rerun.Scalars(score.error.translation_m))
        recording.log("error/rotation_deg", rerun.Scalars(score.error.rotation_deg))


def _log_pose(rerun: Any, recording: Any, entity: str, pose: Rigid3 | None, color: Any) -> None:
    if pose is None:
        recording.log(entity, rerun.Clear(recursive=False))
        return
    gaze = rerun.Arrows3D(
        origins=[pose.translation], vectors=[_GAZE_M * pose.rotation[:, 2]], colors=color, radii=0.01
    )
    recording.log(entity, gaze)


def _ellipsoid(rerun: Any, pose: Rigid3, covariance: FloatArray) -> Any:
    variances, axes = np.linalg.eigh(covariance[:3, :3])
    axes = axes * np.sign(np.linalg.det(axes))
    return rerun.Ellipsoids3D(
        centers=[pose.translation],
        half_sizes=[_ELLIPSOID_95 * np.sqrt(np.maximum(variances, 0.0))],
        quaternions=[rerun.Quaternion(xyzw=Rigid3(axes, np.zeros(3)).quat_xyzw)],
        colors=_BLUE,
    )


def _log_image(rerun: Any, recording: Any, query: QueryResult) -> None:
    thumbnail = thumbnail_of(query, _PICTURE)
    if thumbnail is None:
        recording.log("image", rerun.Clear(recursive=True))
        return
    recording.log("image", rerun.EncodedImage(contents=thumbnail.jpeg, media_type="image/jpeg"))
    found, estimate = query.localization.correspondences, query.localization.estimate
    if found is None or estimate is None or len(estimate.inlier_mask) != len(found):
        recording.log("image/matches", rerun.Clear(recursive=False))
        return
    in_picture, is_shown = points_in_picture(found, thumbnail.corners_px)
    colors = np.where(estimate.inlier_mask[is_shown, None], _GREEN, _RED).astype(np.uint8)
    # In the viewer the corner of the top-left pixel is the origin, here its centre.
    points = shares_of_size(in_picture[is_shown], thumbnail.image_size_wh) * thumbnail.size_wh
    recording.log("image/matches", rerun.Points2D(points, colors=colors, radii=2.0))
