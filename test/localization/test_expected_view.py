"""What a pose ought to see: known by hand, and low where a place is only pictured."""

import numpy as np
import pytest

from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.expected_view import ExpectedPoints, seen_share
from hfnet_ros.pose.problem import ObserverCones
from hfnet_ros.types import Correspondences, RigCamera

# Cells of 80 px; a wall at z = 4 that fills the image.
CAMERA = Camera(DistortionModel.NONE, (640, 480), [800.0, 800.0], [319.5, 239.5], [])
VIEW = (RigCamera(CAMERA),)
CENTRES = np.array([(80.0 * column + 40.0, 80.0 * row + 40.0) for row in range(6) for column in range(8)])
HERE = Rigid3.identity()


def wall(per_cell=5, depth=4.0):
    pixels = np.repeat(CENTRES, per_cell, axis=0)
    xyz = np.column_stack([(pixels - CAMERA.center) / CAMERA.focal, np.ones(len(pixels))]) * depth
    distance = np.linalg.norm(xyz, axis=1)
    return ExpectedPoints(xyz, ObserverCones(xyz / distance[:, None], np.column_stack([distance, distance])))


def inliers_at(pixels, view_idxs=None):
    rows = np.arange(len(pixels))
    similarity = np.ones(len(rows), np.float32)
    return Correspondences(pixels, np.zeros((len(rows), 3)), rows, rows, similarity, view_idxs)


@pytest.mark.parametrize("num_cells", [0, 12, 48])
def test_the_share_is_of_cells_with_landmarks_to_be_seen(num_cells):
    assert seen_share(wall(), inliers_at(CENTRES[:num_cells]), HERE, VIEW) == num_cells / 48


def test_many_inliers_in_a_cell_count_once():
    assert seen_share(wall(), inliers_at(np.repeat(CENTRES[:3], 50, axis=0)), HERE, VIEW) == 3 / 48


def test_cells_with_few_landmarks_are_not_expected_to_be_seen():
    assert seen_share(wall(per_cell=4), inliers_at(CENTRES), HERE, VIEW) == 0.0


@pytest.mark.parametrize(
    "map_from_rig",
    [
        Rigid3.from_rotvec([0.0, np.pi, 0.0], [0.0, 0.0, 8.0]),  # behind the wall, looking at its back
        Rigid3(np.eye(3), np.array([0.0, 0.0, -5.0])),  # more than half as far away again
        Rigid3.from_rotvec([0.0, np.pi, 0.0], np.zeros(3)),  # turned away
    ],
)
def test_what_would_not_be_recognised_from_there_is_not_expected(map_from_rig):
    assert seen_share(wall(), inliers_at(CENTRES), map_from_rig, VIEW) == 0.0


def test_a_picture_of_the_place_leaves_its_surroundings_unseen():
    """A poster at three quarters of the size puts the camera a third further away, where more is in view."""
    further = Rigid3(np.eye(3), np.array([0.0, 0.0, -4.0 / 3.0]))
    wide = wall(per_cell=20)
    xyz = np.concatenate(
        [wide.xyz + np.array([x, y, 0.0]) for x in (-3.2, 0.0, 3.2) for y in (-2.4, 0.0, 2.4)]
    )
    ahead = np.tile([0.0, 0.0, 1.0], (len(xyz), 1))
    cones = ObserverCones(ahead, np.full((len(xyz), 2), 4.2))
    poster = 0.75 * (CENTRES - CAMERA.center) + CAMERA.center
    there = seen_share(ExpectedPoints(xyz, cones), inliers_at(CENTRES), HERE, VIEW)
    pictured = seen_share(ExpectedPoints(xyz, cones), inliers_at(poster), further, VIEW)
    assert there == 1.0
    assert pictured < 0.6


def test_cells_of_all_views_of_a_rig_count():
    """The second camera looks the other way, where nothing is to be seen."""
    back = RigCamera(CAMERA, Rigid3.from_rotvec([0.0, np.pi, 0.0], np.zeros(3)))
    found = inliers_at(CENTRES[:24], np.repeat([0, 1], 12))
    assert seen_share(wall(), found, HERE, (*VIEW, back)) == 12 / 48
    assert seen_share(wall(), found, HERE, (*VIEW, *VIEW)) == 24 / 96
