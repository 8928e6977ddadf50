"""Train the dense scene network of a map, and ask it about keyframes that it was not trained on."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError, MappingError
from hfnet_ros.features.extractor import FeatureExtractor
from hfnet_ros.features.scene_dense import INPUTS, OUTPUTS, DenseNetwork
from hfnet_ros.map.scene_network import IMAGE, SceneNetwork
from hfnet_ros.map.visual_map import MapConsistency, VisualMap, with_search
from hfnet_ros.training.scene_dense_data import DenseKeyframe, example_of, network_size, read_keyframes
from hfnet_ros.training.scene_dense_network import DenseModule, DenseOptions, ExportedDense, dense_options
from hfnet_ros.training.scene_dense_training import (
    SCHEDULES,
    DenseSchedule,
    DenseTask,
    default_steps,
    fit_dense,
    needed_bytes,
)
from hfnet_ros.training.scene_depth import DepthSource, RegisteredDepth, find_offset, registered
from hfnet_ros.training.scene_export import traced_onnx
from hfnet_ros.training.scene_labels import SceneLabels
from hfnet_ros.training.scene_map_labels import (
    check_keyframes,
    held_out_rows,
    labels_of_landmarks,
    labels_of_points,
)
from hfnet_ros.training.scene_runs import rounded, weight_arrays
from hfnet_ros.training.scene_testing import with_consistency
from hfnet_ros.types import ImageArray, Progress, ignore_progress

_LEAST_CELLS = 2000
# Confidences from which errors of held-out cells are counted together.
_LEVELS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)
_LEAST_OF_LEVEL = 30
_LEAST_SIGMA_M = 0.005
# Median length of a three-dimensional normal vector over its deviation per axis.
_MEDIAN_3D = 1.5382


@dataclasses.dataclass(frozen=True, eq=False)
class _Prepared:
    """What is read before training."""

    task: DenseTask
    facts: dict[str, Any]


def train_dense(
    visual_map: VisualMap,
    pixels: Callable[[int], ImageArray] | None,
    extractor: FeatureExtractor,
    config: Config,
    progress: Progress = ignore_progress,
    depths: DepthSource | None = None,
    checkpoint: Path | None = None,
    start_from: SceneNetwork | None = None,
    options: DenseOptions | None = None,
    schedule: DenseSchedule | None = None,
) -> SceneNetwork:
    """Train HSCNet on a map, and measure it on keyframes held out.

    Args:
        visual_map: with landmarks.
        pixels: reads the image of a keyframe, by its row.
        extractor: of the map, which finds the places of held-out keyframes.
        config: `scene.*`, and how queries are localized.
        progress: called with stages.
        depths: depth images of keyframes; landmarks and reprojection teach without.
        checkpoint: folder that an interrupted training goes on from; none is kept without.
        start_from: network of the map before it was updated, whose labels and weights are taken over.
        options: other widths, or what to leave out, for comparisons.
        schedule: how long and how fast, else that of `scene.network`.

    Raises:
        ConfigError: there are no images.
        MappingError: keyframes, points or memory do not suffice; the message says which.
        DatasetError: depth images do not fit the map.
        ImageError: an image cannot be read.
    """
    started = time.perf_counter()
    scene = config.scene
    if pixels is None:
        raise ConfigError(
            f"scene.network '{scene.network}' learns from images, and there are none; name their folder"
        )
    check_keyframes(visual_map)
    visual_map = with_search(visual_map, config.retrieval.vocabulary_size, config.pose.seed)
    schedule = schedule or SCHEDULES[scene.network]
    num_trained = visual_map.num_keyframes - len(held_out_rows(visual_map.num_keyframes))
    steps = scene.steps or schedule.steps or default_steps(num_trained, schedule.batch)
    schedule = dataclasses.replace(schedule, steps=steps)
    long_side = (options or dense_options(scene.network, 1)).long_side
    size_wh = network_size(visual_map.cameras[0].refined.size_wh, long_side)
    prepared = _prepare(visual_map, pixels, config, size_wh, depths, start_from, progress)
    task, labels = prepared.task, prepared.task.labels
    options = options or dense_options(scene.network, labels.num_parts, scene.regression)
    torch.manual_seed(scene.seed)
    _check_memory(needed_bytes(DenseModule(labels, options), schedule.batch, size_wh))
    module, curves = fit_dense(
        task,
        options,
        schedule,
        scene.seed,
        progress,
        None if checkpoint is None else checkpoint / f"{scene.network}.pt",
        None if start_from is None else start_from.weights,
    )
    facts = {
        "network": scene.network,
        "extractor_id": visual_map.extractor_id,
        "size_wh": list(size_wh),
        "parts": labels.num_parts,
        "leaves": len(labels.centers),
        "parameters": sum(value.numel() for value in module.parameters()),
        "steps": int(curves[-1]["step"]) if curves else 0,
        "batch": schedule.batch,
        "seed": scene.seed,
        "keyframes": len(task.trained),
        "held_out": len(task.held_out),
        **prepared.facts,
        "curves": rounded(curves),
    }
    made = SceneNetwork(
        IMAGE,
        export_dense(module, size_wh),
        {
            **labels.arrays(),
            # Until they are measured.
            "confidence_levels": np.array([0.0, 1.0], np.float32),
            "confidence_sigmas": np.array([1.0, 1.0], np.float32),
            **weight_arrays(module),
        },
        facts,
        MapConsistency(0.0, 0.0, 0.0, 0),
    )
    made = _measured(visual_map, made, task.held_out, pixels, extractor, config, progress)
    return dataclasses.replace(made, facts={**facts, "duration_s": round(time.perf_counter() - started, 1)})


def export_dense(module: DenseModule, size_wh: tuple[int, int]) -> bytes:
    """Return a network as ONNX for images of one size; see `features.scene_dense`.

    Raises:
        WeightsError: the export is not of the operator set that engines know.
    """
    lay_out: Any = module.to  # its stubs leave out memory formats
    lay_out(memory_format=torch.contiguous_format)
    image = torch.zeros(1, 3, size_wh[1], size_wh[0])
    return traced_onnx(ExportedDense(module.eval()), (image,), INPUTS, OUTPUTS)


def _prepare(
    visual_map: VisualMap,
    pixels: Callable[[int], ImageArray],
    config: Config,
    size_wh: tuple[int, int],
    depths: DepthSource | None,
    start_from: SceneNetwork | None,
    progress: Progress,
) -> _Prepared:
    """Read keyframes with their depth, and divide the scene."""
    rows = np.arange(visual_map.num_keyframes)
    held_out = held_out_rows(visual_map.num_keyframes)
    trained = np.setdiff1d(rows, held_out)
    read_depth, facts = None, {"supervision": "landmarks"}
    if depths is not None:
        read_depth, facts = _registering(visual_map, depths, trained, size_wh)
    keyframes = {
        int(row): keyframe
        for row, keyframe in zip(
            rows,
            read_keyframes(visual_map, rows.tolist(), pixels, size_wh, read_depth, progress),
            strict=True,
        )
    }
    learned = [keyframes[row] for row in trained.tolist()]
    points, of_keyframe = _known_points(learned, trained, size_wh)
    if len(points) < _LEAST_CELLS:
        raise MappingError(
            f"the depth of {len(points)} cells of all images is known, {_LEAST_CELLS} needed to learn from; give depth "
            "images, or map more images"
        )
    if start_from is not None:
        labels = SceneLabels.from_arrays(start_from.arrays)
    elif depths is not None:
        labels = labels_of_points(visual_map, points, of_keyframe, config)
    else:
        labels = labels_of_landmarks(visual_map, config)
    cells = len(learned) * (size_wh[0] // 8) * (size_wh[1] // 8)
    task = DenseTask(learned, [keyframes[row] for row in held_out.tolist()], labels, size_wh, depths is None)
    return _Prepared(task, {**facts, "known_cells": round(len(points) / cells, 3)})


def _registering(
    visual_map: VisualMap, depths: DepthSource, rows: NDArray[np.int64], size_wh: tuple[int, int]
) -> tuple[Callable[[int], RegisteredDepth | None], dict[str, Any]]:
    """Return what reads depth in the colour camera's pixels, and what was found of the depth camera."""
    offset = find_offset(visual_map, depths, rows)

    def read(row: int) -> RegisteredDepth | None:
        depth = depths.read(row)
        if depth is None:
            return None
        camera = visual_map.cameras[visual_map.camera_idx_of(row)].refined
        return registered(depth, depths.camera, camera, offset.depth_from_color, size_wh)

    moved = offset.depth_from_color
    return read, {
        "supervision": "depth",
        "depth_from_color_m": [round(float(value), 4) for value in moved.translation],
        "depth_from_color_deg": [round(float(value), 2) for value in np.rad2deg(moved.rotvec)],
        "depth_agrees": round(offset.share, 3),
        "depth_median_error": round(offset.median_error, 4),
    }


def _known_points(
    keyframes: list[DenseKeyframe], rows: NDArray[np.int64], size_wh: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the points [P, 3] of cells of known depth, and the rows [P] of the keyframes that show them."""
    points, of_keyframe = [], []
    for row, keyframe in zip(rows.tolist(), keyframes, strict=True):
        of_cells = example_of(keyframe, size_wh, None).points
        known = of_cells[np.isfinite(of_cells).all(axis=1)]
        points.append(known)
        of_keyframe.append(np.full(len(known), row))
    return np.concatenate(points), np.concatenate(of_keyframe)


def _measured(
    visual_map: VisualMap,
    scene: SceneNetwork,
    held_out: Sequence[DenseKeyframe],
    pixels: Callable[[int], ImageArray],
    extractor: FeatureExtractor,
    config: Config,
    progress: Progress,
) -> SceneNetwork:
    """Return a network with the sigmas of its points and the errors of its poses, from keyframes held out."""
    rows = held_out_rows(visual_map.num_keyframes).tolist()
    dense = DenseNetwork(scene, config.inference)
    try:
        seen = [dense.predict(pixels(row)) for row in rows]
    finally:
        dense.close()
    confidence, errors = [], []
    for found, keyframe in zip(seen, held_out, strict=True):
        off = np.linalg.norm(found.points3d - example_of(keyframe, dense.size_wh, None).points, axis=1)
        confidence.append(found.confidence[np.isfinite(off)])
        errors.append(off[np.isfinite(off)])
    levels, sigmas = sigmas_of(np.concatenate(confidence), np.concatenate(errors))
    scene = dataclasses.replace(
        scene, arrays={**scene.arrays, "confidence_levels": levels, "confidence_sigmas": sigmas}
    )
    asked = [
        (row, dataclasses.replace(extractor.extract(pixels(row)), coordinates=found))
        for row, found in zip(rows, seen, strict=True)
    ]
    return with_consistency(visual_map, scene, asked, extractor, config, progress)


def sigmas_of(
    confidence: NDArray[np.float32], errors: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return levels of confidence [B] and the standard deviation per axis there [B] m, that never rises.

    Args:
        confidence: [N] of points, 0 to 1.
        errors: [N] m, how far they are off.
    """
    levels, sigmas = [], []
    for low, high in itertools.pairwise(_LEVELS):
        rows = (confidence >= low) & (confidence <= high)
        if np.count_nonzero(rows) >= _LEAST_OF_LEVEL:
            levels.append(float(np.median(confidence[rows])))
            sigmas.append(max(float(np.median(errors[rows])) / _MEDIAN_3D, _LEAST_SIGMA_M))
    if not levels:
        levels = [0.5]
        sigmas = [max(float(np.median(errors)) / _MEDIAN_3D, _LEAST_SIGMA_M) if len(errors) else 1.0]
    return np.array(levels, np.float32), np.minimum.accumulate(sigmas).astype(np.float32)


def _check_memory(needed: int) -> None:
    """Refuse to begin what cannot be finished.

    Raises:
        MappingError: there is less memory than a step needs.
    """
    there: int | None
    if torch.cuda.is_available():
        there, where = torch.cuda.mem_get_info()[0], "on the GPU"
    else:
        there, where = _available_bytes(), "here"
    if there is not None and needed > there:
        raise MappingError(
            f"training needs about {needed / 1e9:.1f} GB of memory, {there / 1e9:.1f} GB are free {where}; take "
            "scene.network 'dense' or 'hybrid', or another machine"
        )


def _available_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found else None
