"""Choose and create the engine that runs a network on this machine."""

from __future__ import annotations

import logging

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import ConfigError
from hfnet_ros.inference.engine import Engine, NetworkModel

_logger = logging.getLogger(__name__)


def create_engine(model: NetworkModel, config: InferenceConfig) -> Engine:
    """Load `model` with the configured backend, in the thread that will run it.

    Raises:
        ConfigError: the backend is not available in this version.
        EngineError: the backend refuses the model.
    """
    if config.backend in ("auto", "onnxruntime"):
        from hfnet_ros.inference.onnxruntime_engine import OnnxRuntimeEngine

        engine = OnnxRuntimeEngine(model, config)
        _logger.info("network %s runs on %s, %d threads", model.name, engine.backend, config.num_threads)
        return engine
    raise ConfigError(
        f"inference.backend is '{config.backend}', which this version does not have; use 'onnxruntime'"
    )
