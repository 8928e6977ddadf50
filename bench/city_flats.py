"""Flats of a generated city: real maps repeated with parts of them replaced, some flats nearly or wholly alike.

A flat is a base map (a generated apartment, or a real place) moved to its own place. Of its half-metre blocks a share,
another in each flat, holds what stands in other blocks of other bases: their descriptors, landmark by landmark, at the
block's own geometry. Flats of one base are therefore look-alikes by degree: a share of 0 is an exact twin but for the
noise of a second survey, a share of 1 has nothing but the walls' geometry in common. Global descriptors follow: the
part aggregated from keypoints (VLAD) is computed from the replaced descriptors; the network's head, which cannot be
run on what was never rendered, is mixed by the share of what the keyframe sees that was replaced, with a direction
that is the flat's own.

Queries are real images of the bases, of other walks: keypoints in replaced blocks get the block's new descriptor plus
what set their own apart from the landmark's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.features.aggregation import VladAggregation, describe_beside_head
from hfnet_ros.features.keypoints import unit_rows
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.alignment import features_of
from hfnet_ros.types import ImageFeatures, LocalFeatures

SHARES = (0.0, 0.1, 0.3, 0.6, 1.0)
BLOCK_M = 0.5
SURVEY_NOISE = 0.25  # length of the noise on a unit descriptor that a second survey of the same thing has
_REACH_PX = 3.0  # of a landmark's projection from a keypoint that is its
_LIKE = 0.6
_BLOCK_REACH_PX = 40.0
_HEADS_MIXED = 3
SPACING_M = 100.0
_SIDE = 1000


@dataclass(frozen=True, eq=False)
class AskedImage:
    """An image of a base: features, camera, truth in the map's frame."""

    features: ImageFeatures
    truth: Rigid3
    landmark: NDArray[np.int64]  # [N] of each keypoint, -1
    block: NDArray[np.int64]  # [N], -1
    keyframe: int  # that looks most like it, of those near


class Base:
    """A map, its half-metre blocks, and images that ask it."""

    def __init__(self, visual_map: VisualMap, camera: Camera) -> None:
        self.map, self.camera = visual_map, camera
        corner = np.floor(visual_map.landmark_xyz / BLOCK_M).astype(np.int64)
        _, self.block_of = np.unique(corner, axis=0, return_inverse=True)
        self.block_of = self.block_of.reshape(-1)
        self.order = np.argsort(self.block_of, kind="stable")
        self.num_blocks = int(self.block_of.max()) + 1
        self.starts = np.searchsorted(self.block_of[self.order], np.arange(self.num_blocks + 1))
        self.sizes = np.diff(self.starts)
        rank = np.empty(len(self.order), np.int64)
        rank[self.order] = np.arange(len(self.order)) - self.starts[self.block_of[self.order]]
        self.rank_of = rank
        self.asked: list[AskedImage] = []

    @cached_property
    def heads(self) -> NDArray[np.float32]:
        return unit_rows(self.map.global_descriptors.decoded()[:, : self.map.head_size])

    @cached_property
    def descriptors(self) -> NDArray[np.float32]:
        return self.map.landmark_descriptors.decoded()

    @cached_property
    def seen(self) -> list[NDArray[np.int64]]:
        return [self.map.landmarks_seen_by(row).astype(np.int64) for row in range(self.map.num_keyframes)]

    @cached_property
    def remembered(self) -> list[tuple[ImageFeatures, NDArray[np.int64]]]:
        """What each keyframe saw as the map remembers it, and of which landmarks."""
        frames = range(self.map.num_keyframes)
        return [(features_of(self.map, row), _rows_of(self.map, row)) for row in frames]

    def ask(self, features: ImageFeatures, truth: Rigid3) -> None:
        """Add an image: its keypoints are given to landmarks and blocks where these project to."""
        assert features.global_descriptor is not None
        similar = self.heads @ unit_rows(features.global_descriptor[None])[0]
        distance = np.linalg.norm(self.map.given_poses[:, :3] - truth.translation, axis=1)
        near = np.argsort(distance - similar)[:12]
        keyframe = int(near[np.argmax(similar[near])])
        # Where the map was refined its landmarks are in that frame: the truth is moved there by the keyframe.
        refined = self.map.given_from_refined(keyframe).inverse() @ truth
        rows = np.unique(np.concatenate([self.seen[row] for row in near]))
        camera = self.map.refined(self.camera)
        points = (self.map.landmark_xyz[rows] - refined.translation) @ refined.rotation
        pixels = camera.project(points)
        usable = (points[:, 2] > 0.1) & np.isfinite(pixels).all(axis=1)
        rows, pixels = rows[usable], pixels[usable]
        keypoints = features.local.keypoints
        landmark = np.full(len(keypoints), -1, np.int64)
        block = np.full(len(keypoints), -1, np.int64)
        if len(rows):
            away = np.linalg.norm(keypoints[:, None] - pixels[None], axis=2)
            like = features.local.descriptors @ self.descriptors[rows].T
            fits = np.where((away < _REACH_PX) & (like > _LIKE), like, -1.0)
            best = fits.argmax(axis=1)
            found = fits[np.arange(len(best)), best] > 0
            landmark[found] = rows[best[found]]
            nearest = away.argmin(axis=1)
            block = np.where(away.min(axis=1) < _BLOCK_REACH_PX, self.block_of[rows[nearest]], block)
            block[found] = self.block_of[landmark[found]]
        self.asked.append(AskedImage(features, truth, landmark, block, keyframe))


class Flat:
    """One flat of the city: which base it is of, what was replaced there, and by what."""

    def __init__(self, city: City, number: int) -> None:
        self.city, self.number = city, number
        rng = np.random.default_rng([city.seed, number])
        count = len(city.bases)
        self.base_idx = number % count
        base = self.base = city.bases[self.base_idx]
        self.share = city.shares[(number // count) % len(city.shares)]
        self.replaced = rng.random(base.num_blocks) < self.share
        self.source = rng.integers(0, count, base.num_blocks)
        self.source_block = np.array(
            [
                city.block_at_least(int(of), int(size), rng)
                for of, size in zip(self.source, base.sizes, strict=True)
            ]
        )
        weights = rng.dirichlet(np.ones(_HEADS_MIXED))
        center = weights @ city.pool[rng.choice(len(city.pool), _HEADS_MIXED, replace=False)]
        self.center = center / np.linalg.norm(center)

    @property
    def origin(self) -> NDArray[np.float64]:
        return np.array([SPACING_M * (self.number % _SIDE), SPACING_M * (self.number // _SIDE), 0.0])

    def new_of(self, landmark: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the descriptors [N, D] that replaced landmarks have here."""
        base, city = self.base, self.city
        block, rank = base.block_of[landmark], base.rank_of[landmark]
        found = np.empty((len(landmark), base.descriptors.shape[1]), np.float32)
        for idx, of in enumerate(city.bases):
            mine = np.flatnonzero(self.source[block] == idx)
            there = self.source_block[block[mine]]
            row = of.order[of.starts[there] + rank[mine] % of.sizes[there]]
            found[mine] = of.descriptors[row]
        return found

    def landmark_descriptors(self) -> NDArray[np.float32]:
        """Return all descriptors [L, D] of the flat's map, with the noise of its own survey."""
        base = self.base
        described = base.descriptors.copy()
        rows = np.flatnonzero(self.replaced[base.block_of])
        described[rows] = self.new_of(rows)
        rng = np.random.default_rng([self.city.seed, self.number, 1])
        noise = rng.standard_normal(described.shape, np.float32)
        return unit_rows(described + noise * np.float32(SURVEY_NOISE / np.sqrt(described.shape[1])))

    def head(self, keyframe: int) -> NDArray[np.float32]:
        base = self.base
        seen = base.seen[keyframe]
        share = float(self.replaced[base.block_of[seen]].mean()) if len(seen) else self.share
        middle = base.heads.mean(axis=0)
        other = self.center * np.linalg.norm(middle) + (base.heads[keyframe] - middle)
        mixed = (1.0 - share) * base.heads[keyframe] + share * other / np.linalg.norm(other)
        return unit_rows(mixed[None].astype(np.float32))[0]

    def surveyed_head(self, keyframe: int) -> NDArray[np.float32]:
        """Return the head with the noise of this flat's survey: half the flat's own light, half the keyframe's."""
        size = self.base.heads.shape[1]
        noise = sum(
            np.random.default_rng([self.city.seed, self.number, *which]).standard_normal(size)
            for which in ((3,), (4, keyframe))
        )
        return unit_rows(
            (self.head(keyframe) + noise * SURVEY_NOISE / np.sqrt(2 * size))[None].astype(np.float32)
        )[0]

    def globals(self, described: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the global descriptors [F, G] of its keyframes, from the landmarks' [L, D]."""
        base, found = self.base, []
        for keyframe, (features, rows) in enumerate(base.remembered):
            local = LocalFeatures(features.local.keypoints, features.local.scores, described[rows])
            found.append(
                describe_beside_head(
                    self.city.aggregation,
                    ImageFeatures(local, self.surveyed_head(keyframe), base.map.extractor_id),
                )
            )
        return np.stack(found)

    def asked(self, image: AskedImage) -> tuple[ImageFeatures, Rigid3]:
        """Return an image of the base as it would be here, and its pose in the city's frame."""
        base, local = self.base, image.features.local
        described = local.descriptors.copy()
        in_block = image.block >= 0
        gone = np.zeros(len(described), np.bool_)
        gone[in_block] = self.replaced[image.block[in_block]]
        known = np.flatnonzero(gone & (image.landmark >= 0))
        of = image.landmark[known]
        described[known] = unit_rows(self.new_of(of) + described[known] - base.descriptors[of])
        rng = np.random.default_rng([self.city.seed, self.number, 2])
        unknown = np.flatnonzero(gone & (image.landmark < 0))
        if len(unknown):
            members = base.order[
                base.starts[image.block[unknown]]
                + rng.integers(0, 1 << 30, len(unknown)) % base.sizes[image.block[unknown]]
            ]
            noise = rng.standard_normal((len(unknown), described.shape[1]), np.float32)
            scale = np.float32(1.5 * SURVEY_NOISE / np.sqrt(described.shape[1]))
            described[unknown] = unit_rows(self.new_of(members) + noise * scale)
        head = image.features.global_descriptor
        assert head is not None
        own = unit_rows(
            (self.head(image.keyframe) + unit_rows(head[None])[0] - base.heads[image.keyframe])[None]
        )[0]
        features = ImageFeatures(
            LocalFeatures(local.keypoints, local.scores, described), own, base.map.extractor_id
        )
        return features, Rigid3(image.truth.rotation, image.truth.translation + self.origin)


class City:
    """Bases and what their flats are made with."""

    def __init__(
        self,
        bases: Sequence[Base],
        aggregation: VladAggregation,
        pool: NDArray[np.float32],
        seed: int = 0,
        shares: Sequence[float] = SHARES,
    ) -> None:
        self.bases, self.aggregation, self.pool, self.seed = bases, aggregation, pool, seed
        self.shares = tuple(shares)
        self._by_size = [np.argsort(base.sizes, kind="stable") for base in bases]

    def block_at_least(self, base_idx: int, size: int, rng: np.random.Generator) -> int:
        """Return a block of a base that has at least so many landmarks, or its largest."""
        order, sizes = self._by_size[base_idx], self.bases[base_idx].sizes
        first = min(int(np.searchsorted(sizes[order], size)), len(order) - 1)
        return int(order[rng.integers(first, len(order))])


def _rows_of(visual_map: VisualMap, keyframe: int) -> NDArray[np.int64]:
    """Return the landmarks in the order of `features_of`."""
    rows = visual_map.landmarks_seen_by(keyframe).astype(np.int64)
    return rows[np.argsort(-visual_map.track_lengths[rows], kind="stable")]


def encoded(rows: NDArray[np.float32]) -> NDArray[np.int8]:
    return UnitVectors.encode(rows).codes
