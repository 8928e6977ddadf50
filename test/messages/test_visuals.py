import dataclasses

import numpy as np
import pytest

from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.messages.visuals import (
    draw_debug_image,
    draw_debug_images,
    map_points_message,
    matches_message,
)
from hfnet_ros.types import (
    Answer,
    CameraView,
    Correspondences,
    Evidence,
    Frame,
    ImageCounters,
    Localization,
    Outcome,
    PoseEstimate,
    Relocalization,
    TrackingState,
    ViewShare,
)

CAMERA = Camera(DistortionModel.NONE, (320, 240), np.full(2, 200.0), np.array([160.0, 120.0]), np.zeros(0))
MAP_FROM_CAMERA = Rigid3(np.eye(3), np.array([1.0, 2.0, 3.0]))


def localization(points2d, points3d, inliers, outcome=Outcome.LOCALIZED, rmse=1.0) -> Localization:
    number = len(points2d)
    matches = Correspondences(
        np.array(points2d, float), np.array(points3d, float), np.arange(number), np.arange(number),
        np.ones(number, np.float32),
    )  # fmt: skip
    estimate = PoseEstimate(MAP_FROM_CAMERA, 1e-4 * np.eye(6), np.array(inliers, bool), rmse)
    return Localization(
        stamp_ns=5_000_000_000,
        outcome=outcome,
        estimate=estimate if outcome is Outcome.LOCALIZED else None,
        place=None,
        evidence=Evidence(50, number, int(np.sum(inliers)), "because"),
        timings_s={},
        correspondences=matches,
    )


def relocalization(localized: Localization) -> Relocalization:
    return Relocalization(localized, None, None, None, TrackingState.LOST, None)


def test_points_as_rviz_reads_them(factory):
    xyz = np.array([[1.0, 2.0, 3.0], [np.nan, 0.0, 0.0], [-1.0, 0.5, 0.25]])
    colors = np.array([[255, 128, 1], [9, 9, 9], [0, 0, 255]], np.uint8)
    message = map_points_message(factory, xyz, colors, stamp_ns=7, frame_id="map")
    type_name = "sensor_msgs/msg/PointCloud2"
    cloud = factory.deserialize(factory.serialize(message, type_name), type_name)
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 2, 16, 32)
    assert (cloud.is_bigendian, cloud.is_dense, cloud.header.frame_id) == (False, True, "map")
    assert [(field.name, field.offset, field.datatype, field.count) for field in cloud.fields] == [
        ("x", 0, 7, 1),
        ("y", 4, 7, 1),
        ("z", 8, 7, 1),
        ("rgb", 12, 7, 1),
    ]
    data = np.asarray(cloud.data).reshape(2, 16)
    np.testing.assert_allclose(data[:, :12].copy().view("<f4"), [[1, 2, 3], [-1, 0.5, 0.25]])
    np.testing.assert_array_equal(data[:, 12:], [[1, 128, 255, 0], [255, 0, 0, 0]])


def test_large_coordinates_keep_their_millimetres_beside_an_origin(factory):
    origin = np.array([458_000.0, 5_429_000.0, 0.0])
    xyz = np.add(origin, [[0.001, 0.002, 0.003], [123.457, -234.568, 3.004]])
    colors = np.zeros((2, 3), np.uint8)
    message = map_points_message(factory, xyz, colors, stamp_ns=7, frame_id="map_origin", origin=origin)
    shown = np.asarray(message.data).reshape(2, 16)[:, :12].copy().view("<f4")
    np.testing.assert_allclose(shown + origin, xyz, atol=1e-4)
    found = localization(np.zeros((2, 2)), xyz, [1, 1])
    markers = matches_message(factory, found, frame_id="map_origin", origin=origin).markers
    assert markers[1].points[3].y == pytest.approx(-234.568)


def test_a_map_without_points(factory):
    message = map_points_message(
        factory, np.zeros((0, 3)), np.zeros((0, 3), np.uint8), stamp_ns=0, frame_id="map"
    )
    assert (message.width, len(message.data)) == (0, 0)


def test_lines_from_the_camera_to_what_it_matched(factory):
    points = [[1.0, 2.0, 5.0], [2.0, 2.0, 5.0], [0.0, 0.0, 9.0]]
    message = matches_message(factory, localization(np.zeros((3, 2)), points, [1, 0, 1]), frame_id="map")
    factory.serialize(message, "visualization_msgs/msg/MarkerArray")
    delete, inliers, outliers = message.markers
    assert delete.action == delete.DELETEALL
    assert (inliers.ns, outliers.ns) == ("inliers", "outliers")
    for marker in (inliers, outliers):
        assert (marker.type, marker.action) == (marker.LINE_LIST, marker.ADD)
        assert marker.pose.orientation.w == 1.0  # RViz warns about anything else
        assert marker.scale.x > 0.0
        assert marker.header.frame_id == "map"
        assert marker.header.stamp.sec == 5
    ends = [(point.x, point.y, point.z) for point in inliers.points]
    assert ends == [(1.0, 2.0, 3.0), (1.0, 2.0, 5.0), (1.0, 2.0, 3.0), (0.0, 0.0, 9.0)]
    assert [(point.x, point.y, point.z) for point in outliers.points][1::2] == [(2.0, 2.0, 5.0)]
    assert inliers.color.g > inliers.color.r
    assert outliers.color.r > outliers.color.g


def test_an_image_without_pose_removes_the_lines(factory):
    failed = localization(np.zeros((1, 2)), np.ones((1, 3)), [0], Outcome.NO_CONSENSUS)
    message = matches_message(factory, failed, frame_id="map")
    assert [marker.action for marker in message.markers] == [3]


@pytest.mark.parametrize("shape", [(240, 320), (240, 320, 3)])
def test_the_image_is_drawn_on_a_copy(shape):
    image = np.full(shape, 50, np.uint8)
    image.flags.writeable = False  # as a view into a received message is
    # Seen 30 px right of where the pose puts it, exactly there, and not explained at all.
    points3d = MAP_FROM_CAMERA @ np.array([[0.0, 0.0, 2.0], [0.4, 0.4, 2.0], [-0.4, 0.4, 2.0]])
    points2d = [[190.0, 120.0], [200.0, 160.0], [100.0, 200.0]]
    result = relocalization(localization(points2d, points3d, [1, 1, 0]))
    drawn = draw_debug_image(Frame(5, image, CAMERA), result, keypoints=np.array([[250.0, 60.0]]))
    assert drawn.shape == (240, 320, 3)
    assert drawn.dtype == np.uint8
    assert (image == 50).all()
    np.testing.assert_array_equal(drawn[120, 175], [0, 255, 255])  # the long residual: yellow
    np.testing.assert_array_equal(drawn[160, 200 + 3], [0, 255, 0])  # no residual: green
    blue, green, red = drawn[200, 100].astype(int)  # the outlier: red
    assert red > 2 * green
    assert red > 2 * blue
    assert drawn[60, 250].astype(int).sum() > 3 * 100  # the keypoint
    assert (drawn[:40, :200] == 255).any()  # the caption


def test_matches_without_a_pose_are_drawn_as_outliers():
    failed = localization([[100.0, 200.0]], np.ones((1, 3)), [0], Outcome.NO_CONSENSUS)
    drawn = draw_debug_image(Frame(5, np.zeros((240, 320), np.uint8), CAMERA), relocalization(failed))
    blue, green, red = drawn[200, 100].astype(int)
    assert red > 2 * max(blue, green)


def test_nothing_found_and_points_far_outside_can_be_drawn():
    image = np.zeros((240, 320), np.uint8)
    nothing = Localization(5, Outcome.NO_FEATURES, None, None, Evidence(reason="dark – too dark"), {})
    assert draw_debug_image(Frame(5, image, CAMERA), relocalization(nothing)).any()
    behind = MAP_FROM_CAMERA @ np.array([[0.0, 0.0, -2.0], [1e9, 0.0, 1e-3]])
    result = relocalization(localization([[50.0, 100.0], [60.0, 100.0]], behind, [1, 1], rmse=0.0))
    draw_debug_image(Frame(5, image, CAMERA), result)


ASIDE = Rigid3.from_rotvec([0.0, 0.8, 0.0], [0.3, 0.0, 0.1])


def seen_by_two():
    """One landmark of each of two views, and where each sees its own; the rig is at the camera's pose."""
    own = np.array([0.4, 0.4, 2.0])
    points3d = np.array([MAP_FROM_CAMERA @ own, MAP_FROM_CAMERA @ (ASIDE @ own)])
    found = localization([[200.0, 160.0], [200.0, 160.0]], points3d, [1, 1])
    views = dataclasses.replace(found.correspondences, view_idxs=np.array([0, 1]))
    return dataclasses.replace(found, correspondences=views, views=(ViewShare(90, 1, 1), ViewShare(80, 1, 1)))


def test_several_cameras_are_drawn_side_by_side_each_with_its_own_matches():
    def frame(size_hw):
        return Frame(5, np.full(size_hw, 50, np.uint8), CAMERA)

    views = (
        CameraView("front", frame((240, 320)), Rigid3.identity(), 0),
        CameraView("right", problem="no image of this time has come", is_missing=True),
        CameraView("left", frame((240, 320)), ASIDE, 1),
        CameraView("rear", frame((480, 320)), ASIDE, problem="frozen"),
    )
    result = relocalization(seen_by_two())
    answer = Answer(5, result, "", "", 0.0, 0.0, 0.0, 0.0, ImageCounters(), views[0].frame, views=views)
    drawn = draw_debug_images(answer, result)
    assert drawn.shape == (240, 320 + 320 + 160, 3)
    for left in (0, 320):
        np.testing.assert_array_equal(drawn[160, left + 203], [0, 255, 0])  # no residual: green
    greens = (drawn == [0, 255, 0]).all(axis=2)
    assert not greens[:, 640:].any()


def test_lines_begin_at_the_camera_that_saw_the_landmark(factory):
    message = matches_message(factory, seen_by_two(), frame_id="map", mountings=(Rigid3.identity(), ASIDE))
    starts = [(point.x, point.y, point.z) for point in message.markers[1].points][::2]
    expected = [MAP_FROM_CAMERA.translation, (MAP_FROM_CAMERA @ ASIDE).translation]
    np.testing.assert_allclose(starts, expected)
