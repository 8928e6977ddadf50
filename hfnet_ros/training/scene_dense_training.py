"""Train HSCNet on the keyframes of a map: so many steps, fewer where keyframes that it never saw gain no more.

Reference: Li et al., "Hierarchical Scene Coordinate Classification and Regression for Visual Localization", CVPR 2020,
    section 4.1 (optimizer).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfnet_ros.training.scene_dense_data import DenseExample, DenseKeyframe, example_of
from hfnet_ros.training.scene_dense_losses import DenseBatch, dense_loss
from hfnet_ros.training.scene_dense_network import DenseModule, DenseOptions, DenseOutputs
from hfnet_ros.training.scene_labels import SceneLabels
from hfnet_ros.training.scene_runs import Run, fit, gains_no_more, take_weights
from hfnet_ros.types import Progress

_WARM_UP, _LAST_RATE, _MAX_GRADIENT = 0.03, 0.01, 1.0
# 1600 steps are 11 minutes of one thread at 3.4 million parameters, 8000 less than an hour.
_EPOCHS, _LEAST_STEPS, _MOST_STEPS = 32, 1600, 8000
_CHECKS = 24  # of keyframes that are not trained on, evenly over the steps
_PATIENCE = 8  # checks without gain after which training ends
_BYTES_PER_VALUE = 4


@dataclass(frozen=True)
class DenseSchedule:
    """How long and how fast.

    Attributes:
        steps: of the optimizer; 0 is as many as the keyframes are worth.
        batch: images a step.
        rate: highest learning rate.
        warms_up: it rises first and falls along half a cosine, and gradients are clipped; else it is halved in the last
            two thirds, at their beginning and three times more, as published.
        weight_decay: of AdamW; 0 is Adam.
        half: multiply in bfloat16 where the processor does.
    """

    steps: int
    batch: int
    rate: float
    warms_up: bool
    weight_decay: float
    half: bool


SCHEDULES = {
    "dense": DenseSchedule(0, 2, 1e-3, True, 1e-4, True),
    "dense-full": DenseSchedule(300_000, 1, 1e-4, False, 0.0, False),
}


def default_steps(num_keyframes: int, batch: int) -> int:
    """Return how many steps so many keyframes are worth to the reduced network."""
    return int(np.clip(_EPOCHS * num_keyframes // batch, _LEAST_STEPS, _MOST_STEPS))


@dataclass(frozen=True, eq=False)
class DenseTask:
    """What is to be learned.

    Attributes:
        trained: keyframes to learn from.
        held_out: keyframes that say when to end.
        labels: of the scene.
        size_wh: at which the network sees images, px.
        reprojects: cells of unknown depth are taught by reprojection.
    """

    trained: Sequence[DenseKeyframe]
    held_out: Sequence[DenseKeyframe]
    labels: SceneLabels
    size_wh: tuple[int, int]
    reprojects: bool


def fit_dense(
    task: DenseTask,
    options: DenseOptions,
    schedule: DenseSchedule,
    seed: int,
    progress: Progress,
    checkpoint: Path | None = None,
    start: dict[str, NDArray[Any]] | None = None,
    stop_after: int | None = None,
) -> tuple[DenseModule, list[dict[str, float]]]:
    """Train, or go on from a checkpoint with the same numbers as without a stop.

    Args:
        task: what is to be learned.
        options: the network.
        schedule: how long and how fast.
        seed: of everything random.
        progress: called with stage "train".
        checkpoint: file that an interrupted run goes on from; none is kept without.
        start: weights by name to start from; those of another shape start at random.
        stop_after: step at which to stop early, as an interruption would.

    Returns:
        The network that was best on held-out keyframes, and what was measured on the way.

    Raises:
        ConfigError: the checkpoint is of another network.
    """
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = _start(task, options, schedule, device, start)
    losses: list[float] = []

    def take_step() -> None:
        losses.append(_take_step(run, task, schedule, seed))

    def measure() -> dict[str, float]:
        loss = float(np.mean(losses))
        losses.clear()
        return {"loss": loss, **measure_dense(run.module, task.held_out, task)}

    # At first it learns labels that no held-out cell has right yet.
    fit(
        run,
        schedule.steps,
        math.ceil(schedule.steps / _CHECKS),
        take_step,
        measure,
        lambda curves: gains_no_more(curves, _PATIENCE, _CHECKS // 2),
        progress,
        checkpoint,
        stop_after,
    )
    return run.module.cpu(), run.curves


def needed_bytes(module: DenseModule, batch: int, size_wh: tuple[int, int]) -> int:
    """Return about how much memory a step takes: weights, gradients, both moments, and what layers keep."""
    weights = sum(value.numel() for value in module.parameters())
    options, cells = module.options, size_wh[0] * size_wh[1] // 64
    strides = (64, 16, 4, 4, 1, 1, 1, 1)
    trunk = sum(width * stride for width, stride in zip(options.trunk, strides, strict=True))
    # Each layer keeps its output before and after its ELU; those that regress gamma, beta and products besides.
    kept = cells * (2 * trunk + 24 * options.classifier + 12 * options.regressor)
    return _BYTES_PER_VALUE * (4 * weights + 2 * batch * kept)


def _start(
    task: DenseTask,
    options: DenseOptions,
    schedule: DenseSchedule,
    device: torch.device,
    start: dict[str, NDArray[Any]] | None,
) -> Run[DenseModule]:
    module = DenseModule(task.labels, options)
    if start is not None:
        take_weights(module, start)
    lay_out: Any = module.to(device).to  # its stubs leave out memory formats
    lay_out(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(module.parameters(), lr=schedule.rate, weight_decay=schedule.weight_decay)
    return Run.of(module.train(), optimizer)


def _take_step(run: Run[DenseModule], task: DenseTask, schedule: DenseSchedule, seed: int) -> float:
    # Drawn by the number of the step, so that a run that was interrupted draws the same.
    rng = np.random.default_rng([seed, run.step])
    chosen = rng.integers(len(task.trained), size=schedule.batch)
    examples = [example_of(task.trained[row], task.size_wh, rng) for row in chosen]
    share = run.step / schedule.steps
    for group in run.optimizer.param_groups:
        group["lr"] = schedule.rate * (_cosine(share) if schedule.warms_up else _halved(share))
    run.module.train()
    found, batch = _seen(run.module, examples, task, schedule.half, True)
    loss = dense_loss(found, batch, run.module, task.reprojects, share)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if schedule.warms_up:
        torch.nn.utils.clip_grad_norm_(run.module.parameters(), _MAX_GRADIENT)
    run.optimizer.step()
    return float(loss.detach())


def _seen(
    module: DenseModule, examples: Sequence[DenseExample], task: DenseTask, half: bool, teaches: bool
) -> tuple[DenseOutputs, DenseBatch]:
    """Run the network on examples; in training true labels condition it."""
    device = module.centers.device
    images = torch.from_numpy(np.stack([example.image for example in examples])).to(device)
    labels = task.labels
    parents = torch.from_numpy(labels.parents.astype(np.int64)).to(device)
    first = torch.from_numpy(labels.first_leaves).to(device)
    height, width = task.size_wh[1] // 8, task.size_wh[0] // 8
    points = np.stack([example.points for example in examples])
    known = np.isfinite(points).all(axis=2)
    leaves = np.full(known.shape, -1)
    leaves[known] = labels.of(points[known])

    def of_cells(values: NDArray[Any], kind: Any = torch.float32) -> Tensor:
        shaped = torch.from_numpy(values).reshape(len(examples), height, width, -1)
        return shaped.permute(0, 3, 1, 2).to(device, kind)

    def of_images(values: list[Any]) -> Tensor:
        return torch.from_numpy(np.array(values)).to(device, torch.float32)

    batch = DenseBatch(
        module.slots_of(of_cells(leaves, torch.int64)[:, 0], parents, first),
        of_cells(np.nan_to_num(points)),
        of_cells(np.stack([example.rays for example in examples])),
        of_images([example.map_from_camera.rotation for example in examples]),
        of_images([example.map_from_camera.translation for example in examples]),
        of_images([example.focal_px for example in examples]),
        of_images([example.median_m for example in examples]),
    )
    shown = images.permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=half and has_bfloat16(device)):
        found = module(shown, batch.slots if teaches else None)
    return found, batch


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether products of bfloat16 are faster there than of float32."""
    return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())


@torch.no_grad()
def measure_dense(
    module: DenseModule, keyframes: Sequence[DenseKeyframe], task: DenseTask
) -> dict[str, float]:
    """Return how well cells of keyframes are placed: labels, the median error, the share within a leaf's radius."""
    module.eval()
    answers = [
        _seen(module, [example_of(keyframe, task.size_wh, None)], task, False, False)
        for keyframe in keyframes
    ]
    slots, true, error = [], [], []
    for found, batch in answers:
        known = batch.slots >= 0
        slots.append(found.slots[known])
        true.append(batch.slots[known])
        error.append((found.points - batch.points).norm(dim=1)[known])
    if sum(len(values) for values in true) == 0:
        return {"part": 0.0, "leaf": 0.0, "median_m": 0.0, "near": 0.0}
    told, right, off = torch.cat(slots), torch.cat(true), torch.cat(error)
    same_part = torch.div(told, module.leaves, rounding_mode="floor") == torch.div(
        right, module.leaves, rounding_mode="floor"
    )
    radius = 2.0 * float(np.median(task.labels.scales))
    return {
        "part": float(same_part.float().mean()),
        "leaf": float((told == right).float().mean()),
        "median_m": float(off.median()),
        "near": float((off < radius).float().mean()),
    }


def _cosine(share: float) -> float:
    if share < _WARM_UP:
        return (share + 1e-3) / (_WARM_UP + 1e-3)
    fallen = (share - _WARM_UP) / (1.0 - _WARM_UP)
    return _LAST_RATE + (1.0 - _LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * fallen))


def _halved(share: float) -> float:
    return 0.5 ** (math.floor((share - 1.0 / 3.0) * 6.0) + 1 if share >= 1.0 / 3.0 else 0)
