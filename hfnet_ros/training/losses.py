"""The multi-task loss with learned task weights, and the consistency of two views.

Reference: HF-Net (Sarlin et al., CVPR 2019), section 4.2, equation 1; Kendall et al., "Multi-Task
Learning Using Uncertainty to Weigh Losses", CVPR 2018. Consistency: dual softmax as in XFeat
(CVPR 2024, section 3.3); InfoNCE (van den Oord et al., 2018) for the global descriptor.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from hfnet_ros.training.network import DenseOutputs
from hfnet_ros.training.options import UNKNOWN_CELL

_MATCH_SCALE = 20.0  # inverse temperatures of cosines
_PLACE_SCALE = 16.0
# Part of the global task: as a task of its own it pulled the descriptor away from the teacher, and
# retrieval on real images it had not been trained on got worse (docs/hfnet.md).
_PLACE_SHARE = 0.03
_TASKS = {"global": 1.0, "local": 1.0, "detector": 2.0, "match": 1.0}
_DISTILLATION = ("global", "local", "detector")


class TaskWeights(nn.Module):
    """w_i of the loss sum_i c_i exp(-w_i) L_i + w_i; c is 2 for the detector, as published."""

    def __init__(self, consistency: bool) -> None:
        """Start with equal weights."""
        super().__init__()
        names = tuple(_TASKS) if consistency else _DISTILLATION
        self.weights = nn.ParameterDict({f"task_{name}": nn.Parameter(torch.zeros(())) for name in names})

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum."""
        total = torch.zeros(())
        for name, loss in losses.items():
            if name not in _TASKS:  # only watched
                continue
            weight = self.weights[f"task_{name}"]
            total = total.to(loss.device) + _TASKS[name] * torch.exp(-weight) * loss + weight
        return total


def multi_task_losses(
    outputs: DenseOutputs,
    batch: Mapping[str, Tensor],
    local_projection: Tensor,
    bank: Tensor,
    *,
    consistency: bool,
    with_global: bool = True,
) -> dict[str, Tensor]:
    """Compute every task's loss for a batch of pairs, and `place`, a part of `global`, to watch it.

    Args:
        outputs: for the 2 B images, first all a, then all b.
        batch: tensors named as in `PairBatch`.
        local_projection: [D, T] from the local teacher's descriptors to the student's size.
        bank: [V, G] global targets of all views, negatives for the global descriptor; with
            `bank_groups` [V] and `bank_group` [B] in `batch` to leave out the own group.
        consistency: also compare the two views.
        with_global: also the global descriptor's tasks.
    """
    count = len(batch["points_a"])
    size_wh = (batch["images"].shape[3], batch["images"].shape[2])
    local = outputs.local.float()
    at_a = sample_descriptors(local[:count], batch["points_a"], size_wh)
    taught = functional.normalize(batch["descriptors"] @ local_projection.T, dim=2)
    is_point = batch["is_point"]
    squared = (at_a - taught).square().sum(dim=2)
    losses = {
        "local": (squared * is_point).sum() / is_point.sum().clamp(min=1),
        "detector": functional.cross_entropy(
            outputs.logits.float(), batch["cells"], ignore_index=UNKNOWN_CELL
        ),
    }
    if consistency:
        at_b = sample_descriptors(local[count:], batch["points_b"], size_wh)
        losses["match"] = dual_softmax_loss(at_a, at_b, batch["is_match"])
    if with_global:
        losses.update(_global_losses(outputs.descriptor.float(), batch, bank, consistency=consistency))
    return losses


def _global_losses(
    descriptor: Tensor, batch: Mapping[str, Tensor], bank: Tensor, *, consistency: bool
) -> dict[str, Tensor]:
    in_a, in_b = descriptor.chunk(2)
    distilled = distance_to_target(in_a, batch["targets"])
    if not consistency:
        return {"global": distilled}
    # The other view shall say the same as the teacher of the first.
    distilled = 0.5 * (distilled + distance_to_target(in_b, batch["targets"]))
    place = place_loss(in_a, in_b, batch, bank)
    return {"global": distilled + _PLACE_SHARE * place, "place": place.detach()}


def distance_to_target(descriptors: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared distance of unit descriptors [B, G] to the teacher's."""
    return (descriptors - targets).square().sum(dim=1).mean()


def sample_descriptors(dense: Tensor, points: Tensor, size_wh: tuple[int, int]) -> Tensor:
    """Sample [B, D, h, w] at px [B, N, 2] as HF-Net does: [B, N, D], unit norm.

    Convention: map coordinate = pixel (w - 1) / (W - 1), bilinear, then L2.
    """
    high = points.new_tensor([size_wh[0] - 1.0, size_wh[1] - 1.0])
    grid = (points / high * 2.0 - 1.0)[:, :, None]
    sampled = functional.grid_sample(dense, grid, mode="bilinear", align_corners=True)
    return functional.normalize(sampled[..., 0].transpose(1, 2), dim=2)


def dual_softmax_loss(at_a: Tensor, at_b: Tensor, is_match: Tensor) -> Tensor:
    """Return the mean negative log probability that matching points choose each other.

    Args:
        at_a: [B, N, D] descriptors in a.
        at_b: [B, N, D] of the same points in b.
        is_match: [B, N], False where b does not see the point.
    """
    similarity = _MATCH_SCALE * torch.matmul(at_a, at_b.transpose(1, 2))
    hidden = ~is_match[:, None, :]
    rows = torch.log_softmax(similarity.masked_fill(hidden, -1e4), dim=2)
    columns = torch.log_softmax(similarity.masked_fill(~is_match[:, :, None], -1e4), dim=1)
    chosen = -0.5 * (rows.diagonal(dim1=1, dim2=2) + columns.diagonal(dim1=1, dim2=2))
    return (chosen * is_match).sum() / is_match.sum().clamp(min=1)


def place_loss(in_a: Tensor, in_b: Tensor, batch: Mapping[str, Tensor], bank: Tensor) -> Tensor:
    """Return InfoNCE of global descriptors: b finds its a, and its target among those of all views.

    Args:
        in_a: [B, G] unit norm.
        in_b: [B, G] of the same places.
        batch: `is_negative`, `bank_groups`, `bank_group` and `targets`.
        bank: [V, G] targets of all views.
    """
    others = batch["is_negative"]
    allowed = others | torch.eye(len(in_a), dtype=torch.bool, device=in_a.device)
    similarity = (_PLACE_SCALE * in_a @ in_b.T).masked_fill(~allowed, -1e4)
    among_batch = -0.5 * (
        torch.log_softmax(similarity, dim=0).diagonal() + torch.log_softmax(similarity, dim=1).diagonal()
    )
    own = (_PLACE_SCALE * (in_b * batch["targets"]).sum(dim=1))[:, None]
    all_views = (_PLACE_SCALE * in_b @ bank.T).masked_fill(
        batch["bank_group"][:, None] == batch["bank_groups"][None], -1e4
    )
    among_all = -torch.log_softmax(torch.cat([own, all_views], dim=1), dim=1)[:, 0]
    return (among_batch + among_all).mean()
