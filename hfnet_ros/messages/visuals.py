"""What a person looks at in RViz or Foxglove: the map's points, matches, and the image explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.types import Frame, ImageArray, Localization, Relocalization

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hfnet_ros.messages.factory import MessageFactory

_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])
_FLOAT32 = 7  # sensor_msgs/PointField; RViz and PCL read `rgb` as a float with the bytes b g r 0
_LINE_LIST, _ADD, _DELETEALL = 5, 0, 3  # visualization_msgs/Marker
_INLIER_RGBA, _OUTLIER_RGBA = (0.1, 0.9, 0.2, 0.8), (0.9, 0.1, 0.1, 0.3)
_LINE_WIDTH_M = 0.005
_ZERO = np.zeros(3)
_KEYPOINT_BGR, _OUTLIER_BGR, _CAPTION_BGR = (160, 160, 160), (60, 60, 230), (255, 255, 255)


def map_points_message(
    factory: MessageFactory,
    landmark_xyz: NDArray[np.floating],
    landmark_colors: NDArray[np.uint8],
    *,
    stamp_ns: int,
    frame_id: str,
    origin: NDArray[np.floating] = _ZERO,
) -> Any:
    """Return a sensor_msgs/PointCloud2 with fields x y z (m) and rgb; points not finite are left out.

    Args:
        factory: makes the message.
        landmark_xyz: [L, 3] m.
        landmark_colors: [L, 3] RGB.
        stamp_ns: ns.
        frame_id: the frame they are given in, less `origin`.
        origin: [3] m, subtracted: RViz and the message's floats hold seven digits.
    """
    finite = np.isfinite(landmark_xyz).all(axis=1)
    xyz, (red, green, blue) = landmark_xyz[finite] - origin, landmark_colors[finite].astype(np.uint32).T
    points = np.empty(len(xyz), _POINT)
    points["x"], points["y"], points["z"] = xyz.T
    points["rgb"] = (red << 16) | (green << 8) | blue
    fields = [
        factory.make("sensor_msgs/msg/PointField", name=name, offset=offset, datatype=_FLOAT32, count=1)
        for name, offset in (("x", 0), ("y", 4), ("z", 8), ("rgb", 12))
    ]
    return factory.make(
        "sensor_msgs/msg/PointCloud2",
        header=header_to_message(factory, stamp_ns, frame_id),
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=_POINT.itemsize,
        row_step=_POINT.itemsize * len(points),
        data=factory.byte_sequence(points),
        is_dense=True,
    )


def matches_message(
    factory: MessageFactory,
    localization: Localization,
    *,
    frame_id: str,
    origin: NDArray[np.floating] = _ZERO,
) -> Any:
    """Return a visualization_msgs/MarkerArray: lines from the camera to the landmarks it matched.

    Frame and origin are as of `map_points_message`.

    The first marker deletes all former ones, and is the only one without a pose. Inliers are green
    (namespace `inliers`), other matches red (`outliers`).
    """
    header = header_to_message(factory, localization.stamp_ns, frame_id)
    markers = [factory.make("visualization_msgs/msg/Marker", header=header, action=_DELETEALL)]
    estimate, matches = localization.estimate, localization.correspondences
    if estimate is not None and matches is not None:
        center, ends = estimate.map_from_camera.translation - origin, matches.points3d - origin
        inliers = estimate.inlier_mask
        for name, rows, rgba in (
            ("inliers", ends[inliers], _INLIER_RGBA),
            ("outliers", ends[~inliers], _OUTLIER_RGBA),
        ):
            markers.append(_lines(factory, header, name, _fan(factory, center, rows), rgba))
    return factory.make("visualization_msgs/msg/MarkerArray", markers=markers)


def draw_debug_image(
    frame: Frame, relocalization: Relocalization, keypoints: NDArray[np.floating] | None = None
) -> ImageArray:
    """Return the image [H, W, 3] BGR with what was found in it drawn on a copy.

    Keypoints are gray dots, matches that the pose does not explain red crosses, inliers circles from
    green (no residual) to yellow (three times their root mean square) with a line to where the pose
    puts their landmark.

    Args:
        frame: the image and its camera.
        relocalization: what became of it.
        keypoints: [N, 2] px, all that were found; None draws matched ones only.
    """
    gray = frame.image.ndim == 2
    canvas = np.array(cv2.cvtColor(frame.image, cv2.COLOR_GRAY2BGR) if gray else frame.image, np.uint8)
    localization = relocalization.localization
    if keypoints is not None:
        for point in _whole(keypoints):
            cv2.circle(canvas, point, 1, _KEYPOINT_BGR, -1)
    _draw_matches(canvas, frame, localization)
    _write(canvas, _caption(relocalization))
    return canvas


def _draw_matches(canvas: ImageArray, frame: Frame, localization: Localization) -> None:
    matches, estimate = localization.correspondences, localization.estimate
    if matches is None:
        return
    inliers = estimate.inlier_mask if estimate else np.zeros(len(matches), bool)
    for point in _whole(matches.points2d[~inliers]):
        cv2.drawMarker(canvas, point, _OUTLIER_BGR, cv2.MARKER_TILTED_CROSS, 5)
    if estimate is None:
        return
    seen = matches.points2d[inliers]
    predicted = frame.camera.project(estimate.map_from_camera.inverse() @ matches.points3d[inliers])
    # A landmark behind the camera or past the lens's fold has no pixel: it is drawn as the worst.
    residual = np.linalg.norm(predicted - seen, axis=1)
    predicted = np.where(np.isfinite(predicted), predicted, seen)
    worst = max(3.0 * estimate.reprojection_rmse_px, 1e-3)
    redness = np.clip(np.nan_to_num(residual / worst, nan=1.0), 0.0, 1.0)
    for start, end, red in zip(_whole(seen), _whole(predicted), redness.tolist(), strict=True):
        color = (0, 255, int(255 * red))
        cv2.circle(canvas, start, 3, color, 1)
        cv2.line(canvas, start, end, color, 1)


def _whole(points: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Return points [N, 2] as whole pixels that cv2 can draw, even where they lie far outside."""
    return [(x, y) for x, y in np.clip(np.rint(points), -10_000, 10_000).astype(int).tolist()]


def _caption(relocalization: Relocalization) -> list[str]:
    localization, decision = relocalization.localization, relocalization.decision
    verdict = f" {decision.verdict.value}" if decision else ""
    evidence, estimate = localization.evidence, localization.estimate
    counts = f"{evidence.num_inliers} of {evidence.num_matches} matches, {evidence.num_keypoints} keypoints"
    if estimate is not None:
        counts += f", {estimate.reprojection_rmse_px:.1f} px"
    return [
        f"{localization.outcome.value}{verdict} ({relocalization.state.value})",
        counts,
        decision.reason if decision else evidence.reason,
    ]


def _write(canvas: ImageArray, lines: Sequence[str]) -> None:
    """Write lines at the top, on a darkened band."""
    scale = max(0.35, canvas.shape[1] / 1280)
    spacing = round(36 * scale)
    canvas[: spacing * len(lines) + spacing // 2] //= 3
    for row, line in enumerate(lines):
        position = (6, spacing * (row + 1))
        text = line.encode("ascii", "replace").decode()  # fonts of OpenCV 4 know no other letters
        cv2.putText(canvas, text, position, cv2.FONT_HERSHEY_SIMPLEX, scale, _CAPTION_BGR, 1, cv2.LINE_AA)


def _fan(factory: MessageFactory, center: NDArray[np.float64], ends: NDArray[np.float64]) -> list[Any]:
    """Return the points of lines from one centre to each end, [L, 3] m."""
    start = _point(factory, center)
    fan = []
    for end in ends:
        fan += [start, _point(factory, end)]
    return fan


def _point(factory: MessageFactory, xyz: NDArray[np.float64]) -> Any:
    x, y, z = xyz.tolist()
    return factory.make("geometry_msgs/msg/Point", x=x, y=y, z=z)


def _lines(
    factory: MessageFactory,
    header: Any,
    name: str,
    points: list[Any],
    rgba: tuple[float, float, float, float],
) -> Any:
    red, green, blue, alpha = rgba
    upright = factory.make("geometry_msgs/msg/Quaternion", w=1.0)
    return factory.make(
        "visualization_msgs/msg/Marker",
        header=header,
        ns=name,
        id=0,
        type=_LINE_LIST,
        action=_ADD,
        pose=factory.make("geometry_msgs/msg/Pose", orientation=upright),
        scale=factory.make("geometry_msgs/msg/Vector3", x=_LINE_WIDTH_M),
        color=factory.make("std_msgs/msg/ColorRGBA", r=red, g=green, b=blue, a=alpha),
        points=points,
    )
