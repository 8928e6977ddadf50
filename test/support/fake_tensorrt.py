"""A module `tensorrt` that runs ONNX Runtime behind raw device addresses.

Its enums are made from the listings of the real bindings (test/inference/tensorrt_api), and what a
listing does not have is taken out of the classes, so that a fake 11.4 lacks what 11.4 lacks. A test
compares what is left with the listings, names and parameters. How builder, parser and enums behave, and
what is said meanwhile, was seen in TensorRT for RTX 1.7, whose builder needs no GPU; test_real_builder.py
holds both to it.
"""

import enum
import json
import threading
import warnings
from pathlib import Path

import numpy as np
from fake_cuda import new_module

API_FOLDER = Path(__file__).resolve().parents[1] / "inference" / "tensorrt_api"
VERSIONS = tuple(
    sorted((path.stem for path in API_FOLDER.glob("*.json")), key=lambda text: [*map(int, text.split("."))])
)

RTX = "rtx/1.7"  # TensorRT for RTX

_ENUMS = (
    "BuilderFlag",
    "ComputeCapability",
    "DataType",
    "DeviceType",
    "LayerInformationFormat",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParserFlag",
    "TensorFormat",
    "TensorIOMode",
    "TensorLocation",
)
_MAGIC = b"FAKEPLAN"
_TYPES = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF", 11: "DOUBLE"}


class PybindEnum(enum.Enum):
    """As pybind11 makes enums: a number on request, but no number; `1 << member` is a TypeError."""

    def __int__(self):
        return self.value

    __index__ = __int__


def listing(version):
    """Return the API of the real bindings of a version such as `10.3`."""
    return json.loads((API_FOLDER / f"{version}.json").read_text())


class Dims(tuple):
    """Shape; the real one is a sequence too."""


class CrashError(BaseException):
    """What would end a real process: no error that anybody may catch by accident."""


class HostMemory(bytearray):
    """What the builder returns; has the buffer protocol, as the real one has."""

    @property
    def nbytes(self):
        return len(self)


def make_tensorrt(version, gpu):
    """Return a module like `tensorrt` of a version, on a simulated GPU.

    Knobs of the module, for tests: `_builds` counts builds, `_compiled` what a runtime compiled; `_faults`
    holds names of what shall fail.
    """
    api = listing(version)
    module = new_module("tensorrt_rtx" if version == RTX else "tensorrt")
    module.__version__ = api["version"]
    module._builds, module._faults, module._built_with, module._compiled = 0, set(), [], 0
    for name in _ENUMS:
        if name in api["classes"]:
            setattr(module, name, PybindEnum(name, api["classes"][name]["enum"]))
    for kind in (*_logging(api), *_runtime(module, gpu, api), *_builder(module, gpu)):
        if kind.__name__ not in api["classes"]:
            continue
        _without_missing(kind, api["classes"][kind.__name__])
        setattr(module, kind.__name__, kind)
    return module


def _without_missing(kind, api):
    known = {*api.get("methods", ()), *api.get("properties", ())}
    for name in [name for name in vars(kind) if not name.startswith("_") and name not in known]:
        if name != "Severity":
            delattr(kind, name)


def _logging(api):
    class ILogger:
        Severity = PybindEnum("Severity", api["classes"]["ILogger.Severity"]["enum"])

        def __init__(self):
            self._initialised = True

        def log(self, severity, msg):
            raise NotImplementedError

    return (ILogger,)


def _say(logger, severity, text):
    if not getattr(logger, "_initialised", False):
        raise CrashError("ILogger.__init__ was not called")
    logger.log(severity, text)


def _fail(logger, text):
    _say(logger, logger.Severity.ERROR, text)


def _need(trt, logger, name):
    if name in trt._faults:
        _fail(logger, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")


class _Lives:
    """Objects that note their end, and crash if the CUDA context ended before them."""

    def _born(self, gpu, name):
        self._gpu, self._what = gpu, name
        gpu.need_context()

    def __del__(self):
        gpu = getattr(self, "_gpu", None)
        if gpu is None:
            return
        gpu.events.append(f"free {self._what}")
        if not gpu.retained:
            gpu.events.append(f"CRASH: {self._what} outlived the CUDA context")


def _runtime(trt, gpu, api):
    import onnx
    import onnxruntime

    class Runtime(_Lives):
        def __init__(self, logger):
            self._logger, self.DLA_core = logger, 0
            _need(trt, self._logger, "runtime")
            self._born(gpu, "runtime")

        def deserialize_cuda_engine(self, serialized_engine):
            content = bytes(serialized_engine)
            if "deserialize" in trt._faults:
                return _fail(self._logger, "deserialization failed for no reason")
            if not content.startswith(_MAGIC):
                return _fail(
                    self._logger,
                    "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
                    "header.magicTag == kEXPECTED_MAGIC_TAG failed.Trying to load an engine created with "
                    "incompatible serialization version)",
                )
            header, onnx_bytes = content[len(_MAGIC) :].split(b"\0", 1)
            header = json.loads(header)
            if header["version"] != trt.__version__:
                return _fail(self._logger, "The engine plan file is not compatible with this version")
            if header["capability"] not in ("", f"SM{gpu.capability[0]}{gpu.capability[1]}"):
                return _fail(self._logger, f"The engine is for {header['capability']}, not for this GPU")
            return ICudaEngine(self, onnx_bytes)

    class ICudaEngine(_Lives):
        def __init__(self, runtime, onnx_bytes):
            self._born(gpu, "engine")
            self._parent, self._model = runtime, onnx.load_model_from_string(onnx_bytes)
            graph = self._model.graph
            self._tensors = {t.name: t for t in (*graph.input, *graph.output)}
            self._num_inputs = len(graph.input)

        @property
        def num_io_tensors(self):
            return len(self._tensors)

        def get_tensor_name(self, index):
            return list(self._tensors)[index]

        def get_tensor_mode(self, name):
            index = list(self._tensors).index(name)
            return trt.TensorIOMode.INPUT if index < self._num_inputs else trt.TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name):
            return trt.DataType[
                {"DOUBLE": "BF16"}.get(kind := _TYPES[self._tensors[name].type.tensor_type.elem_type], kind)
            ]

        def get_tensor_shape(self, name):
            dims = self._tensors[name].type.tensor_type.shape.dim
            return Dims(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims)

        def get_tensor_location(self, name):
            return trt.TensorLocation.HOST if "host tensor" in trt._faults else trt.TensorLocation.DEVICE

        def get_tensor_format(self, name):
            return trt.TensorFormat.CHW4 if "vectorized tensor" in trt._faults else trt.TensorFormat.LINEAR

        if "IRuntimeConfig" in api["classes"]:

            def create_execution_context(self, runtime_config=None):
                return self._context(runtime_config)

        else:

            def create_execution_context(self):
                return self._context()

        def _context(self, runtime_config=None):
            if "context" in trt._faults:
                return _fail(self._parent._logger, "Requested amount of GPU memory could not be allocated")
            return IExecutionContext(self, runtime_config)

        def create_runtime_config(self):
            return IRuntimeConfig()

        def create_engine_inspector(self):
            return EngineInspector(self)

    class IExecutionContext(_Lives):
        def __init__(self, engine, runtime_config):
            self._born(gpu, "context")
            self._parent, self._addresses, self._settings = engine, {}, runtime_config
            self._session = onnxruntime.InferenceSession(
                engine._model.SerializeToString(), providers=["CPUExecutionProvider"]
            )
            self._thread = threading.get_ident()

        def set_tensor_address(self, name, memory):
            if type(memory) is not int:
                raise TypeError("set_tensor_address(): incompatible function arguments")
            if "address" in trt._faults:
                _fail(self._parent._parent._logger, "address is not aligned")
                return False
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle):
            if type(stream_handle) is not int:
                raise TypeError("execute_async_v3(): incompatible function arguments")
            if threading.get_ident() != self._thread:
                raise CrashError("execution context used in another thread")
            names = list(self._parent._tensors)
            missing = [name for name in names if name not in self._addresses]
            capture_fails = "capture" in trt._faults and gpu.is_capturing(stream_handle)
            if missing or "execute" in trt._faults or capture_fails:
                _fail(self._parent._parent._logger, f"cannot enqueue {missing}")
                return False
            gpu.put(stream_handle, self._run)
            if self._settings is not None and self._settings._cache is not None:
                self._settings._cache._compile()
            return True

        def _array(self, name, dtype, shape):
            count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            return gpu.device_bytes(self._addresses[name], count).view(dtype).reshape(shape)

        def _run(self):
            inputs = {}
            for arg in self._session.get_inputs():
                inputs[arg.name] = self._array(arg.name, _numpy_type(arg.type), arg.shape)
            for arg, value in zip(self._session.get_outputs(), self._session.run(None, inputs), strict=True):
                self._array(arg.name, value.dtype, value.shape)[...] = value

    class EngineInspector:
        def __init__(self, engine):
            self._engine = engine

        def get_engine_information(self, format):
            assert format == trt.LayerInformationFormat.JSON
            return json.dumps({"Layers": [node.op_type for node in self._engine._model.graph.node]})

    class IRuntimeConfig(_Lives):
        def __init__(self):
            self._born(gpu, "runtime config")
            self._cache = None

        def create_runtime_cache(self):
            return IRuntimeCache()

        def set_runtime_cache(self, cache=None):
            self._cache = cache
            return True

    class IRuntimeCache(_Lives):
        def __init__(self):
            self._born(gpu, "runtime cache")
            self._content = b""

        def deserialize(self, blob):
            if not bytes(blob).startswith(b"KERNELS"):
                return False
            self._content = bytes(blob)
            return True

        def serialize(self):
            return HostMemory(self._content)

        def _compile(self):
            if not self._content:
                trt._compiled += 1
                self._content = b"KERNELS of " + gpu.name.encode()

    return Runtime, ICudaEngine, IExecutionContext, EngineInspector, IRuntimeConfig, IRuntimeCache


def _numpy_type(text):
    names = {"float": "float32", "float16": "float16", "bool": "bool"}
    kind = text[len("tensor(") : -1]
    return np.dtype(names.get(kind, kind))


def _builder(trt, gpu):
    import onnx

    is_rtx = trt.__name__ == "tensorrt_rtx"

    class Builder:
        def __init__(self, logger):
            self._logger, self.num_DLA_cores = logger, 0 if is_rtx else 2
            _need(trt, self._logger, "builder")

        def create_network(self, flags=0):
            assert isinstance(flags, int)
            return INetworkDefinition(flags)

        def create_builder_config(self):
            return IBuilderConfig(self._logger)

        def build_serialized_network(self, network, config):
            trt._builds += 1
            trt._built_with.append((network, config))
            kind, stored = ("Global", "") if config._cache else ("Local", "not ")
            _say(
                self._logger,
                self._logger.Severity.INFO,
                f"{kind} timing cache in use. Profiling results in this builder pass will {stored}be stored.",
            )
            if not network.num_outputs:
                return _fail_to_build(
                    self._logger, "4: API Usage Error (Network must have at least one output.)"
                )
            if not _tell_progress(config.progress_monitor):
                return _fail_to_build(self._logger, "7: BuildCanceled (Build canceled by user)")
            if "build" in trt._faults:
                return _fail(self._logger, "Could not find any implementation for node Conv_0")
            if config._capability == "CURRENT" and not gpu.num_devices:
                return _fail_to_build(self._logger, "1: Cuda Runtime (cudaError 35)")
            header = json.dumps({"version": trt.__version__, "capability": config._capability}).encode()
            return HostMemory(_MAGIC + header + b"\0" + network._onnx)

    class INetworkDefinition:
        def __init__(self, flags):
            self._flags, self._onnx = flags, b""

        @property
        def num_outputs(self):
            return len(onnx.load_model_from_string(self._onnx).graph.output) if self._onnx else 0

    def _fail_to_build(logger, text):
        return _fail(logger, f"IBuilder::buildSerializedNetwork: Error Code {text}")

    class OnnxParser:
        def __init__(self, network, logger):
            self._network, self._logger, self._errors, self._flags = network, logger, [], []

        def parse(self, model, path=None):
            try:
                proto = onnx.load_model_from_string(bytes(model))
            except Exception:
                return True  # and a network of nothing
            known = onnx.defs.get_all_schemas()
            names = {schema.name for schema in known}
            for number, node in enumerate(proto.graph.node):
                if node.op_type not in names:
                    return self._refuse(number, node, 'creator && "Plugin not found"')
                for name in node.input:
                    if self._is_unsigned(proto.graph, name) and node.op_type != "Cast":
                        return self._refuse(
                            number,
                            node,
                            "Assertion failed: status.is_success(): Found unsupported input type of UINT8",
                        )
            self._network._onnx = bytes(model)
            return True

        def _refuse(self, number, node, text):
            _fail(self._logger, f'While parsing node number {number} [{node.op_type} -> "{node.output[0]}"]:')
            _fail(self._logger, f"--- Begin node ---\nNode name: {node.name}")
            _fail(self._logger, "--- End node ---")
            _fail(self._logger, f"ERROR: {text}")
            self._errors.append(ParserError(text, node))
            return False

        @staticmethod
        def _is_unsigned(graph, name):
            return any(tensor.name == name and tensor.data_type == 2 for tensor in graph.initializer)

        @property
        def num_errors(self):
            return len(self._errors)

        def get_error(self, index):
            return self._errors[index]

        def set_builder_config(self, builder_config):
            return True

        def set_flag(self, flag):
            self._flags.append(flag)

    class ParserError:
        def __init__(self, text, node):
            self._text, self._node = text, node

        def desc(self):
            return self._text

        def node_name(self):
            return self._node.name

        def node_operator(self):
            return self._node.op_type

    class IBuilderConfig:
        def __init__(self, logger):
            self._logger = logger
            self._flags, self._pools, self._cache, self._capability = [], {}, None, ""
            self.num_compute_capabilities = 0
            self.progress_monitor, self.default_device_type, self.DLA_core = None, trt.DeviceType.GPU, -1

        def set_memory_pool_limit(self, pool, pool_size):
            self._pools[pool.name] = pool_size

        def set_flag(self, flag):
            self._flags.append(flag.name)

        def set_compute_capability(self, compute_capability, index):
            if not 0 <= index < self.num_compute_capabilities:
                _fail(
                    self._logger,
                    "IBuilderConfig::setComputeCapability: Error Code 3: API Usage Error (Index of compute "
                    "capability is not in a valid range.)",
                )
                return False
            self._capability = compute_capability.name
            return True

        def create_timing_cache(self, serialized_timing_cache):
            return ITimingCache(bytes(serialized_timing_cache))

        def set_timing_cache(self, cache, ignore_mismatch):
            assert ignore_mismatch is False
            if is_rtx:
                warnings.warn("Timing cache operations are no-ops in TensorRT-RTX.", DeprecationWarning, 2)
            self._cache = cache
            return True

        def get_timing_cache(self):
            return self._cache

    class ITimingCache:
        def __init__(self, content):
            self._content = content

        def serialize(self):
            return HostMemory(self._content + b"measured;")

    class IProgressMonitor:
        def __init__(self):
            self._initialised = True

        def phase_start(self, phase_name, parent_phase, num_steps):
            raise NotImplementedError

        def phase_finish(self, phase_name):
            raise NotImplementedError

        def step_complete(self, phase_name, step):
            raise NotImplementedError

    def _tell_progress(monitor):
        """Report from a thread of its own, as the real builder may; False if it shall stop."""
        if monitor is None:
            return True
        assert monitor._initialised
        goes_on = []

        def work():
            # Not every step is told of: the real one ends at 5 of 6.
            monitor.phase_start("Building engine", None, 6)
            monitor.phase_start("Timing tactics", "Building engine", 3)
            goes_on.extend(monitor.step_complete("Timing tactics", step) for step in range(2))
            monitor.phase_finish("Timing tactics")
            goes_on.extend(monitor.step_complete("Building engine", step) for step in range(5))
            monitor.phase_finish("Building engine")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return all(goes_on)

    return (
        Builder,
        INetworkDefinition,
        OnnxParser,
        ParserError,
        IBuilderConfig,
        ITimingCache,
        IProgressMonitor,
    )
