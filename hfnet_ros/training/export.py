"""Write a trained student as one ONNX file for every image size."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hfnet_ros.errors import WeightsError
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.training.network import SIZE_MULTIPLE, ExportedHFNet, HFNet

OPSET = 17  # TensorRT parses bilinear resampling of opset >= 20 wrongly
_TRACED_HW = (128, 160)
_MIN_HALVED = 64  # elements; smaller tensors are not worth a cast


def export_onnx(
    network: HFNet,
    path: Path,
    *,
    half: bool,
    global_scales: str = "whole",
    about: Mapping[str, str] | None = None,
) -> int:
    """Write the network with outputs `scores`, `local`, `global` (see `features.hfnet`); return its bytes.

    Args:
        network: trained; it is put into evaluation mode.
        path: ONNX file to write.
        half: store weights in half precision. They are cast to float32 once, when the file is loaded:
            the arithmetic stays float32 on every backend.
        global_scales: of the image, for the global descriptor; see `NetworkOptions`.
        about: notes kept in the file's metadata.

    Raises:
        WeightsError: the exported network says something else than the one in PyTorch.
    """
    import onnx

    content = _trace(ExportedHFNet(network.cpu(), global_scales=global_scales).eval())
    model = onnx.load_model_from_string(content)
    if half:
        store_half(model)
    for key, value in {"hfnet_ros.multiple": str(SIZE_MULTIPLE), **(about or {})}.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    model.producer_name = "hfnet_ros"
    onnx.checker.check_model(model)
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found.get("", 0) != OPSET:
        raise WeightsError(f"export has opset {found}, expected {OPSET}")
    with atomic_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return path.stat().st_size


def store_half(model: Any) -> None:
    """Replace the float32 weights of a model by float16 ones and a cast each."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < _MIN_HALVED:
            continue
        name = tensor.name
        # Batch normalisation folds into weights that half precision may not hold.
        tensor.CopyFrom(
            numpy_helper.from_array(np.clip(values, -65504, 65504).astype(np.float16), f"{name}.half")
        )
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    for node in reversed(casts):
        model.graph.node.insert(0, node)


def _trace(wrapped: ExportedHFNet) -> bytes:
    size = {2: "height", 3: "width"}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "traced.onnx"
        warnings.simplefilter(
            "ignore"
        )  # the tracing exporter announces its end; the other one needs onnxscript
        torch.onnx.export(
            wrapped,
            (torch.zeros(1, 1, *_TRACED_HW),),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["scores", "local", "global"],
            dynamic_axes={"image": size, "scores": size, "local": {2: "rows", 3: "columns"}},
        )
        return path.read_bytes()
