"""Run a TensorRT plan: one stream, buffers allocated once, everything in one thread.

What is made is destroyed in exactly the opposite order, also where making it fails half-way:
recorded graph, execution context, engine, runtime, buffers, stream, hold on the CUDA context.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.cuda_memory import CudaMemory, open_cuda_memory
from hfnet_ros.inference.driver import CudaDriver
from hfnet_ros.inference.engine import Tensor, TensorSpec, checked_input
from hfnet_ros.inference.kept_kernels import KeptKernels
from hfnet_ros.inference.tensorrt_library import TENSORRT, TensorrtLibrary, started, tensorrt_log

_logger = logging.getLogger(__name__)

_NUMPY_TYPES = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}


@dataclass(frozen=True, eq=False)
class TensorBuffer:
    """One input or output on both sides.

    Attributes:
        host: page-locked array of the tensor's shape.
        address: of the same tensor in device memory.
    """

    spec: TensorSpec
    host: Tensor
    address: int


class FollowingWork(Protocol):
    """Work that goes on where a network stops, on the same stream."""

    def put(self) -> None:
        """Put it on the stream."""
        ...

    def close(self) -> None:
        """Free what it holds; the stream and the memory are still there."""
        ...


class PlanRefusedError(EngineError):
    """TensorRT does not accept a plan; built anew it would be accepted."""


class TensorrtEngine:
    """Run a TensorRT plan with static shapes; belongs to the thread that makes it.

    Kernels of our own find inputs and outputs on the device by `device_address` and run on
    `memory.stream`.

    Attributes:
        backend: its name and version.
        inputs: tensors by name.
        outputs: likewise.
    """

    def __init__(
        self,
        name: str,
        plan: bytes,
        *,
        library: TensorrtLibrary = TENSORRT,
        kernels: KeptKernels | None = None,
        cuda_graph: bool = False,
        dla_core: int = -1,
        open_memory: Callable[[], CudaMemory] = open_cuda_memory,
    ) -> None:
        """Load a plan.

        Args:
            name: of the network, for messages.
            plan: as TensorRT serialised it; it is code, so only from a builder one trusts.
            library: which TensorRT built it.
            kernels: keeps what a library that builds ahead compiles here; the engine's from now on.
            cuda_graph: record the work of one run and replay it from then on.
            dla_core: index of the deep learning accelerator the plan was built for, -1 for the GPU.
            open_memory: makes this thread's CUDA context current.

        Raises:
            PlanRefusedError: TensorRT cannot read the plan.
            EngineError: there is no GPU, not enough memory on it, or a shape is not static.
        """
        self._name, self._library, self._kernels = name, library, kernels
        self._thread = threading.get_ident()
        self._graph = 0
        self._driver: CudaDriver | None = None
        self._cuda_graph = cuda_graph
        self._memory: CudaMemory | None = None
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._buffers: dict[str, TensorBuffer] = {}
        self.inputs: dict[str, TensorSpec] = {}
        self.outputs: dict[str, TensorSpec] = {}
        self._results: dict[str, Tensor] = {}
        self._following: FollowingWork | None = None
        trt = library.load()
        self.backend = f"{library.backend}-{trt.__version__}"
        self._log = tensorrt_log(trt)
        try:
            self._memory = open_memory()
            self._load(trt, plan, dla_core)
            self._allocate(self._memory)
        except BaseException as error:
            # Frames of a traceback keep their local variables, and with them TensorRT's objects, alive
            # for longer than the CUDA context lives.
            traceback.clear_frames(error.__traceback__)
            self._destroy()
            raise

    def _load(self, trt: Any, plan: bytes, dla_core: int) -> None:
        start = self._log.count
        self._runtime = started(trt.Runtime, self._log, "runtime")
        if dla_core >= 0:
            self._runtime.DLA_core = dla_core
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise PlanRefusedError(
                f"{self._library.title} {trt.__version__} refuses the plan of network '{self._name}' "
                f"({len(plan)} bytes): {self._log.errors_since(start)}; build it anew on this machine: "
                "hfnet-ros engine build --force"
            )
        for index in range(self._engine.num_io_tensors):
            key = self._engine.get_tensor_name(index)
            is_input = self._engine.get_tensor_mode(key) == trt.TensorIOMode.INPUT
            spec = _spec(trt, self._engine, key, self._name)
            (self.inputs if is_input else self.outputs)[key] = spec
        if self._kernels is None:
            self._context = self._engine.create_execution_context()
        else:
            self._context = self._kernels.context(self._engine)
        if self._context is None:
            raise EngineError(
                f"network '{self._name}': no execution context: {self._log.errors_since(start)}; "
                f"{_memory_text(self._memory)}"
            )

    def _allocate(self, memory: CudaMemory) -> None:
        start = self._log.count
        for key, spec in (*self.inputs.items(), *self.outputs.items()):
            count = int(np.prod(spec.shape, dtype=np.int64))
            nbytes = count * spec.dtype.itemsize
            # TensorRT wants an address even for an empty tensor.
            host = memory.pinned(max(nbytes, 1))[:nbytes].view(spec.dtype).reshape(spec.shape)
            address = memory.allocate(max(nbytes, 1))
            self._buffers[key] = TensorBuffer(spec, host, address)
            if not self._context.set_tensor_address(key, address):
                raise EngineError(
                    f"network '{self._name}': TensorRT refuses the address of '{key}': "
                    f"{self._log.errors_since(start)}"
                )
        self._results = {key: self._buffers[key].host for key in self.outputs}

    @property
    def memory(self) -> CudaMemory:
        """Context, stream and allocator of this engine, for kernels that go on where it stops.

        Raises:
            EngineError: the engine was closed, or belongs to another thread.
        """
        return self._owned_memory()

    def device_address(self, name: str) -> int:
        """Return where a tensor lies on the device; the same for the engine's whole life."""
        return self._buffers[name].address

    def follow_with(self, work: FollowingWork, copied: Collection[str]) -> None:
        """Let each run go on with more work, before the first run.

        Args:
            work: put on the stream behind the network, and recorded with it; it belongs to the engine then.
            copied: the outputs that still come to the host, and are returned by `run`.
        """
        self._owned_memory()
        self._following = work
        self._results = {key: self._buffers[key].host for key in copied}

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run the network once; see `Engine.run` for the life of the result."""
        memory = self._owned_memory()
        for key, spec in self.inputs.items():
            self._buffers[key].host[...] = checked_input(inputs, spec, self._name)
        if self._driver is not None and self._graph:
            self._driver.launch_graph(self._graph, memory.stream)
        else:
            self._enqueue(memory)
            if self._cuda_graph:
                memory.synchronize()  # TensorRT wants a complete run before one is recorded
                self._record(memory)
        memory.synchronize()
        if self._kernels is not None:
            self._kernels.keep()
        return self._results

    def describe(self) -> str:
        """Return what TensorRT tells of the plan's layers, JSON.

        Raises:
            EngineError: the engine was closed.
        """
        self._owned_memory()
        trt = self._library.load()
        inspector = self._engine.create_engine_inspector()
        return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))

    def close(self) -> None:
        """Free everything; calling it again does nothing.

        Raises:
            EngineError: called in another thread, where nothing may be freed.
        """
        if self._memory is None:
            return
        self._check_thread()
        self._destroy()

    def _enqueue(self, memory: CudaMemory) -> None:
        for key in self.inputs:
            memory.copy_to_device(self._buffers[key].address, self._buffers[key].host)
        self._execute(memory)
        for key in self._results:
            memory.copy_to_host(self._buffers[key].host, self._buffers[key].address)
        if self._following is not None:
            self._following.put()

    def _execute(self, memory: CudaMemory) -> None:
        start = self._log.count
        if not self._context.execute_async_v3(memory.stream):
            raise EngineError(f"network '{self._name}' failed: {self._log.errors_since(start)}")

    def _record(self, memory: CudaMemory) -> None:
        """Record a run as a CUDA graph; where that fails, go on without."""
        self._cuda_graph = False
        try:
            self._driver = driver = CudaDriver()
            driver.begin_capture(memory.stream)
            try:
                self._enqueue(memory)
            except EngineError:
                # The stream is of no use until recording has ended, and what was recorded is.
                driver.destroy_graph(driver.end_capture(memory.stream))
                raise
            self._graph = driver.end_capture(memory.stream)
        except EngineError as error:
            _logger.warning("network %s runs without a CUDA graph: %s", self._name, error)

    def _owned_memory(self) -> CudaMemory:
        if self._memory is None:
            raise EngineError(f"network '{self._name}' was closed before this call")
        self._check_thread()
        return self._memory

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise EngineError(
                f"network '{self._name}' belongs to the thread that made it; run and close it there"
            )

    def _destroy(self) -> None:
        memory, self._memory = self._memory, None
        try:
            if self._driver is not None and self._graph:
                self._driver.destroy_graph(self._graph)
            if self._following is not None:
                self._following.close()
        finally:
            self._graph, self._driver, self._following = 0, None, None
            self._context = None
            if self._kernels is not None:
                self._kernels.close()
            self._engine = None
            self._runtime = None
            self._results, self._buffers = {}, {}
            if memory is not None:
                memory.close()


def _spec(trt: Any, engine: Any, key: str, network: str) -> TensorSpec:
    shape = tuple(int(length) for length in engine.get_tensor_shape(key))
    if any(length < 0 for length in shape):
        raise EngineError(
            f"network '{network}': tensor '{key}' has shape {list(shape)} in the plan, expected fixed numbers; "
            "export the network for one image size, without operators such as NonZero whose result has any length"
        )
    kind = engine.get_tensor_dtype(key).name
    if kind not in _NUMPY_TYPES:
        raise EngineError(f"network '{network}': tensor '{key}' has unsupported type {kind}")
    if engine.get_tensor_location(key) != trt.TensorLocation.DEVICE:
        raise EngineError(f"network '{network}': tensor '{key}' must lie on the CPU, which is not supported")
    if engine.get_tensor_format(key) != trt.TensorFormat.LINEAR:
        raise EngineError(f"network '{network}': tensor '{key}' is not stored row by row in the plan")
    return TensorSpec(key, shape, np.dtype(_NUMPY_TYPES[kind]))


def _memory_text(memory: CudaMemory | None) -> str:
    if memory is None:
        return "memory unknown"
    free, total = memory.free_bytes()
    return f"{free / 2**20:.0f} of {total / 2**20:.0f} MiB of GPU memory are free"
