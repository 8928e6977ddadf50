"""XFeat's network as an ONNX graph, built from the published weights.

The graph is dense (heat map, reliability, descriptors); choosing keypoints stays outside.
Batch normalisations are folded into the convolutions before them.

Reference: Potje et al., "XFeat: Accelerated Features for Lightweight Image Matching",
CVPR 2024, section 3.2 and supplementary A.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import WeightsError
from hfnet_ros.features.torch_archive import read_state_dict
from hfnet_ros.inference.engine import NetworkModel

OPSET = 17  # TensorRT parses bilinear resampling of opset >= 20 wrongly
DESCRIPTOR_SIZE = 64
CELL = 8  # px of the input per descriptor cell
SIZE_MULTIPLE = 32
BATCH_NORM_EPS = 1e-5
_INSTANCE_NORM_EPS = 1e-5

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _Layer:
    """Convolution, batch normalisation without scale, ReLU; names as in the published file."""

    name: str
    channels_in: int
    channels_out: int
    kernel: int = 3
    stride: int = 1


def _block(name: str, *layers: tuple[int, ...]) -> tuple[_Layer, ...]:
    return tuple(_Layer(f"{name}.{index}.layer", *shape) for index, shape in enumerate(layers))


BLOCK1 = _block("block1", (1, 4), (4, 8, 3, 2), (8, 8), (8, 24, 3, 2))
BLOCK2 = _block("block2", (24, 24), (24, 24))
BLOCK3 = _block("block3", (24, 64, 3, 2), (64, 64), (64, 64, 1))
BLOCK4 = _block("block4", (64, 64, 3, 2), (64, 64), (64, 64))
BLOCK5 = _block("block5", (64, 128, 3, 2), (128, 128), (128, 128), (128, 64, 1))
FUSION = _block("block_fusion", (64, 64), (64, 64))
RELIABILITY = _block("heatmap_head", (64, 64, 1), (64, 64, 1))
KEYPOINT = _block("keypoint_head", (64, 64, 1), (64, 64, 1), (64, 64, 1))
_PLAIN_CONVOLUTIONS = {  # name -> (channels out, channels in, kernel, kernel)
    "skip1.1": (24, 1, 1, 1),
    "block_fusion.2": (64, 64, 1, 1),
    "heatmap_head.2": (1, 64, 1, 1),
    "keypoint_head.3": (65, 64, 1, 1),
}


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor the network needs, by its published name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for block in (BLOCK1, BLOCK2, BLOCK3, BLOCK4, BLOCK5, FUSION, RELIABILITY, KEYPOINT):
        for layer in block:
            shapes[f"{layer.name}.0.weight"] = (
                layer.channels_out,
                layer.channels_in,
                layer.kernel,
                layer.kernel,
            )
            shapes[f"{layer.name}.1.running_mean"] = (layer.channels_out,)
            shapes[f"{layer.name}.1.running_var"] = (layer.channels_out,)
    for name, shape in _PLAIN_CONVOLUTIONS.items():
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = shape[:1]
    return shapes


def load_xfeat_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the published `xfeat.pt`, checking every name and shape.

    The semi-dense refinement head of the file is read by `fine_matcher.load_fine_matcher`.

    Raises:
        WeightsError: the file is unreadable, or a tensor is missing, misshapen or unknown.
    """
    tensors = read_state_dict(path)
    shapes = expected_shapes()
    missing = [name for name in shapes if name not in tensors]
    if missing:
        raise WeightsError(f"{path}: not XFeat weights: {len(missing)} tensors missing, first '{missing[0]}'")
    wrong = [name for name, shape in shapes.items() if tensors[name].shape != shape]
    if wrong:
        raise WeightsError(
            f"{path}: tensor '{wrong[0]}' has shape {tensors[wrong[0]].shape}, expected {shapes[wrong[0]]}"
        )
    ignored = ("fine_matcher.",)
    unknown = [
        name
        for name in tensors
        if name not in shapes and not name.endswith("num_batches_tracked") and not name.startswith(ignored)
    ]
    if unknown:
        raise WeightsError(f"{path}: unknown tensor '{unknown[0]}': a newer architecture than this one")
    weights = {name: np.ascontiguousarray(tensors[name], dtype=np.float32) for name in shapes}
    broken = [name for name, tensor in weights.items() if not np.isfinite(tensor).all()]
    if broken:
        raise WeightsError(f"{path}: tensor '{broken[0]}' holds values that are not finite")
    return weights


def build_xfeat(weights: Weights, size_wh: tuple[int, int]) -> NetworkModel:
    """Build the network for one input size.

    Args:
        weights: as `load_xfeat_weights` returns them.
        size_wh: input width and height, multiples of 32.

    Returns:
        Network with input `image` [1, 1, H, W] float32 (any scale: it is normalised inside) and
        outputs `heatmap` [1, 1, H, W] keypoint probability, `reliability` [1, 1, H/8, W/8],
        `descriptors` [1, 64, H/8, W/8] unit norm.
    """
    width, height = _checked(size_wh)
    graph = _GraphBuilder(weights)
    image = graph.instance_norm("image", "normalized")
    cells_hw = (height // CELL, width // CELL)
    features = _add_backbone(graph, image, cells_hw)
    graph.node("LpNormalization", [features], output="descriptors", axis=1, p=2)
    blocks = graph.unshuffle(image, cells_hw)
    logits = graph.convolution(graph.layers(blocks, KEYPOINT), "keypoint_head.3")
    graph.heatmap(logits, "heatmap")
    outputs = {
        "heatmap": [1, 1, height, width],
        "reliability": [1, 1, *cells_hw],
        "descriptors": [1, DESCRIPTOR_SIZE, *cells_hw],
    }
    return NetworkModel(f"xfeat-{width}x{height}", graph.serialize("xfeat", size_wh, outputs))


def build_dense_xfeat(weights: Weights, size_wh: tuple[int, int]) -> NetworkModel:
    """Build the part of the network that semi-dense matching reads, without the keypoint branch.

    Args:
        weights: as `load_xfeat_weights` returns them.
        size_wh: input width and height, multiples of 32.

    Returns:
        Network with input `image` [1, 1, H, W] float32 and outputs `reliability` [1, 1, H/8, W/8] and
        `features` [1, 64, H/8, W/8], of the length they come with: the fine matcher was trained with it.
    """
    width, height = _checked(size_wh)
    graph = _GraphBuilder(weights)
    cells_hw = (height // CELL, width // CELL)
    features = _add_backbone(graph, graph.instance_norm("image", "normalized"), cells_hw)
    graph.node("Identity", [features], output="features")
    outputs = {"reliability": [1, 1, *cells_hw], "features": [1, DESCRIPTOR_SIZE, *cells_hw]}
    return NetworkModel(f"xfeat-dense-{width}x{height}", graph.serialize("xfeat-dense", size_wh, outputs))


def _checked(size_wh: tuple[int, int]) -> tuple[int, int]:
    width, height = size_wh
    if width % SIZE_MULTIPLE or height % SIZE_MULTIPLE:
        raise ValueError(f"input size {width}x{height} is not a multiple of {SIZE_MULTIPLE}")
    return size_wh


def _add_backbone(graph: _GraphBuilder, image: str, cells_hw: tuple[int, int]) -> str:
    """Add what leads from the normalised image to the output `reliability`; returns the features' name."""
    skip = graph.convolution(
        graph.node("AveragePool", [image], kernel_shape=[4, 4], strides=[4, 4]), "skip1.1"
    )
    x1 = graph.layers(image, BLOCK1)
    x2 = graph.layers(graph.node("Add", [x1, skip]), BLOCK2)
    x3 = graph.layers(x2, BLOCK3)
    x4 = graph.layers(x3, BLOCK4)
    x5 = graph.layers(x4, BLOCK5)
    summed = graph.node(
        "Add", [x3, graph.node("Add", [graph.resize(x4, cells_hw, 64), graph.resize(x5, cells_hw, 64)])]
    )
    features = graph.convolution(graph.layers(summed, FUSION), "block_fusion.2")
    reliability = graph.convolution(graph.layers(features, RELIABILITY), "heatmap_head.2")
    graph.node("Sigmoid", [reliability], output="reliability")
    return features


class _GraphBuilder:
    """Collects ONNX nodes and constants under generated names."""

    def __init__(self, weights: Weights) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def node(self, operator: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        name = output or f"t{len(self._nodes)}"
        self._nodes.append(self._helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, values: NDArray[Any]) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(self._numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def convolution(self, tensor: str, name: str) -> str:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return self.node("Conv", [tensor, self.constant(weight), self.constant(bias)], kernel_shape=[1, 1])

    def layers(self, tensor: str, block: tuple[_Layer, ...]) -> str:
        for layer in block:
            weight, bias = self._folded(layer)
            pad = layer.kernel // 2
            convolved = self.node(
                "Conv",
                [tensor, self.constant(weight), self.constant(bias)],
                kernel_shape=[layer.kernel, layer.kernel],
                strides=[layer.stride, layer.stride],
                pads=[pad, pad, pad, pad],
            )
            tensor = self.node("Relu", [convolved])
        return tensor

    def _folded(self, layer: _Layer) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        weight = self._weights[f"{layer.name}.0.weight"].astype(np.float64)
        mean = self._weights[f"{layer.name}.1.running_mean"].astype(np.float64)
        variance = self._weights[f"{layer.name}.1.running_var"].astype(np.float64)
        gain = 1.0 / np.sqrt(variance + BATCH_NORM_EPS)
        return (weight * gain[:, None, None, None]).astype(np.float32), (-mean * gain).astype(np.float32)

    def instance_norm(self, tensor: str, output: str) -> str:
        """Write (x - mean) / sqrt(var + eps) out: the fused operator is a trap in fp16."""
        axes: dict[str, Any] = {"axes": [2, 3], "keepdims": 1}
        centered = self.node("Sub", [tensor, self.node("ReduceMean", [tensor], **axes)])
        variance = self.node("ReduceMean", [self.node("Mul", [centered, centered])], **axes)
        stable = self.node("Add", [variance, self.constant(np.array(_INSTANCE_NORM_EPS, np.float32))])
        return self.node("Div", [centered, self.node("Sqrt", [stable])], output)

    def resize(self, tensor: str, size_hw: tuple[int, int], channels: int) -> str:
        sizes = self.constant(np.array([1, channels, *size_hw], np.int64))
        return self.node(
            "Resize", [tensor, "", "", sizes], mode="linear", coordinate_transformation_mode="half_pixel"
        )

    def unshuffle(self, tensor: str, cells_hw: tuple[int, int]) -> str:
        """Turn the image into one channel per pixel of its 8x8 block, row by row."""
        rows, columns = cells_hw
        split = self.node("Reshape", [tensor, self.constant(np.array([1, rows, CELL, columns, CELL]))])
        moved = self.node("Transpose", [split], perm=[0, 2, 4, 1, 3])
        return self.node("Reshape", [moved, self.constant(np.array([1, CELL * CELL, rows, columns]))])

    def heatmap(self, logits: str, output: str) -> str:
        """Turn 65 logits a cell into a probability a pixel; the last one means "no keypoint"."""
        probability = self.node("Softmax", [logits], axis=1)
        bounds = [self.constant(np.array([value])) for value in (0, CELL * CELL, 1)]
        pixels = self.node("Slice", [probability, *bounds])
        return self.node("DepthToSpace", [pixels], output, blocksize=CELL, mode="DCR")

    def serialize(self, name: str, size_wh: tuple[int, int], outputs: Mapping[str, list[int]]) -> bytes:
        from onnx import TensorProto, checker

        def tensor(name: str, shape: list[int]) -> Any:
            return self._helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        graph = self._helper.make_graph(
            self._nodes,
            name,
            [tensor("image", [1, 1, size_wh[1], size_wh[0]])],
            [tensor(output, shape) for output, shape in outputs.items()],
            self._constants,
        )
        model = self._helper.make_model(
            graph, opset_imports=[self._helper.make_opsetid("", OPSET)], producer_name="hfnet_ros"
        )
        model.ir_version = 8  # the version that came with opset 17; older runtimes accept it
        checker.check_model(model)
        return bytes(model.SerializeToString())
