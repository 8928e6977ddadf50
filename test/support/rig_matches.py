"""Matches of rigs of two and three cameras, pinholes and a fisheye, at a known pose."""

import numpy as np

from hfnet_ros.geometry.camera import Camera, DistortionModel
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import Correspondences, RigCamera

FRONT = Camera(DistortionModel.NONE, (640, 480), [525.0, 525.0], [319.5, 239.5], [])
SIDE = Camera(
    DistortionModel.EQUIDISTANT, (800, 600), [310.0, 310.0], [402.0, 300.0], [0.02, -0.01, 0.0, 0.0]
)
RIG = (
    RigCamera(FRONT, Rigid3.from_rotvec([0.0, 0.0, 0.0], [0.2, 0.0, 0.0])),
    RigCamera(SIDE, Rigid3.from_rotvec([0.0, 1.4, 0.0], [0.1, 0.05, -0.3])),
)
REAR = Camera(
    DistortionModel.PLUMB_BOB, (640, 400), [410.0, 412.0], [322.0, 203.0], [-0.2, 0.05, 1e-3, 0.0, 0.0]
)
THREE = (*RIG, RigCamera(REAR, Rigid3.from_rotvec([0.0, 3.0, 0.1], [-0.2, 0.0, 0.1])))
TRUTH = Rigid3.from_rotvec([0.2, -0.5, 0.9], [4.0, -1.0, 2.0])


def matches_of(rng, counts, noise_px=0.4, rig=RIG, truth=TRUTH, wrong=0):
    """Matches of each view, those of wrong places among them, most similar first in no order of views."""
    points2d, points3d, views = [], [], []
    for view_idx, (view, count) in enumerate(zip(rig, counts, strict=True)):
        pixels = rng.uniform(20.0, np.array(view.camera.size_wh) - 20.0, (count, 2))
        rays = view.camera.undistort(pixels)
        depth = rng.uniform(2.0, 7.0, (count, 1))
        in_camera = np.column_stack([rays, np.ones(count)]) * depth
        points3d.append(truth @ (view.rig_from_camera @ in_camera))
        points2d.append(pixels + rng.normal(0.0, noise_px, (count, 2)))
        views += [view_idx] * count
    points2d, points3d = np.concatenate(points2d), np.concatenate(points3d)
    bad = rng.choice(len(points3d), wrong, replace=False)
    points3d[bad] = truth.translation + rng.uniform(-6, 6, (wrong, 3))
    order = rng.permutation(len(points3d))
    rows = np.arange(len(order))
    similarity = np.linspace(1.0, 0.7, len(order), dtype=np.float32)
    return Correspondences(points2d[order], points3d[order], rows, rows, similarity, np.array(views)[order])
