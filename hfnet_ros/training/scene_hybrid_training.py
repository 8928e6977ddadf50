"""Train a hybrid scene network: so many steps, fewer where keyframes that it never saw gain no more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.training.scene_hybrid_network import HybridModule, HybridOptions, HybridOutputs
from hfnet_ros.training.scene_labels import SceneLabels
from hfnet_ros.training.scene_runs import Run, fit, gains_no_more, take_weights
from hfnet_ros.training.scene_samples import BATCH, Samples
from hfnet_ros.types import Progress

_NEGATIVES = 1024
_RATE, _WEIGHT_DECAY, _WARM_UP, _LAST_RATE = 2e-3, 1e-4, 0.04, 0.002
_MAX_GRADIENT = 1.0
_DESCRIPTOR_NOISE = 0.05
# With this probability a sample is given the identity of another keyframe that sees so much of the same.
_SWAPPED, _MIN_SHARED = 0.5, 30
_CHECKS = 20  # of keyframes that are not trained on, evenly over the steps
_PATIENCE = 6  # checks without gain after which training ends


@dataclass(frozen=True, eq=False)
class HybridTask:
    """What is to be learned.

    Attributes:
        samples: of the keyframes that are trained on.
        held_out: of those that are not, the images as they are, each with the identity of a keyframe like it.
        labels: of the scene.
        points: [L, 3] float32 m, landmarks.
        neighbors: for each keyframe [F] the trained ones that it may be mistaken for.
        descriptor_size: D.
    """

    samples: Samples
    held_out: Samples
    labels: SceneLabels
    points: NDArray[np.float32]
    neighbors: list[NDArray[np.int64]]
    descriptor_size: int


def train_hybrid(
    task: HybridTask,
    options: HybridOptions,
    steps: int,
    seed: int,
    progress: Progress,
    checkpoint: Path | None = None,
    start: Mapping[str, NDArray[Any]] | None = None,
) -> tuple[HybridModule, list[dict[str, float]]]:
    """Train, or go on from a checkpoint with the same numbers as without a stop.

    Args:
        task: what is to be learned.
        options: the network.
        steps: of the optimizer, at the most.
        seed: of everything random.
        progress: called with stage "train".
        checkpoint: file that an interrupted run goes on from; none is kept without.
        start: weights by name to start from; those of another shape start at random.

    Returns:
        The network that was best on held-out keyframes, and what was measured on the way.
    """
    torch.manual_seed(seed)
    run, tensors = _start(task, options, start), _Tensors.of(task)
    fit(
        run,
        steps,
        max(steps // _CHECKS, 1),
        lambda: _take_step(run, task, tensors, steps, seed),
        lambda: _measure(run.module, task),
        lambda curves: gains_no_more(curves, _PATIENCE, _PATIENCE),
        progress,
        checkpoint,
    )
    return run.module, run.curves


@dataclass(frozen=True, eq=False)
class _Tensors:
    shows: NDArray[np.int64]
    none: NDArray[np.int64]
    points: Tensor
    leaves: Tensor
    parents: Tensor
    first: Tensor

    @classmethod
    def of(cls, task: HybridTask) -> _Tensors:
        landmarks = task.samples.landmarks
        return cls(
            np.flatnonzero(landmarks >= 0),
            np.flatnonzero(landmarks < 0),
            torch.from_numpy(task.points),
            torch.from_numpy(task.labels.of(task.points)),
            torch.from_numpy(task.labels.parents.astype(np.int64)),
            torch.from_numpy(task.labels.first_leaves),
        )


def _start(
    task: HybridTask, options: HybridOptions, start: Mapping[str, NDArray[Any]] | None
) -> Run[HybridModule]:
    module = HybridModule(task.descriptor_size, len(task.neighbors), task.labels, options)
    if start is not None:
        take_weights(module, start)
        codes, learned = module.codes.weight.data, start.get("codes.weight")
        # Of the keyframes that were there before; others are new.
        if learned is not None and codes.shape[1:] == learned.shape[1:]:
            count = min(len(learned), len(codes))
            codes[:count].copy_(torch.from_numpy(np.array(learned[:count])))
    return Run.of(module, torch.optim.AdamW(module.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY))


def _take_step(run: Run[HybridModule], task: HybridTask, tensors: _Tensors, steps: int, seed: int) -> None:
    # Drawn by the number of the step, so that a run that was interrupted draws the same.
    rng = np.random.default_rng([seed, run.step])
    rows = tensors.shows[rng.integers(len(tensors.shows), size=BATCH)]
    if len(tensors.none):
        rows = np.concatenate([rows, tensors.none[rng.integers(len(tensors.none), size=_NEGATIVES)]])
    batch = task.samples.chosen(rows)
    descriptors = batch.descriptors.astype(np.float32)
    descriptors += rng.normal(0.0, _DESCRIPTOR_NOISE, descriptors.shape).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    keyframes = _mistaken(batch.keyframes, task.neighbors, rng)
    landmark = torch.from_numpy(batch.landmarks[:BATCH])
    slot = run.module.slots_of(tensors.leaves[landmark], tensors.parents, tensors.first)
    module, rate = run.module, _rate(run.step, steps)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    module.train()
    found = module(
        torch.from_numpy(descriptors),
        torch.from_numpy(batch.positions),
        functional.embedding(torch.from_numpy(keyframes), module.identities()),
        (module.part_table(), module.leaf_table()),
        slot,
    )
    loss = _loss(found, slot, tensors.points[landmark], module)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(module.parameters(), _MAX_GRADIENT)
    run.optimizer.step()


def _loss(found: HybridOutputs, slot: Tensor, points: Tensor, module: HybridModule) -> Tensor:
    count = len(slot)
    error = (found.points - points).norm(dim=1)
    sigma = found.sigmas
    loss = 0.3 * (error.detach() / sigma + 3.0 * sigma.log()).mean()
    if module.options.regression or not module.options.hierarchical:
        loss = loss + error.mean()
    if module.options.hierarchical:
        part = torch.div(slot, module.leaves, rounding_mode="floor")
        loss = loss + functional.cross_entropy(found.part_logits[:count], part)
        loss = loss + functional.cross_entropy(found.leaf_logits, slot - part * module.leaves)
    valid = functional.softplus(-found.validity[:count]).mean()
    if len(found.validity) > count:
        valid = valid + 0.5 * functional.softplus(found.validity[count:]).mean()
    return loss + 0.2 * valid


def _mistaken(
    keyframes: NDArray[np.int64], neighbors: list[NDArray[np.int64]], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the keyframes, some exchanged for others that see much of the same."""
    drawn = rng.random((2, len(keyframes)))
    return np.array(
        [
            around[int(choice * len(around))] if swap < _SWAPPED and len(around) else keyframe
            for keyframe, swap, choice in zip(keyframes, *drawn, strict=True)
            for around in (neighbors[keyframe],)
        ],
        np.int64,
    )


def covisible_keyframes(visual_map: VisualMap, trained: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return for each keyframe the trained ones that see much of the same, those that share most first."""
    search = visual_map.search
    assert search is not None
    found = []
    for row in range(visual_map.num_keyframes):
        start, stop = search.covisible_offsets[row : row + 2]
        others = search.covisible_keyframe_idx[start:stop].astype(np.int64)
        shared = search.covisible_counts[start:stop]
        order = np.argsort(-shared, kind="stable")
        others, shared = others[order], shared[order]
        found.append(others[(shared >= _MIN_SHARED) & np.isin(others, trained) & (others != row)])
    return found


def _rate(step: int, steps: int) -> float:
    warm = max(int(_WARM_UP * steps), 1)
    if step < warm:
        return _RATE * (step + 1) / warm
    share = (step - warm) / max(steps - warm, 1)
    return _RATE * (_LAST_RATE + (1.0 - _LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * share)))


@torch.no_grad()
def _measure(module: HybridModule, task: HybridTask) -> dict[str, float]:
    """Return how well keypoints of held-out keyframes are placed: medians, and the share within the guide's radius."""
    held_out, module = task.held_out, module.eval()
    shows = held_out.chosen(held_out.landmarks >= 0)
    if len(shows) == 0:
        return {"part": 0.0, "leaf": 0.0, "median_m": 0.0, "near": 0.0}
    found = module(
        torch.from_numpy(shows.descriptors.astype(np.float32)),
        torch.from_numpy(shows.positions),
        module.identities()[torch.from_numpy(shows.keyframes)],
        (module.part_table(), module.leaf_table()),
    )
    points = task.points[shows.landmarks]
    error = np.linalg.norm(found.points.numpy() - points, axis=1)
    leaf = module.leaf_idxs[found.leaf].numpy()
    true, parents = task.labels.of(points), task.labels.parents
    return {
        "part": float(np.mean(parents[leaf] == parents[true])),
        "leaf": float(np.mean(leaf == true)),
        "median_m": float(np.median(error)),
        "near": float(np.mean(error < 2.0 * float(np.median(task.labels.scales)))),
    }


def with_identity(samples: Samples, keyframes: NDArray[np.int64]) -> Samples:
    """Return samples as seen from other keyframes [F], by the row of their own."""
    return replace(samples, keyframes=keyframes[samples.keyframes])
