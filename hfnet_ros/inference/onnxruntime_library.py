"""The module onnxruntime, which is loaded nowhere else, and never reports to its maker."""

from __future__ import annotations

from typing import Any


def load_onnxruntime() -> Any:
    """Return the module, without its telemetry.

    Importing `hfnet_ros` has put ORT_DISABLE_TELEMETRY into the environment; a program that loaded ONNX Runtime
    before that hears of it here.

    Raises:
        ImportError: it is not installed, or its libraries do not load.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def load_quantization() -> Any:
    """Import and return ONNX Runtime's tools for quantization."""
    load_onnxruntime()
    from onnxruntime import quantization

    return quantization
