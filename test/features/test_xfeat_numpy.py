"""XFeat against a second definition written from the paper in plain numpy.

Slow, literal and independent of the code under test: batch normalisations are not folded, samplers
are written tap by tap, blocks are cut out one by one.
"""

import itertools

import cv2
import numpy as np
import onnx
import pytest
from xfeat_definition import mean_gray, reference_network

from hfnet_ros.config import Config, ExtractorConfig
from hfnet_ros.features.xfeat import XFeatExtractor, select_keypoints, selection_rule
from hfnet_ros.features.xfeat_network import build_xfeat, expected_shapes

SIZE_WH = (96, 64)

# The sparse part in numpy, point by point


def cubic(t):
    t, a = abs(t), -0.75
    if t <= 1.0:
        return (a + 2.0) * t**3 - (a + 3.0) * t**2 + 1.0
    return a * t**3 - 5.0 * a * t**2 + 8.0 * a * t - 4.0 * a if t < 2.0 else 0.0


def triangle(t):
    return max(0.0, 1.0 - abs(t))


def sample(dense, x, y, kernel):
    """Weigh the four by four neighbours of (x, y); what is outside the map is zero."""
    total = np.zeros(len(dense))
    left, top = int(np.floor(x)), int(np.floor(y))
    for column, row in itertools.product(range(left - 1, left + 3), range(top - 1, top + 3)):
        if 0 <= column < dense.shape[2] and 0 <= row < dense.shape[1]:
            total += kernel(x - column) * kernel(y - row) * dense[:, row, column]
    return total


def sampler_position(pixel, input_size, map_size):
    """Normalise to [-1, 1] by (size - 1), then read as if edges were -1 and 1 (the published quirk)."""
    normalized = 2.0 * pixel / (input_size - 1) - 1.0
    return ((normalized + 1.0) * map_size - 1.0) / 2.0


def reference_sparse(heatmap, reliability, features, threshold=0.05, radius=2):
    """Return {(x, y): (score, descriptor)} and the set of pixels too close to call in float32."""
    height, width = heatmap.shape
    found, undecided = {}, set()
    for y, x in np.ndindex(height, width):
        value = heatmap[y, x]
        square = heatmap[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1].ravel()
        highest = np.sort(square)[-2:]
        if abs(value - threshold) < 1e-4 or (value >= highest[0] and highest[1] - highest[0] < 1e-5):
            undecided.add((x, y))
        if value < highest[1] or value <= threshold:
            continue
        nearest_x = int(np.rint(sampler_position(x, width, width)))
        nearest_y = int(np.rint(sampler_position(y, height, height)))
        if nearest_x >= width or nearest_y >= height:
            continue  # the sampler reads outside: the score is zero
        cell = sampler_position(x, width, width // 8), sampler_position(y, height, height // 8)
        score = heatmap[nearest_y, nearest_x] * sample(reliability, *cell, triangle)[0]
        descriptor = sample(features, *cell, cubic)
        found[x, y] = score, descriptor / np.linalg.norm(descriptor)
    return found, undecided


def assert_equal_features(local, found, undecided):
    """Compare keypoints as sets (order may differ among equal scores), then what belongs to each."""
    mine = {tuple(point): row for row, point in enumerate(np.rint(local.keypoints).astype(int).tolist())}
    assert len(mine) == len(local.keypoints)
    assert mine.keys() - undecided == found.keys() - undecided
    assert len(found) > 20
    assert len(undecided & found.keys()) < 0.1 * len(found)
    for point in mine.keys() & found.keys():
        score, descriptor = found[point]
        assert local.scores[mine[point]] == pytest.approx(score, abs=2e-5)
        np.testing.assert_allclose(local.descriptors[mine[point]], descriptor, atol=2e-4)


def test_the_definition_here_uses_every_tensor(random_weights):
    used = set()

    class Counting(dict):
        def __getitem__(self, name):
            used.add(name)
            return super().__getitem__(name)

    reference_network(Counting(random_weights), np.arange(32.0 * 32.0).reshape(32, 32) % 7)
    assert used == set(expected_shapes())


def test_dense_outputs_equal_the_definition(weights, make_image, run_network):
    gray = mean_gray(make_image(SIZE_WH, seed=1))
    heatmap, reliability, features = reference_network(weights, gray)
    outputs = run_network(weights, gray)
    np.testing.assert_allclose(outputs["heatmap"][0, 0], heatmap, atol=2e-5)
    np.testing.assert_allclose(outputs["reliability"][0], reliability, atol=2e-5)
    unit = features / np.linalg.norm(features, axis=0)
    np.testing.assert_allclose(outputs["descriptors"][0], unit, atol=1e-4)
    # The comparison means something only where the network says different things.
    assert heatmap.std() > 1e-3
    assert reliability.std() > 1e-2
    assert unit.std(axis=(1, 2)).mean() > 1e-2


def test_the_scale_of_the_input_does_not_matter(random_weights, make_image, run_network):
    gray = mean_gray(make_image(SIZE_WH))
    bright, dark = run_network(random_weights, gray), run_network(random_weights, gray / 255.0 + 3.0)
    for name in bright:
        np.testing.assert_allclose(bright[name], dark[name], atol=2e-3)


def test_the_extractor_equals_the_definition(weights, make_image):
    image = make_image(SIZE_WH, seed=2)
    heatmap, reliability, features = reference_network(weights, mean_gray(image))
    # The published code normalises the features before it samples them.
    features = features / np.linalg.norm(features, axis=0)
    found, undecided = reference_sparse(heatmap, reliability, features)
    extractor = XFeatExtractor(weights, config_for(8192))
    extracted = extractor.extract(image)
    extractor.close()
    assert extracted.global_descriptor is None
    assert np.all(np.diff(extracted.local.scores) <= 0.0)
    assert_equal_features(extracted.local, found, undecided)


def config_for(max_keypoints):
    return Config(extractor=ExtractorConfig(max_keypoints=max_keypoints))


def rule_for(max_keypoints):
    return selection_rule(config_for(max_keypoints))


def random_outputs(rng, size_wh=(64, 48)):
    width, height = size_wh
    features = rng.normal(size=(1, 64, height // 8, width // 8))
    return {
        "heatmap": rng.uniform(0.0, 1.0, (1, 1, height, width)).astype(np.float32),
        "reliability": rng.uniform(0.1, 1.0, (1, 1, height // 8, width // 8)).astype(np.float32),
        "descriptors": (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32),
    }


def test_selection_equals_the_definition_everywhere_in_the_image():
    rng = np.random.default_rng(5)
    for _ in range(3):
        outputs = random_outputs(rng)
        local = select_keypoints(outputs, rule_for(8192))
        dense = [outputs[name][0].astype(float) for name in ("reliability", "descriptors")]
        found, undecided = reference_sparse(outputs["heatmap"][0, 0].astype(float), *dense)
        assert_equal_features(local, found, undecided)
        assert local.keypoints.min() == 0.0


@pytest.mark.parametrize(
    ("x", "y", "kept"),
    [(63, 20, False), (30, 47, False), (63, 47, False), (62, 20, True), (30, 46, True), (0, 0, True)],
)
def test_peaks_in_the_last_row_and_column_are_dropped(x, y, kept):
    outputs = random_outputs(np.random.default_rng(0))
    outputs["heatmap"][:] = 0.0
    outputs["heatmap"][0, 0, y, x] = 0.9
    local = select_keypoints(outputs, rule_for(2048))
    assert local.keypoints.tolist() == ([[x, y]] if kept else [])
    assert local.descriptors.shape == (int(kept), 64)


def test_the_best_keypoints_are_kept():
    outputs = random_outputs(np.random.default_rng(1))
    every = select_keypoints(outputs, rule_for(8192))
    best = select_keypoints(outputs, rule_for(64))
    assert len(every.scores) > 64
    np.testing.assert_array_equal(best.keypoints, every.keypoints[:64])
    np.testing.assert_array_equal(best.scores, every.scores[:64])
    np.testing.assert_allclose(best.descriptors, every.descriptors[:64], atol=1e-6)


def test_records_have_the_promised_types(random_weights, make_image):
    extractor = XFeatExtractor(random_weights, Config())
    local = extractor.extract(make_image(SIZE_WH)).local
    assert {local.keypoints.dtype, local.scores.dtype, local.descriptors.dtype} == {np.dtype(np.float32)}
    np.testing.assert_allclose(np.linalg.norm(local.descriptors, axis=1), 1.0, atol=1e-5)
    extractor.close()
    extractor.close()


def test_keypoints_of_a_resized_image_are_in_its_own_pixels(random_weights, make_image):
    """100 x 70 px go through the network as 96 x 64; pixel areas scale, not centres."""
    image = make_image((100, 70), seed=4)
    extractor = XFeatExtractor(random_weights, config_for(8192))
    local = extractor.extract(image).local
    resized = cv2.resize(mean_gray(image).astype(np.float32), (96, 64), interpolation=cv2.INTER_LINEAR)
    outputs = extractor._engines.get((96, 64), extractor._load).run({"image": resized[None, None]})
    inside = select_keypoints(outputs, rule_for(8192))
    expected = (inside.keypoints + 0.5) * np.array([100 / 96, 70 / 64]) - 0.5
    np.testing.assert_allclose(local.keypoints, expected, atol=1e-4)
    assert len(expected) > 20
    extractor.close()


def test_gray_and_color_of_the_same_brightness_are_the_same(random_weights, make_image):
    gray = make_image(SIZE_WH)[:, :, 0]
    extractor = XFeatExtractor(random_weights, Config())
    one = extractor.extract(gray).local
    other = extractor.extract(np.repeat(gray[:, :, None], 3, axis=2)).local
    # A mean of three floats is off by the last bit, which may turn a close call.
    same = {tuple(point) for point in one.keypoints.tolist()} & {tuple(p) for p in other.keypoints.tolist()}
    assert len(same) >= 0.95 * max(len(one), len(other), 1)
    extractor.close()


def test_the_id_follows_the_weights_and_not_their_file(random_weights):
    first = XFeatExtractor(random_weights, Config()).extractor_id
    copied = {name: random_weights[name].copy() for name in reversed(list(random_weights))}
    assert XFeatExtractor(copied, Config()).extractor_id == first
    copied["skip1.1.bias"][0] += 1e-3
    assert XFeatExtractor(copied, Config()).extractor_id != first
    assert first.startswith("xfeat-")


def test_a_few_image_sizes_stay_loaded_and_no_more(random_weights, make_image):
    extractor = XFeatExtractor(random_weights, Config())
    sizes = [(64 + 32 * step, 64) for step in range(6)]
    for size_wh in [*sizes, sizes[0]]:
        extractor.extract(make_image(size_wh))
    assert len(extractor._engines) <= 4
    assert sizes[0] in extractor._engines
    extractor.close()
    assert not extractor._engines


# The network as a file


def test_the_network_is_small_static_onnx_of_opset_17(random_weights):
    model = onnx.load_from_string(build_xfeat(random_weights, (640, 480)).onnx)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    operators = [node.op_type for node in model.graph.node]
    assert len(operators) < 100  # an unfolded 8 x 8 window would be thousands
    assert set(operators) <= {
        "Add", "AveragePool", "Conv", "DepthToSpace", "Div", "LpNormalization", "Mul", "ReduceMean", "Relu",
        "Reshape", "Resize", "Sigmoid", "Slice", "Softmax", "Sqrt", "Sub", "Transpose",
    }  # fmt: skip
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {
        "image": [1, 1, 480, 640],
        "heatmap": [1, 1, 480, 640],
        "reliability": [1, 1, 60, 80],
        "descriptors": [1, 64, 60, 80],
    }


@pytest.mark.parametrize("size_wh", [(640, 470), (100, 96), (8, 8)])
def test_a_size_the_network_cannot_have_is_refused(random_weights, size_wh):
    with pytest.raises(ValueError, match="multiple of 32"):
        build_xfeat(random_weights, size_wh)


def test_the_same_weights_give_the_same_bytes(random_weights):
    first, second = (build_xfeat(random_weights, (96, 64)) for _ in range(2))
    assert first.onnx == second.onnx
    assert first.digest == second.digest
    assert build_xfeat(random_weights, (64, 96)).digest != first.digest
