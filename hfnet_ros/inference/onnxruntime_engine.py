"""ONNX Runtime: on the CPU of every machine, and on an NVIDIA GPU where its CUDA provider is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import EngineError
from hfnet_ros.inference.engine import NetworkModel, Tensor, TensorSpec, checked_input
from hfnet_ros.inference.onnxruntime_library import load_onnxruntime

CUDA_PROVIDER = "CUDAExecutionProvider"

_NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class OnnxRuntimeEngine:
    """Run an ONNX model with static shapes through ONNX Runtime.

    Outputs are bound to arrays allocated once, so a running localizer does not allocate
    network buffers per image.

    Attributes:
        backend: its name and device.
        inputs: tensors by name.
        outputs: likewise.
    """

    def __init__(
        self, model: NetworkModel, config: InferenceConfig, *, cuda: bool = False, int8: bool = False
    ) -> None:
        """Load the model.

        Args:
            model: with static shapes.
            config: threads and spinning.
            cuda: run on the GPU; inputs and outputs stay in the CPU's memory.
            int8: say that the model is quantized.

        Raises:
            EngineError: ONNX Runtime refuses the model or the GPU, or a shape is not static.
        """
        onnxruntime = load_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = config.num_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads burn the cores that the rest of a robot's software needs.
        spinning = "1" if config.allow_spinning else "0"
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        providers = [*([CUDA_PROVIDER] if cuda else []), "CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(model.onnx, options, providers=providers)
        except Exception as error:  # the runtime's exception classes are not exported
            raise EngineError(f"ONNX Runtime cannot load network '{model.name}': {error}") from error
        # A provider whose libraries do not load is left out with nothing but a line in the log.
        if cuda and self._session.get_providers()[0] != CUDA_PROVIDER:
            raise EngineError(
                f"ONNX Runtime cannot use the GPU for network '{model.name}': its CUDA provider does not load; "
                "install the CUDA and cuDNN versions that onnxruntime-gpu asks for"
            )
        self._name = model.name
        self.backend = "onnxruntime-cuda" if cuda else f"onnxruntime-cpu{'-int8' if int8 else ''}"
        self.inputs = {arg.name: _spec(arg, model.name) for arg in self._session.get_inputs()}
        self.outputs = {arg.name: _spec(arg, model.name) for arg in self._session.get_outputs()}
        self._binding = self._session.io_binding()
        self._buffers = {spec.name: np.empty(spec.shape, spec.dtype) for spec in self.outputs.values()}
        for name, buffer in self._buffers.items():
            self._binding.bind_output(name, "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run the network once; see `Engine.run` for the life of the result."""
        if self._session is None:
            raise EngineError(f"network '{self._name}' was closed before this call")
        held = []
        for name, spec in self.inputs.items():
            array = checked_input(inputs, spec, self._name)
            held.append(array)
            self._binding.bind_input(name, "cpu", 0, spec.dtype.type, spec.shape, array.ctypes.data)
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # the runtime's exception classes are not exported
            raise EngineError(f"network '{self._name}' failed: {error}") from error
        return self._buffers

    def close(self) -> None:
        """Free the session; calling it again does nothing."""
        self._binding = None
        self._session = None


def _spec(arg: Any, network: str) -> TensorSpec:
    if not all(isinstance(length, int) for length in arg.shape):
        raise EngineError(
            f"network '{network}': tensor '{arg.name}' has shape {arg.shape}, expected fixed "
            "numbers; export the network for one image size"
        )
    if arg.type not in _NUMPY_TYPES:
        raise EngineError(f"network '{network}': tensor '{arg.name}' has unsupported type {arg.type}")
    return TensorSpec(arg.name, tuple(arg.shape), np.dtype(_NUMPY_TYPES[arg.type]))
