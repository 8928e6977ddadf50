"""What a person looks at in RViz or Foxglove: the map's points, matches, and the image explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.headers import header_to_message
from hfnet_ros.messages.status import share_of
from hfnet_ros.types import Answer, Frame, ImageArray, Localization, Relocalization

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
    mountings: Sequence[Rigid3] = (),
) -> Any:
    """Return a visualization_msgs/MarkerArray: lines from each camera to the landmarks it matched.

    Frame and origin are as of `map_points_message`; `mountings` are rig_from_camera by view, where there are several.

    The first marker deletes all former ones, and is the only one without a pose. Inliers are green
    (namespace `inliers`), other matches red (`outliers`).
    """
    header = header_to_message(factory, localization.stamp_ns, frame_id)
    markers = [factory.make("visualization_msgs/msg/Marker", header=header, action=_DELETEALL)]
    estimate, matches = localization.estimate, localization.correspondences
    if estimate is not None and matches is not None:
        poses = [estimate.map_from_camera @ mounting for mounting in mountings or (Rigid3.identity(),)]
        centers = np.array([pose.translation - origin for pose in poses])[matches.views]
        ends, inliers = matches.points3d - origin, estimate.inlier_mask
        for name, rows, rgba in (("inliers", inliers, _INLIER_RGBA), ("outliers", ~inliers, _OUTLIER_RGBA)):
            fan = _fan(factory, centers[rows], ends[rows])
            markers.append(_lines(factory, header, name, fan, rgba))
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
    canvas = _canvas(frame)
    if keypoints is not None:
        for point in _whole(keypoints):
            cv2.circle(canvas, point, 1, _KEYPOINT_BGR, -1)
    _draw_matches(canvas, frame, relocalization.localization, None, Rigid3.identity())
    _write(canvas, _caption(relocalization))
    return canvas


def draw_debug_images(answer: Answer, relocalization: Relocalization) -> ImageArray:
    """Return the images of several cameras side by side, as high as the first, each as by `draw_debug_image`."""
    pictures = list[ImageArray]()
    is_rig = sum(view.view_idx is not None for view in answer.views) > 1
    for view in answer.views:
        if view.frame is None:
            continue
        canvas, share = _canvas(view.frame), share_of(answer, view)
        if view.view_idx is not None:
            mounting = view.base_from_camera if is_rig else None
            _draw_matches(
                canvas,
                view.frame,
                relocalization.localization,
                view.view_idx,
                mounting or Rigid3.identity(),
            )
        counts = f"{share.num_inliers} of {share.num_matches} matches, {share.num_keypoints} keypoints"
        _write(
            canvas,
            [*([] if pictures else _caption(relocalization)), f"{view.camera}: {share.problem or counts}"],
        )
        height = pictures[0].shape[0] if pictures else canvas.shape[0]
        size_wh = max(1, round(canvas.shape[1] * height / canvas.shape[0])), height
        pictures.append(np.asarray(cv2.resize(canvas, size_wh), np.uint8))
    return np.concatenate(pictures, axis=1)


def _canvas(frame: Frame) -> ImageArray:
    gray = frame.image.ndim == 2
    return np.array(cv2.cvtColor(frame.image, cv2.COLOR_GRAY2BGR) if gray else frame.image, np.uint8)


def _draw_matches(
    canvas: ImageArray,
    frame: Frame,
    localization: Localization,
    view_idx: int | None,
    rig_from_camera: Rigid3,
) -> None:
    """Draw the matches of one view, or of all where the query has one."""
    matches, estimate = localization.correspondences, localization.estimate
    if matches is None:
        return
    inliers = estimate.inlier_mask if estimate else np.zeros(len(matches), bool)
    own = np.ones(len(matches), bool) if view_idx is None else matches.views == view_idx
    for point in _whole(matches.points2d[own & ~inliers]):
        cv2.drawMarker(canvas, point, _OUTLIER_BGR, cv2.MARKER_TILTED_CROSS, 5)
    if estimate is None:
        return
    own = own & inliers
    seen, camera_from_map = matches.points2d[own], (estimate.map_from_camera @ rig_from_camera).inverse()
    predicted = frame.camera.project(camera_from_map @ matches.points3d[own])
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


def _fan(factory: MessageFactory, centers: NDArray[np.float64], ends: NDArray[np.float64]) -> list[Any]:
    """Return the points of lines from centres to ends, both [L, 3] m."""
    both = np.stack([centers, ends], axis=1).reshape(-1, 3)
    return [_point(factory, xyz) for xyz in both]


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
