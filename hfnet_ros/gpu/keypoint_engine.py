"""Engines whose runs end with keypoints, because these are chosen where the dense outputs are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.features import DeviceFeatures, DeviceTensor, FeatureKernels, SelectionRule
from hfnet_ros.gpu.module import OpenModule, open_module
from hfnet_ros.inference.engine import Engine, Tensor, TensorSpec
from hfnet_ros.inference.tensorrt_engine import TensorrtEngine
from hfnet_ros.types import LocalFeatures

_logger = logging.getLogger(__name__)

KEYPOINTS, SCORES, DESCRIPTORS = "chosen.keypoints", "chosen.scores", "chosen.descriptors"


@dataclass(frozen=True)
class DenseOutputs:
    """Names of the outputs that keypoints are chosen from; see `FeatureKernels`."""

    scores: str
    descriptors: str
    reliability: str = ""


def with_keypoints(
    engine: Engine,
    dense: DenseOutputs,
    rule: SelectionRule,
    mode: str,
    open_kernels: OpenModule = open_module,
) -> Engine:
    """Return an engine that chooses keypoints itself where it can, else the given one.

    Args:
        engine: taken over by the result.
        dense: what it puts out.
        rule: how keypoints are chosen.
        mode: `inference.gpu_postprocessing`; `off` returns the engine.
        open_kernels: compiles the kernels.
    """
    if mode == "off" or not isinstance(engine, TensorrtEngine):
        return engine
    try:
        kernels = FeatureKernels(
            engine.memory,
            _on_device(engine, dense.scores),
            _on_device(engine, dense.descriptors),
            rule,
            reliability=_on_device(engine, dense.reliability) if dense.reliability else None,
            open_kernels=open_kernels,
        )
    except EngineError as error:
        # What a compiler says has many lines, of which the log gets one.
        _logger.warning("keypoints are chosen on the CPU: %s", str(error).partition("\n")[0])
        _logger.debug("keypoints are chosen on the CPU: %s", error)
        return engine
    _logger.info("keypoints are chosen on the GPU")
    return KeypointEngine(engine, dense, kernels)


def chosen_features(outputs: Mapping[str, Tensor]) -> LocalFeatures | None:
    """Return the keypoints among the outputs of an engine, in pixels of its input; None without any."""
    if KEYPOINTS not in outputs:
        return None
    return LocalFeatures(outputs[KEYPOINTS], outputs[SCORES], outputs[DESCRIPTORS])


class KeypointEngine:
    """A TensorRT engine followed by the kernels that choose keypoints, on one stream and one wait."""

    def __init__(self, engine: TensorrtEngine, dense: DenseOutputs, kernels: FeatureKernels) -> None:
        """Take over an engine that was not run yet, and kernels on its memory."""
        self._engine = engine
        self._kernels = kernels
        gone = (dense.scores, dense.descriptors, dense.reliability)
        self._outputs = {key: spec for key, spec in engine.outputs.items() if key not in gone}
        engine.follow_with(kernels, tuple(self._outputs))

    @property
    def backend(self) -> str:
        """Name of the backend and its version."""
        return self._engine.backend

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Input tensors by name."""
        return self._engine.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs of fixed shape; `run` returns the chosen keypoints beside them."""
        return self._outputs

    @property
    def on_device(self) -> DeviceFeatures:
        """Where the latest keypoints are on the device."""
        return self._kernels.on_device

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run once; see `Engine.run` for the life of what is not `chosen`, which is new each time."""
        outputs = self._engine.run(inputs)
        chosen = self._kernels.features()
        return {
            **outputs,
            KEYPOINTS: chosen.keypoints,
            SCORES: chosen.scores,
            DESCRIPTORS: chosen.descriptors,
        }

    def close(self) -> None:
        """Free everything; calling it again does nothing."""
        self._engine.close()


def _on_device(engine: TensorrtEngine, name: str) -> DeviceTensor:
    spec = engine.outputs[name]
    return DeviceTensor(engine.device_address(name), spec.shape, spec.dtype)
