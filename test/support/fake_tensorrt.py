"""A module `tensorrt` that runs ONNX Runtime behind raw device addresses.

Its enums are made from the listings of the real bindings (test/inference/tensorrt_api), and what a
listing does not have is taken out of the classes, so that a fake 11.4 lacks what 11.4 lacks. A test
compares what is left with the listings, names and parameters.
"""

import enum
import json
import threading
from pathlib import Path

import numpy as np
from fake_cuda import new_module

API_FOLDER = Path(__file__).resolve().parents[1] / "inference" / "tensorrt_api"
VERSIONS = tuple(
    sorted((path.stem for path in API_FOLDER.glob("*.json")), key=lambda text: [*map(int, text.split("."))])
)

_ENUMS = (
    "BuilderFlag",
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

    Knobs of the module, for tests: `_builds` counts builds; `_faults` holds names of what shall fail.
    """
    api = listing(version)
    module = new_module("tensorrt")
    module.__version__ = api["version"]
    module._builds, module._faults, module._built_with = 0, set(), []
    for name in _ENUMS:
        setattr(module, name, enum.IntEnum(name, api["classes"][name]["enum"]))
    for kind in (*_logging(api), *_runtime(module, gpu), *_builder(module, gpu)):
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
        Severity = enum.IntEnum("Severity", api["classes"]["ILogger.Severity"]["enum"])

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


def _runtime(trt, gpu):
    import onnx
    import onnxruntime

    class Runtime(_Lives):
        def __init__(self, logger):
            _need(trt, logger, "runtime")
            self._logger, self.DLA_core = logger, 0
            self._born(gpu, "runtime")

        def deserialize_cuda_engine(self, serialized_engine):
            content = bytes(serialized_engine)
            if "deserialize" in trt._faults:
                return _fail(self._logger, "deserialization failed for no reason")
            if not content.startswith(_MAGIC):
                return _fail(self._logger, "Magic tag does not match")
            header, onnx_bytes = content[len(_MAGIC) :].split(b"\0", 1)
            if json.loads(header)["version"] != trt.__version__:
                return _fail(self._logger, "The engine plan file is not compatible with this version")
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

        def create_execution_context(self):
            if "context" in trt._faults:
                return _fail(self._parent._logger, "Requested amount of GPU memory could not be allocated")
            return IExecutionContext(self)

        def create_engine_inspector(self):
            return EngineInspector(self)

    class IExecutionContext(_Lives):
        def __init__(self, engine):
            self._born(gpu, "context")
            self._parent, self._addresses = engine, {}
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

    return Runtime, ICudaEngine, IExecutionContext, EngineInspector


def _numpy_type(text):
    names = {"float": "float32", "float16": "float16", "bool": "bool"}
    kind = text[len("tensor(") : -1]
    return np.dtype(names.get(kind, kind))


def _builder(trt, gpu):
    import onnx

    class Builder:
        def __init__(self, logger):
            _need(trt, logger, "builder")
            self._logger, self.num_DLA_cores = logger, 2

        def create_network(self, flags=0):
            assert isinstance(flags, int)
            return INetworkDefinition(flags)

        def create_builder_config(self):
            return IBuilderConfig()

        def build_serialized_network(self, network, config):
            trt._builds += 1
            trt._built_with.append((network, config))
            _say(self._logger, self._logger.Severity.INFO, "Local timing cache in use")
            if not _tell_progress(config.progress_monitor) or "build" in trt._faults:
                return _fail(self._logger, "Could not find any implementation for node Conv_0")
            header = json.dumps({"version": trt.__version__}).encode()
            return HostMemory(_MAGIC + header + b"\0" + network._onnx)

    class INetworkDefinition:
        def __init__(self, flags):
            self._flags, self._onnx = flags, b""

    class OnnxParser:
        def __init__(self, network, logger):
            self._network, self._logger, self._errors, self._flags = network, logger, [], []

        def parse(self, model, path=None):
            try:
                onnx.checker.check_model(onnx.load_model_from_string(bytes(model)))
            except Exception as error:
                self._errors.append(ParserError(str(error)))
                return False
            self._network._onnx = bytes(model)
            return True

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
        def __init__(self, text):
            self._text = text

        def desc(self):
            return self._text

    class IBuilderConfig:
        def __init__(self):
            self._flags, self._pools, self._cache = [], {}, None
            self.progress_monitor, self.default_device_type, self.DLA_core = None, trt.DeviceType.GPU, -1

        def set_memory_pool_limit(self, pool, pool_size):
            self._pools[pool.name] = pool_size

        def set_flag(self, flag):
            self._flags.append(flag.name)

        def create_timing_cache(self, serialized_timing_cache):
            return ITimingCache(bytes(serialized_timing_cache))

        def set_timing_cache(self, cache, ignore_mismatch):
            assert ignore_mismatch is False
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
            monitor.phase_start("Building Engine", None, 4)
            monitor.phase_start("Timing", "Building Engine", 2)
            goes_on.extend(monitor.step_complete("Timing", step) for step in range(2))
            monitor.phase_finish("Timing")
            goes_on.extend(monitor.step_complete("Building Engine", step) for step in range(4))
            monitor.phase_finish("Building Engine")

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
