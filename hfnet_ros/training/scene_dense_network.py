"""HSCNet: an image in, two levels of labels and scene coordinates at an eighth of its size out.

Each finer output is conditioned on the coarser labels: ELU(gamma(l) * x + beta(l)), element by element, with gamma and
beta made of the label map by layers of 1x1 convolutions. A label map is one-hot, so that what these make of it is one
row of a table for each label; it is computed once for each label that occurs, and a robot has the tables alone.

Reference: Li et al., "Hierarchical Scene Coordinate Classification and Regression for Visual Localization", CVPR 2020,
    section 3 and the appendix (architecture). Receptive fields 73, 185 and 409 px.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hfnet_ros.training.scene_labels import SceneLabels
from hfnet_ros.training.scene_leaf_table import LeafTable, start_as_published

_COMBINED_PARTS = 26  # from so many parts on, a network is one of combined scenes
_IMPOSSIBLE = -1e4


@dataclass(frozen=True)
class DenseOptions:
    """Widths of the network, as published by default, and what may be left out.

    Attributes:
        trunk: of the eight 3x3 convolutions, the second, third and fifth of stride 2.
        regressor: of both 1x1 convolutions that regress.
        classifier: of what looks further, at 1/8 and 1/16.
        deepest: at 1/32.
        part_last: before the logits of parts.
        leaf_last: before the logits of leaves.
        part_generator: of what makes gammas and betas of parts.
        leaf_generator: of what makes them of parts and leaves.
        long_side: px of the longer side of the images.
        conditioned: finer outputs depend on coarser labels.
        hierarchical: labels are classified; else coordinates are regressed in one step.
        regression: coordinates are regressed in a leaf; else its middle stands for all of it.
    """

    trunk: tuple[int, ...] = (64, 128, 128, 256, 256, 512, 512, 512)
    regressor: int = 4096
    classifier: int = 128
    deepest: int = 256
    part_last: int = 64
    leaf_last: int = 64
    part_generator: tuple[int, ...] = (32, 64, 128)
    leaf_generator: tuple[int, ...] = (50, 64, 128, 256, 512)
    long_side: int = 640
    conditioned: bool = True
    hierarchical: bool = True
    regression: bool = True


REDUCED = DenseOptions(
    trunk=(32, 64, 64, 128, 128, 256, 256, 256),
    regressor=512,
    classifier=64,
    deepest=128,
    leaf_generator=(50, 64, 128, 256),
    long_side=320,
)


def dense_options(network: str, parts: int, regression: bool = True) -> DenseOptions:
    """Return the widths of a network named `dense` or `dense-full`; for combined scenes as published for those."""
    options = replace(DenseOptions() if network == "dense-full" else REDUCED, regression=regression)
    if parts < _COMBINED_PARTS:
        return options
    return replace(
        options,
        classifier=2 * options.classifier,
        deepest=max(options.deepest, 2 * options.classifier),
        part_last=2 * options.part_last,
        leaf_last=2 * options.leaf_last,
        part_generator=(128, 128, 128, 256, 256),
        leaf_generator=(128, *options.leaf_generator[1:]),
    )


class DenseOutputs(NamedTuple):
    """What is said of the cells h x w of B images. C parts with K leaves at the most.

    Attributes:
        part_logits: [B, C, h, w].
        leaf_logits: [B, K, h, w], within the part that was given or found; very small of leaves that it does not have.
        slots: [B, h, w] int64, part * K + leaf that coordinates are relative to.
        points: [B, 3, h, w] m.
    """

    part_logits: Tensor
    leaf_logits: Tensor
    slots: Tensor
    points: Tensor


class _Seen(NamedTuple):
    """What all outputs are made of: features at 1/8 (of the trunk, of the classifiers) and at 1/16."""

    trunk: Tensor
    near: Tensor
    far: Tensor


class DenseModule(LeafTable):
    """The network, for training and as it is exported."""

    def __init__(self, labels: SceneLabels, options: DenseOptions) -> None:
        """Start at random, by torch's seed: xavier's uniform weights, no biases."""
        super().__init__(labels)
        self.options = options
        widths, strides = (3, *options.trunk), (1, 2, 2, 1, 2, 1, 1, 1)
        self.trunk = nn.Sequential(
            *(
                _convolution(before, after, stride=stride)
                for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True)
            )
        )
        last, wide, planes = options.trunk[-1], options.regressor, options.classifier
        self.regress_first = _convolution(last, wide, 1, activated=False)
        self.regress_second = _convolution(wide, wide, 1, activated=False)
        self.output = _convolution(wide, 3, 1, activated=False)
        if options.hierarchical:
            self.near = _convolution(last, planes)
            self.far = _down(planes, planes)
            self.farthest = _down(planes, options.deepest)
            self.farthest_up = _up(options.deepest, planes)
            self.part_far = _convolution(2 * planes, planes)
            self.part_up = _up(planes, planes)
            self.part_near = _convolution(2 * planes, planes, 1)
            self.part_last = _convolution(planes, options.part_last, 1)
            self.part_output = _convolution(options.part_last, self.parts, 1, activated=False)
            self.leaf_up = _up(planes, planes)
            self.leaf_near = _convolution(2 * planes, planes, 1)
            self.leaf_last = _convolution(planes, options.leaf_last, 1)
            self.leaf_output = _convolution(options.leaf_last, self.leaves, 1, activated=False)
            self.part_generator = _Generator(self.parts, options.part_generator, (planes, options.leaf_last))
            self.leaf_generator = _Generator(self.parts + self.leaves, options.leaf_generator, (wide, wide))
        start_as_published(self)

    def forward(self, image: Tensor, true: Tensor | None = None) -> DenseOutputs:
        """Look at images.

        Args:
            image: [B, 3, H, W], 0 to 255, H and W multiples of 8.
            true: [B, h, w] int64 slots that condition the finer outputs; where -1, and without, those found do.
        """
        if not self.options.hierarchical:
            return self._in_one_step(image)
        seen = self._look(image)
        part_logits = self._parts(seen)
        part = part_logits.argmax(dim=1)
        if true is not None:
            part = torch.where(true >= 0, torch.div(true, self.leaves, rounding_mode="floor"), part)
        leaf_logits = self._leaves(seen, part, self.part_conditions(part))
        slots = part * self.leaves + leaf_logits.argmax(dim=1)
        if true is not None:
            slots = torch.where(true >= 0, true, slots)
        return DenseOutputs(
            part_logits, leaf_logits, slots, self._points(seen, slots, self.leaf_conditions(slots))
        )

    def part_conditions(self, part: Tensor) -> tuple[Tensor, ...]:
        """Return gamma and beta of both layers before the logits of leaves, [B, planes, h, w] each."""
        if not self.options.conditioned:
            return ()
        present, row = torch.unique(part, return_inverse=True)
        return _placed(self.part_generator(functional.one_hot(present, self.parts).float()), row)

    def leaf_conditions(self, slots: Tensor) -> tuple[Tensor, ...]:
        """Return gamma and beta of both layers that regress, [B, regressor, h, w] each."""
        if not (self.options.conditioned and self.options.regression):
            return ()
        present, row = torch.unique(slots, return_inverse=True)
        return _placed(self.leaf_generator(self.one_hot(present)), row)

    def one_hot(self, slots: Tensor) -> Tensor:
        """Return part and leaf of slots [S] as a one-hot row each, joined, [S, C + K]."""
        part = torch.div(slots, self.leaves, rounding_mode="floor")
        return torch.cat(
            [
                functional.one_hot(part, self.parts),
                functional.one_hot(slots - part * self.leaves, self.leaves),
            ],
            dim=1,
        ).float()

    def _look(self, image: Tensor) -> _Seen:
        trunk = self.trunk(normalised(image))
        near = self.near(trunk)
        return _Seen(trunk, near, self.far(near))

    def _parts(self, seen: _Seen) -> Tensor:
        farthest = self.farthest_up(self.farthest(seen.far))
        far = self.part_far(torch.cat([_cropped(farthest, seen.far), seen.far], dim=1))
        near = self.part_near(torch.cat([_cropped(self.part_up(far), seen.near), seen.near], dim=1))
        logits: Tensor = self.part_output(self.part_last(near))
        return logits.float()

    def _leaves(self, seen: _Seen, part: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        near = self.leaf_near(torch.cat([_cropped(self.leaf_up(seen.far), seen.near), seen.near], dim=1))
        near = _conditioned(near, conditions[0:2])
        logits: Tensor = self.leaf_output(_conditioned(self.leaf_last(near), conditions[2:4]))
        missing = ~self.has_leaf[part].permute(0, 3, 1, 2)
        return logits.float().masked_fill(missing, _IMPOSSIBLE)

    def _points(self, seen: _Seen, slots: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        centers = self.centers[slots].permute(0, 3, 1, 2)
        if not self.options.regression:
            return centers
        first = _conditioned(functional.elu(self.regress_first(seen.trunk)), conditions[0:2])
        second = _conditioned(functional.elu(self.regress_second(first)), conditions[2:4])
        return centers + self.output(second).float() * self.scales[slots][:, None]

    def _in_one_step(self, image: Tensor) -> DenseOutputs:
        trunk = self.trunk(normalised(image))
        hidden = functional.elu(self.regress_second(functional.elu(self.regress_first(trunk))))
        points = self.middle[:, None, None] + self.output(hidden).float() * self.extent[:, None, None]
        batch, _, height, width = points.shape
        distance = torch.cdist(points.permute(0, 2, 3, 1).reshape(-1, 3), self.centers)
        slots = distance.argmin(dim=1).reshape(batch, height, width)
        nothing = points.new_zeros(batch, 1, height, width)
        return DenseOutputs(nothing, nothing, slots, points)


class ExportedDense(nn.Module):
    """The network as a robot runs it: what conditions are made of labels is looked up in tables."""

    def __init__(self, module: DenseModule) -> None:
        """Make the tables of a trained network."""
        super().__init__()
        self.module = module
        options = module.options
        self.looks_up = options.hierarchical and options.conditioned
        if self.looks_up:
            with torch.no_grad():
                parts = module.part_generator(torch.eye(module.parts))
                leaves = module.leaf_generator(module.one_hot(torch.arange(module.parts * module.leaves)))
            for kind, tables in (("part", parts), ("leaf", leaves if options.regression else ())):
                for number, table in enumerate(tables):
                    self.register_buffer(f"{kind}_table_{number}", table, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return points [M, 3], confidence [M] and leaves [M] int64 of the cells of an image [1, 3, H, W], by rows."""
        module = self.module
        if not module.options.hierarchical:
            found = module(image)
            confidence = torch.ones_like(found.points[0, 0]).reshape(-1)
            return _by_cell(found.points), confidence, module.leaf_idxs[found.slots.reshape(-1)]
        seen = module._look(image)
        part_logits = module._parts(seen)
        part = part_logits.argmax(dim=1)
        leaf_logits = module._leaves(seen, part, self._conditions("part", part))
        slots = part * module.leaves + leaf_logits.argmax(dim=1)
        points = module._points(seen, slots, self._conditions("leaf", slots))
        confidence = part_logits.softmax(dim=1).amax(dim=1) * leaf_logits.softmax(dim=1).amax(dim=1)
        return _by_cell(points), confidence.reshape(-1), module.leaf_idxs[slots.reshape(-1)]

    def _conditions(self, kind: str, rows: Tensor) -> tuple[Tensor, ...]:
        names = [f"{kind}_table_{number}" for number in range(4)]
        return tuple(getattr(self, name)[rows].permute(0, 3, 1, 2) for name in names if hasattr(self, name))


class _Generator(nn.Module):
    """What makes gamma and beta of two layers of one-hot labels; 1x1 convolutions of a map, label by label."""

    def __init__(self, labels: int, widths: tuple[int, ...], planes: tuple[int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((labels, *widths[:-1]), widths, strict=True):
            layers += [nn.Linear(before, after), nn.ELU()]
        self.layers = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(widths[-1], size) for size in planes for _ in range(2))

    def forward(self, one_hot: Tensor) -> tuple[Tensor, ...]:
        """Return gamma, beta, gamma, beta, [S, planes] each, of labels [S, L]."""
        made = self.layers(one_hot)
        return tuple(functional.elu(head(made)) for head in self.heads)


def normalised(image: Tensor) -> Tensor:
    """Bring levels 0 to 255 to -1 to 1, as published."""
    return (image - 127.5) / 127.5


def _convolution(
    before: int, after: int, kernel: int = 3, stride: int = 1, dilation: int = 1, activated: bool = True
) -> nn.Module:
    layer = nn.Conv2d(before, after, kernel, stride, dilation * (kernel // 2), dilation)
    return nn.Sequential(layer, nn.ELU()) if activated else layer


def _down(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        _convolution(before, after, stride=2, dilation=2), _convolution(after, after, dilation=2)
    )


def _up(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(before, after, 2, 2), nn.ELU())


def _cropped(larger: Tensor, like: Tensor) -> Tensor:
    """Take off the row and column that an odd number of cells gains on its way down and up."""
    return larger[..., : like.shape[-2], : like.shape[-1]]


def _conditioned(features: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
    if not conditions:
        return features
    gamma, beta = conditions
    return functional.elu(gamma * features + beta)


def _placed(rows: tuple[Tensor, ...], where: Tensor) -> tuple[Tensor, ...]:
    """Return rows [S, planes] at the cells [B, h, w] that they are of.

    What comes back of many cells is summed in float32, and in the same order whatever the number of threads.
    """
    return tuple(functional.embedding(where, row.float()).to(row.dtype).permute(0, 3, 1, 2) for row in rows)


def _by_cell(points: Tensor) -> Tensor:
    return points[0].permute(1, 2, 0).reshape(-1, 3)
