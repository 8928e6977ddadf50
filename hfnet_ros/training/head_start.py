"""Give the head over local descriptors a start: a vocabulary and a projection fitted to the views.

A VLAD of good local descriptors retrieves well without any training (docs/hfnet.md); training
then starts there instead of at random.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hfnet_ros.training.cache import TeacherCache
from hfnet_ros.training.network import Aggregation, HFNet, keypoint_attention
from hfnet_ros.training.teachers import fit_projection, fit_vocabulary

_START_VIEWS = 1536
_BATCH = 16
_VOCABULARY_VIEWS = 192
# Probability of a keypoint in the cells whose descriptors the vocabulary is learned from.
_MIN_ATTENTION = 0.3
_SHARPNESS = 30.0  # of the soft assignment: exp(30 cosine)
_LOCAL_SHARE = 3.0  # norm of this head's part over that of the published head's, at the start


def start_local_head(network: HFNet, cache: TeacherCache, seed: int) -> None:
    """Give the head a start for training, from a part of the views; see `_fit`."""
    _fit(network, cache, seed, _START_VIEWS)


def fit_local_head(network: HFNet, cache: TeacherCache, seed: int, aggregation: Aggregation) -> None:
    """Fit the head anew to the finished network, from all views; see `_fit`."""
    network.local_aggregation = aggregation
    _fit(network, cache, seed, len(cache.images))


def _fit(network: HFNet, cache: TeacherCache, seed: int, num_views: int) -> None:
    """Fit clusters and projection of `network.aggregate_local` to views of a cache.

    The projection keeps the main directions of the views' VLADs, turned so that they agree best
    with the global teacher's targets (orthogonal Procrustes): cosines stay as they are.
    """
    head = network.aggregate_local
    if head is None:
        return
    rows = np.linspace(0, len(cache.images) - 1, min(num_views, len(cache.images))).astype(np.int64)
    network.eval()
    vocabulary = _learn_vocabulary(network, cache, rows[:: max(1, len(rows) // _VOCABULARY_VIEWS)], seed)
    device = head.clusters.device
    with torch.no_grad():
        clusters = torch.from_numpy(vocabulary).to(device)
        head.clusters.copy_(clusters)
        head.assignment.weight.copy_(_SHARPNESS * clusters[:, :, None, None])
        if head.assignment.bias is not None:
            head.assignment.bias.zero_()
    vlads, norms = [], []
    for start in range(0, len(rows), _BATCH):
        vlad, norm = _aggregate(network, cache, rows[start : start + _BATCH])
        vlads.append(vlad)
        norms.append(norm)
    projection = _align(np.concatenate(vlads), np.asarray(cache.targets[rows]))
    scale = _LOCAL_SHARE * float(np.concatenate(norms).mean())
    with torch.no_grad():
        head.projection.weight.copy_(scale * torch.from_numpy(projection).to(device))
        head.projection.bias.zero_()
    network.train()


def _learn_vocabulary(
    network: HFNet, cache: TeacherCache, rows: NDArray[np.int64], seed: int
) -> NDArray[np.float32]:
    found = []
    for row in rows:
        _, local, attention = _look(network, cache, np.array([row]))
        found.append(local[0].flatten(1).T[attention[0].flatten() > _MIN_ATTENTION].cpu().numpy())
    assert network.aggregate_local is not None
    count = network.local_aggregation.vocabularies
    size = len(network.aggregate_local.clusters) // count
    return np.concatenate([fit_vocabulary(found, size, seed + number) for number in range(count)])


def _look(
    network: HFNet, cache: TeacherCache, rows: NDArray[np.int64]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what the network sees in views: deep map, local descriptors, attention of the cells."""
    device = next(network.parameters()).device
    images = torch.from_numpy(np.array(cache.images[rows], np.float32))[:, None].to(device)
    with torch.no_grad():
        semantic, logits, local = network.look(images)
        return semantic, local.float(), keypoint_attention(logits, network.aggregate_local_attention)


def _aggregate(
    network: HFNet, cache: TeacherCache, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the VLADs [N, K D] of views, and the norm [N] of the published head's part."""
    assert network.aggregate_local is not None
    semantic, local, attention = _look(network, cache, rows)
    with torch.no_grad():
        vlads = network.aggregate_local.vlad(local, attention, network.local_aggregation)
        if network.aggregate is None or network.reduce is None:
            return vlads.cpu().numpy(), np.ones(len(rows), np.float32)
        deep = network.aggregate(functional.normalize(network.reduce(semantic), dim=1))
    return vlads.cpu().numpy(), deep.norm(dim=1).cpu().numpy()


def _align(vlads: NDArray[np.float32], targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return orthonormal rows [G, K D] that keep the VLADs' main directions and point like the targets."""
    projection = fit_projection(vlads, targets.shape[1])
    left, _, right = np.linalg.svd((vlads @ projection.T).T.astype(np.float64) @ targets)
    return np.asarray((left @ right).T @ projection, np.float32)
