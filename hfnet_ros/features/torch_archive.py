"""Read the tensors of a PyTorch `.pt` state dict without PyTorch and without running its code.

A `.pt` file is a zip archive holding one pickle stream of structure and one raw file per tensor
storage. A pickle stream may name any importable function; the reader below resolves four
names to inert stand-ins of its own and refuses every other name before anything is called.

Reference: PyTorch documentation, "Serialization semantics"; Python documentation,
"Restricting globals" of an unpickler.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import WeightsError

_STORAGE_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "DoubleStorage": np.dtype("<f8"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a state dict by name.

    Raises:
        WeightsError: the file is missing, not a `.pt` archive, damaged, or names anything but
            plain tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            structure = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(structure) != 1:
                raise WeightsError(
                    f"{path}: expected a PyTorch archive with one data.pkl, found {len(structure)}"
                )
            root = structure[0].removesuffix("data.pkl")
            loaded = _StateDictReader(archive, root).load()
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such weights file") from None
    except WeightsError:
        raise
    except Exception as error:  # a damaged stream makes the unpickler fail with nearly any class
        raise WeightsError(f"{path}: not a readable PyTorch state dict: {error}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, np.ndarray) for value in loaded.values()):
        raise WeightsError(f"{path}: expected a dictionary of tensors, found {type(loaded).__name__}")
    return dict(loaded)


class _StateDictReader(pickle.Unpickler):
    """Unpickler that knows tensors, storages and ordered dictionaries, and nothing else."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")))
        self._archive = archive
        self._root = root

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        raise pickle.UnpicklingError(f"the file asks for '{module}.{name}', which weights never need")

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        kind, dtype, key, _location, _numel = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"unknown stored object {kind!r}")
        return np.frombuffer(self._archive.read(f"{self._root}data/{key}"), dtype)


def _rebuild_tensor(
    storage: NDArray[Any], offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> NDArray[Any]:
    """Lay a tensor over its storage; only contiguous tensors occur in state dicts."""
    contiguous = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    count = math.prod(shape)
    outside = offset < 0 or min(shape, default=0) < 0 or offset + count > len(storage)
    if outside or (count > 1 and tuple(stride) != contiguous):
        raise pickle.UnpicklingError(f"tensor of shape {shape} does not fit its storage")
    return storage[offset : offset + count].reshape(shape)
