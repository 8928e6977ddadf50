"""Visual words: a vocabulary of local descriptors, by which landmarks are sorted and compared.

Reference: Sivic and Zisserman, "Video Google", ICCV 2003.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.map.unit_vectors import UnitVectors

Float32Array = NDArray[np.float32]

_MAX_WORD_DESCRIPTORS = 20000
_NUM_CLUSTERING_STEPS = 15
_BLOCK_ROWS = 65536  # compared with all words at a time


def learn_words(descriptors: Float32Array, count: int, seed: int) -> Float32Array:
    """Return visual words [K, D] of descriptors [N, D], to sort them by; K is `count`, or N if that is less.

    A sample is enough: words only say what need not be compared.
    """
    rng = np.random.default_rng(seed)
    if len(descriptors) > _MAX_WORD_DESCRIPTORS:
        chosen = np.sort(rng.choice(len(descriptors), _MAX_WORD_DESCRIPTORS, replace=False))
        descriptors = descriptors[chosen]
    return spherical_k_means(np.asarray(descriptors, np.float32), min(count, len(descriptors)), rng)


def assign_words(descriptors: Float32Array | UnitVectors, vocabulary: Float32Array) -> NDArray[np.int32]:
    """Return the nearest word [N] of each descriptor [N, D]; vocabulary [K, D] unit norm.

    Descriptors are read in blocks, so that they may be an array on disk.
    """
    words = np.zeros(len(descriptors), np.int32)
    for start in range(0, len(descriptors), _BLOCK_ROWS):
        block = descriptors[start : start + _BLOCK_ROWS]
        words[start : start + len(block)] = np.argmax(block @ vocabulary.T, axis=1)
    return words


def spherical_k_means(descriptors: Float32Array, count: int, rng: np.random.Generator) -> Float32Array:
    """Return `count` unit centres [K, D] of unit descriptors [N, D], K at most N, by cosine."""
    centers = descriptors[rng.choice(len(descriptors), count, replace=False)].copy()
    for _ in range(_NUM_CLUSTERING_STEPS):
        nearest = assign_words(descriptors, centers)
        for index in range(count):
            members = descriptors[nearest == index]
            # An empty centre starts again at a descriptor rather than staying unused.
            total = members.sum(axis=0) if len(members) else descriptors[rng.integers(len(descriptors))]
            centers[index] = total / max(float(np.linalg.norm(total)), 1e-12)
    return centers
