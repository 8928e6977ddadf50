"""The order in which landmarks are stored: what is read together lies together."""

from __future__ import annotations

import dataclasses

import numpy as np

from hfnet_ros.map.search_structure import NUM_WORDS
from hfnet_ros.map.visual_map import VisualMap, with_search

# Landmarks first seen within so many keyframes make a block. A place reads from a few blocks; sorted by word over
# the whole of a large map, each of its landmarks would lie on a page of its own.
KEYFRAMES_PER_BLOCK = 64


def arranged(visual_map: VisualMap, num_words: int = NUM_WORDS, seed: int = 0) -> VisualMap:
    """Return the map ready to be searched and stored: landmarks in blocks, by visual word in each.

    Args:
        visual_map: a map whose landmarks may be in any order; it is not changed.
        num_words: visual words to learn, where its global descriptors have no vocabulary.
        seed: of the clustering.
    """
    made = with_search(dataclasses.replace(visual_map, search=None), num_words, seed)
    assert made.search is not None
    keyframe_idx = made.observation_keyframe_idx
    first_seen = np.full(made.num_landmarks, made.num_keyframes, np.int64)
    np.minimum.at(first_seen, made.observation_landmark_idx, keyframe_idx)
    order = np.lexsort((made.search.landmark_words, first_seen // KEYFRAMES_PER_BLOCK))
    new_row = np.empty(len(order), np.int32)
    new_row[order] = np.arange(len(order), dtype=np.int32)
    seen = new_row[made.observation_landmark_idx]
    by_keyframe = np.lexsort((seen, keyframe_idx))
    described = made.observation_descriptors
    return dataclasses.replace(
        made,
        observation_landmark_idx=seen[by_keyframe],
        observation_xy=made.observation_xy.chosen(by_keyframe),
        observation_descriptors=None if described is None else described.chosen(by_keyframe),
        landmark_xyz=made.landmark_xyz[order],
        landmark_descriptors=made.landmark_descriptors.chosen(order),
        landmark_view_directions=made.landmark_view_directions[order],
        landmark_distance_ranges=made.landmark_distance_ranges[order],
        landmark_colors=made.landmark_colors[order],
        search=dataclasses.replace(made.search, landmark_words=made.search.landmark_words[order]),
    )
