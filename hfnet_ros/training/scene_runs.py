"""What trainings of scene networks have in common: they go on after a stop, and end where nothing more is gained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hfnet_ros.errors import ConfigError
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.map.scene_network import WEIGHTS_PREFIX
from hfnet_ros.types import Progress

# Share of points within reach of their leaf that later checks must add.
_LEAST_GAIN = 0.005

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Curves = list[dict[str, float]]


@dataclass
class Run(Generic[ModuleT]):
    """What changes from step to step, and is kept in a checkpoint."""

    module: ModuleT
    optimizer: torch.optim.Optimizer
    best: dict[str, Tensor]
    step: int = 0
    curves: Curves = field(default_factory=list)

    @classmethod
    def of(cls, module: ModuleT, optimizer: torch.optim.Optimizer) -> Run[ModuleT]:
        """Begin one."""
        return cls(module, optimizer, copy.deepcopy(module.state_dict()))


def fit(
    run: Run[ModuleT],
    steps: int,
    check_every: int,
    take_step: Callable[[], None],
    measure: Callable[[], Mapping[str, float]],
    has_settled: Callable[[Curves], bool],
    progress: Progress,
    checkpoint: Path | None,
    stop_after: int | None = None,
) -> None:
    """Train, or go on from a checkpoint, until all steps are done or nothing is gained; the best weights are kept.

    Args:
        run: begun.
        steps: of the optimizer, at the most.
        check_every: steps between two looks at keyframes that are not trained on.
        take_step: does one.
        measure: looks at these; `near` says how good the network is.
        has_settled: tells by what was measured that training ends.
        progress: called with stage "train".
        checkpoint: file that an interrupted run goes on from; none is kept without.
        stop_after: step at which to stop early, as an interruption would.

    Raises:
        ConfigError: the checkpoint is of another network.
    """
    if checkpoint is not None and checkpoint.is_file():
        _restore(run, checkpoint)
    last = min(steps, stop_after or steps)
    while run.step < last and not has_settled(run.curves):
        progress("train", run.step, steps)
        take_step()
        run.step += 1
        if run.step % check_every == 0 or run.step == last:
            run.curves.append({"step": run.step, **measure()})
            if run.curves[-1]["near"] >= max(entry["near"] for entry in run.curves):
                run.best = copy.deepcopy(run.module.state_dict())
            if checkpoint is not None:
                _save(run, checkpoint)
    progress("train", steps, steps)
    run.module.load_state_dict(run.best)
    run.module.eval()


def gains_no_more(curves: Curves, patience: int, least_checks: int) -> bool:
    """Tell whether the last `patience` checks were no better than those before; never within the first ones."""
    if len(curves) <= max(patience, least_checks):
        return False
    before = max(entry["near"] for entry in curves[:-patience])
    return max(entry["near"] for entry in curves[-patience:]) < before + _LEAST_GAIN


def take_weights(module: nn.Module, start: Mapping[str, NDArray[Any]]) -> None:
    """Put weights by name into a module; those of another shape are left as they are."""
    own = module.state_dict()
    for name, values in start.items():
        if name in own and tuple(own[name].shape) == values.shape:
            own[name].copy_(torch.from_numpy(np.array(values)))


def weight_arrays(module: nn.Module) -> dict[str, NDArray[Any]]:
    """Return the weights of a module as `SceneNetwork.arrays` holds them."""
    return {f"{WEIGHTS_PREFIX}{name}": value.detach().numpy() for name, value in module.named_parameters()}


def rounded(curves: Curves) -> Curves:
    """Return what was measured as `SceneNetwork.facts` holds it."""
    return [{name: round(value, 4) for name, value in entry.items()} for entry in curves]


def _save(run: Run[ModuleT], path: Path) -> None:
    content: dict[str, Any] = {
        "module": run.module.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "best": run.best,
        "step": run.step,
        "curves": run.curves,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        torch.save(content, temporary)


def _restore(run: Run[ModuleT], path: Path) -> None:
    device = next(run.module.parameters()).device
    content = torch.load(path, map_location=device, weights_only=True)
    try:
        run.module.load_state_dict(content["module"])
        run.optimizer.load_state_dict(content["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{path}: of another network: {error}; delete it, or train as it was begun"
        ) from error
    run.best, run.step, run.curves = content["best"], content["step"], content["curves"]
