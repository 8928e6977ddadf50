"""Engines of one network, one for each image size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.engine import Engine

Array = NDArray[Any]

_MAX_ENGINES = 4  # image sizes kept loaded; a robot has one, a photo collection many


class EnginesBySize:
    """Keeps an engine from when its size is first asked for; the least recently used of too many is closed.

    Belongs to the thread that made it, as engines do.
    """

    def __init__(self) -> None:
        """Start without an engine."""
        self._engines: OrderedDict[tuple[int, ...], Engine] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are loaded."""
        return len(self._engines)

    def __contains__(self, size: tuple[int, ...]) -> bool:
        """Return whether that of a size is loaded."""
        return size in self._engines

    def backend(self, unless: str) -> str:
        """Return what runs them; before the first one, `unless`."""
        return next((engine.backend for engine in self._engines.values()), unless)

    def get(self, size: tuple[int, ...], load: Callable[[tuple[int, ...]], Engine]) -> Engine:
        """Return the engine of a size, which `load` makes the first time.

        Raises:
            WeightsError: the network fits other sizes only.
            EngineError: the backend refuses the network.
        """
        if size not in self._engines:
            if len(self._engines) >= _MAX_ENGINES:
                self._engines.popitem(last=False)[1].close()
            self._engines[size] = load(size)
        self._engines.move_to_end(size)
        return self._engines[size]

    def close(self) -> None:
        """Close all; calling it again does nothing."""
        while self._engines:
            self._engines.popitem()[1].close()


def checked_outputs(
    found: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], network: str
) -> Mapping[str, Array]:
    """Return what a network gave, if it has these shapes: one that comes with a map may be anybody's.

    Raises:
        EngineError: an output has another shape.
    """
    for name, shape in shapes.items():
        if name not in found or found[name].shape != shape:
            given = "nothing" if name not in found else str(list(found[name].shape))
            raise EngineError(f"network '{network}': output '{name}' is {given}, expected {list(shape)}")
    return found
