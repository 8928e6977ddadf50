"""Global descriptors of the keyframes of several maps that can be compared with each other.

Maps that were built apart have vocabularies of their own. Those of a set that was built at once share one, and keep
what they have. Otherwise all are described anew, with the first map's vocabulary: their images are gone, but the
descriptors of the landmarks that keyframes see stand in for their own, as in `joint_retrieval`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MappingError
from hfnet_ros.features.aggregation import beside_head, spanned_directions
from hfnet_ros.features.keypoints import unit_rows
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.joint_retrieval import MAX_GLOBAL_SIZE, remembered_vlad

Float32Array = NDArray[np.float32]
Aggregation = Mapping[str, Float32Array]

_MAX_SAMPLED = 1500  # keyframes that the common projection is learned from


def common_aggregation(open_map: Callable[[int], VisualMap], count: int) -> Aggregation:
    """Return the aggregation that the keyframes of all maps can be described with.

    Args:
        open_map: opens a map by its number; one is held at a time.
        count: of the maps.

    Returns:
        That of all maps if they share one; none where a map has none, so that the network's head is all there is.

    Raises:
        MappingError: some maps have a global head and others do not.
    """
    first = open_map(0)
    shared = all(is_same(first.aggregation, open_map(number).aggregation) for number in range(1, count))
    if shared:
        return {name: np.array(array) for name, array in first.aggregation.items()}
    has_head, vocabulary, sampled = first.has_head, first.vocabulary, []
    for number in range(count):
        visual_map = open_map(number)
        if visual_map.has_head != has_head:
            raise MappingError(
                "some maps have a vocabulary and no global head, others have one; build them alike"
            )
        if vocabulary is None or visual_map.vocabulary is None:
            if not has_head:
                raise MappingError("a map has neither a global head nor a vocabulary; build it anew")
            return {}
        share = max(1, _MAX_SAMPLED // count)
        rows = np.unique(np.linspace(0, visual_map.num_keyframes - 1, share).round().astype(int)).tolist()
        sampled += [remembered_vlad(visual_map, row, vocabulary) for row in rows]
    assert vocabulary is not None
    projection = spanned_directions(np.stack(sampled), MAX_GLOBAL_SIZE)
    return {"vocabulary": np.array(vocabulary), "projection": projection}


def descriptors_by(visual_map: VisualMap, aggregation: Aggregation) -> UnitVectors:
    """Return the global descriptors [F, G] of a map's keyframes by an aggregation; none is the head alone."""
    if is_same(visual_map.aggregation, aggregation):
        return visual_map.global_descriptors
    described = visual_map.global_descriptors.decoded()
    heads = unit_rows(described[:, : visual_map.head_size])
    if not aggregation:
        return UnitVectors.encode(heads)
    vocabulary, projection = aggregation["vocabulary"], aggregation["projection"]
    vlads = np.stack(
        [projection @ remembered_vlad(visual_map, row, vocabulary) for row in range(visual_map.num_keyframes)]
    )
    return UnitVectors.encode(beside_head(heads, vlads) if visual_map.has_head else unit_rows(vlads))


def is_same(one: Aggregation, other: Aggregation) -> bool:
    """Tell whether descriptors by two aggregations can be compared."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
