"""Global descriptors of a city that does not exist, with the statistics of those of real images.

    python bench/described_city.py --images A B C --out real.npz

writes HF-Net's global descriptors of folders of images, and beside them those of their keypoints (VLAD), as large maps
have them; bench/retrieval.py draws cities from them.

What a network's descriptors are like decides what an index finds: all of them share a large mean, images of different
places are rather similar, and a second view of a place is hardly more so. Descriptors that are drawn apart (random
unit vectors, signed permutations of a real map's) make every index look perfect. Here, in the space without the mean:

- a *place* is a mixture of a real image's descriptor and one of its nearest others, and in part a draw of the Gaussian
  with the real covariance, in shares that vary; so places of one kind are look-alikes, and some are drawn beside
  another one on purpose, as far from it as the floors of a tower are from each other. A larger city has more
  look-alikes of everything;
- its *keyframes* are a walk (first-order autoregressive) with the covariance of differences within real sequences and
  the similarities of neighbours there;
- a *query* is a keyframe seen anew: the similarity is drawn from those of real queries with their best keyframe, the
  rest has the covariance of what differs between these.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfnet_ros.map.unit_vectors import UnitVectors

KEYFRAMES_PER_PLACE = 20
PLACE_DRAWN = (0.05, 0.3)  # share of a place's variance that no real image has
NUM_NEIGHBORS = 30  # real images that are mixed with a real one
LOOK_ALIKE_SHARE, LOOK_ALIKE_CORRELATION = 0.05, (0.4, 0.75)
WALK_SHARE = (0.2, 0.7)  # of a keyframe's variance that differs within a place
WALK_MEMORY = (0.4, 0.7)  # correlation of that with the next keyframe's
BLOCK_PLACES = 512


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of real descriptors [N, G] of unit length.

    Attributes:
        mean: [G].
        anchors: [N, G] without the mean.
        neighbors: [N, NUM_NEIGHBORS] the real images most like each.
        everywhere: [G, R] factor of their covariance.
        within: [G, R] factor of the covariance of differences within sequences, of the same trace.
        between_views: [G, R] the same between queries and their best keyframe.
        similarities: [Q] of queries with that one.
    """

    mean: np.ndarray
    anchors: np.ndarray
    neighbors: np.ndarray
    everywhere: np.ndarray
    within: np.ndarray
    between_views: np.ndarray
    similarities: np.ndarray

    @property
    def length(self) -> float:
        """Typical length of a descriptor without the mean."""
        return float(np.sqrt((self.anchors**2).sum(axis=1).mean()))


def measure_statistics(
    descriptors: np.ndarray, scenes: np.ndarray, sequences: Sequence[str], views: Sequence[tuple[str, str]]
) -> Statistics:
    """Return the statistics of descriptors [N, G].

    Args:
        descriptors: unit norm.
        scenes: [N] the folder that each image is of, images in order.
        sequences: folders whose images follow each other.
        views: folders of queries and of keyframes that show the same.
    """
    mean = descriptors.mean(axis=0)
    anchors = descriptors - mean
    trace = float((anchors**2).sum(axis=1).mean())
    steps, differences, similarities = [], [], []
    for name in sequences:
        walk = descriptors[scenes == name]
        steps += [walk[lag:] - walk[:-lag] for lag in (1, 3) if len(walk) > lag]
    for query, keyframes in views:
        asked, known = descriptors[scenes == query], descriptors[scenes == keyframes]
        if not len(asked) or not len(known):
            continue
        similarity = asked @ known.T
        best = similarity.argmax(axis=1)
        similarities.append(similarity.max(axis=1))
        differences.append(asked - known[best])
    return Statistics(
        mean,
        anchors,
        np.argsort(-(descriptors @ descriptors.T), axis=1)[:, 1 : 1 + NUM_NEIGHBORS],
        _factor(anchors, trace),
        _factor(np.concatenate(steps), trace),
        _factor(np.concatenate(differences), trace),
        np.concatenate(similarities),
    )


def _factor(rows: np.ndarray, trace: float, kept: float = 0.995) -> np.ndarray:
    """Return a factor [G, R] of the second moment of rows, scaled to a trace."""
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = int(np.searchsorted(np.cumsum(values), kept * values.sum())) + 1
    values = values[:rank]
    return (vectors[:, :rank] * np.sqrt(values * trace / values.sum())).astype(np.float32)


def write_city(statistics: Statistics, count: int, seed: int, path: Path) -> np.ndarray:
    """Write descriptors of `count` keyframes as codes [F, G] int8 and return them, mapped from the file."""
    rng = np.random.default_rng(seed)
    size = len(statistics.mean)
    codes = np.lib.format.open_memmap(path, "w+", np.int8, (count, size))
    previous: np.ndarray | None = None
    for start in range(0, count, BLOCK_PLACES * KEYFRAMES_PER_PLACE):
        stop = min(start + BLOCK_PLACES * KEYFRAMES_PER_PLACE, count)
        num_places = -(-(stop - start) // KEYFRAMES_PER_PLACE)
        places = _places(statistics, num_places, previous, rng)
        previous = places if previous is None else np.concatenate([previous, places])[-20 * BLOCK_PLACES :]
        walked = _walks(statistics, places, rng)[: stop - start]
        walked += statistics.mean
        codes[start:stop] = UnitVectors.encode(walked).codes
    codes.flush()
    return np.load(path, mmap_mode="r")


def _places(
    statistics: Statistics, count: int, others: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    drawn = _draw(statistics.everywhere, count, rng)
    first = rng.integers(len(statistics.anchors), size=count)
    second = statistics.neighbors[first, rng.integers(NUM_NEIGHBORS, size=count)]
    mixed = rng.uniform(size=(count, 1)).astype(np.float32)
    one, other = statistics.anchors[first], statistics.anchors[second]
    chosen = mixed * one + (1.0 - mixed) * other
    lengths = np.linalg.norm(chosen, axis=1, keepdims=True)
    chosen *= (
        0.5
        * (np.linalg.norm(one, axis=1, keepdims=True) + np.linalg.norm(other, axis=1, keepdims=True))
        / lengths
    )
    share = rng.uniform(*PLACE_DRAWN, size=(count, 1)).astype(np.float32)
    places = np.sqrt(1.0 - share) * chosen + np.sqrt(share) * drawn
    if others is not None:
        alike = rng.random(count) < LOOK_ALIKE_SHARE
        correlation = rng.uniform(*LOOK_ALIKE_CORRELATION, size=(int(alike.sum()), 1)).astype(np.float32)
        beside = others[rng.integers(len(others), size=int(alike.sum()))]
        places[alike] = correlation * beside + np.sqrt(1.0 - correlation**2) * drawn[alike]
    return places


def _walks(statistics: Statistics, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the keyframes of places [P, G], one place after the other, without the mean."""
    count = len(places)
    share = rng.uniform(*WALK_SHARE, size=(count, 1)).astype(np.float32)
    memory = rng.uniform(*WALK_MEMORY, size=(count, 1)).astype(np.float32)
    walked = np.empty((count, KEYFRAMES_PER_PLACE, places.shape[1]), np.float32)
    state = _draw(statistics.within, count, rng)
    for step in range(KEYFRAMES_PER_PLACE):
        walked[:, step] = np.sqrt(1.0 - share) * places + np.sqrt(share) * state
        state = memory * state + np.sqrt(1.0 - memory**2) * _draw(statistics.within, count, rng)
    return walked.reshape(-1, places.shape[1])


def draw_queries(
    statistics: Statistics, codes: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return queries [Q, G] of unit length and the keyframes [Q] that they are other views of."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(codes), count, replace=False))
    keyframes = UnitVectors(codes[rows]).decoded()
    apart = keyframes - statistics.mean
    own = (apart**2).sum(axis=1)
    wanted = rng.choice(statistics.similarities, count)
    # cos(q, x) of q = m + a (x - m) + b n, were all of unit length and n orthogonal to x.
    share = np.clip((wanted - 1.0 + own) / own, 0.05, 0.99).astype(np.float32)[:, None]
    drawn = _draw(statistics.between_views, count, rng) * (np.sqrt(own)[:, None] / statistics.length)
    queries = statistics.mean + share * apart + np.sqrt(1.0 - share**2) * drawn
    return (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32), rows


def _draw(factor: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((count, factor.shape[1]), dtype=np.float32) @ factor.T


def describe(options: argparse.Namespace) -> None:
    """Write descriptors and folders of images."""
    from hfnet_ros.config import Config
    from hfnet_ros.errors import ImageError
    from hfnet_ros.features.aggregation import aggregate_vlad, beside_head
    from hfnet_ros.features.extractor import create_extractor
    from hfnet_ros.files.images import list_images, read_image
    from hfnet_ros.map.visual_words import spherical_k_means

    extractor = create_extractor(Config())
    heads, scenes, local = [], [], []
    for folder in options.images:
        for path in list_images(folder):
            try:
                features = extractor.extract(read_image(path))
            except ImageError as error:
                print(error, file=sys.stderr)
                continue
            heads.append(features.global_descriptor)
            local.append(UnitVectors.encode(features.strongest(1024).local.descriptors))
            scenes.append(str(folder))
    rng = np.random.default_rng(0)
    sample = np.concatenate([codes[rng.permutation(len(codes))[:50]] for codes in local])
    words = spherical_k_means(sample[rng.permutation(len(sample))[:50000]], 64, rng)
    vlads = np.stack([aggregate_vlad(codes.decoded(), words) for codes in local])
    _, vectors = np.linalg.eigh(vlads.T @ vlads)
    joined = beside_head(np.stack(heads), vlads @ vectors[:, ::-1][:, :1024])
    np.savez(options.out, descriptors=joined.astype(np.float16), scenes=np.array(scenes))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    describe(parser.parse_args())


if __name__ == "__main__":
    main()
