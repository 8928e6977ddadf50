"""The hybrid scene-coordinate network: HSCNet's hierarchy over sparse features, conditioned on an image's identity.

Reference: Li et al., "Hierarchical Scene Coordinate Classification and Regression for Visual Localization", CVPR 2020,
    sections 3 (hierarchy, conditioning) and 4.3 (sparse features and image identity). Layers and sizes are our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hfnet_ros.training.scene_labels import SceneLabels
from hfnet_ros.training.scene_leaf_table import LeafTable, start_as_published

_CODE_SIZE = 64
_LEAST_SIGMA_M, _SIGMA_SCALE_M = 0.003, 0.1
# Components of a unit descriptor are small.
_DESCRIPTOR_GAIN = 8.0


@dataclass(frozen=True)
class HybridOptions:
    """What the network consists of; all but the width are there to be left out in comparisons.

    Attributes:
        width: of its layers.
        conditioned: finer outputs depend on coarser labels, not on features alone.
        hierarchical: labels are classified; else coordinates are regressed in one step.
        identity: outputs depend on the keyframe that the image looks like.
        positions: keypoints' positions in the image are looked at.
        regression: coordinates are regressed in a leaf; else its middle stands for all of it.
    """

    width: int = 192
    conditioned: bool = True
    hierarchical: bool = True
    identity: bool = True
    positions: bool = True
    regression: bool = True


class HybridOutputs(NamedTuple):
    """What is said of B keypoints, of C parts with K leaves at the most.

    Attributes:
        part_logits: [B, C].
        leaf_logits: [B, K], within the part; very small of leaves that it does not have.
        leaf: [B] int64, position of the leaf in the table [C * K].
        points: [B, 3] m.
        sigmas: [B] m.
        validity: [B] logit of the keypoint being a landmark.
    """

    part_logits: Tensor
    leaf_logits: Tensor
    leaf: Tensor
    points: Tensor
    sigmas: Tensor
    validity: Tensor


class HybridModule(LeafTable):
    """Layers of 1x1 kind over each keypoint by itself."""

    def __init__(
        self, descriptor_size: int, num_keyframes: int, labels: SceneLabels, options: HybridOptions
    ) -> None:
        """Start at random, by torch's seed."""
        super().__init__(labels)
        self.options = options
        width, parts, leaves = options.width, self.parts, self.leaves
        self.input = nn.Linear(descriptor_size + 2, width)
        self.second = nn.Linear(width, width)
        self.third = nn.Linear(width, width)
        self.codes = nn.Embedding(num_keyframes, _CODE_SIZE)
        self.code_generator = nn.Sequential(nn.Linear(_CODE_SIZE, 128), nn.ELU(), nn.Linear(128, 2 * width))
        self.part_head = nn.Linear(width, parts)
        self.part_generator = _generator(parts, (64, 128), 4 * width)
        self.fourth, self.fifth = nn.Linear(width, width), nn.Linear(width, width)
        self.leaf_head = nn.Linear(width, leaves)
        self.leaf_generator = _generator(parts + leaves, (64, 128, 256), 4 * width)
        self.sixth, self.seventh = nn.Linear(width, width), nn.Linear(width, width)
        self.output = nn.Linear(width, 4)
        self.validity_head = nn.Linear(width, 1)
        start_as_published(self)

    def identities(self) -> Tensor:
        """Return what is learned of each keyframe, [F, 2 * width]."""
        made: Tensor = self.code_generator(self.codes.weight)
        return made if self.options.identity else torch.zeros_like(made)

    def part_table(self) -> Tensor:
        """Return the conditions of each part, [C, 4 * width]."""
        made: Tensor = self.part_generator(torch.eye(self.parts))
        return made if self.options.conditioned else torch.zeros_like(made)

    def leaf_table(self) -> Tensor:
        """Return the conditions of each leaf, [C * K, 4 * width]."""
        part = torch.eye(self.parts).repeat_interleave(self.leaves, dim=0)
        made: Tensor = self.leaf_generator(
            torch.cat([part, torch.eye(self.leaves).repeat(self.parts, 1)], dim=1)
        )
        return made if self.options.conditioned else torch.zeros_like(made)

    def forward(
        self,
        descriptors: Tensor,
        positions: Tensor,
        identities: Tensor,
        tables: tuple[Tensor, Tensor],
        slot: Tensor | None = None,
    ) -> HybridOutputs:
        """Say of keypoints [B, D] where they are.

        Args:
            descriptors: unit norm.
            positions: [B, 2].
            identities: [B, 2 * width] or [1, 2 * width].
            tables: conditions of parts and of leaves.
            slot: true leaves of the first keypoints, on which the finer outputs then depend, and no others have any;
                those that are likeliest without.
        """
        if not self.options.positions:
            positions = torch.zeros_like(positions)
        x = functional.elu(self.input(torch.cat([_DESCRIPTOR_GAIN * descriptors, positions], dim=1)))
        scale, shift = identities.chunk(2, dim=1)
        x = _Condition(1.0 + scale, shift).modulate(self.second(x))
        x = functional.elu(self.third(x))
        validity = self.validity_head(x)[:, 0]
        part_logits = self.part_head(x)
        if slot is None:
            part = part_logits.argmax(dim=1)
        else:
            part = torch.div(slot, self.leaves, rounding_mode="floor")
            x = x[: len(slot)]
        first, second = _looked_up(tables[0], part)
        y = first.modulate(self.fourth(x))
        y = second.modulate(self.fifth(y))
        leaf_logits = self.leaf_head(y).masked_fill(~self.has_leaf[part], -1e4)
        leaf = part * self.leaves + leaf_logits.argmax(dim=1) if slot is None else slot
        first, second = _looked_up(tables[1], leaf)
        z = first.modulate(self.sixth(y))
        z = second.modulate(self.seventh(z))
        raw = self.output(z)
        sigmas = _LEAST_SIGMA_M + _SIGMA_SCALE_M * functional.softplus(raw[:, 3])
        if not self.options.hierarchical:
            points = self.middle + self.extent * raw[:, :3]
        elif self.options.regression:
            points = self.centers[leaf] + self.scales[leaf, None] * raw[:, :3]
        else:
            points = self.centers[leaf] + 0.0 * raw[:, :3]
        return HybridOutputs(part_logits, leaf_logits, leaf, points, sigmas, validity)


class ExportedHybrid(nn.Module):
    """The network as a robot runs it: conditions are looked up in tables, labels are the likeliest."""

    part_table: Tensor
    leaf_table: Tensor

    def __init__(self, module: HybridModule) -> None:
        """Take a trained network."""
        super().__init__()
        self.module = module
        self.register_buffer("part_table", module.part_table().detach())
        self.register_buffer("leaf_table", module.leaf_table().detach())

    def forward(self, descriptors: Tensor, positions: Tensor, identity: Tensor) -> tuple[Tensor, ...]:
        """Return points [N, 3], sigmas [N], confidence [N] and leaves [N]; see `features.scene_hybrid`."""
        found = self.module(descriptors, positions, identity, (self.part_table, self.leaf_table))
        confidence = torch.sigmoid(found.validity)
        if self.module.options.hierarchical:
            likeliest = found.part_logits.softmax(dim=1).amax(dim=1) * found.leaf_logits.softmax(dim=1).amax(
                dim=1
            )
            confidence = confidence * likeliest
        return found.points, found.sigmas, confidence, self.module.leaf_idxs[found.leaf]


def _generator(inputs: int, widths: tuple[int, ...], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.ELU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class _Condition(NamedTuple):
    """What a layer's output [B, W] is changed by, [B or 1, W] each."""

    scale: Tensor
    shift: Tensor

    def modulate(self, x: Tensor) -> Tensor:
        """Scale and shift, then ELU."""
        return functional.elu(self.scale * x + self.shift)


def _looked_up(table: Tensor, labels: Tensor) -> tuple[_Condition, _Condition]:
    """Return the two conditions of each label [B], of a table [C, 4 W].

    Tables are taken apart before they are looked up in: a robot does that once. As an embedding, whose gradient is the
    same on any number of threads.
    """
    first, first_shift, second, second_shift = table.chunk(4, dim=1)
    scales = functional.embedding(labels, 1.0 + first), functional.embedding(labels, 1.0 + second)
    shifts = functional.embedding(labels, first_shift), functional.embedding(labels, second_shift)
    return _Condition(scales[0], shifts[0]), _Condition(scales[1], shifts[1])
