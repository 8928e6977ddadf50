"""A global descriptor from local ones: the only one of extractors without a global head, a second one of the others.

VLAD with a vocabulary learned from the map's own keyframes, over the local descriptors of the
keypoints. Measured on RedKitchen against the dense descriptors of XFeat: equal on ordinary
views, and far better under strong changes of view (docs/notes/evaluation.md).

Reference: Jegou et al., "Aggregating local descriptors into a compact image representation",
CVPR 2010; Arandjelovic and Zisserman, "All about VLAD", CVPR 2013 (intra-normalisation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import RetrievalConfig
from hfnet_ros.features.keypoints import unit_rows
from hfnet_ros.map.visual_words import spherical_k_means
from hfnet_ros.types import ImageFeatures

Float32Array = NDArray[np.float32]

_MAX_TRAINING_DESCRIPTORS = 50000
_MIN_RELATIVE_SCALE = 1e-5  # of a direction that is more than rounding
# Keypoints that are aggregated beside a head's descriptor: as many as of an image to localize.
MAX_BESIDE_HEAD = 1024


@dataclass(frozen=True, eq=False)
class VladAggregation:
    """VLAD followed by a projection.

    Attributes:
        vocabulary: [K, D] float32 unit norm.
        projection: [G, K * D] float32, orthonormal rows.
    """

    vocabulary: Float32Array
    projection: Float32Array

    def describe(self, features: ImageFeatures) -> Float32Array:
        """Return the global descriptor [G] float32, unit norm (zero for an image without keypoints)."""
        projected = self.projection @ aggregate_vlad(features.local.descriptors, self.vocabulary)
        return unit_rows(projected[None])[0]

    def arrays(self) -> dict[str, Float32Array]:
        """Return what a map has to keep."""
        return {"vocabulary": self.vocabulary, "projection": self.projection}


def describe_beside_head(aggregation: VladAggregation, features: ImageFeatures) -> Float32Array:
    """Return the descriptor of a network's head and that of its keypoints, one after the other, unit norm.

    The cosine of two of them is the mean of both cosines.
    """
    assert features.global_descriptor is not None
    return beside_head(
        features.global_descriptor[None], aggregation.describe(features.strongest(MAX_BESIDE_HEAD))[None]
    )[0]


def describe_whole(aggregation: VladAggregation | None, features: ImageFeatures) -> Float32Array | None:
    """Return the global descriptor [G] that such a map compares; None where there is nothing to make it of."""
    if aggregation is None:
        return features.global_descriptor
    if features.global_descriptor is None:
        return aggregation.describe(features)
    return describe_beside_head(aggregation, features)


def beside_head(heads: Float32Array, vlads: Float32Array) -> Float32Array:
    """Return unit descriptors [F, G] whose cosine is the mean of those of heads [F, H] and VLADs [F, V]."""
    return unit_rows(np.concatenate([unit_rows(heads), unit_rows(vlads)], axis=1))


def aggregate_vlad(descriptors: Float32Array, vocabulary: Float32Array) -> Float32Array:
    """Sum residuals to the nearest centre, normalise per centre, then over all: [K * D] float32."""
    nearest = np.argmax(descriptors @ vocabulary.T, axis=1)
    order = np.argsort(nearest, kind="stable")
    counts = np.bincount(nearest, minlength=len(vocabulary))
    used = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts[used])[:-1]]).astype(np.intp)
    summed = np.zeros_like(vocabulary)
    if len(used):
        totals = np.add.reduceat(descriptors[order], starts, axis=0)
        summed[used] = totals - counts[used, None] * vocabulary[used]
    flat = unit_rows(summed).reshape(1, -1)
    return unit_rows(flat)[0]


def fit_aggregation(images: Sequence[ImageFeatures], config: RetrievalConfig, seed: int) -> VladAggregation:
    """Learn vocabulary and projection from the features of a map's keyframes.

    The projection keeps the subspace that the keyframes span (at most `global_size`
    dimensions): with fewer keyframes than that it changes no ranking at all. Centring and
    whitening were measured and left out: fitted on a hundred keyframes, whitening lost a
    quarter of the first ranks.

    Args:
        images: features of the F keyframes, at least one with keypoints.
        config: vocabulary size and largest number of dimensions.
        seed: of the clustering.
    """
    rng = np.random.default_rng(seed)
    descriptors = np.concatenate([image.local.descriptors for image in images])
    if len(descriptors) > _MAX_TRAINING_DESCRIPTORS:
        descriptors = descriptors[rng.choice(len(descriptors), _MAX_TRAINING_DESCRIPTORS, replace=False)]
    vocabulary = spherical_k_means(descriptors, min(config.vocabulary_size, len(descriptors)), rng)
    vlads = np.stack([aggregate_vlad(image.local.descriptors, vocabulary) for image in images])
    return VladAggregation(vocabulary, spanned_directions(vlads, config.global_size))


def spanned_directions(vlads: Float32Array, most: int) -> Float32Array:
    """Return orthonormal rows [R, K * D] float32 of what VLADs [F, K * D] span, the `most` important ones at most."""
    _, scales, directions = np.linalg.svd(vlads, full_matrices=False)
    rank = min(most, max(1, int(np.count_nonzero(scales > _MIN_RELATIVE_SCALE * scales[0]))))
    return np.ascontiguousarray(directions[:rank], np.float32)
