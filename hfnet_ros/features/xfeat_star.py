"""XFeat*, semi-dense: the most reliable cells of the network's map at two scales are the keypoints.

Reference: Potje et al., "XFeat: Accelerated Features for Lightweight Image Matching",
CVPR 2024, section 3.3 and supplementary (two scales).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.features.keypoints import select_top, unit_rows
from hfnet_ros.features.preprocess import check_image, mean_gray, network_size, resize_to
from hfnet_ros.features.protocol import ExtractorKind
from hfnet_ros.features.weights import XFEAT, find_weights
from hfnet_ros.features.xfeat import XFeatEngines
from hfnet_ros.features.xfeat_network import (
    CELL,
    DESCRIPTOR_SIZE,
    SIZE_MULTIPLE,
    Weights,
    build_dense_xfeat,
    load_xfeat_weights,
)
from hfnet_ros.geometry.pixels import rescale_pixels
from hfnet_ros.inference.backend import create_engine
from hfnet_ros.inference.engine import Engine, NetworkModel
from hfnet_ros.types import ImageArray, ImageFeatures, LocalFeatures, ReportProgress

NUM_CELLS = 10_000
_SHARES = {0.6: 0.2, 1.3: 0.8}  # of the cells, by scale of the image


@dataclass(frozen=True, slots=True, eq=False)
class SemiDenseCells:
    """Cells of one image's feature maps, those of the smaller scale first, each most reliable first.

    Attributes:
        points: [N, 2] float32 px of the image, the middles of the cells.
        pixel_sizes: [N, 2] float32, px of the image across and down in one px of the network's input.
        reliability: [N] float32, 0 to 1.
        features: [N, 64] float32, of the length they have in the network.
    """

    points: NDArray[np.float32]
    pixel_sizes: NDArray[np.float32]
    reliability: NDArray[np.float32]
    features: NDArray[np.float32]


class SemiDenseExtractor(XFeatEngines):
    """XFeat's network at two scales, with one engine per size of its input."""

    def __init__(self, weights: Weights, config: Config, progress: ReportProgress | None = None) -> None:
        """Keep the weights; see `XFeatEngines`.

        Args:
            weights: of the network.
            config: section extractor says how many keypoints, inference how the network runs.
            progress: told what goes on while an engine is built.
        """
        super().__init__(weights, KIND.id_prefix, config.inference, progress)
        self._max_keypoints = config.extractor.max_keypoints

    def networks(self, image_wh: tuple[int, int]) -> tuple[NetworkModel, ...]:
        """Return the networks that run on images of this size, one for each scale."""
        sizes = [network_size(scaled_size(image_wh, scale), SIZE_MULTIPLE) for scale in _SHARES]
        return tuple(build_dense_xfeat(self._weights, size_wh) for size_wh in sizes)

    def extract(self, image: ImageArray) -> ImageFeatures:
        """Describe an image by its most reliable cells; see `FeatureExtractor.extract`."""
        cells = self.cells(image)
        best = select_top(cells.reliability, self._max_keypoints)
        local = LocalFeatures(cells.points[best], cells.reliability[best], unit_rows(cells.features[best]))
        return ImageFeatures(local, None, self._id)

    def cells(self, image: ImageArray, count: int = NUM_CELLS) -> SemiDenseCells:
        """Return the most reliable cells of both scales, a fifth of `count` of the smaller one.

        There are fewer where the image has fewer. 640x480 has 1728 and 7904.

        Raises:
            ImageError: the image has another type or shape, or is too small.
            EngineError: the network failed.
        """
        check_image(image)
        gray = mean_gray(image)
        parts = [self._cells_at(gray, scale, int(share * count)) for scale, share in _SHARES.items()]
        return SemiDenseCells(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _cells_at(
        self, gray: NDArray[np.float32], scale: float, count: int
    ) -> tuple[NDArray[np.float32], ...]:
        """Return the fields of `SemiDenseCells` at one scale."""
        scaled = scale_image(gray, scale)
        input_wh = network_size((scaled.shape[1], scaled.shape[0]), SIZE_MULTIPLE)
        outputs = self._engines.get(input_wh, self._load).run(
            {"image": resize_to(scaled, input_wh)[None, None]}
        )
        reliability = outputs["reliability"].ravel()
        best = select_top(reliability, count)
        rows, columns = np.divmod(best, input_wh[0] // CELL)
        middles = np.stack([columns, rows], axis=1) * CELL + (CELL - 1) / 2.0
        size = np.array([scaled.shape[1], scaled.shape[0]]) / np.array(input_wh) / scale
        features = outputs["features"].reshape(DESCRIPTOR_SIZE, -1).T[best]
        return (
            rescale_pixels(middles, size).astype(np.float32),
            np.tile(size.astype(np.float32), (len(best), 1)),
            reliability[best],
            np.ascontiguousarray(features),
        )

    def _load(self, input_wh: tuple[int, ...]) -> Engine:
        network = build_dense_xfeat(self._weights, (input_wh[0], input_wh[1]))
        return create_engine(network, self._inference, self._progress)


def scaled_size(size_wh: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the size of an image of `scale_image`."""
    return math.floor(size_wh[0] * scale), math.floor(size_wh[1] * scale)


def scale_image(image: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Resize bilinearly by just this factor: what does not fill a pixel at the far sides is cut off."""
    width, height = scaled_size((image.shape[1], image.shape[0]), scale)
    # Given a factor, OpenCV rounds the size to the nearest pixel, but samples by the factor.
    scaled = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    return np.asarray(scaled[:height, :width], np.float32)


def _create(config: Config, progress: ReportProgress | None) -> SemiDenseExtractor:
    weights = load_xfeat_weights(find_weights(XFEAT.file_name, config.extractor.weights))
    return SemiDenseExtractor(weights, config, progress)


KIND = ExtractorKind("xfeat-star", "xfeatstar-", _create, XFEAT)
