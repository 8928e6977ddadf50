"""Scene networks without training: one that knows a map's landmarks by heart, and one that reads places off colours."""

import numpy as np

from hfnet_ros.map.scene_network import FEATURES, SceneNetwork
from hfnet_ros.map.visual_map import MapConsistency

IDENTITY_SIZE = 4


def memorised_scene(visual_map, consistency=None, num_leaves=25):
    """Return a hybrid network that puts a keypoint where the landmark is whose descriptor is most like its own."""
    landmarks = np.asarray(visual_map.landmark_descriptors[:], np.float32)
    points = np.asarray(visual_map.landmark_xyz, np.float32)
    leaves = np.arange(len(points)) * num_leaves // max(len(points), 1)
    centers = np.stack([points[leaves == leaf].mean(axis=0) for leaf in range(num_leaves)])
    arrays = {
        "centers": centers.astype(np.float32),
        "parents": (np.arange(num_leaves) // 5).astype(np.int32),
        "scales": np.full(num_leaves, 0.1, np.float32),
        "identities": np.zeros((visual_map.num_keyframes, IDENTITY_SIZE), np.float32),
    }
    network = looking_up(landmarks, points, leaves)
    consistency = consistency or visual_map.consistency or MapConsistency(0.0, 0.0, 0.0, 0)
    return SceneNetwork(
        FEATURES, network, arrays, {"network": "hybrid", "steps": 0, "curves": []}, consistency
    )


def looking_up(descriptors, points, leaves, shift=(0.0, 0.0, 0.0)):
    """Return the ONNX network of landmarks [L, D] at [L, 3], moved by what an identity says."""
    from onnx import TensorProto, helper, numpy_helper

    size = descriptors.shape[1]

    def kept(name, values):
        return numpy_helper.from_array(np.asarray(values), name)

    constants = [
        kept("landmarks", descriptors.T.astype(np.float32)),
        kept("xyz", (points + np.asarray(shift)).astype(np.float32)),
        kept("leaf", leaves.astype(np.int64)),
        kept("sigma", np.full(len(points), 0.02, np.float32)),
        kept("place", np.zeros((2, 3), np.float32)),
        kept("who", np.zeros((IDENTITY_SIZE, 3), np.float32)),
    ]
    nodes = [
        helper.make_node("MatMul", ["descriptors", "landmarks"], ["alike"]),
        helper.make_node("ArgMax", ["alike"], ["best"], axis=1, keepdims=0),
        helper.make_node("ReduceMax", ["alike"], ["confidence"], axes=[1], keepdims=0),
        # Position and identity are looked at and change nothing, so that no input is left out.
        helper.make_node("MatMul", ["positions", "place"], ["nothing"]),
        helper.make_node("MatMul", ["identity", "who"], ["nobody"]),
        helper.make_node("Gather", ["xyz", "best"], ["found"]),
        helper.make_node("Add", ["found", "nothing"], ["moved"]),
        helper.make_node("Add", ["moved", "nobody"], ["points"]),
        helper.make_node("Gather", ["sigma", "best"], ["sigmas"]),
        helper.make_node("Gather", ["leaf", "best"], ["leaves"]),
    ]
    real, whole = TensorProto.FLOAT, TensorProto.INT64
    graph = helper.make_graph(
        nodes,
        "memorised",
        [
            helper.make_tensor_value_info("descriptors", real, ["keypoints", size]),
            helper.make_tensor_value_info("positions", real, ["keypoints", 2]),
            helper.make_tensor_value_info("identity", real, [1, IDENTITY_SIZE]),
        ],
        [
            helper.make_tensor_value_info("points", real, ["keypoints", 3]),
            helper.make_tensor_value_info("sigmas", real, ["keypoints"]),
            helper.make_tensor_value_info("confidence", real, ["keypoints"]),
            helper.make_tensor_value_info("leaves", whole, ["keypoints"]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def colours_as_points(size_wh, output="points"):
    """Return the ONNX network that takes a cell's mean colour for its place in the scene."""
    from onnx import TensorProto, helper, numpy_helper

    cells = size_wh[0] // 8 * (size_wh[1] // 8)
    nodes = [
        helper.make_node("AveragePool", ["image"], ["mean"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["mean", "by_channel"], ["rows"]),
        helper.make_node("Transpose", ["rows"], [output], perm=[1, 0]),
        helper.make_node("ReduceMax", [output], ["largest"], axes=[1], keepdims=0),
        helper.make_node("Div", ["largest", "most"], ["confidence"]),
        helper.make_node("ArgMax", [output], ["leaves"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size_wh[1], size_wh[0]])],
        [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, [cells, 3]),
            helper.make_tensor_value_info("confidence", TensorProto.FLOAT, [cells]),
            helper.make_tensor_value_info("leaves", TensorProto.INT64, [cells]),
        ],
        [
            numpy_helper.from_array(np.array([3, cells], np.int64), "by_channel"),
            numpy_helper.from_array(np.array(255.0, np.float32), "most"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()
