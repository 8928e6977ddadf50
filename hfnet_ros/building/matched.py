"""Which task matches which pairs of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.building.graph import Task

Pair = tuple[int, int]


class Matched:
    """Tasks that match pairs, and which pairs each."""

    def __init__(self) -> None:
        self._tasks: list[tuple[Task, Sequence[Pair]]] = []
        self._task_of: dict[Pair, int] = {}

    def add(self, task: Task, pairs: Sequence[Pair]) -> None:
        """Take note of a task and its pairs."""
        self._task_of.update(dict.fromkeys(pairs, len(self._tasks)))
        self._tasks.append((task, pairs))

    def within(
        self, keyframes: NDArray[np.int64], chosen: Sequence[Pair]
    ) -> tuple[list[Task], list[NDArray[np.int64]]]:
        """Return the tasks of chosen pairs, and where theirs are among the keyframes; -1 of those not chosen."""
        wanted, position = set(chosen), {row: idx for idx, row in enumerate(keyframes.tolist())}
        used, positions = [], []
        for number in sorted({self._task_of[pair] for pair in chosen}):
            task, pairs = self._tasks[number]
            used.append(task)
            places = [
                (position[pair[0]], position[pair[1]]) if pair in wanted else (-1, -1) for pair in pairs
            ]
            positions.append(np.array(places, np.int64))
        return used, positions
