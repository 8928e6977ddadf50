"""Write the int8 form of a network as TensorRT takes it.

The form that `quantization` writes is ONNX Runtime's: bytes without sign that begin at the smallest value, at every
operator it knows. TensorRT reads bytes with sign around zero only, and multiplies in int8 where both factors of a
convolution or product come out of DequantizeLinear. So pairs of QuantizeLinear and DequantizeLinear stay where such a
product takes them, become symmetric, and are left out elsewhere, which rounds less: sums, resizing and norms are
float. A byte that begins at zero cuts off negative values, and stands for the Relu that ONNX Runtime left out: it is
put back.

Such a byte has 255 steps without sign and 127 with. Where the image has come through few layers a few values are
large and most are small, and that costs: the first products stay float. HF-Net's mean cosine of local descriptors
with float32 is 0.993 with all that ONNX Runtime quantizes, and 0.999 without the first three (docs/gpu.md).

Reference: NVIDIA TensorRT documentation, "Working with Quantized Types", explicit quantization.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from hfnet_ros.inference.engine import NetworkModel
from hfnet_ros.inference.onnx_graph import fold_constants, has_quantizers, remove_unused

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LARGEST = 127  # of a byte with sign, on both sides
_FIRST_IN_FLOAT = 4  # with the one that takes the image, which ONNX Runtime's form leaves in float, too


def with_symmetric_bytes(model: NetworkModel, first_in_float: int = _FIRST_IN_FLOAT) -> NetworkModel:
    """Return an int8 network with bytes of sign and zero point 0, around convolutions and products only.

    Args:
        model: with QuantizeLinear and DequantizeLinear of any zero point, one scale per activation tensor.
        first_in_float: products that have fewer than this many before them, on the longest way, become float.

    Returns:
        Network of the same inputs, outputs and opset; values beyond a range are cut off later than they were.
    """
    import onnx

    proto = onnx.load_model_from_string(model.onnx)
    fold_constants(proto.graph)
    _Symmetric(proto.graph, first_in_float).rewrite()
    remove_unused(proto.graph)
    # Types of what lies between have changed.
    del proto.graph.value_info[:]
    onnx.checker.check_model(proto)
    return NetworkModel(model.name, proto.SerializeToString())


def is_quantized(model: NetworkModel) -> bool:
    """Tell whether a network holds QuantizeLinear."""
    import onnx

    return has_quantizers(onnx.load_model_from_string(model.onnx).graph)


class _Symmetric:
    """Copies nodes in order, and those of quantization as TensorRT takes them."""

    def __init__(self, graph: Any, first_in_float: int) -> None:
        self._graph = graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._takers: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._takers[name].append(node)
        depths: dict[str, int] = {}  # tensor -> products before it, on the longest way
        self._in_bytes: set[str] = set()  # outputs of products that stay quantized
        for node in graph.node:
            depth = max((depths.get(name, 0) for name in node.input), default=0)
            is_product = node.op_type in _PRODUCTS
            for name in node.output:
                depths[name] = depth + is_product
            if is_product and depth >= first_in_float and self._takes_bytes(node):
                self._in_bytes.add(node.output[0])
        self._nodes: list[Any] = []
        # Quantized tensor -> its float source, and whether that is cut off below zero.
        self._left_out: dict[str, tuple[str, bool]] = {}

    def rewrite(self) -> None:
        """Replace the nodes of the graph."""
        for node in list(self._graph.node):
            if node.op_type == "QuantizeLinear":
                self._quantize(node)
            elif node.op_type == "DequantizeLinear":
                self._dequantize(node)
            else:
                self._nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)

    def _quantize(self, node: Any) -> None:
        from onnx import helper

        scale, zero = self._values(node.input[1]), self._zero(node)
        limits = np.iinfo(zero.dtype)
        cuts_negative = bool((zero == limits.min).all())
        if not self._goes_into_product(node.output[0]):
            self._left_out[node.output[0]] = (node.input[0], cuts_negative)
            return
        if zero.dtype == np.int8 and not zero.any():
            self._nodes.append(node)
            return
        source = node.input[0]
        if cuts_negative and not self._is_relu(source):
            self._nodes.append(helper.make_node("Relu", [source], [f"{source}/positive_{node.output[0]}"]))
            source = self._nodes[-1].output[0]
        offset = zero.astype(np.float64)
        widest = np.maximum(limits.max - offset, offset - limits.min) * scale
        names = self._symmetric_names(node.output[0], widest)
        self._nodes.append(helper.make_node("QuantizeLinear", [source, *names], node.output, node.name))
        for taker in self._takers[node.output[0]]:
            del taker.input[1:]
            taker.input.extend(names)

    def _dequantize(self, node: Any) -> None:
        from onnx import helper, numpy_helper

        given, result = node.input[0], node.output[0]
        if given in self._left_out:
            source, is_positive = self._left_out[given]
            kind = "Relu" if is_positive and not self._is_relu(source) else "Identity"
            self._nodes.append(helper.make_node(kind, [source], [result]))
        elif given in self._constants and not self._is_weight(node):
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            bytes_, scale, zero = self._values(given), self._values(node.input[1]), self._zero(node)
            if scale.ndim:
                shape = [-1 if index == axis % max(bytes_.ndim, 1) else 1 for index in range(bytes_.ndim)]
                scale, zero = scale.reshape(shape), zero.reshape(shape)
            values = (bytes_.astype(np.float64) - zero) * scale
            self._graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), result))
        else:
            self._nodes.append(node)

    def _goes_into_product(self, quantized: str) -> bool:
        """Tell whether what is quantized goes into a product that stays so."""
        takers = [user for pair in self._takers[quantized] for user in self._takers[pair.output[0]]]
        return any(taker.output[0] in self._in_bytes for taker in takers)

    def _takes_bytes(self, product: Any) -> bool:
        makers = [self._makers.get(name) for name in product.input[:2]]
        return all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)

    def _is_weight(self, node: Any) -> bool:
        """Tell whether a constant is the second factor of products, in bytes as TensorRT takes them."""
        takers = self._takers[node.output[0]]
        return (
            self._constants[node.input[0]].data_type == 3  # TensorProto.INT8
            and not self._zero(node).any()
            and all(
                taker.output[0] in self._in_bytes and taker.input[1] == node.output[0] for taker in takers
            )
        )

    def _symmetric_names(self, quantized: str, widest: Any) -> tuple[str, str]:
        from onnx import numpy_helper

        scale = np.asarray(widest / _LARGEST, np.float32)
        names = (f"{quantized}/symmetric_scale", f"{quantized}/symmetric_zero")
        self._graph.initializer.append(numpy_helper.from_array(scale, names[0]))
        self._graph.initializer.append(numpy_helper.from_array(np.zeros(scale.shape, np.int8), names[1]))
        return names

    def _is_relu(self, name: str) -> bool:
        return name in self._makers and self._makers[name].op_type == "Relu"

    def _values(self, name: str) -> Any:
        from onnx import numpy_helper

        return numpy_helper.to_array(self._constants[name])

    def _zero(self, node: Any) -> Any:
        if len(node.input) > 2 and node.input[2]:
            return self._values(node.input[2])
        return np.zeros(self._values(node.input[1]).shape, np.uint8)
