"""The learned matcher's network: a small one of the same contract, and the published one where it is."""

from pathlib import Path

import numpy as np
import pytest

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import WeightsError
from hfnet_ros.features.lighterglue import KeypointSet, LighterGlue
from hfnet_ros.types import ImageFeatures, LocalFeatures

onnx = pytest.importorskip("onnx")
PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "weights" / "lighterglue_L3.onnx"


def small_network(path, *, inputs=("kpts0", "kpts1", "desc0", "desc1"), ends_with_best=True):
    """Write a network whose log assignment is ten times the cosines, less ten: e^0 for equal descriptors.

    Points enter with a weight of zero, as the contract has them.
    """
    from onnx import TensorProto, helper, numpy_helper

    sizes = {"kpts0": ("n", 2), "kpts1": ("m", 2), "desc0": ("n", 64), "desc1": ("m", 64)}
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *sizes.get(name, ("n", 2))])
        for name in inputs
    ]
    constants = {
        "ten": np.float32(10.0), "none": np.zeros((2, 64), np.float32), "one": np.array([1], np.int64),
        "flat": np.array([-1], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["kpts0", "none"], ["nothing0"]),
        helper.make_node("MatMul", ["kpts1", "none"], ["nothing1"]),
        helper.make_node("Add", ["desc0", "nothing0"], ["first"]),
        helper.make_node("Add", ["desc1", "nothing1"], ["second"]),
        helper.make_node("Transpose", ["second"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["first", "turned"], ["cosines"]),
        helper.make_node("Mul", ["cosines", "ten"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "ten"], ["assignment"]),
    ]
    if ends_with_best:
        nodes += [
            helper.make_node("TopK", ["assignment", "one"], ["best", "nearest"], axis=2),
            helper.make_node("TopK", ["assignment", "one"], ["best_of_columns", "back"], axis=1),
            helper.make_node("Reshape", ["nearest", "flat"], ["matches"]),
        ]
        output = helper.make_tensor_value_info("matches", TensorProto.INT64, ["k"])
    else:
        output = helper.make_tensor_value_info("assignment", TensorProto.FLOAT, [1, "n", "m"])
    graph = helper.make_graph(
        nodes if len(inputs) == 4 else nodes[:1],
        "small",
        tensors,
        [output]
        if len(inputs) == 4
        else [helper.make_tensor_value_info("nothing0", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def random_set(seed, count):
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(count, 64)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return KeypointSet(rng.uniform(0.0, 400.0, (count, 2)), descriptors, (640, 480))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    found = LighterGlue(small_network(tmp_path_factory.mktemp("network") / "small.onnx"), InferenceConfig())
    yield found
    found.close()


def test_equal_descriptors_match_and_others_do_not(network):
    first = random_set(0, 64)
    order = np.random.default_rng(1).permutation(64)
    descriptors = first.descriptors[order].copy()
    descriptors[:8] = random_set(2, 8).descriptors  # shown in the second image only
    rows, scores = network.match(first, KeypointSet(first.points, descriptors, (640, 480)))
    np.testing.assert_array_equal(np.sort(rows[:, 1]), np.arange(8, 64))
    np.testing.assert_array_equal(order[rows[:, 1]], rows[:, 0])
    np.testing.assert_allclose(scores, 1.0, atol=1e-3)


def test_those_most_like_the_other_image_are_taken(network):
    """There are engines for 64 of 100 keypoints: of the second image the 64 that the first one has, too."""
    first, others = random_set(3, 64), random_set(4, 36)
    order = np.random.default_rng(5).permutation(100)
    descriptors = np.concatenate([first.descriptors, others.descriptors])[order]
    second = KeypointSet(np.zeros((100, 2)), descriptors, (640, 480))
    rows, _ = network.match(first, second)
    assert len(rows) == 64
    np.testing.assert_array_equal(order[rows[:, 1]], rows[:, 0])


def test_no_more_keypoints_are_shown_than_asked(network):
    first = random_set(3, 128)
    assert len(network.match(first, first, 64)[0]) == 64


def test_a_turned_image_is_shown_as_it_was_described():
    """A quarter turn clockwise takes the point right of the centre to below it."""
    local = LocalFeatures(
        np.array([[420.0, 239.5]], np.float32), np.ones(1, np.float32), np.ones((1, 64), np.float32)
    )
    features = ImageFeatures(local, None, "xfeat", (640, 480), np.pi / 2.0)
    np.testing.assert_allclose(KeypointSet.of(features).points, [[319.5, 340.0]], atol=1e-4)


def test_too_few_keypoints_have_no_match(network):
    rows, scores = network.match(random_set(4, 31), random_set(5, 64))
    assert rows.shape == (0, 2)
    assert len(scores) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": ("image",)}, "inputs image, expected kpts0"),
        ({"ends_with_best": False}, "does not end with"),
    ],
)
def test_another_network_is_refused(tmp_path, change, said):
    with pytest.raises(WeightsError, match=said):
        LighterGlue(small_network(tmp_path / "other.onnx", **change), InferenceConfig())


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "none.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match="expected LighterGlue"):
        LighterGlue(tmp_path / "none.onnx", InferenceConfig())
    with pytest.raises(WeightsError, match="cannot be read"):
        LighterGlue(tmp_path / "nowhere.onnx", InferenceConfig())


@pytest.mark.shared
def test_the_published_network_says_the_same_as_before_it_was_cut():
    """Its own matches and scores, by the whole file in ONNX Runtime, against what is made of the part that is kept."""
    if not PUBLISHED.is_file():
        pytest.skip(f"needs {PUBLISHED}")
    onnxruntime = pytest.importorskip("onnxruntime")
    first, second = random_set(6, 128), random_set(7, 64)
    mixed = np.concatenate([first.descriptors[:32], second.descriptors[:32]])
    second = KeypointSet(first.points[:64] + 3.0, mixed, (640, 480))
    session = onnxruntime.InferenceSession(PUBLISHED.read_bytes(), providers=["CPUExecutionProvider"])
    points = [((entry.points - (320, 240)) / 320.0)[None].astype(np.float32) for entry in (first, second)]
    matches, scores = session.run(
        None,
        {
            "kpts0": points[0], "kpts1": points[1],
            "desc0": first.descriptors[None], "desc1": second.descriptors[None],
        },
    )  # fmt: skip
    network = LighterGlue(PUBLISHED, InferenceConfig())
    rows, found = network.match(first, second)
    network.close()
    sure = scores > 0.1
    assert sure.sum() >= 8
    np.testing.assert_array_equal(rows, matches[sure])
    np.testing.assert_allclose(found, scores[sure], atol=1e-4)
