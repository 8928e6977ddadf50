"""A GPU in ordinary memory, seen through libcuda (ctypes), pycuda and cuda-bindings.

Work on a stream is done when somebody waits for the stream, never earlier, so that a forgotten wait
shows. Every call that needs a context fails in a thread that has none.
"""

import ctypes
import enum
import importlib.machinery
import threading
import types

import numpy as np

SUCCESS, OUT_OF_MEMORY, INVALID_CONTEXT, NO_DEVICE = 0, 2, 201, 100
CONTEXT = 0xC0DE  # handle of the primary context


def new_module(name):
    """Return an empty module that importlib takes for an installed one."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    return module


class CudaError(Exception):
    def __init__(self, code):
        super().__init__(f"error {code}")
        self.code = code


class SimulatedGpu:
    """State of one device; `events` tells what was made and freed, in order."""

    def __init__(self, *, num_devices=1, init_code=SUCCESS, name="Simulated GPU", memory=1 << 30):
        self.num_devices, self.init_code, self.name, self.memory = num_devices, init_code, name, memory
        self.events, self.retained = [], 0
        self.copied = []  # (bytes, direction) of each copy
        self.device_buffers, self.pinned_buffers, self.streams, self.graphs = {}, {}, {}, {}
        self.capture_works, self.capability = True, (8, 7)
        self._stacks = threading.local()
        self._capturing = {}
        self._handles = 0x1000

    def handle(self):
        self._handles += 1
        return self._handles

    @property
    def stack(self):
        if not hasattr(self._stacks, "entries"):
            self._stacks.entries = []
        return self._stacks.entries

    def need_context(self):
        if not self.stack or not self.retained:
            raise CudaError(INVALID_CONTEXT)

    def alive(self):
        """Number of everything that must be gone in the end."""
        kinds = (self.device_buffers, self.pinned_buffers, self.streams, self.graphs, self.stack)
        return sum(map(len, kinds)) + self.retained

    # Contexts

    def retain(self):
        self.retained += 1
        return CONTEXT

    def release(self):
        assert self.retained > 0, "released more often than retained"
        self.retained -= 1
        self.events.append("release context")

    # Memory

    def allocate(self, nbytes):
        self.need_context()
        used = sum(buffer.nbytes for buffer in self.device_buffers.values())
        if used + nbytes > self.memory:
            raise CudaError(OUT_OF_MEMORY)
        buffer = np.full(nbytes, 0xAB, np.uint8)
        self.device_buffers[buffer.ctypes.data] = buffer
        return buffer.ctypes.data

    def free(self, address):
        self.need_context()
        del self.device_buffers[address]
        self.events.append("free device")

    def pin(self, nbytes):
        self.need_context()
        buffer = np.full(nbytes, 0xCD, np.uint8)
        self.pinned_buffers[buffer.ctypes.data] = buffer
        return buffer

    def unpin(self, address):
        self.need_context()
        del self.pinned_buffers[address]
        self.events.append("free pinned")

    def device_bytes(self, address, nbytes):
        for start, buffer in self.device_buffers.items():
            if start <= address < start + buffer.nbytes:
                part = buffer[address - start :][:nbytes]
                assert part.nbytes == nbytes, "copy beyond the end of a buffer"
                return part
        raise KeyError(address)

    def copy(self, stream, address, host, nbytes, *, to_device):
        self.need_context()
        assert any(
            start <= host and host + nbytes <= start + buffer.nbytes
            for start, buffer in self.pinned_buffers.items()
        ), "asynchronous copy of memory that is not page-locked"
        device = self.device_bytes(address, nbytes)
        view = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(host))
        target, source = (device, view) if to_device else (view, device)

        def work():
            self.copied.append((nbytes, "to device" if to_device else "to host"))
            np.copyto(target, source)

        self.put(stream, work)

    # Streams and graphs

    def make_stream(self):
        self.need_context()
        stream = self.handle()
        self.streams[stream] = []
        return stream

    def destroy_stream(self, stream):
        self.need_context()
        del self.streams[stream]
        self.events.append("free stream")

    def put(self, stream, work):
        self.need_context()
        self._capturing.get(stream, self.streams[stream]).append(work)

    def wait(self, stream):
        self.need_context()
        while self.streams[stream]:
            self.streams[stream].pop(0)()

    def is_capturing(self, stream):
        return stream in self._capturing

    def begin_capture(self, stream):
        self.need_context()
        self._capturing[stream] = []

    def end_capture(self, stream):
        work = self._capturing.pop(stream)
        if not self.capture_works:
            raise CudaError(900)
        return work


class FakeLibcuda:
    """`libcuda.so.1` as ctypes sees it."""

    def __init__(self, gpu):
        self.gpu = gpu

    def __getattr__(self, name):
        function = _LIBCUDA[name]

        def call(*arguments):
            try:
                function(self.gpu, *[getattr(argument, "_obj", argument) for argument in arguments])
            except CudaError as failure:
                return failure.code
            return SUCCESS

        return call


def _value(argument):
    return getattr(argument, "value", argument)


def _init(gpu, flags):
    if gpu.init_code != SUCCESS:
        raise CudaError(gpu.init_code)


def _attribute(gpu, out, which, device):
    out.value = {75: gpu.capability[0], 76: gpu.capability[1], 18: 1}[which]


def _pop(gpu, out):
    if not gpu.stack:
        raise CudaError(INVALID_CONTEXT)
    out.value = gpu.stack.pop()


def _instantiate(gpu, out, graph, flags):
    out.value = gpu.handle()
    gpu.graphs[out.value] = gpu.graphs[_value(graph)]


def _end_capture(gpu, stream, out):
    work = gpu.end_capture(_value(stream))
    out.value = gpu.handle()
    gpu.graphs[out.value] = work


def _destroy_graph(gpu, graph):
    del gpu.graphs[_value(graph)]
    gpu.events.append("free graph")


def _launch(gpu, graph, stream):
    for work in gpu.graphs[_value(graph)]:
        gpu.put(_value(stream), work)
    gpu.events.append("launch graph")


def _set(attribute):
    return lambda gpu, out, *_: setattr(out, "value", attribute(gpu))


_LIBCUDA = {
    "cuInit": _init,
    "cuDriverGetVersion": _set(lambda gpu: 12060),
    "cuDeviceGetCount": _set(lambda gpu: gpu.num_devices),
    "cuDeviceGet": lambda gpu, out, index: setattr(out, "value", index),
    "cuDeviceGetName": lambda gpu, out, size, device: setattr(out, "value", gpu.name.encode()),
    "cuDeviceTotalMem_v2": _set(lambda gpu: gpu.memory),
    "cuDeviceGetAttribute": _attribute,
    "cuGetErrorName": lambda gpu, code, out: setattr(out, "value", f"CUDA_ERROR_{_value(code)}".encode()),
    "cuDevicePrimaryCtxRetain": lambda gpu, out, device: setattr(out, "value", gpu.retain()),
    "cuDevicePrimaryCtxRelease_v2": lambda gpu, device: gpu.release(),
    "cuCtxGetCurrent": _set(lambda gpu: gpu.stack[-1] if gpu.stack else None),
    "cuCtxPopCurrent_v2": _pop,
    "cuStreamBeginCapture_v2": lambda gpu, stream, mode: gpu.begin_capture(_value(stream)),
    "cuStreamEndCapture": _end_capture,
    "cuGraphInstantiateWithFlags": _instantiate,
    "cuGraphDestroy": lambda gpu, graph: gpu.graphs.pop(_value(graph)),
    "cuGraphExecDestroy": _destroy_graph,
    "cuGraphLaunch": _launch,
}


def fake_pycuda(gpu):
    """`pycuda.driver`, with its habit of leaving a detached primary context on the stack."""

    class Error(Exception):
        pass

    def guarded(function):
        def call(*arguments):
            try:
                return function(*arguments)
            except CudaError as failure:
                raise Error(f"cuX failed: error {failure.code}") from None

        return call

    class Context:
        def __init__(self):
            self.handle = gpu.retain()

        def push(self):
            gpu.stack.append(self.handle)

        def pop(self):
            gpu.stack.pop()

        def detach(self):
            gpu.stack.append(self.handle)
            gpu.release()

    class Device:
        def __init__(self, index):
            if index >= gpu.num_devices:
                raise Error("cuDeviceGet failed: invalid device ordinal")

        def retain_primary_context(self):
            return Context()

    class Allocation:
        def __init__(self, address, free):
            self._address, self._free = address, free

        def __int__(self):
            return self._address

        def free(self):
            guarded(self._free)(self._address)

    def pagelocked_empty(shape, dtype):
        buffer = gpu.pin(shape[0] * dtype.itemsize)
        return ArrayWithBase.of(buffer, Allocation(buffer.ctypes.data, gpu.unpin))

    class Stream:
        def __init__(self, flags):
            self.handle = gpu.make_stream()

        def synchronize(self):
            gpu.wait(self.handle)

        def __del__(self):
            gpu.destroy_stream(self.handle)

    module = new_module("pycuda.driver")
    module.Error, module.Device = Error, Device
    module.init = lambda: None
    module.Stream = guarded(Stream)
    module.mem_alloc = guarded(lambda nbytes: Allocation(gpu.allocate(nbytes), gpu.free))
    module.pagelocked_empty = guarded(pagelocked_empty)
    module.mem_get_info = lambda: (gpu.memory // 2, gpu.memory)
    module.memcpy_htod_async = guarded(
        lambda dest, src, stream: gpu.copy(stream.handle, dest, src.ctypes.data, src.nbytes, to_device=True)
    )
    module.memcpy_dtoh_async = guarded(
        lambda dest, src, stream: gpu.copy(stream.handle, src, dest.ctypes.data, dest.nbytes, to_device=False)
    )
    return module


class ArrayWithBase(np.ndarray):
    """An array that has an allocation as its `base`, as pycuda's page-locked arrays do."""

    @classmethod
    def of(cls, array, base):
        found = array.view(cls)
        found.allocation = base
        return found

    @property
    def base(self):
        return self.allocation


def fake_cuda_bindings(gpu):
    """`cuda.bindings.driver`: every function returns a status and then its results."""

    class CUresult(enum.IntEnum):
        CUDA_SUCCESS = SUCCESS
        CUDA_ERROR_OUT_OF_MEMORY = OUT_OF_MEMORY
        CUDA_ERROR_INVALID_CONTEXT = INVALID_CONTEXT
        CUDA_ERROR_NO_DEVICE = NO_DEVICE

    def status(function):
        def call(*arguments):
            try:
                result = function(*arguments)
            except CudaError as failure:
                return (CUresult(failure.code), None)
            if result is None:
                return (CUresult.CUDA_SUCCESS,)
            return (CUresult.CUDA_SUCCESS, *(result if isinstance(result, tuple) else (result,)))

        return call

    functions = {
        "cuInit": lambda flags: _init(gpu, flags),
        "cuDeviceGet": lambda index: index,
        "cuDevicePrimaryCtxRetain": lambda device: gpu.retain(),
        "cuDevicePrimaryCtxRelease": lambda device: gpu.release(),
        "cuCtxPushCurrent": lambda context: gpu.stack.append(context),
        "cuCtxPopCurrent": lambda: gpu.stack.pop(),
        "cuMemAlloc": gpu.allocate,
        "cuMemFree": gpu.free,
        "cuMemAllocHost": lambda nbytes: gpu.pin(nbytes).ctypes.data,
        "cuMemFreeHost": gpu.unpin,
        "cuMemGetInfo": lambda: (gpu.memory // 2, gpu.memory),
        "cuMemcpyHtoDAsync": lambda dst, src, n, stream: gpu.copy(stream, dst, src, n, to_device=True),
        "cuMemcpyDtoHAsync": lambda dst, src, n, stream: gpu.copy(stream, src, dst, n, to_device=False),
        "cuStreamCreate": lambda flags: gpu.make_stream(),
        "cuStreamDestroy": gpu.destroy_stream,
        "cuStreamSynchronize": gpu.wait,
    }
    module = new_module("cuda.bindings.driver")
    for name, function in functions.items():
        setattr(module, name, status(function))
    return module
