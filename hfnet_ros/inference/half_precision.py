"""Write the convolutions and products of a network in float16, for runtimes that take precision from the file.

TensorRT 11 knows no other way, and one file then means the same on every version. Inputs, outputs,
normalisation, softmax and every other operator stay float32, where float16 would cost accuracy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.engine import NetworkModel
from hfnet_ros.inference.onnx_graph import fold_constants, has_quantizers

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# What may run in float16 once its data come from a product.
_FOLLOWERS = ("Relu", "Clip", "LeakyRelu", "Add", "Concat", "MaxPool", "Resize", "Identity", "QuantizeLinear")
_FLOAT, _HALF = 1, 10  # TensorProto.DataType
_HALF_SCALES_OPSET = 19  # the first whose QuantizeLinear and DequantizeLinear take float16


def with_half_products(model: NetworkModel) -> NetworkModel:
    """Return the network with float16 convolutions and matrix products; one without any comes back as it is.

    What is quantized stays so, and is float16 where it is not: the network then has opset 19 or newer.

    Args:
        model: float32 or int8 by QuantizeLinear and DequantizeLinear, static shapes.

    Returns:
        Network of the same inputs and outputs, its name ending in `-fp16`.

    Raises:
        EngineError: it is quantized, and ONNX cannot write it in that opset.
    """
    import onnx
    from onnx import version_converter

    proto = onnx.load_model_from_string(model.onnx)
    opset = next(entry.version for entry in proto.opset_import if not entry.domain)
    if has_quantizers(proto.graph) and opset < _HALF_SCALES_OPSET:
        try:
            proto = version_converter.convert_version(proto, _HALF_SCALES_OPSET)
        except Exception as error:  # ONNX exports no class for it
            raise EngineError(
                f"network '{model.name}' of opset {opset} cannot be written in opset {_HALF_SCALES_OPSET}, which "
                f"bytes with scales in float16 need: {error}; quantize one of that opset, or use another precision"
            ) from error
    graph = proto.graph
    fold_constants(graph)
    rewriter = _Rewriter(graph)
    for node in graph.node:
        rewriter.add(node)
    if not rewriter.num_halved:
        return model
    del graph.node[:]
    graph.node.extend(rewriter.nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    # Shapes and types of what lies between are those of the float32 network.
    del graph.value_info[:]
    onnx.checker.check_model(proto)
    return NetworkModel(f"{model.name}-fp16", proto.SerializeToString())


class _Rewriter:
    """Copies nodes in order, casting where float32 and float16 meet."""

    def __init__(self, graph: Any) -> None:
        self.nodes: list[Any] = []
        self.num_halved = 0
        self._graph = graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._float_names = {name for name, tensor in self._constants.items() if tensor.data_type == _FLOAT}
        self._outputs = {output.name for output in graph.output}
        self._half_names: dict[str, str] = {}  # tensor -> its float16 form
        self._born_half: set[str] = set()  # tensors that exist in float16 first
        self._full_names: set[str] = set()

    def add(self, node: Any) -> None:
        """Copy one node, in float16 if it may be."""
        if not self._may_be_half(node):
            for index, name in enumerate(node.input):
                node.input[index] = self._full(name)
            self.nodes.append(node)
            return
        self.num_halved += 1
        for index in self._half_inputs(node):
            node.input[index] = self._half(node.input[index])
        for index, name in enumerate(node.output if node.op_type != "QuantizeLinear" else ()):
            node.output[index] = f"{name}_fp16"
            self._half_names[name] = f"{name}_fp16"
            self._born_half.add(name)
        self.nodes.append(node)
        for name in list(self._half_names):
            if name in self._outputs:
                self._full(name)

    @staticmethod
    def _half_inputs(node: Any) -> list[int]:
        if node.op_type == "DequantizeLinear":
            return [1]  # the scale: what it takes is bytes
        if node.op_type == "QuantizeLinear":
            return [0, 1]
        # The sizes of Resize are integers, its scales and region float32 in every precision.
        last = 1 if node.op_type == "Resize" else len(node.input)
        return [index for index in range(last) if node.input[index]]

    def _may_be_half(self, node: Any) -> bool:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and not self._is_fine_scale(node.input[1]):
            return False
        if node.op_type == "DequantizeLinear" or node.op_type in _PRODUCTS:
            return True
        return node.op_type in _FOLLOWERS and any(name in self._born_half for name in node.input)

    def _is_fine_scale(self, name: str) -> bool:
        """Tell whether float16 holds a scale with all its digits."""
        from onnx import numpy_helper

        if name not in self._float_names:
            return False
        return bool(numpy_helper.to_array(self._constants[name]).min() >= np.finfo(np.float16).tiny)

    def _half(self, name: str) -> str:
        if name not in self._half_names:
            if name in self._float_names:
                self._half_names[name] = self._half_constant(name)
            else:
                self._half_names[name] = self._cast(name, f"{name}_fp16", _HALF)
        return self._half_names[name]

    def _full(self, name: str) -> str:
        """Make sure the tensor exists in float32, under its own name."""
        if name in self._born_half and name not in self._full_names:
            self._cast(self._half_names[name], name, _FLOAT)
            self._full_names.add(name)
        return name

    def _cast(self, source: str, target: str, kind: int) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node("Cast", [source], [target], to=kind))
        return target

    def _half_constant(self, name: str) -> str:
        from onnx import numpy_helper

        values = numpy_helper.to_array(self._constants[name])
        largest = np.finfo(np.float16).max
        half = np.clip(values, -largest, largest).astype(np.float16)
        self._graph.initializer.append(numpy_helper.from_array(half, f"{name}_fp16"))
        return f"{name}_fp16"
