"""The training loop: resumable with the same numbers as without a stop."""

from __future__ import annotations

import copy
import csv
import json
import logging
import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hfnet_ros.errors import ConfigError, DatasetError
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.training.cache import TeacherCache, open_cache
from hfnet_ros.training.head_start import fit_local_head, start_local_head
from hfnet_ros.training.losses import TaskWeights, multi_task_losses
from hfnet_ros.training.network import Aggregation, HFNet
from hfnet_ros.training.options import ScheduleOptions, TrainingOptions
from hfnet_ros.training.pairs import PairBatch, PairSource
from hfnet_ros.types import Progress

_logger = logging.getLogger(__name__)


_MAX_GRADIENT = 5.0
_CHECKPOINT = "checkpoint.pt"
_CURVES = "curves.csv"
_LOSSES = ("total", "global", "local", "detector", "match", "place")


@dataclass
class _Run:
    """What changes from step to step, and is kept in a checkpoint."""

    network: HFNet
    average: HFNet
    weights: TaskWeights
    optimizer: torch.optim.AdamW
    step: int = 0


def train(
    folder: Path, cache_folder: Path, options: TrainingOptions, progress: Progress, *, workers: int = 1,
    stop_after: int | None = None,
) -> HFNet:  # fmt: skip
    """Train, or go on where an earlier run in `folder` was interrupted.

    Args:
        folder: for `checkpoint.pt`, `curves.csv` and `run.json` (options, command, seeds, versions).
        cache_folder: written by `build_cache`.
        options: of the run; those of an interrupted run must be the same.
        progress: called with the stage's name, steps done, steps in all.
        workers: threads that draw batches.
        stop_after: step at which to stop early, as an interruption would.

    Returns:
        The running average of the network's weights; when done, with the head fitted last.

    Raises:
        ConfigError: the folder holds a run with other options, or the device is missing.
        DatasetError: the cache cannot be read or fits another student.
    """
    cache = open_cache(cache_folder)
    _check_fit(cache, options)
    folder.mkdir(parents=True, exist_ok=True)
    _record_run(folder, cache, options)
    schedule = options.schedule
    device = _device(schedule)
    is_resumed = (folder / _CHECKPOINT).is_file()
    run = _start(_from_random(options) if is_resumed else options, device)
    if is_resumed:
        _restore(run, folder, device)
    constants = _constants(cache, device)
    source = PairSource(cache, schedule)
    last = min(schedule.steps, stop_after or schedule.steps)
    started, first = time.monotonic(), run.step
    seen: dict[str, list[float]] = {name: [] for name in _LOSSES}
    for batch in source.batches(run.step, last, workers):
        if run.step == schedule.head_start > 0:
            _start_head(run, cache, schedule.seed)
        for name, value in _take_step(run, batch, constants, schedule, device).items():
            seen[name].append(value)
        if run.step % schedule.log_every == 0:
            means = {name: float(np.mean(values)) if values else math.nan for name, values in seen.items()}
            seconds = (time.monotonic() - started) / (run.step - first)
            _append_curves(folder / _CURVES, run, means, schedule, seconds)
            seen = {name: [] for name in _LOSSES}
        if run.step % schedule.save_every == 0 or run.step == last:
            _save(run, folder / _CHECKPOINT)
        progress("training", run.step, schedule.steps)
    if schedule.fits_head_last and run.step == schedule.steps:
        shape = options.network
        aggregation = Aggregation(shape.attention_power, shape.cluster_saturation, shape.vocabularies)
        fit_local_head(run.average, cache, schedule.seed, aggregation)
        run.average.eval()
    return run.average


def load_trained(folder: Path, options: TrainingOptions) -> HFNet:
    """Return the running average of a run's network as trained, on the CPU, for evaluation.

    Raises:
        DatasetError: there is no checkpoint.
    """
    run = _start(_from_random(options), torch.device("cpu"))
    _restore(run, folder, torch.device("cpu"))
    return run.average.eval()


def set_threads(count: int) -> None:
    """Use `count` CPU threads; numbers repeat exactly for the same count on the same machine only."""
    torch.set_num_threads(count)


def describe_run(folder: Path) -> str:
    """Return a sentence about a run from its curves."""
    with (folder / _CURVES).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    first = {name: next((row[name] for row in rows if row[name] != "nan"), "nan") for name in _LOSSES[1:]}
    losses = ", ".join(f"{name} {value} -> {rows[-1][name]}" for name, value in first.items())
    return f"{folder}: step {rows[-1]['step']}, losses {losses}"


def learning_rate(schedule: ScheduleOptions, step: int) -> float:
    """Return the rate of a step: linear warm-up, then half a cosine down to a hundredth."""
    if step < schedule.warmup_steps:
        return schedule.learning_rate * (step + 1) / schedule.warmup_steps
    done = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
    return schedule.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done))))


def _start(options: TrainingOptions, device: torch.device) -> _Run:
    torch.manual_seed(options.schedule.seed)
    network = HFNet(options.network).to(device)
    if options.schedule.start_from:
        state = _read_checkpoint(Path(options.schedule.start_from), device)["average"]
        network.load_state_dict(state, strict=False)  # a head that the other run lacks starts at random
    lay_out: Any = network.to  # its stubs leave out memory formats
    lay_out(memory_format=torch.channels_last)
    weights = TaskWeights(options.schedule.consistency).to(device)
    decayed = [value for value in network.parameters() if value.ndim > 1]
    others = [value for value in network.parameters() if value.ndim <= 1] + list(weights.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": options.schedule.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=options.schedule.learning_rate,
    )
    return _Run(network.train(), copy.deepcopy(network).eval().requires_grad_(False), weights, optimizer)


def _from_random(options: TrainingOptions) -> TrainingOptions:
    """Return the options without another run to start from: a checkpoint overwrites the start."""
    return replace(options, schedule=replace(options.schedule, start_from=""))


def _start_head(run: _Run, cache: TeacherCache, seed: int) -> None:
    """Give the head over local descriptors its start, in the network and in its running average."""
    start_local_head(run.network, cache, seed)
    head, mean = run.network.aggregate_local, run.average.aggregate_local
    if head is not None and mean is not None:
        mean.load_state_dict(head.state_dict())


def _take_step(
    run: _Run,
    batch: PairBatch,
    constants: Mapping[str, Tensor],
    schedule: ScheduleOptions,
    device: torch.device,
) -> dict[str, float]:
    tensors = _to_tensors(batch, constants, device)
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(schedule, run.step)
    half = schedule.precision == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        outputs = run.network(tensors["images"])
    losses = multi_task_losses(
        outputs,
        tensors,
        constants["local_projection"],
        constants["bank"],
        consistency=schedule.consistency,
        with_global=run.step >= schedule.head_start,
    )
    total = run.weights(losses)
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), _MAX_GRADIENT)
    run.optimizer.step()
    run.step += 1
    _update_average(run, min(schedule.average_decay, run.step / (run.step + 10.0)))
    return {"total": float(total.detach()), **{name: float(loss.detach()) for name, loss in losses.items()}}


def _update_average(run: _Run, decay: float) -> None:
    with torch.no_grad():
        for mean, value in zip(
            run.average.state_dict().values(), run.network.state_dict().values(), strict=True
        ):
            if mean.is_floating_point():
                mean.lerp_(value, 1.0 - decay)
            else:
                mean.copy_(value)


def _constants(cache: TeacherCache, device: torch.device) -> dict[str, Tensor]:
    """Return what every step needs of the whole cache."""
    groups = np.where(cache.scenes < 0, cache.groups, -1 - cache.scenes)  # a whole scene counts as one place
    return {
        "bank": torch.from_numpy(np.array(cache.targets)).to(device),
        "bank_groups": torch.from_numpy(groups.astype(np.int64)).to(device),
        "local_projection": torch.from_numpy(np.array(cache.local_projection)).to(device),
    }


def _to_tensors(batch: PairBatch, constants: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    names = (
        "images",
        "cells",
        "points_a",
        "points_b",
        "is_point",
        "is_match",
        "descriptors",
        "targets",
        "is_negative",
    )
    tensors = {name: torch.from_numpy(getattr(batch, name)).to(device, non_blocking=True) for name in names}
    tensors["images"] = tensors["images"].contiguous(memory_format=torch.channels_last)
    tensors["bank_groups"] = constants["bank_groups"]
    tensors["bank_group"] = constants["bank_groups"][torch.from_numpy(batch.rows).to(device)]
    return tensors


def _save(run: _Run, path: Path) -> None:
    state = {
        "network": run.network.state_dict(),
        "average": run.average.state_dict(),
        "weights": run.weights.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "step": run.step,
    }
    with atomic_file(path) as temporary:
        torch.save(state, temporary)


def _read_checkpoint(folder: Path, device: torch.device) -> dict[str, Any]:
    path = folder / _CHECKPOINT
    if not path.is_file():
        raise DatasetError(f"{folder}: no {_CHECKPOINT}; train first")
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def _restore(run: _Run, folder: Path, device: torch.device) -> None:
    state = _read_checkpoint(folder, device)
    run.network.load_state_dict(state["network"])
    run.average.load_state_dict(state["average"])
    run.weights.load_state_dict(state["weights"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.step = int(state["step"])
    _logger.info("going on at step %d of %s", run.step, folder)


def _append_curves(
    path: Path, run: _Run, means: Mapping[str, float], schedule: ScheduleOptions, seconds: float
) -> None:
    weights = {name: float(value.detach()) for name, value in run.weights.weights.items()}
    row = {
        "step": run.step,
        "rate": learning_rate(schedule, run.step - 1),
        **means,
        **weights,
        "s_per_step": seconds,
    }
    is_new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(row)
        writer.writerow([f"{value:.6g}" for value in row.values()])


def _record_run(folder: Path, cache: TeacherCache, options: TrainingOptions) -> None:
    """Write what was run; refuse to go on with other options than the run in the folder was started with."""
    path = folder / "run.json"
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["options"] != options.to_dict():
            raise ConfigError(f"{folder}: holds a run with other options; give another folder, or delete it")
        return
    record = {
        "options": options.to_dict(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "cache": cache.about,
    }
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")


def _check_fit(cache: TeacherCache, options: TrainingOptions) -> None:
    network = options.network
    if network.vocabularies < 1 or network.local_clusters % network.vocabularies:
        raise ConfigError(
            f"network.local_clusters is {network.local_clusters}, which cannot be divided into "
            f"network.vocabularies = {network.vocabularies} of one size"
        )
    found = (cache.targets.shape[1], cache.local_projection.shape[0])
    if found != (network.global_size, network.descriptor_size):
        raise DatasetError(
            f"teacher cache was made for global and local descriptors of {found[0]} and {found[1]} dimensions, the "
            f"student has {network.global_size} and {network.descriptor_size}; make a new cache"
        )


def _device(schedule: ScheduleOptions) -> torch.device:
    if schedule.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("schedule.device is 'cuda', but PyTorch finds no GPU; use 'cpu'")
    return torch.device(schedule.device)
