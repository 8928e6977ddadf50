"""Changes to ONNX graphs that leave what they return as it was."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

_FLOATS = {1: np.float32, 10: np.float16}  # TensorProto.DataType


def has_quantizers(graph: Any) -> bool:
    """Tell whether a graph holds QuantizeLinear."""
    return any(node.op_type == "QuantizeLinear" for node in graph.node)


def names_taken(node: Any) -> list[str]:
    """Return the names of the tensors that a node takes, those in its own subgraphs, too."""
    inner = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
    return [*node.input, *(name for graph in inner for part in graph.node for name in part.input)]


def remove_unused(graph: Any) -> None:
    """Remove nodes and constants that no output needs: runtimes would compute them all the same.

    Nodes are in topological order, so one walk backwards finds them.
    """
    needed = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
            continue
        needed.update(names_taken(node))
    for tensor in list(graph.initializer):
        if tensor.name not in needed:
            graph.initializer.remove(tensor)


def fold_constants(graph: Any) -> None:
    """Make constants of what Constant and Identity give, and Cast between floats, as of weights stored in float16."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
        elif node.op_type == "Identity" and node.input[0] in constants:
            tensor = constants[node.input[0]]
        elif node.op_type == "Cast" and node.input[0] in constants:
            tensor, kind = constants[node.input[0]], _attribute(node, "to")
            if not {tensor.data_type, kind} <= _FLOATS.keys():
                continue
            tensor = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(_FLOATS[kind]))
        else:
            continue
        found = graph.initializer.add()
        found.CopyFrom(tensor)
        found.name = node.output[0]
        constants[found.name] = found
        graph.node.remove(node)
    outputs = {output.name for output in graph.output}
    for name in outputs & constants.keys():  # an output is computed by a node
        constants[name].name = f"{name}/constant"
        graph.node.append(helper.make_node("Identity", [constants[name].name], [name]))
        for node in graph.node:
            for index, given in enumerate(node.input):
                if given == name:
                    node.input[index] = constants[name].name
    remove_unused(graph)


def merge_unshuffling(graph: Any) -> None:
    """Let a 1x1 convolution of squares of r x r pixels that were moved into channels be one of r x r with stride r.

    Moving them takes ONNX Runtime longer than the convolution. The graph is taken to be as PyTorch exports it, images
    [1, C, H, W]: compare what it returns before and after.
    """
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    takers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            takers[name].append(node)
    for transpose in list(graph.node):
        if transpose.op_type != "Transpose" or _attribute(transpose, "perm") != [0, 1, 3, 5, 2, 4]:
            continue
        parted = makers.get(transpose.input[0])
        if parted is None or parted.op_type != "Reshape" or parted.input[1] not in constants:
            continue
        side = int(numpy_helper.to_array(constants[parted.input[1]])[-1])
        source, moved = transpose.input[0], transpose.output[0]
        while source in makers and makers[source].op_type in ("Reshape", "Unsqueeze"):
            source = makers[source].input[0]
        while len(takers[moved]) == 1 and takers[moved][0].op_type in ("Reshape", "Squeeze"):
            moved = takers[moved][0].output[0]
        for taker in takers[moved]:
            if not _is_plain_convolution(taker) or taker.input[1] not in constants:
                continue
            weights = numpy_helper.to_array(constants[taker.input[1]])
            if weights.shape[2:] != (1, 1) or weights.shape[1] % side**2:
                continue
            name = f"{taker.input[1]}_unshuffled"
            if name not in constants:
                squares = weights.reshape(len(weights), -1, side, side)
                constants[name] = numpy_helper.from_array(squares, name)
                graph.initializer.append(constants[name])
            taker.input[0], taker.input[1] = source, name
            for key in ("kernel_shape", "strides"):
                for attribute in [one for one in taker.attribute if one.name == key]:
                    taker.attribute.remove(attribute)
                taker.attribute.append(helper.make_attribute(key, [side, side]))
    remove_unused(graph)


def spread_softmax(graph: Any, opset: int) -> None:
    """Write softmax over channels as its parts, for which ONNX Runtime does not turn the tensor around.

    Args:
        graph: changed in place.
        opset: of the graph; below 13 softmax is another operator and stays.
    """
    from onnx import helper, numpy_helper

    nodes = []
    for node in graph.node:
        if node.op_type != "Softmax" or opset < 13 or _attribute(node, "axis") != 1:
            nodes.append(node)
            continue
        (given,), (result,) = node.input, node.output
        largest, lower, powers, total, axes = (
            f"{result}/{part}" for part in ("largest", "lower", "powers", "total", "axes")
        )
        graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), axes))
        if opset < 18:  # since then axes are an input here, too
            nodes.append(helper.make_node("ReduceMax", [given], [largest], largest, axes=[1]))
        else:
            nodes.append(helper.make_node("ReduceMax", [given, axes], [largest], largest))
        nodes += [
            helper.make_node("Sub", [given, largest], [lower], lower),
            helper.make_node("Exp", [lower], [powers], powers),
            helper.make_node("ReduceSum", [powers, axes], [total], total),
            helper.make_node("Div", [powers, total], [result], f"{result}/softmax"),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def _is_plain_convolution(node: Any) -> bool:
    return node.op_type == "Conv" and (
        _attribute(node, "group", 1) == 1
        and set(_attribute(node, "strides", [1])) == {1}
        and set(_attribute(node, "pads", [0])) == {0}
    )


def _attribute(node: Any, name: str, default: Any = None) -> Any:
    from onnx import helper

    found = [attribute for attribute in node.attribute if attribute.name == name]
    return helper.get_attribute_value(found[0]) if found else default
