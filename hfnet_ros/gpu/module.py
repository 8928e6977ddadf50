"""Kernels of this package, compiled for the GPU at hand and put on a stream."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

import numpy as np

from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.compiler import compile_kernels
from hfnet_ros.gpu.source import read_source
from hfnet_ros.inference.code_folder import CodeFolder
from hfnet_ros.inference.cuda_memory import CudaMemory
from hfnet_ros.inference.driver import CudaDriver

Dim3 = tuple[int, int, int]
# A numpy scalar is passed as it is, a Python int is a device address (64 bits).
Argument: TypeAlias = "np.generic | int"
Launch = Callable[[], None]


class KernelModule(Protocol):
    """Compiled kernels of one source; belongs to the thread and the context of its memory."""

    def launch(
        self,
        name: str,
        grid: Dim3,
        block: Dim3,
        arguments: Sequence[Argument],
        shared_bytes: int = 0,
    ) -> None:
        """Put a kernel on the memory's stream.

        Args:
            name: of an `extern "C" __global__` function.
            grid: number of blocks along x, y, z.
            block: threads of a block along x, y, z.
            arguments: numpy scalars of exactly the parameters' types, and addresses as ints.
            shared_bytes: of dynamic shared memory.

        Raises:
            EngineError: there is no such kernel, or it cannot be started.
        """
        ...

    def prepare(
        self,
        name: str,
        grid: Dim3,
        block: Dim3,
        arguments: Sequence[Argument],
        shared_bytes: int = 0,
    ) -> Launch:
        """Return what `launch` does as a function, for what is started often with the same arguments."""
        ...

    def close(self) -> None:
        """Unload the kernels, before the memory is closed; again does nothing."""
        ...


OpenModule = Callable[[CudaMemory, str, Mapping[str, int]], KernelModule]


def module_opener(engine_cache: str) -> OpenModule:
    """Return `open_module` with compiled kernels kept in the folder of `inference.engine_cache`.

    Raises:
        EngineError: the folder is in the home of nobody.
    """
    return partial(open_module, folder=CodeFolder(engine_cache))


def open_module(
    memory: CudaMemory,
    source_name: str,
    defines: Mapping[str, int] | None = None,
    folder: CodeFolder | None = None,
) -> KernelModule:
    """Compile kernels of this package for the GPU of `memory` and load them.

    Args:
        memory: whose context is current in this thread; kernels run on its stream.
        source_name: a file of `hfnet_ros/gpu/kernels`, e.g. `features.cu`.
        defines: preprocessor macros, for sizes that are fixed when compiling.
        folder: keeps compiled kernels for the next start.

    Raises:
        EngineError: there is no compiler, it refuses the source (the message has its log), or the
            GPU refuses the result.
    """
    driver = CudaDriver()
    image = compile_kernels(
        read_source(source_name),
        source_name,
        driver.compute_capability(),
        defines or {},
        first=memory.library,
        folder=folder,
    )
    return CudaKernelModule(driver, image, memory.stream, source_name)


class CudaKernelModule:
    """Kernels of a compiled image, launched through the driver."""

    def __init__(self, driver: CudaDriver, image: bytes, stream: int, name: str) -> None:
        """Load a compiled image into this thread's current context.

        Raises:
            EngineError: the GPU refuses it.
        """
        self._driver = driver
        self._stream = stream
        self._name = name
        self._thread = threading.get_ident()
        self._functions: dict[tuple[str, int], int] = {}
        self._module = driver.load_module(image)

    def launch(
        self, name: str, grid: Dim3, block: Dim3, arguments: Sequence[Argument], shared_bytes: int = 0
    ) -> None:
        """Put a kernel on the stream; see `KernelModule.launch`."""
        self.prepare(name, grid, block, arguments, shared_bytes)()

    def prepare(
        self, name: str, grid: Dim3, block: Dim3, arguments: Sequence[Argument], shared_bytes: int = 0
    ) -> Launch:
        """Return what `launch` does; see `KernelModule.prepare`."""
        function = self._function(name, shared_bytes)
        values = [c_value(argument) for argument in arguments]
        # The driver wants pointers to the values, which must live as long as they do.
        kept = (values, (ctypes.c_void_p * max(len(values), 1))(*map(ctypes.addressof, values)))

        def launch() -> None:
            if not self._module:
                raise EngineError(f"kernels {self._name} were closed before this launch of '{name}'")
            self._driver.launch_kernel(function, grid, block, shared_bytes, self._stream, kept[1])

        return launch

    def close(self) -> None:
        """Unload the kernels; see `KernelModule.close`."""
        if not self._module:
            return
        if threading.get_ident() != self._thread:
            raise EngineError(
                f"kernels {self._name} are closed in another thread than the one that made them"
            )
        module, self._module = self._module, 0
        self._functions.clear()
        self._driver.unload_module(module)

    def _function(self, name: str, shared_bytes: int) -> int:
        if not self._module:
            raise EngineError(f"kernels {self._name} were closed before '{name}' was asked for")
        key = (name, shared_bytes)
        if key not in self._functions:
            self._functions[key] = self._driver.module_function(self._module, name, shared_bytes)
        return self._functions[key]


def c_value(argument: Argument) -> Any:
    """Return a kernel argument as the ctypes object that holds its bytes.

    Raises:
        EngineError: it is neither a numpy scalar nor an address.
    """
    if isinstance(argument, np.generic):
        return (ctypes.c_char * argument.nbytes).from_buffer_copy(argument.tobytes())
    if isinstance(argument, int) and not isinstance(argument, bool):
        return ctypes.c_uint64(argument)
    raise EngineError(
        f"kernel argument {argument!r} is a {type(argument).__name__}, expected a numpy scalar or int"
    )
