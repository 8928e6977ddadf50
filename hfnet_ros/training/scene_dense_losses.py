"""What a dense scene network is taught by: true labels and points of cells, and rays where nobody knows them.

Reference: Li et al., "Hierarchical Scene Coordinate Classification and Regression for Visual Localization", CVPR 2020,
    section 3.3 and 4.1 (losses and their weights).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hfnet_ros.training.scene_dense_network import DenseModule, DenseOutputs

# Of coordinates in metres, as published for single scenes and for combined ones; both cross-entropies weigh 1.
_SINGLE_WEIGHT, _COMBINED_WEIGHT, _COMBINED_PARTS = 10.0, 1e5, 26
# Per pixel of reprojection error, which at 2 m and 525 px is what 10 per metre is.
_REPROJECTION_WEIGHT = 0.02
_REPROJECTION_PX = (50.0, 1.0)  # beyond which an error counts no more, at the beginning and at the end
_LEAST_DEPTH_M, _MOST_ERROR_PX = 0.1, 1000.0


@dataclass(frozen=True, eq=False)
class DenseBatch:
    """What is known of the cells of B images, tensors.

    Attributes:
        slots: [B, h, w] int64 true labels; -1 where none is known.
        points: [B, 3, h, w] m; 0 where none is known.
        rays: [B, 2, h, w]; NaN of cells that show nothing.
        rotations: [B, 3, 3] and `translations` [B, 3]: map_from_camera.
        translations: see there.
        focals: [B] px.
        medians: [B] m.
    """

    slots: Tensor
    points: Tensor
    rays: Tensor
    rotations: Tensor
    translations: Tensor
    focals: Tensor
    medians: Tensor


def dense_loss(
    found: DenseOutputs, batch: DenseBatch, module: DenseModule, reprojects: bool, share: float
) -> Tensor:
    """Return cross-entropies of parts and leaves and the distance of points, summed with the published weights.

    Args:
        found: of the network, conditioned on the true labels.
        batch: what is known.
        module: the network.
        reprojects: all cells that show something are taught by reprojection, too.
        share: of training that is done, 0 to 1.
    """
    known = batch.slots >= 0
    loss = found.points.sum() * 0.0
    options = module.options
    if bool(known.any()):
        if options.hierarchical:
            part = torch.div(batch.slots[known], module.leaves, rounding_mode="floor")
            leaf = batch.slots[known] - part * module.leaves
            loss = loss + functional.cross_entropy(found.part_logits.permute(0, 2, 3, 1)[known], part)
            loss = loss + functional.cross_entropy(found.leaf_logits.permute(0, 2, 3, 1)[known], leaf)
        if options.regression or not options.hierarchical:
            weight = _SINGLE_WEIGHT if module.parts < _COMBINED_PARTS else _COMBINED_WEIGHT
            loss = loss + weight * (found.points - batch.points).norm(dim=1)[known].mean()
    if reprojects and (options.regression or not options.hierarchical):
        loss = loss + reprojection_loss(found.points, batch, share)
    return loss


def reprojection_loss(points: Tensor, batch: DenseBatch, share: float) -> Tensor:
    """Return how far points [B, 3, h, w] are from their cells' rays, on all cells that show something.

    An error r counts tau * tanh(r / tau), with a tau that falls. Points behind or beside the camera are drawn to the
    cell's ray at the keyframe's median depth.

    Reference: Brachmann et al., "Accelerated Coordinate Encoding", CVPR 2023, section 3.3.
    """
    shows = torch.isfinite(batch.rays).all(dim=1)
    if not bool(shows.any()):
        return points.sum() * 0.0
    cells = points.permute(0, 2, 3, 1)[shows]
    image = torch.nonzero(shows)[:, 0]
    rays = batch.rays.permute(0, 2, 3, 1)[shows]
    moved = torch.einsum("nji,nj->ni", batch.rotations[image], cells - batch.translations[image])
    depth = moved[:, 2].clamp(min=_LEAST_DEPTH_M)
    error = (moved[:, :2] / depth[:, None] - rays).norm(dim=1) * batch.focals[image]
    valid = (moved[:, 2] > _LEAST_DEPTH_M) & (error < _MOST_ERROR_PX)
    first, last = _REPROJECTION_PX
    tau = last + (first - last) * math.sqrt(max(1.0 - share * share, 0.0))
    target = torch.cat([rays, torch.ones_like(rays[:, :1])], dim=1) * batch.medians[image][:, None]
    pulled = (moved - target).norm(dim=1) * _SINGLE_WEIGHT
    counted = torch.where(valid, _REPROJECTION_WEIGHT * tau * torch.tanh(error / tau), pulled)
    return counted.mean()
