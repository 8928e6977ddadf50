"""XFeat*: match cells of two images, then say where in its cell the first image shows what the second does.

Reference: Potje et al., "XFeat: Accelerated Features for Lightweight Image Matching",
CVPR 2024, section 3.3 (semi-dense matching).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError
from hfnet_ros.features import xfeat_star
from hfnet_ros.features.fine_matcher import (
    FEATURE_LENGTH,
    MIN_CONFIDENCE,
    FineMatcher,
    load_fine_matcher,
)
from hfnet_ros.features.weights import XFEAT, find_weights
from hfnet_ros.features.xfeat_star import SemiDenseCells
from hfnet_ros.mapping.pair_match import PairMatch
from hfnet_ros.matching.mutual_nearest import mutual_nearest
from hfnet_ros.types import ImageFeatures


@dataclass(frozen=True, slots=True, eq=False)
class CellMatches:
    """Matches of two images' cells; M matches.

    Attributes:
        rows: [M, 2] int64, of the first and of the second image's cells, each row at most once.
        points_first: [M, 2] float32 px, where the first image shows the middles of the second's cells.
        points_second: [M, 2] float32 px, these middles.
    """

    rows: NDArray[np.int64]
    points_first: NDArray[np.float32]
    points_second: NDArray[np.float32]


def match_cells(first: SemiDenseCells, second: SemiDenseCells, fine: FineMatcher) -> CellMatches:
    """Match two images as published: each other's most similar cells, of which the fine matcher is sure."""
    rows_a, rows_b, _ = mutual_nearest(first.features, second.features, -np.inf)
    offsets, confidence = fine.refine(first.features[rows_a], second.features[rows_b])
    sure = confidence > MIN_CONFIDENCE
    rows = np.stack([rows_a, rows_b], axis=1)[sure]
    moved = first.points[rows[:, 0]] + offsets[sure] * first.pixel_sizes[rows[:, 0]]
    return CellMatches(rows, moved, second.points[rows[:, 1]])


class SemiDensePairMatcher:
    """Each other's most similar cells, of which XFeat*'s fine matcher is sure.

    What is triangulated are the middles of cells: tracks join them, and the offsets differ from pair to pair.
    """

    def __init__(self, fine: FineMatcher) -> None:
        """Keep the fine matcher."""
        self._fine = fine

    def match(self, first: ImageFeatures, second: ImageFeatures) -> PairMatch:
        """Return the matches of two images in the order of the first one's keypoints."""
        a, b = first.local.descriptors, second.local.descriptors
        rows_a, rows_b, similarity = mutual_nearest(a, b)
        # Descriptors have lost their length, which varies by a few percent (docs/notes/semidense.md).
        _, confidence = self._fine.refine(FEATURE_LENGTH * a[rows_a], FEATURE_LENGTH * b[rows_b])
        sure = confidence > MIN_CONFIDENCE
        return PairMatch(np.stack([rows_a, rows_b], axis=1)[sure], similarity[sure])


def create_semidense(config: Config) -> SemiDensePairMatcher:
    """Make the matcher, which knows cells of XFeat* only.

    Raises:
        ConfigError: keyframes are described by another extractor.
        WeightsError: XFeat's weights are missing, or have no fine matcher.
    """
    if config.extractor.name != xfeat_star.KIND.name:
        raise ConfigError(
            f"mapping.matcher 'semidense' matches the cells of extractor '{xfeat_star.KIND.name}', "
            f"extractor.name is '{config.extractor.name}'"
        )
    return SemiDensePairMatcher(load_fine_matcher(find_weights(XFEAT.file_name, config.extractor.weights)))
