#!/usr/bin/env python3
"""What conditioning, hierarchy and regression buy a dense scene network: the paper's ablations at a small equal budget.

A generated room with exact poses and depth is learned from a walk; the images of another walk are
asked. Each variant has the same steps, seed and images.

    python bench/scene_dense.py [--steps 600] [--long-side 160] [--only NAME ...]

Reference: Li et al., CVPR 2020, section 4.4 (ablations).
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import cv2
import numpy as np
import torch

from hfnet_ros.config import Config
from hfnet_ros.geometry import Camera, DistortionModel
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.pose.problem import ErrorModel
from hfnet_ros.pose.solver import PoseSolver
from hfnet_ros.scene import (
    Scene,
    SensorModel,
    build_apartment,
    mapping_walk,
    query_walk,
    render,
    render_depth,
)
from hfnet_ros.training.scene_dense_data import DenseKeyframe, cell_centers, example_of, network_size
from hfnet_ros.training.scene_dense_network import REDUCED, DenseModule, ExportedDense
from hfnet_ros.training.scene_dense_training import SCHEDULES, DenseTask, fit_dense, measure_dense
from hfnet_ros.training.scene_depth import RegisteredDepth
from hfnet_ros.training.scene_labels import make_labels
from hfnet_ros.types import Correspondences, RigCamera, ignore_progress

CAMERA = Camera(
    DistortionModel.NONE, (320, 240), np.array([260.0, 260.0]), np.array([159.5, 119.5]), np.zeros(0)
)
VARIANTS = {
    "as published": {},
    "without conditioning": {"conditioned": False},
    "regression only": {"hierarchical": False},
    "classification only": {"regression": False},
}
LEAST_CONFIDENCE = 0.3


def main() -> None:
    """Train each variant and print a row of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--long-side", type=int, default=160, help="px of the images that networks see")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    scene = build_apartment(3, num_rooms=1)
    size_wh = network_size(CAMERA.size_wh, options.long_side)
    trained = [keyframe_of(scene, pose, seed) for seed, (_, pose) in enumerate(mapping_walk(scene))]
    asked = [keyframe_of(scene, pose, 10_000 + seed) for seed, (_, pose) in enumerate(query_walk(scene)[::4])]
    points = np.concatenate([example_of(keyframe, size_wh, None).points for keyframe in trained])
    labels = make_labels(points[np.isfinite(points).all(axis=1)])
    # What ends training and what is asked at the end are not the same images.
    task = DenseTask(trained, trained[4::10], labels, size_wh, False)
    task = dataclasses.replace(
        task, trained=[row for row in trained if all(row is not held for held in task.held_out)]
    )
    print(
        f"{len(task.trained)} images learned, {len(asked)} asked, {len(labels.centers)} leaves, {size_wh} px"
    )
    print(
        "| variant | parts right | leaves right | median cell, m | median pose, cm / deg | (25 cm, 5 deg) | CPU s |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in options.only:
        shape = dataclasses.replace(REDUCED, long_side=options.long_side, **VARIANTS[name])
        started = time.process_time()
        schedule = dataclasses.replace(SCHEDULES["dense"], steps=options.steps)
        module, _ = fit_dense(task, shape, schedule, 0, ignore_progress)
        seconds = time.process_time() - started
        cells = measure_dense(module, asked, task)
        errors = np.array([pose_error(module, keyframe, size_wh) for keyframe in asked])
        median, recall = np.median(errors, axis=0), np.mean((errors < (0.25, 5.0)).all(axis=1))
        print(
            f"| {name} | {cells['part']:.2f} | {cells['leaf']:.2f} | {cells['median_m']:.3f} | "
            f"{100 * median[0]:.1f} / {median[1]:.1f} | {recall:.2f} | {seconds:.0f} |",
            flush=True,
        )


def keyframe_of(scene: Scene, pose: Rigid3, seed: int) -> DenseKeyframe:
    """Return a picture with its depth."""
    image = SensorModel().expose(render(scene, CAMERA, pose, 2), np.random.default_rng(seed))
    depth = RegisteredDepth(render_depth(scene, CAMERA, pose), CAMERA.size_wh)
    return DenseKeyframe(image, CAMERA, pose, np.empty((0, 2)), np.empty(0), depth)


def pose_error(module: DenseModule, keyframe: DenseKeyframe, size_wh: tuple[int, int]) -> tuple[float, float]:
    """Return by how many m and deg the pose of an image is off; infinity where there is none."""
    example = example_of(keyframe, size_wh, None)
    with torch.no_grad():
        image = torch.from_numpy(example.image).permute(2, 0, 1)[None].float()
        points, confidence, _ = ExportedDense(module)(image)
    sure = confidence.numpy() >= (LEAST_CONFIDENCE if module.options.hierarchical else 0.0)
    order = np.flatnonzero(sure)[np.argsort(-confidence.numpy()[sure], kind="stable")]
    nothing = np.full(len(order), -1)
    scale = np.array(CAMERA.size_wh) / size_wh
    matches = Correspondences(
        ((cell_centers(size_wh) + 0.5) * scale - 0.5)[order],
        points.numpy()[order].astype(np.float64),
        nothing,
        nothing,
        confidence.numpy()[order],
    )
    config = Config()
    solver = PoseSolver(config.pose, config.verification, ErrorModel(config.pose.assumed_residual_px))
    answer = solver.solve(matches, [RigCamera(CAMERA)])
    if answer.estimate is None:
        return np.inf, np.inf
    found = answer.estimate.map_from_camera
    return found.translation_to(keyframe.map_from_camera), float(
        np.rad2deg(found.rotation_to(keyframe.map_from_camera))
    )


if __name__ == "__main__":
    main()
