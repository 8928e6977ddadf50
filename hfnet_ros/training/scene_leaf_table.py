"""The leaves of a scene as a network looks them up."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from hfnet_ros.training.scene_labels import SceneLabels


class LeafTable(nn.Module):
    """A module with C parts of K leaves each, in tables [C * K] of which parts with fewer leaves leave some unused.

    None of it is trained, or kept with the weights.

    Attributes:
        parts: C.
        leaves: K.
        leaf_idxs: [C * K] int64, leaf of `SceneLabels`; 0 of what is unused.
        has_leaf: [C, K] bool.
        centers: [C * K, 3] m.
        scales: [C * K] m.
        middle: [3] m, of the scene.
        extent: [3] m, half of its sides.
    """

    leaf_idxs: Tensor
    has_leaf: Tensor
    centers: Tensor
    scales: Tensor
    middle: Tensor
    extent: Tensor

    def __init__(self, labels: SceneLabels) -> None:
        """Take the labels of a scene."""
        super().__init__()
        self.parts, self.leaves = labels.num_parts, labels.num_subclasses
        first = labels.first_leaves.tolist()
        slots = torch.full((self.parts, self.leaves), -1, dtype=torch.int64)
        for part, (begin, end) in enumerate(itertools.pairwise(first)):
            slots[part, : end - begin] = torch.arange(begin, end)
        used = slots.clamp(min=0).ravel()
        low, high = labels.centers.min(axis=0), labels.centers.max(axis=0)
        for name, values in (
            ("leaf_idxs", used),
            ("has_leaf", slots >= 0),
            ("centers", torch.from_numpy(labels.centers)[used]),
            ("scales", torch.from_numpy(labels.scales)[used]),
            ("middle", torch.from_numpy((low + high) / 2.0)),
            ("extent", torch.from_numpy((high - low) / 2.0)),
        ):
            self.register_buffer(name, values, persistent=False)

    def slots_of(self, leaves: Tensor, parents: Tensor, first: Tensor) -> Tensor:
        """Return where leaves of `SceneLabels` are in the table; -1 stays."""
        known = leaves.clamp(min=0)
        part = parents[known]
        return torch.where(leaves >= 0, part * self.leaves + known - first[part], -1)


def start_as_published(module: nn.Module) -> None:
    """Start all layers at random, by torch's seed: xavier's uniform weights, no biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
