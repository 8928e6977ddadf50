"""XFeat's network written from the paper in plain numpy: slow, literal, independent of the code under test."""

import numpy as np

# name, kernel, stride of each convolution with batch normalisation and ReLU, block by block
BLOCKS = {
    "block1": [(3, 1), (3, 2), (3, 1), (3, 2)],
    "block2": [(3, 1), (3, 1)],
    "block3": [(3, 2), (3, 1), (1, 1)],
    "block4": [(3, 2), (3, 1), (3, 1)],
    "block5": [(3, 2), (3, 1), (3, 1), (1, 1)],
    "block_fusion": [(3, 1), (3, 1)],
    "heatmap_head": [(1, 1), (1, 1)],
    "keypoint_head": [(1, 1), (1, 1), (1, 1)],
}


# The network in numpy: tensors are [C, H, W] float64


def convolve(x, weight, stride=1):
    kernel = weight.shape[-1]
    pad = kernel // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows[:, ::stride, ::stride], weight, optimize=True)


def run_block(x, weights, block):
    for index, (kernel, stride) in enumerate(BLOCKS[block]):
        name = f"{block}.{index}.layer"
        weight = weights[f"{name}.0.weight"].astype(float)
        assert weight.shape[-1] == kernel
        x = convolve(x, weight, stride)
        mean, variance = weights[f"{name}.1.running_mean"], weights[f"{name}.1.running_var"]
        x = (x - mean[:, None, None]) / np.sqrt(variance[:, None, None].astype(float) + 1e-5)
        x = np.maximum(x, 0.0)
    return x


def run_pointwise(x, weights, name):
    bias = weights[f"{name}.bias"][:, None, None]
    return convolve(x, weights[f"{name}.weight"].astype(float)) + bias


def upsample(x, size_hw):
    """Interpolate linearly with pixel areas aligned (align_corners=False), one axis after the other."""
    for axis, size in zip((1, 2), size_hw, strict=True):
        matrix = np.zeros((size, x.shape[axis]))
        for row in range(size):
            source = max((row + 0.5) * x.shape[axis] / size - 0.5, 0.0)
            left = int(source)
            right = min(left + 1, x.shape[axis] - 1)
            matrix[row, left] += 1.0 - (source - left)
            matrix[row, right] += source - left
        x = np.moveaxis(np.tensordot(matrix, x, axes=(1, axis)), 0, axis)
    return x


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def reference_network(weights, gray):
    """Return heat map [H, W], reliability [1, H/8, W/8], features [64, H/8, W/8] (not normalised)."""
    x = gray.astype(float)[None]
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    _, height, width = x.shape
    pooled = x.reshape(1, height // 4, 4, width // 4, 4).mean(axis=(2, 4))
    x1 = run_block(x, weights, "block1") + run_pointwise(pooled, weights, "skip1.1")
    x3 = run_block(run_block(x1, weights, "block2"), weights, "block3")
    x4 = run_block(x3, weights, "block4")
    x5 = run_block(x4, weights, "block5")
    summed = x3 + upsample(x4, x3.shape[1:]) + upsample(x5, x3.shape[1:])
    features = run_pointwise(run_block(summed, weights, "block_fusion"), weights, "block_fusion.2")
    hidden = run_block(features, weights, "heatmap_head")
    reliability = sigmoid(run_pointwise(hidden, weights, "heatmap_head.2"))
    cells = np.empty((64, height // 8, width // 8))
    for row, column in np.ndindex(height // 8, width // 8):
        cells[:, row, column] = x[0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].ravel()
    logits = run_pointwise(run_block(cells, weights, "keypoint_head"), weights, "keypoint_head.3")
    exponents = np.exp(logits - logits.max(axis=0))
    probability = exponents / exponents.sum(axis=0)
    heatmap = np.empty((height, width))
    for row, column in np.ndindex(height // 8, width // 8):
        block = probability[:64, row, column].reshape(8, 8)
        heatmap[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = block
    return heatmap, reliability, features


def mean_gray(image):
    return image.astype(float).mean(axis=2)


# XFeat*, pair by pair


def enlarge_by(image, factor):
    """Resize [H, W] bilinearly by just this factor, areas aligned; the size is rounded down."""
    for axis in (0, 1):
        size = int(np.floor(image.shape[axis] * factor))
        source = np.clip((np.arange(size) + 0.5) / factor - 0.5, 0.0, image.shape[axis] - 1.0)
        left = np.minimum(source.astype(int), image.shape[axis] - 2)
        right_share = (source - left).reshape(-1, *[1] * (1 - axis))
        image = (1.0 - right_share) * np.take(image, left, axis) + right_share * np.take(
            image, left + 1, axis
        )
    return image


def reference_cells(weights, gray, factor):
    """Return of each cell, row by row: its upper left corner as published, px of the image, and what describes it."""
    scaled = enlarge_by(gray.astype(float), factor)
    height, width = (side // 32 * 32 for side in scaled.shape)
    _, reliability, features = reference_network(weights, upsample(scaled[None], (height, width))[0])
    rows, columns = np.divmod(np.arange(height // 8 * (width // 8)), width // 8)
    ratio = np.array([scaled.shape[1] / width, scaled.shape[0] / height])
    corners = np.stack([columns, rows], axis=1) * 8.0 * ratio / factor
    return corners, reliability.ravel(), features.reshape(64, -1).T


def reference_offset(weights, first, second):
    """Return the published offset (x, y) of one pair of cells, px of the network, and its confidence."""
    x = np.concatenate([first, second]).astype(float)
    for linear in (0, 3, 6, 9):
        x = (
            weights[f"fine_matcher.{linear}.weight"].astype(float) @ x
            + weights[f"fine_matcher.{linear}.bias"]
        )
        mean = weights[f"fine_matcher.{linear + 1}.running_mean"]
        variance = weights[f"fine_matcher.{linear + 1}.running_var"].astype(float)
        x = np.maximum((x - mean) / np.sqrt(variance + 1e-5), 0.0)
    logits = weights["fine_matcher.12.weight"].astype(float) @ x + weights["fine_matcher.12.bias"]
    exponents = np.exp(3.0 * (logits - logits.max()))
    probability = exponents / exponents.sum()
    offset = np.zeros(2)
    for place, value in enumerate(probability):
        offset += value * (np.array([place % 8, place // 8]) - 4.0)
    return offset, probability.max()
