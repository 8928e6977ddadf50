"""XFeat*'s refinement: where in a cell of the first image a matched cell of the second one lies.

Reference: Potje et al., "XFeat: Accelerated Features for Lightweight Image Matching",
CVPR 2024, section 3.3 (semi-dense matching).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import WeightsError
from hfnet_ros.features.torch_archive import read_state_dict
from hfnet_ros.features.xfeat_network import BATCH_NORM_EPS, CELL, DESCRIPTOR_SIZE, Weights

MIN_CONFIDENCE = 0.25
# What comes out of the network before it is normalised: 13.6 to 16.4 for 98 % of the cells of photographs.
FEATURE_LENGTH = 15.0
_TEMPERATURE = 3.0
_HIDDEN_LAYERS, _HIDDEN_SIZE = 4, 512
# Bin k holds what lies in [k, k + 1) px of the cell's pixels, whose middle is at 3.5.
_BIN_OFFSETS = np.arange(CELL, dtype=np.float32) + 0.5 - (CELL - 1) / 2.0

Float32Array = NDArray[np.float32]


def expected_fine_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor the fine matcher needs, by its published name."""
    shapes: dict[str, tuple[int, ...]] = {}
    size_in = 2 * DESCRIPTOR_SIZE
    for layer in range(_HIDDEN_LAYERS):
        shapes[f"fine_matcher.{3 * layer}.weight"] = (_HIDDEN_SIZE, size_in)
        shapes[f"fine_matcher.{3 * layer}.bias"] = (_HIDDEN_SIZE,)
        shapes[f"fine_matcher.{3 * layer + 1}.running_mean"] = (_HIDDEN_SIZE,)
        shapes[f"fine_matcher.{3 * layer + 1}.running_var"] = (_HIDDEN_SIZE,)
        size_in = _HIDDEN_SIZE
    shapes[f"fine_matcher.{3 * _HIDDEN_LAYERS}.weight"] = (CELL * CELL, _HIDDEN_SIZE)
    shapes[f"fine_matcher.{3 * _HIDDEN_LAYERS}.bias"] = (CELL * CELL,)
    return shapes


def load_fine_matcher(path: Path) -> FineMatcher:
    """Read the fine matcher of the published `xfeat.pt`.

    Raises:
        WeightsError: the file is unreadable, or a tensor is missing, misshapen or not finite.
    """
    tensors = read_state_dict(path)
    for name, shape in expected_fine_shapes().items():
        if name not in tensors:
            raise WeightsError(
                f"{path}: tensor '{name}' is missing: XFeat's weights without its fine matcher"
            )
        if tensors[name].shape != shape:
            raise WeightsError(f"{path}: tensor '{name}' has shape {tensors[name].shape}, expected {shape}")
        if not np.isfinite(tensors[name]).all():
            raise WeightsError(f"{path}: tensor '{name}' holds values that are not finite")
    return FineMatcher(tensors)


class FineMatcher:
    """A perceptron from two cells' features to a grid of 8x8 offsets; threads may share it."""

    def __init__(self, weights: Weights) -> None:
        """Fold the batch normalisations into the layers before them."""
        self._layers = [_folded(weights, layer) for layer in range(_HIDDEN_LAYERS)]
        last = f"fine_matcher.{3 * _HIDDEN_LAYERS}"
        self._last = (
            np.ascontiguousarray(weights[f"{last}.weight"].T, np.float32),
            np.asarray(weights[f"{last}.bias"], np.float32),
        )

    def refine(self, first: Float32Array, second: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Return where the middles of cells of the second image are in their matched cells of the first.

        Args:
            first: [N, 64] features of cells of the first image, of the length they have in the network.
            second: [N, 64] features of the cells matched with them.

        Returns:
            Offsets (x, y) [N, 2] from the middle of the first image's cell, px of the network's input, and
            confidences [N], the highest probability of the grid; published with `MIN_CONFIDENCE`.

        Convention: the published code adds k - 4 to the upper left corner of a cell and takes the same corner
            in the second image. Between the middles the offset is 1 px more, k + 0.5 - 3.5: the labels it was
            trained with are rounded down (docs/notes/semidense.md has what that is worth).
        """
        if first.shape != second.shape or first.shape[1:] != (DESCRIPTOR_SIZE,):
            raise ValueError(
                f"features have shapes {first.shape} and {second.shape}, expected [N, 64] of both"
            )
        hidden = np.concatenate([first, second], axis=1).astype(np.float32, copy=False)
        for weight, bias in self._layers:
            hidden = np.maximum(hidden @ weight + bias, 0.0)
        logits = _TEMPERATURE * (hidden @ self._last[0] + self._last[1])
        probability = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        probability /= probability.sum(axis=1, keepdims=True)
        grid = probability.reshape(-1, CELL, CELL)  # rows are y
        offsets = np.stack([grid.sum(axis=1) @ _BIN_OFFSETS, grid.sum(axis=2) @ _BIN_OFFSETS], axis=1)
        return offsets, probability.max(axis=1, initial=0.0)


def _folded(weights: Weights, layer: int) -> tuple[Float32Array, Float32Array]:
    """Return weight [in, out] and bias of a hidden layer with its normalisation."""
    linear, norm = f"fine_matcher.{3 * layer}", f"fine_matcher.{3 * layer + 1}"
    gain = 1.0 / np.sqrt(weights[f"{norm}.running_var"].astype(np.float64) + BATCH_NORM_EPS)
    weight = weights[f"{linear}.weight"].astype(np.float64) * gain[:, None]
    bias = (weights[f"{linear}.bias"].astype(np.float64) - weights[f"{norm}.running_mean"]) * gain
    return np.ascontiguousarray(weight.T, np.float32), bias.astype(np.float32)
