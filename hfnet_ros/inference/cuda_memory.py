"""CUDA memory, a stream and a context: all that an engine needs of a CUDA library.

pycuda comes first, NVIDIA's cuda-bindings second; whichever is installed is used. Both are needed: pycuda is
what JetPack's users have, but it comes as source only, wants a compiler and CUDA's headers to be installed and nvcc
to compile kernels. Where there is none of these, as in NVIDIA's runtime containers, cuda-bindings installs from
wheels, also on aarch64, and brings NVRTC.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import threading
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.driver import CudaDriver

ByteArray = NDArray[np.uint8]

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: do not wait for the legacy default stream
_MODULES = {"pycuda": "pycuda.driver", "cuda-bindings": "cuda.bindings.driver"}
INSTALL = "pip install pycuda (needs nvcc on the PATH) or pip install cuda-bindings"


class CudaMemory(Protocol):
    """Memory and one stream in the primary context of a GPU, for one thread.

    The context is current in the thread that made this until `close`, so that kernels of others
    (TensorRT, own ones) can use the same addresses and the same stream.
    """

    @property
    def library(self) -> str:
        """Name of what is behind it, `pycuda` or `cuda-bindings`."""
        ...

    @property
    def stream(self) -> int:
        """Handle of the stream (CUstream) as a number."""
        ...

    def allocate(self, nbytes: int) -> int:
        """Return the address of new device memory.

        Raises:
            EngineError: there is not enough.
        """
        ...

    def pinned(self, nbytes: int) -> ByteArray:
        """Return new page-locked host memory [nbytes], valid until `close`.

        Raises:
            EngineError: there is not enough.
        """
        ...

    def copy_to_device(self, address: int, source: NDArray[Any]) -> None:
        """Put a copy of a contiguous, pinned array to the device on the stream."""
        ...

    def copy_to_host(self, target: NDArray[Any], address: int) -> None:
        """Put a copy of device memory into a contiguous, pinned array on the stream."""
        ...

    def synchronize(self) -> None:
        """Wait until everything on the stream is done.

        Raises:
            EngineError: something on the stream failed; the context is then lost.
        """
        ...

    def free_bytes(self) -> tuple[int, int]:
        """Return free and total device memory."""
        ...

    def close(self) -> None:
        """Free buffers, then the stream, then the hold on the context; again does nothing."""
        ...


def find_cuda_library() -> str:
    """Return the name of the CUDA library that would be used, empty if none is installed."""
    for name, module in _MODULES.items():
        with contextlib.suppress(ImportError, ValueError):
            if importlib.util.find_spec(module) is not None:
                return name
    return ""


def open_cuda_memory(device: int = 0) -> CudaMemory:
    """Make the context of a GPU current in this thread and return its memory.

    Raises:
        EngineError: no CUDA library is installed, or the GPU cannot be used.
    """
    reasons = []
    for name, make in (("pycuda", PycudaMemory), ("cuda-bindings", CudaBindingsMemory)):
        try:
            library = importlib.import_module(_MODULES[name])
        except Exception as error:  # a broken installation raises more than ImportError
            reasons.append(f"{name}: {error}")
            continue
        return make(library, device)
    raise EngineError(f"no CUDA library for Python ({'; '.join(reasons)}); {INSTALL}")


class _ThreadContexts(threading.local):
    """Contexts held by this thread, by library and device: (what releases it, number of users).

    Engines of one thread share one hold, because contexts are a stack and engines may be closed
    in any order.
    """

    def __init__(self) -> None:
        self.held: dict[tuple[str, int], tuple[Callable[[], None], int]] = {}

    def hold(self, key: tuple[str, int], retain: Callable[[], Callable[[], None]]) -> None:
        release, users = self.held.get(key) or (retain(), 0)
        self.held[key] = (release, users + 1)

    def let_go(self, key: tuple[str, int]) -> None:
        release, users = self.held[key]
        if users > 1:
            self.held[key] = (release, users - 1)
            return
        del self.held[key]
        release()


_contexts = _ThreadContexts()


class _Allocations:
    """What both implementations share: the order of destruction."""

    library = ""

    def __init__(self, device: int) -> None:
        self._key = (self.library, device)
        self._thread = threading.get_ident()
        self._frees: list[Callable[[], None]] = []
        self._free_stream: Callable[[], None] | None = None
        self._closed = False
        _contexts.hold(self._key, lambda: self._retain(device))
        try:
            self._free_stream = self._make_stream()
        except BaseException:
            self.close()
            raise

    def _retain(self, device: int) -> Callable[[], None]:
        raise NotImplementedError

    def _make_stream(self) -> Callable[[], None]:
        raise NotImplementedError

    def close(self) -> None:
        """Free buffers, then the stream, then the hold on the context; again does nothing."""
        if self._closed:
            return
        if threading.get_ident() != self._thread:
            raise EngineError("CUDA memory is closed in another thread than the one that made it")
        self._closed = True
        steps = [*reversed(self._frees), *filter(None, [self._free_stream])]
        self._frees, self._free_stream = [], None
        with contextlib.ExitStack() as last_to_first:
            # Every step runs even if one before it fails.
            last_to_first.callback(_contexts.let_go, self._key)
            for step in reversed(steps):
                last_to_first.callback(step)


class PycudaMemory(_Allocations):
    """CUDA through pycuda."""

    library = "pycuda"

    def __init__(self, library: Any, device: int = 0) -> None:
        """Hold the primary context of a device.

        Args:
            library: the module `pycuda.driver`.
            device: index of the GPU.

        Raises:
            EngineError: the GPU cannot be used.
        """
        self._cuda = library
        self._stream: Any = None
        super().__init__(device)

    @property
    def stream(self) -> int:
        """Handle of the stream as a number."""
        return int(self._stream.handle)

    def allocate(self, nbytes: int) -> int:
        """Return the address of new device memory."""
        allocation = self._call(f"allocating {nbytes} bytes", self._cuda.mem_alloc, nbytes)
        self._frees.append(allocation.free)
        return int(allocation)

    def pinned(self, nbytes: int) -> ByteArray:
        """Return new page-locked host memory."""
        array = self._call(
            f"page-locking {nbytes} bytes", self._cuda.pagelocked_empty, (nbytes,), np.dtype(np.uint8)
        )
        self._frees.append(array.base.free)
        return array

    def copy_to_device(self, address: int, source: NDArray[Any]) -> None:
        """Put a copy to the device on the stream."""
        self._call("copying to the GPU", self._cuda.memcpy_htod_async, address, source, self._stream)

    def copy_to_host(self, target: NDArray[Any], address: int) -> None:
        """Put a copy from the device on the stream."""
        self._call("copying from the GPU", self._cuda.memcpy_dtoh_async, target, address, self._stream)

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._call("waiting for the GPU", self._stream.synchronize)

    def free_bytes(self) -> tuple[int, int]:
        """Return free and total device memory."""
        free, total = self._call("asking for memory", self._cuda.mem_get_info)
        return int(free), int(total)

    def _retain(self, device: int) -> Callable[[], None]:
        cuda, driver = self._cuda, CudaDriver()
        driver.retain_primary_context(device)
        try:
            self._call("starting", cuda.init)
            context = self._call(
                "holding the primary context", lambda: cuda.Device(device).retain_primary_context()
            )
            context.push()
        except BaseException:
            driver.release_primary_context(device)
            raise

        def release() -> None:
            # pycuda's detach pushes the context and leaves it there, because cuDevicePrimaryCtxRelease
            # takes nothing off the stack; our own hold keeps it alive until we have taken it off.
            handle = int(context.handle)
            context.pop()
            context.detach()
            if driver.current_context() == handle:
                driver.pop_context()
            driver.release_primary_context(device)

        return release

    def _make_stream(self) -> Callable[[], None]:
        self._stream = self._call("making a stream", self._cuda.Stream, _NON_BLOCKING)

        def free() -> None:
            self._stream = None  # pycuda destroys a stream with its last reference

        return free

    def _call(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._cuda.Error as error:
            raise EngineError(f"pycuda: {what} failed: {error}") from None


class CudaBindingsMemory(_Allocations):
    """CUDA through NVIDIA's cuda-bindings."""

    library = "cuda-bindings"

    def __init__(self, library: Any, device: int = 0) -> None:
        """Hold the primary context of a device.

        Args:
            library: the module `cuda.bindings.driver`.
            device: index of the GPU.

        Raises:
            EngineError: the GPU cannot be used.
        """
        self._cuda = library
        self._stream: Any = None
        super().__init__(device)

    @property
    def stream(self) -> int:
        """Handle of the stream as a number."""
        return int(self._stream)

    def allocate(self, nbytes: int) -> int:
        """Return the address of new device memory."""
        pointer = self._call("cuMemAlloc", nbytes)
        self._frees.append(lambda: self._call("cuMemFree", pointer))
        return int(pointer)

    def pinned(self, nbytes: int) -> ByteArray:
        """Return new page-locked host memory."""
        address = int(self._call("cuMemAllocHost", nbytes))
        self._frees.append(lambda: self._call("cuMemFreeHost", address))
        return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))

    def copy_to_device(self, address: int, source: NDArray[Any]) -> None:
        """Put a copy to the device on the stream."""
        self._call("cuMemcpyHtoDAsync", address, source.ctypes.data, source.nbytes, self._stream)

    def copy_to_host(self, target: NDArray[Any], address: int) -> None:
        """Put a copy from the device on the stream."""
        self._call("cuMemcpyDtoHAsync", target.ctypes.data, address, target.nbytes, self._stream)

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._call("cuStreamSynchronize", self._stream)

    def free_bytes(self) -> tuple[int, int]:
        """Return free and total device memory."""
        free, total = self._call("cuMemGetInfo")
        return int(free), int(total)

    def _retain(self, device: int) -> Callable[[], None]:
        self._call("cuInit", 0)
        handle = self._call("cuDeviceGet", device)
        context = self._call("cuDevicePrimaryCtxRetain", handle)
        try:
            self._call("cuCtxPushCurrent", context)
        except BaseException:
            self._call("cuDevicePrimaryCtxRelease", handle)
            raise

        def release() -> None:
            self._call("cuCtxPopCurrent")
            self._call("cuDevicePrimaryCtxRelease", handle)

        return release

    def _make_stream(self) -> Callable[[], None]:
        self._stream = self._call("cuStreamCreate", _NON_BLOCKING)

        def free() -> None:
            stream, self._stream = self._stream, None
            self._call("cuStreamDestroy", stream)

        return free

    def _call(self, name: str, *arguments: Any) -> Any:
        code, *results = getattr(self._cuda, name)(*arguments)
        if int(code) != 0:
            raise EngineError(f"cuda-bindings: {name} failed with {getattr(code, 'name', code)}")
        return results[0] if len(results) == 1 else tuple(results)
