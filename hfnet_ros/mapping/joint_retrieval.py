"""Global descriptors of two maps that are to be one.

Descriptors of different vocabularies cannot be compared, so those of the second map are made
anew with the vocabulary of the first. Its images are gone; what its keyframes saw is not: the
descriptors of the landmarks they observe stand in for their own. The first map's descriptors
come back exactly from their projection, as far as it kept all that its keyframes span. A large
map keeps its own as they are, with their codes: its projection was learned from enough keyframes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MappingError
from hfnet_ros.features.aggregation import aggregate_vlad, beside_head, spanned_directions
from hfnet_ros.features.keypoints import unit_rows
from hfnet_ros.map.unit_vectors import UnitVectors, concatenate
from hfnet_ros.map.visual_map import VisualMap

Float32Array = NDArray[np.float32]

MAX_GLOBAL_SIZE = 1024


def describe_jointly(first: VisualMap, second: VisualMap) -> tuple[UnitVectors, dict[str, Float32Array]]:
    """Return the global descriptors of both maps' keyframes and the arrays of their aggregation.

    Those of a first map that has codes of them stay what they are, unless the second map lacks what they consist of.

    Raises:
        MappingError: one map has a vocabulary and the other has none.
    """
    if first.has_head != second.has_head:
        raise MappingError("one map has a vocabulary and the other has none; build one of them anew")
    second_heads, second_vlads = _parts(second)
    if not (first.aggregation and second.aggregation):
        # Where one of them has VLADs beside the head, these cannot be kept.
        if not first.aggregation:
            return concatenate(first.global_descriptors, UnitVectors.encode(second_heads)), {}
        return UnitVectors.encode(np.concatenate([_parts(first)[0], second_heads])), {}
    vocabulary, projection = first.aggregation["vocabulary"], first.aggregation["projection"]
    if np.array_equal(vocabulary, second.aggregation["vocabulary"]):
        added = second_vlads @ second.aggregation["projection"]
    else:
        added = np.stack([remembered_vlad(second, row, vocabulary) for row in range(second.num_keyframes)])
    if first.codes is not None:
        vlads = unit_rows((added @ projection.T).astype(np.float32))
        described = beside_head(second_heads, vlads) if first.has_head else vlads
        return concatenate(first.global_descriptors, UnitVectors.encode(described)), dict(first.aggregation)
    first_heads, first_vlads = _parts(first)
    known = first_vlads @ projection
    vlads, aggregation = project_vlads(np.concatenate([known, added]), vocabulary, projection)
    if first.has_head:
        vlads = beside_head(np.concatenate([first_heads, second_heads]), vlads)
    return UnitVectors.encode(vlads), aggregation


def remembered_vlad(visual_map: VisualMap, row: int, vocabulary: Float32Array) -> Float32Array:
    """Return the VLAD [K * D] of the landmarks that a keyframe sees, which stand in for its own keypoints."""
    return aggregate_vlad(visual_map.landmark_descriptors[visual_map.landmarks_seen_by(row)], vocabulary)


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
    joint = spanned_directions(vlads, max(len(projection), MAX_GLOBAL_SIZE))
    projected = vlads @ joint.T
    norms = np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12)
    return (projected / norms).astype(np.float32), {"vocabulary": vocabulary, "projection": joint}
