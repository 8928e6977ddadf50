"""Ask the CUDA driver what there is, before anything that would crash without it.

A TensorRT runtime made without a driver looks usable and ends the process at the next call on it,
so the driver is asked first, through ctypes and nothing else.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from hfnet_ros.errors import EngineError

LIBRARY = "libcuda.so.1"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR, _INTEGRATED = 75, 76, 18  # CUdevice_attribute
_MAX_DYNAMIC_SHARED_BYTES = 8  # CUfunction_attribute


@dataclass(frozen=True)
class Gpu:
    """One CUDA device.

    Attributes:
        capability: compute capability, e.g. (8, 7) for Orin.
        memory_bytes: all of its memory; on a Jetson that of the whole machine.
        integrated: shares its memory with the CPU, as on a Jetson.
    """

    index: int
    name: str
    capability: tuple[int, int]
    memory_bytes: int
    integrated: bool


@dataclass(frozen=True)
class DriverReport:
    """What the driver says of itself.

    Attributes:
        cuda_version: newest CUDA the driver can run, e.g. (12, 6); None without a driver.
        gpus: devices that this process may use.
        reason: why there is no usable GPU; empty if there is one.
        remedy: what to do about it.
    """

    cuda_version: tuple[int, int] | None
    gpus: tuple[Gpu, ...]
    reason: str = ""
    remedy: str = ""


def probe_driver() -> DriverReport:
    """Return what the CUDA driver has; never raises and never makes a context."""
    try:
        library = _open_library()
    except OSError:
        return DriverReport(
            None,
            (),
            f"no NVIDIA driver ({LIBRARY} not found)",
            "install the NVIDIA driver; in a container start it with --runtime nvidia or --gpus all",
        )
    code = library.cuInit(0)
    if code != 0:
        return DriverReport(
            None,
            (),
            f"the NVIDIA driver does not start ({_error_name(library, code)})",
            "check nvidia-smi (or dmesg on a Jetson) and the permissions of /dev/nvidia* or /dev/nvhost*",
        )
    version = _number(library.cuDriverGetVersion)
    cuda_version = (version // 1000, version % 1000 // 10)
    gpus = tuple(_gpu(library, index) for index in range(_number(library.cuDeviceGetCount)))
    if not gpus:
        return DriverReport(
            cuda_version,
            (),
            "the NVIDIA driver sees no GPU",
            "unset CUDA_VISIBLE_DEVICES, or give the container a GPU",
        )
    return DriverReport(cuda_version, gpus)


class CudaDriver:
    """The few driver calls that neither pycuda offers nor both memory libraries share.

    Every method raises EngineError with the name of the driver's error.
    """

    def __init__(self) -> None:
        """Open the library.

        Raises:
            EngineError: there is no driver.
        """
        try:
            self._library = _open_library()
        except OSError as error:
            raise EngineError(f"no NVIDIA driver: {error}; expected {LIBRARY}") from error
        self._call("cuInit", 0)

    def retain_primary_context(self, device: int) -> None:
        """Keep the device's primary context alive until it is released as often."""
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device(device))

    def release_primary_context(self, device: int) -> None:
        """Give back one `retain_primary_context`."""
        self._call("cuDevicePrimaryCtxRelease_v2", self._device(device))

    def current_context(self) -> int:
        """Return the address of this thread's current context, 0 where there is none."""
        context = ctypes.c_void_p()
        self._call("cuCtxGetCurrent", ctypes.byref(context))
        return context.value or 0

    def pop_context(self) -> None:
        """Take the current context off this thread's stack."""
        self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def begin_capture(self, stream: int) -> None:
        """Record what is put on the stream instead of running it; other threads are not disturbed."""
        thread_local = 1
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), thread_local)

    def end_capture(self, stream: int) -> int:
        """Return the recorded graph, made executable; `destroy_graph` frees it."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        finally:
            self._call("cuGraphDestroy", graph)
        return executable.value or 0

    def launch_graph(self, graph: int, stream: int) -> None:
        """Put a recorded graph on the stream."""
        self._call("cuGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def destroy_graph(self, graph: int) -> None:
        """Free a recorded graph."""
        self._call("cuGraphExecDestroy", ctypes.c_void_p(graph))

    def compute_capability(self) -> tuple[int, int]:
        """Return that of the GPU whose context is current in this thread, e.g. (8, 7) for Orin."""
        device = ctypes.c_int()
        self._call("cuCtxGetDevice", ctypes.byref(device))
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(major), _CAPABILITY_MAJOR, device)
        self._call("cuDeviceGetAttribute", ctypes.byref(minor), _CAPABILITY_MINOR, device)
        return major.value, minor.value

    def load_module(self, image: bytes) -> int:
        """Load compiled kernels into the current context; `unload_module` frees them."""
        module = ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(image))
        return module.value or 0

    def unload_module(self, module: int) -> None:
        """Free a module; its context must still be current."""
        self._call("cuModuleUnload", ctypes.c_void_p(module))

    def module_function(self, module: int, name: str, shared_bytes: int = 0) -> int:
        """Return a kernel of a module, allowed that much dynamic shared memory."""
        function = ctypes.c_void_p()
        self._call(
            "cuModuleGetFunction",
            ctypes.byref(function),
            ctypes.c_void_p(module),
            ctypes.c_char_p(name.encode()),
        )
        if shared_bytes:  # together with the static part it may be more than what is there unasked, 48 KiB
            self._call("cuFuncSetAttribute", function, _MAX_DYNAMIC_SHARED_BYTES, shared_bytes)
        return function.value or 0

    def launch_kernel(
        self,
        function: int,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared_bytes: int,
        stream: int,
        parameters: ctypes.Array[ctypes.c_void_p],
    ) -> None:
        """Put a kernel on the stream; the driver copies what `parameters` point to before this returns."""
        self._call(
            "cuLaunchKernel",
            ctypes.c_void_p(function),
            *grid,
            *block,
            shared_bytes,
            ctypes.c_void_p(stream),
            parameters,
            None,
        )

    def _device(self, index: int) -> ctypes.c_int:
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), index)
        return device

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            raise EngineError(f"CUDA driver: {name} failed with {_error_name(self._library, code)}")


def _open_library() -> ctypes.CDLL:
    return ctypes.CDLL(LIBRARY)


def _gpu(library: ctypes.CDLL, index: int) -> Gpu:
    device, memory = ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)

    def attribute(which: int) -> int:
        value = ctypes.c_int()
        library.cuDeviceGetAttribute(ctypes.byref(value), which, device)
        return value.value

    capability = (attribute(_CAPABILITY_MAJOR), attribute(_CAPABILITY_MINOR))
    return Gpu(
        index, name.value.decode(errors="replace"), capability, memory.value, attribute(_INTEGRATED) == 1
    )


def _number(function: Any) -> int:
    value = ctypes.c_int()
    return value.value if function(ctypes.byref(value)) == 0 else 0


def _error_name(library: ctypes.CDLL, code: int) -> str:
    name = ctypes.c_char_p()
    if library.cuGetErrorName(code, ctypes.byref(name)) != 0 or not name.value:
        return f"error {code}"
    return name.value.decode(errors="replace")
