"""The seam between this package and whatever runs a network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import EngineError

Tensor = NDArray[Any]


@dataclass(frozen=True)
class TensorSpec:
    """Name, static shape and numpy dtype of one network input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """A network as ONNX bytes, the one exchange format of every backend.

    Attributes:
        name: short name for messages and caches, e.g. `xfeat-640x480`.
        onnx: serialised ModelProto with static shapes, opset 17 or 18.
        quantized: returns the same network in int8, for processors that are faster with it, and makes it the first
            time; None where there is none.
    """

    name: str
    onnx: bytes
    quantized: Callable[[], NetworkModel] | None = None

    def __post_init__(self) -> None:
        """Keep the int8 form once it is made: its file is parsed, and a plan asks for it several times."""
        if self.quantized is not None:
            object.__setattr__(self, "quantized", cache(self.quantized))

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the ONNX bytes, hexadecimal."""
        return hashlib.sha256(self.onnx).hexdigest()


class Engine(Protocol):
    """A loaded network: named tensors in, named tensors out.

    An engine belongs to the thread that made it: a CUDA context is per thread, so `run` and
    `close` are called there and nowhere else.
    """

    @property
    def backend(self) -> str:
        """Name of the backend, its device and, if not float, its numbers: `onnxruntime-cpu`, `onnxruntime-cpu-int8`."""
        ...

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Input tensors by name."""
        ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Output tensors by name."""
        ...

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run the network once.

        Args:
            inputs: one array per input, of the announced shape and dtype.

        Returns:
            One array per output. The arrays are buffers of the engine, overwritten by the
            next `run` and gone after `close`: copy what must live longer.

        Raises:
            EngineError: a tensor is missing or of another shape, or the backend failed; of an output that is not
                ready yet, where it is asked for.
        """
        ...

    def close(self) -> None:
        """Free the network and its buffers; calling it again does nothing."""
        ...


def checked_input(inputs: Mapping[str, Tensor], spec: TensorSpec, network: str) -> Tensor:
    """Return one input as a contiguous array, if it is what the network announced.

    Raises:
        EngineError: it is missing, or of another shape or type.
    """
    if spec.name not in inputs:
        raise EngineError(f"network '{network}': input '{spec.name}' is missing, got {sorted(inputs)}")
    array = np.ascontiguousarray(inputs[spec.name])
    if array.shape != spec.shape or array.dtype != spec.dtype:
        raise EngineError(
            f"network '{network}': input '{spec.name}' is {array.dtype}{list(array.shape)}, "
            f"expected {spec.dtype}{list(spec.shape)}"
        )
    return array
