"""Compiled kernels, kept for the next start.

Machine code is executable code, so that what holds for TensorRT's plans holds here; see `CodeFolder`.
Unlike a plan it is made in seconds: whatever is wrong with the folder, kernels are compiled, and a line
of the log says why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.code_folder import CodeFolder, short_digest

_logger = logging.getLogger(__name__)

_KIND = "cubin"


@dataclass(frozen=True)
class KernelKey:
    """Everything machine code depends on.

    Attributes:
        source: name of the source.
        source_sha256: of its text, headers included.
        macros: given to the compiler.
        architecture: e.g. `sm_87`.
        compiler: library and version.
    """

    source: str
    source_sha256: str
    macros: str
    architecture: str
    compiler: str

    @property
    def file_name(self) -> str:
        """Name of its file: readable first, then unambiguous."""
        return f"{self.source.partition('.')[0]}-{self.architecture}-{short_digest(asdict(self))}.{_KIND}"


def kept_kernels(folder: CodeFolder, key: KernelKey, compile_anew: Callable[[], bytes]) -> bytes:
    """Return the machine code of a key, compiled now and kept if it was not before.

    Args:
        folder: where it is kept.
        key: of the code.
        compile_anew: makes it.

    Raises:
        EngineError: `compile_anew` did.
    """
    name = key.file_name
    try:
        image, problem = folder.load(name, asdict(key), _KIND)
        if image is not None:
            return image
    except EngineError as error:
        problem = str(error)
    began = time.perf_counter()
    image = compile_anew()
    seconds = time.perf_counter() - began
    try:
        if problem:
            folder.discard(name)  # not written through a link, nor into a file that others have open
        folder.store(name, asdict(key), _KIND, image, seconds=seconds)
    except EngineError as error:
        _logger.warning("compiled kernels of %s cannot be kept for the next start: %s", key.source, error)
    else:
        if problem:
            _logger.warning("kernels of %s were compiled anew: %s", key.source, problem)
    return image
