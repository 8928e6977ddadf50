"""Engines whose runs end with keypoints, because these are chosen where the dense outputs are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.features import DeviceTensor, FeatureKernels, SelectionRule
from hfnet_ros.gpu.module import OpenModule, module_opener
from hfnet_ros.inference.engine import Engine, Tensor
from hfnet_ros.inference.tensorrt_engine import TensorrtEngine
from hfnet_ros.types import LocalFeatures

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DenseOutputs:
    """Names of the outputs that keypoints are chosen from; see `FeatureKernels`."""

    scores: str
    descriptors: str
    reliability: str = ""


class OutputsWithKeypoints(dict[str, Tensor]):
    """Outputs of a network, and the keypoints that were chosen from others.

    Attributes:
        local: in pixels of the network's input.
    """

    def __init__(self, outputs: Mapping[str, Tensor], local: LocalFeatures) -> None:
        """Take both."""
        super().__init__(outputs)
        self.local = local


def with_keypoints(
    engine: Engine,
    dense: DenseOutputs,
    rule: SelectionRule,
    config: InferenceConfig,
    open_kernels: OpenModule | None = None,
) -> Engine:
    """Return an engine that chooses keypoints itself where it can, else the given one.

    Args:
        engine: taken over by the result.
        dense: what it puts out.
        rule: how keypoints are chosen.
        config: `gpu_postprocessing`, where `off` returns the engine, and `engine_cache`.
        open_kernels: compiles the kernels, unless as `config` says.
    """
    if config.gpu_postprocessing == "off" or not isinstance(engine, TensorrtEngine):
        return engine
    try:
        kernels = FeatureKernels(
            engine.memory,
            _on_device(engine, dense.scores),
            _on_device(engine, dense.descriptors),
            rule,
            reliability=_on_device(engine, dense.reliability) if dense.reliability else None,
            open_kernels=open_kernels or module_opener(config.engine_cache),
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
    return outputs.local if isinstance(outputs, OutputsWithKeypoints) else None


class KeypointEngine:
    """A TensorRT engine followed by the kernels that choose keypoints, on one stream and one wait.

    Attributes:
        backend: of the engine.
        inputs: tensors by name.
        outputs: those of fixed shape; `run` returns `OutputsWithKeypoints`.
    """

    def __init__(self, engine: TensorrtEngine, dense: DenseOutputs, kernels: FeatureKernels) -> None:
        """Take over engine and kernels.

        Args:
            engine: not run yet.
            dense: what it puts out.
            kernels: on its memory.
        """
        self._engine = engine
        self._kernels = kernels
        gone = (dense.scores, dense.descriptors, dense.reliability)
        self.backend, self.inputs = engine.backend, engine.inputs
        self.outputs = {key: spec for key, spec in engine.outputs.items() if key not in gone}
        engine.follow_with(kernels, tuple(self.outputs))

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run once and return `OutputsWithKeypoints`.

        Their arrays live as `Engine.run` says, but for the keypoints, which are new each time.
        """
        outputs = self._engine.run(inputs)
        return OutputsWithKeypoints(outputs, self._kernels.features())

    def close(self) -> None:
        """Free everything; calling it again does nothing."""
        self._engine.close()


def _on_device(engine: TensorrtEngine, name: str) -> DeviceTensor:
    spec = engine.outputs[name]
    return DeviceTensor(engine.device_address(name), spec.shape, spec.dtype)
