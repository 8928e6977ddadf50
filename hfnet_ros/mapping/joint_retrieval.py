"""Global descriptors of two maps that are to be one.

Descriptors of different vocabularies cannot be compared, so those of the second map are made
anew with the vocabulary of the first. Its images are gone; what its keyframes saw is not: the
descriptors of the landmarks they observe stand in for their own. The first map's descriptors
come back exactly from their projection, as far as it kept all that its keyframes span.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MappingError
from hfnet_ros.features.aggregation import aggregate_vlad, beside_head
from hfnet_ros.features.keypoints import unit_rows
from hfnet_ros.map.visual_map import VisualMap

Float32Array = NDArray[np.float32]

_MIN_RELATIVE_SCALE = 1e-5
_MAX_GLOBAL_SIZE = 1024


def describe_jointly(first: VisualMap, second: VisualMap) -> tuple[Float32Array, dict[str, Float32Array]]:
    """Return the global descriptors of both maps' keyframes and the arrays of their aggregation.

    Raises:
        MappingError: one map has a vocabulary and the other has none.
    """
    if first.has_head != second.has_head:
        raise MappingError("one map has a vocabulary and the other has none; build one of them anew")
    (first_heads, first_vlads), (second_heads, second_vlads) = _parts(first), _parts(second)
    heads = np.concatenate([first_heads, second_heads])
    if not (first.aggregation and second.aggregation):
        return heads, {}  # where one of them has VLADs beside the head, these cannot be kept
    vocabulary, projection = first.aggregation["vocabulary"], first.aggregation["projection"]
    known = first_vlads @ projection
    if np.array_equal(vocabulary, second.aggregation["vocabulary"]):
        added = second_vlads @ second.aggregation["projection"]
    else:
        added = np.stack(
            [
                aggregate_vlad(second.landmark_descriptors[second.landmarks_seen_by(row)], vocabulary)
                for row in range(second.num_keyframes)
            ]
        )
    vlads, aggregation = project_vlads(np.concatenate([known, added]), vocabulary, projection)
    return (beside_head(heads, vlads) if first.has_head else vlads), aggregation


def _parts(visual_map: VisualMap) -> tuple[Float32Array, Float32Array]:
    """Return of the keyframes' descriptors what the network's head gave, and the rest, each of unit length."""
    described, size = visual_map.global_descriptors.decoded(), visual_map.head_size
    return unit_rows(described[:, :size]), unit_rows(described[:, size:])


def project_vlads(
    vlads: Float32Array, vocabulary: Float32Array, projection: Float32Array
) -> tuple[Float32Array, dict[str, Float32Array]]:
    """Return unit descriptors [F, G] in the subspace of VLADs [F, K * D], and the aggregation.

    The projection grows by what the new keyframes span. Beyond the size that the first map kept
    in full, it keeps the most important directions.
    """
    _, scales, directions = np.linalg.svd(vlads, full_matrices=False)
    rank = max(1, int(np.count_nonzero(scales > _MIN_RELATIVE_SCALE * scales[0])))
    rank = min(rank, max(len(projection), _MAX_GLOBAL_SIZE))
    joint = np.ascontiguousarray(directions[:rank]).astype(np.float32)
    projected = vlads @ joint.T
    norms = np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12)
    return (projected / norms).astype(np.float32), {"vocabulary": vocabulary, "projection": joint}
