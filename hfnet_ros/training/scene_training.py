"""Train the scene-coordinate network of a map, and ask it about keyframes that it was not trained on."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import MappingError
from hfnet_ros.features.extractor import FeatureExtractor
from hfnet_ros.features.turning import extract_turned
from hfnet_ros.map.scene_network import FEATURES, SceneNetwork
from hfnet_ros.map.visual_map import MapConsistency, VisualMap, with_search
from hfnet_ros.mapping.upright import turns_upright
from hfnet_ros.training.scene_dense import train_dense
from hfnet_ros.training.scene_depth import DepthSource
from hfnet_ros.training.scene_export import export_hybrid
from hfnet_ros.training.scene_hybrid_network import HybridModule, HybridOptions
from hfnet_ros.training.scene_hybrid_training import (
    HybridTask,
    covisible_keyframes,
    train_hybrid,
    with_identity,
)
from hfnet_ros.training.scene_labels import SceneLabels
from hfnet_ros.training.scene_map_labels import (
    check_keyframes,
    held_out_rows,
    labels_of_landmarks,
    points_of_leaves,
)
from hfnet_ros.training.scene_runs import rounded, weight_arrays
from hfnet_ros.training.scene_samples import (
    ReadPixels,
    Samples,
    default_steps,
    observed_features,
    samples_of_images,
    samples_of_observations,
)
from hfnet_ros.training.scene_testing import with_consistency
from hfnet_ros.types import ImageFeatures, Progress, ignore_progress

_LEAST_SHOWN = 2000
# More samples are not kept in memory; keyframes then have fewer altered views.
_MOST_VIEWS = 2000


def train_scene(
    visual_map: VisualMap,
    pixels: ReadPixels | None,
    extractor: FeatureExtractor,
    config: Config,
    progress: Progress = ignore_progress,
    checkpoint: Path | None = None,
    start_from: SceneNetwork | None = None,
    options: HybridOptions | None = None,
    depths: DepthSource | None = None,
) -> SceneNetwork:
    """Train the network that `scene.network` names on a map, and measure it on keyframes held out.

    Args:
        visual_map: with landmarks.
        pixels: reads the image of a keyframe, by its row; None takes what the map keeps of its observations.
        extractor: of the map.
        config: `scene.*`, and how queries are localized.
        progress: called with stages.
        checkpoint: folder that an interrupted training goes on from; none is kept without.
        start_from: network of the map before it was updated, whose labels and weights are taken over.
        options: what to leave out of the hybrid network, for comparisons.
        depths: depth images of keyframes, for a dense network.

    Raises:
        ConfigError: a dense network has no images to learn from.
        MappingError: keyframes, landmarks, observations or memory do not suffice; the message says which.
        ImageError: an image cannot be read.
    """
    if config.scene.network != "hybrid":
        return train_dense(visual_map, pixels, extractor, config, progress, depths, checkpoint, start_from)
    started = time.perf_counter()
    visual_map = with_search(visual_map, config.retrieval.vocabulary_size, config.pose.seed)
    check_keyframes(visual_map)
    scene, options = config.scene, options or HybridOptions(regression=config.scene.regression)
    labels = (
        labels_of_landmarks(visual_map, config)
        if start_from is None
        else SceneLabels.from_arrays(start_from.arrays)
    )
    rows = np.arange(visual_map.num_keyframes)
    held_out = held_out_rows(visual_map.num_keyframes)
    trained = np.setdiff1d(rows, held_out)
    turns = _turns(visual_map, extractor, config)
    samples = _samples(visual_map, trained, pixels, extractor, config, turns, scene.views, progress)
    num_shown = int((samples.landmarks >= 0).sum())
    if num_shown < _LEAST_SHOWN:
        raise MappingError(
            f"{num_shown} keypoints show a landmark, {_LEAST_SHOWN} needed to learn from: are these the images that "
            "the map was built of?"
        )
    asked = _samples(visual_map, held_out, pixels, extractor, config, turns, 0, ignore_progress)
    neighbors = covisible_keyframes(visual_map, trained)
    task = HybridTask(
        samples,
        with_identity(asked, _most_alike(visual_map, held_out, trained)),
        labels,
        visual_map.landmark_xyz.astype(np.float32),
        neighbors,
        visual_map.landmark_descriptors.shape[1],
    )
    steps = scene.steps or default_steps(num_shown)
    file = None if checkpoint is None else checkpoint / "hybrid.pt"
    start = None if start_from is None else start_from.weights
    module, curves = train_hybrid(task, options, steps, scene.seed, progress, file, start)
    identities = _identities(module, trained, neighbors, _most_alike(visual_map, rows, trained))
    facts: dict[str, Any] = {
        "network": "hybrid",
        "extractor_id": visual_map.extractor_id,
        "parts": labels.num_parts,
        "leaves": len(labels.centers),
        "steps": int(curves[-1]["step"]) if curves else 0,
        "seed": scene.seed,
        "samples": num_shown,
        "keyframes": len(trained),
        "held_out": len(held_out),
        "curves": rounded(curves),
    }
    made = SceneNetwork(
        FEATURES,
        export_hybrid(module, task.descriptor_size),
        {
            **labels.arrays(),
            "identities": identities,
            **points_of_leaves(visual_map, labels).arrays(),
            **weight_arrays(module),
        },
        facts,
        MapConsistency(0.0, 0.0, 0.0, 0),
    )
    held = [
        (row, _held_out_features(visual_map, row, pixels, extractor, float(turns[row])))
        for row in held_out.tolist()
    ]
    made = with_consistency(visual_map, made, held, extractor, config, progress)
    return dataclasses.replace(made, facts={**facts, "duration_s": round(time.perf_counter() - started, 1)})


def _turns(visual_map: VisualMap, extractor: FeatureExtractor, config: Config) -> NDArray[np.float64]:
    """Return by how much each keyframe is turned to be described, as when the map was built."""
    poses = [visual_map.given_map_from_camera(row) for row in range(visual_map.num_keyframes)]
    turns = turns_upright(poses, extractor, config.mapping)
    return np.zeros(len(poses)) if turns is None else np.array(turns)


def _samples(
    visual_map: VisualMap,
    rows: NDArray[np.int64],
    pixels: ReadPixels | None,
    extractor: FeatureExtractor,
    config: Config,
    turns_rad: NDArray[np.float64],
    num_views: int,
    progress: Progress,
) -> Samples:
    if pixels is None:
        return samples_of_observations(visual_map, rows.tolist())
    num_views = min(num_views, max(_MOST_VIEWS // len(rows) - 1, 1)) if num_views else 0
    return samples_of_images(
        visual_map,
        rows.tolist(),
        pixels,
        extractor,
        num_views,
        turns_rad,
        config.scene.seed,
        config.mapping.max_keypoints,
        progress,
    )


def _most_alike(
    visual_map: VisualMap, rows: NDArray[np.int64], trained: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return for each keyframe [F] of some rows the trained one that looks most like it; itself for others."""
    found = np.arange(visual_map.num_keyframes)
    of_trained = visual_map.global_descriptors[trained]
    for row in rows.tolist():
        similarity = of_trained @ visual_map.global_descriptors[row]
        similarity[trained == row] = -2.0
        found[row] = trained[int(similarity.argmax())]
    return found


def _identities(
    module: HybridModule,
    trained: NDArray[np.int64],
    neighbors: list[NDArray[np.int64]],
    alike: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return what is known of each keyframe [F, I]; one that was not trained on has that of its neighbour."""
    identities = module.identities().detach().numpy().astype(np.float32)
    for row in np.setdiff1d(np.arange(len(identities)), trained).tolist():
        identities[row] = identities[neighbors[row][0] if len(neighbors[row]) else alike[row]]
    return identities


def _held_out_features(
    visual_map: VisualMap, row: int, pixels: ReadPixels | None, extractor: FeatureExtractor, turn_rad: float
) -> ImageFeatures:
    """Return a keyframe as a query has it, with the global descriptor of the map."""
    if pixels is not None:
        return extract_turned(extractor, pixels(row), turn_rad)
    observed = observed_features(visual_map, row)
    if not visual_map.has_head:
        return observed
    head = visual_map.global_descriptors[row][: visual_map.head_size]
    return dataclasses.replace(observed, global_descriptor=head / np.linalg.norm(head))
