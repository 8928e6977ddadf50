"""A trained scene network as the part of a map that a robot runs."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from hfnet_ros.errors import WeightsError
from hfnet_ros.features.scene_hybrid import INPUTS, OUTPUTS
from hfnet_ros.training.export import OPSET
from hfnet_ros.training.scene_hybrid_network import ExportedHybrid, HybridModule


def export_hybrid(module: HybridModule, descriptor_size: int) -> bytes:
    """Return the network as ONNX, for any number of keypoints; see `features.scene_hybrid`.

    Raises:
        WeightsError: the export is not of the operator set that engines know.
    """
    identity = torch.zeros(1, 2 * module.options.width)
    example = (torch.zeros(8, descriptor_size), torch.zeros(8, 2), identity)
    any_number = {name: {0: "keypoints"} for name in (*INPUTS[:2], *OUTPUTS)}
    return traced_onnx(ExportedHybrid(module.eval()), example, INPUTS, OUTPUTS, any_number)


def traced_onnx(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
) -> bytes:
    """Return a network as ONNX, by what it does with an example.

    Raises:
        WeightsError: the export is not of the operator set that engines know.
    """
    import onnx

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "scene.onnx"
        # The tracing exporter announces its end; the other one needs onnxscript.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            example,
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=dynamic_axes,
        )
        model = onnx.load(path)
    model.producer_name = "hfnet_ros"
    onnx.checker.check_model(model)
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found.get("", 0) != OPSET:
        raise WeightsError(f"export has opset {found}, expected {OPSET}")
    return bytes(model.SerializeToString())
