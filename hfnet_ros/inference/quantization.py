"""Write a network with int8 convolutions, for processors that multiply bytes faster than floats.

Activations are 8 bits without sign and of one scale per tensor, from the smallest to the largest value over some
images; weights are 8 bits with sign, of one scale per output channel; both stand in the file as QuantizeLinear
and DequantizeLinear, which every runtime fuses in its own way. Norms, softmax and what is named to be left stay float.

Before that the graph is rewritten where ONNX Runtime takes longer for moving numbers than for a convolution.

Reference: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018, section 2.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_ros.errors import WeightsError
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.inference.engine import NetworkModel, Tensor
from hfnet_ros.inference.onnx_graph import merge_unshuffling, spread_softmax
from hfnet_ros.inference.onnxruntime_library import load_onnxruntime, load_quantization

QUANTIZED_OF = "hfnet_ros.quantized_of"  # key of the metadata: SHA-256 of the float32 file
_OPERATORS = ("Conv", "Gemm", "Relu", "Add", "Concat", "Resize", "AveragePool")


def quantized_path(path: Path) -> Path:
    """Return where the int8 form of a network's file is looked for."""
    return path.with_name(f"{path.stem}-int8{path.suffix}")


def quantize_network(path: Path, out: Path, images: Sequence[Tensor], keep_float: Sequence[str] = ()) -> None:
    """Write a network whose convolutions are int8, and that says which file it comes of.

    Args:
        path: ONNX file with one input and float32 arithmetic.
        out: file to write, replaced as a whole.
        images: inputs whose activations give the ranges, of one shape.
        keep_float: parts of the names of nodes that stay float32.

    Raises:
        WeightsError: the file is missing, no ONNX, ONNX Runtime refuses it or the images, or `out` is the file itself.
    """
    import onnx

    if out.suffix != ".onnx" or out.resolve() == path.resolve():
        raise WeightsError(f"{out}: expected another .onnx file than {path}, as {quantized_path(path)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}; expected an ONNX file") from error
    with tempfile.TemporaryDirectory(prefix="hfnet_ros_") as folder:
        try:
            quantized = _quantized(path, Path(folder), images, keep_float)
        except Exception as error:  # neither the runtime nor its tools export their exception classes
            brief = str(error).partition("\n")[0]
            raise WeightsError(f"{path}: ONNX Runtime cannot load or quantize it: {brief}") from error
    notes = {entry.key: entry.value for entry in onnx.load_model_from_string(content).metadata_props}
    digest = NetworkModel(path.name, content).digest
    onnx.helper.set_model_props(quantized, {**notes, QUANTIZED_OF: digest})
    with atomic_file(out) as temporary:
        temporary.write_bytes(quantized.SerializeToString())


def _quantized(path: Path, folder: Path, images: Sequence[Tensor], keep_float: Sequence[str]) -> Any:
    """Return the int8 model; intermediate files go into a folder."""
    import onnx

    tools = load_quantization()
    folded, rewritten, written = (folder / f"{name}.onnx" for name in ("folded", "rewritten", "int8"))
    _fold_constants(path, folded)
    model = onnx.load(folded)
    merge_unshuffling(model.graph)
    spread_softmax(model.graph, model.opset_import[0].version)
    onnx.save(model, rewritten)
    if not _agree(folded, rewritten, images[0]):
        rewritten, model = folded, onnx.load(folded)
    kept = [node.name for node in model.graph.node if any(part in node.name for part in keep_float)]
    with _without_advice():
        tools.quantize_static(
            rewritten,
            written,
            _Images(model.graph.input[0].name, images),
            quant_format=tools.QuantFormat.QDQ,
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            op_types_to_quantize=list(_OPERATORS),
            nodes_to_exclude=kept,
        )
    quantized = onnx.load(written)
    # ONNX Runtime names every domain it knows, which older versions of it refuse.
    used = {node.domain for node in quantized.graph.node}
    for entry in [entry for entry in quantized.opset_import if entry.domain not in used]:
        quantized.opset_import.remove(entry)
    return quantized


def _agree(first: Path, second: Path, image: Tensor) -> bool:
    """Tell whether two networks return the same, but for the order of sums."""
    expected = _run(first, image)
    try:
        found = _run(second, image)
    except Exception:  # a rewriting that does not fit this network
        return False
    return all(
        one.shape == other.shape and np.allclose(one, other, rtol=1e-3, atol=1e-4)
        for one, other in zip(expected, found, strict=True)
    )


def _run(path: Path, image: Tensor) -> list[Tensor]:
    session = load_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: list[Tensor] = session.run(None, {session.get_inputs()[0].name: image})
    return found


@contextmanager
def _without_advice() -> Iterator[None]:
    """Keep ONNX Runtime from advising, through Python's root logger, what is done here already."""

    def is_other(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    root = logging.getLogger()
    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)


class _Images:
    """Images, one at a time, as ONNX Runtime asks for them."""

    def __init__(self, name: str, images: Iterable[Tensor]) -> None:
        self._name, self._images = name, iter(images)

    def get_next(self) -> dict[str, Tensor] | None:
        image = next(self._images, None)
        return None if image is None else {self._name: image}


def _fold_constants(path: Path, out: Path) -> None:
    """Write the network with its constants computed, such as weights that are stored in float16."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
