"""XFeat against a definition in PyTorch, including the published sparse inference step by step."""

import importlib.util

import numpy as np
import pytest

from hfnet_ros.config import Config, ExtractorConfig
from hfnet_ros.features.xfeat import XFeatExtractor
from hfnet_ros.features.xfeat_network import load_xfeat_weights
from hfnet_ros.features.xfeat_star import SemiDenseExtractor

if importlib.util.find_spec("torch") is None:
    pytest.skip("needs PyTorch (install it beside this package to run)", allow_module_level=True)

import torch
from torch import nn
from torch.nn import functional

pytestmark = pytest.mark.torch

SIZE_WH = (320, 256)


class Layer(nn.Module):
    def __init__(self, channels_in, channels_out, kernel=3, stride=1):
        super().__init__()
        convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
        self.layer = nn.Sequential(convolution, nn.BatchNorm2d(channels_out, affine=False), nn.ReLU())

    def forward(self, x):
        return self.layer(x)


def enlarge(coarse, fine):
    return functional.interpolate(coarse, fine.shape[-2:], mode="bilinear", align_corners=False)


class XFeat(nn.Module):
    """Modules are named as in the published file, so that it loads by name."""

    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm2d(1)
        self.skip1 = nn.Sequential(nn.AvgPool2d(4, 4), nn.Conv2d(1, 24, 1))
        self.block1 = nn.Sequential(Layer(1, 4), Layer(4, 8, 3, 2), Layer(8, 8), Layer(8, 24, 3, 2))
        self.block2 = nn.Sequential(Layer(24, 24), Layer(24, 24))
        self.block3 = nn.Sequential(Layer(24, 64, 3, 2), Layer(64, 64), Layer(64, 64, 1))
        self.block4 = nn.Sequential(Layer(64, 64, 3, 2), Layer(64, 64), Layer(64, 64))
        self.block5 = nn.Sequential(Layer(64, 128, 3, 2), Layer(128, 128), Layer(128, 128), Layer(128, 64, 1))
        self.block_fusion = nn.Sequential(Layer(64, 64), Layer(64, 64), nn.Conv2d(64, 64, 1))
        reliability_layers = [Layer(64, 64, 1) for _ in range(2)]
        self.heatmap_head = nn.Sequential(*reliability_layers, nn.Conv2d(64, 1, 1), nn.Sigmoid())
        keypoint_layers = [Layer(64, 64, 1) for _ in range(3)]
        self.keypoint_head = nn.Sequential(*keypoint_layers, nn.Conv2d(64, 65, 1))

    def forward(self, x):
        x = self.norm(x)
        x3 = self.block3(self.block2(self.block1(x) + self.skip1(x)))
        x4 = self.block4(x3)
        x5 = self.block5(x4)
        features = self.block_fusion(x3 + enlarge(x4, x3) + enlarge(x5, x3))
        logits = self.keypoint_head(functional.pixel_unshuffle(x, 8))
        heatmap = functional.pixel_shuffle(functional.softmax(logits, dim=1)[:, :64], 8)
        return heatmap, self.heatmap_head(features), features


def load_network(weights):
    network = XFeat().eval()
    state = {name: torch.from_numpy(np.array(tensor)) for name, tensor in weights.items()}
    result = network.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in result.missing_keys)
    return network


def sample(dense, points, mode):
    """Sample [1, C, h, w] at pixels [N, 2] as the published code does. Returns [N, C]."""
    width, height = SIZE_WH
    grid = 2.0 * points / torch.tensor([width - 1.0, height - 1.0]) - 1.0
    sampled = functional.grid_sample(dense, grid[None, :, None], mode=mode, align_corners=False)
    return sampled[0, :, :, 0].T


@torch.no_grad()
def reference_sparse(network, image, count):
    gray = torch.from_numpy(image.astype(np.float32).mean(axis=2))[None, None]
    heatmap, reliability, features = network(gray)
    features = functional.normalize(features, dim=1)
    highest = functional.max_pool2d(heatmap, kernel_size=5, stride=1, padding=2)
    peaks = (heatmap == highest) & (heatmap > 0.05)
    points = peaks[0, 0].nonzero()[:, [1, 0]].float()
    scores = (sample(heatmap, points, "nearest") * sample(reliability, points, "bilinear"))[:, 0]
    best = torch.argsort(-scores, stable=True)[:count]
    best = best[scores[best] > 0]
    descriptors = functional.normalize(sample(features, points[best], "bicubic"), dim=1)
    return heatmap, reliability, features, points[best].numpy(), scores[best].numpy(), descriptors.numpy()


def test_dense_outputs_equal_pytorch(weights, make_image, run_network):
    image = make_image(SIZE_WH, seed=3)
    outputs = run_network(weights, image.astype(np.float32).mean(axis=2))
    heatmap, reliability, features, *_ = reference_sparse(load_network(weights), image, 1)
    np.testing.assert_allclose(outputs["heatmap"], heatmap.numpy(), atol=2e-5)
    np.testing.assert_allclose(outputs["reliability"], reliability.numpy(), atol=2e-5)
    np.testing.assert_allclose(outputs["descriptors"], features.numpy(), atol=1e-4)


def test_sparse_features_equal_the_published_inference(weights, make_image):
    image = make_image(SIZE_WH, seed=4)
    extractor = XFeatExtractor(weights, Config(extractor=ExtractorConfig(max_keypoints=4096)))
    local = extractor.extract(image).local
    extractor.close()
    *_, points, scores, descriptors = reference_sparse(load_network(weights), image, 4096)
    mine = {tuple(point): row for row, point in enumerate(local.keypoints.astype(int).tolist())}
    theirs = {tuple(point): row for row, point in enumerate(points.astype(int).tolist())}
    common = sorted(mine.keys() & theirs.keys())
    assert len(theirs) > 100
    # Both sides compute in float32; only values next to the threshold or ties may differ.
    assert len(common) >= 0.995 * max(len(mine), len(theirs))
    rows, their_rows = [mine[point] for point in common], [theirs[point] for point in common]
    np.testing.assert_allclose(local.scores[rows], scores[their_rows], atol=2e-5)
    np.testing.assert_allclose(local.descriptors[rows], descriptors[their_rows], atol=2e-4)
    np.testing.assert_allclose(local.scores, np.sort(local.scores)[::-1])


def test_the_order_equals_the_published_inference(weights, make_image):
    image = make_image(SIZE_WH, seed=5)
    extractor = XFeatExtractor(weights, Config(extractor=ExtractorConfig(max_keypoints=64)))
    local = extractor.extract(image).local
    extractor.close()
    *_, points, scores, _ = reference_sparse(load_network(weights), image, 64)
    np.testing.assert_allclose(local.scores, scores, atol=2e-5)
    gaps = -np.diff(scores, prepend=np.inf, append=-np.inf)
    clear = np.minimum(gaps[:-1], gaps[1:]) > 1e-4
    np.testing.assert_array_equal(local.keypoints[clear], points[clear])


def test_state_dicts_that_pytorch_writes_are_read(random_weights, tmp_path):
    state = {name: torch.from_numpy(np.array(tensor)) for name, tensor in random_weights.items()}
    state["block1.0.layer.1.num_batches_tracked"] = torch.tensor(7)
    state["fine_matcher.0.weight"] = torch.ones(2, 3)
    torch.save(state, tmp_path / "xfeat.pt")
    loaded = load_xfeat_weights(tmp_path / "xfeat.pt")
    assert loaded.keys() == random_weights.keys()
    for name, tensor in loaded.items():
        np.testing.assert_array_equal(tensor, random_weights[name])


@torch.no_grad()
def reference_cells(network, image, scale, count):
    """Return the published cells of one scale: corners in px of the image, features, reliability."""
    gray = torch.from_numpy(image.astype(np.float32).mean(axis=2))[None, None]
    scaled = functional.interpolate(gray, scale_factor=scale, mode="bilinear", align_corners=False)
    height, width = scaled.shape[-2:]
    size = height // 32 * 32, width // 32 * 32
    _, reliability, features = network(
        functional.interpolate(scaled, size, mode="bilinear", align_corners=False)
    )
    features = features[0].reshape(64, -1).T
    highest, best = torch.topk(reliability.flatten(), min(count, len(features)))
    corners = torch.stack([best % (size[1] // 8), best // (size[1] // 8)], dim=1) * 8.0
    ratio = torch.tensor([width / size[1], height / size[0]])
    return (corners * ratio / scale).numpy(), features[best].numpy(), highest.numpy()


def test_semi_dense_cells_equal_the_published_inference(weights, make_image):
    image = make_image((330, 250), seed=6)
    extractor = SemiDenseExtractor(weights, Config())
    cells = extractor.cells(image, 500)
    extractor.close()
    network = load_network(weights)
    parts = [reference_cells(network, image, *chosen) for chosen in ((0.6, 100), (1.3, 400))]
    corners, features, reliability = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    assert len(cells.points) == len(corners) == 500
    np.testing.assert_allclose(cells.reliability, reliability, atol=1e-4)
    of_middles = cells.points + 0.5 - 4.0 * cells.pixel_sizes
    # Cells as reliable as each other may have changed places.
    same = np.linalg.norm(of_middles - corners, axis=1) < 1e-3
    assert same.mean() > 0.98
    length = np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose((cells.features / length)[same], (features / length)[same], atol=1e-4)
