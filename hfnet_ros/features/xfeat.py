"""XFeat, sparse: keypoints and descriptors from the dense outputs of its network.

Reference: Potje et al., "XFeat: Accelerated Features for Lightweight Image Matching",
CVPR 2024, sections 3.2 and 3.3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config, InferenceConfig
from hfnet_ros.features.engines import EnginesBySize
from hfnet_ros.features.keypoints import (
    detect_peaks,
    map_coordinates,
    sample_bicubic,
    sample_bilinear,
    select_top,
    unit_rows,
)
from hfnet_ros.features.preprocess import check_image, mean_gray, network_size, resize_to
from hfnet_ros.features.protocol import ExtractorKind
from hfnet_ros.features.weights import XFEAT, find_weights
from hfnet_ros.features.xfeat_network import (
    CELL,
    SIZE_MULTIPLE,
    Weights,
    build_xfeat,
    expected_shapes,
    load_xfeat_weights,
)
from hfnet_ros.geometry.pixels import rescale_pixels
from hfnet_ros.gpu.features import SelectionRule
from hfnet_ros.gpu.keypoint_engine import DenseOutputs, chosen_features, with_keypoints
from hfnet_ros.inference.backend import create_engine
from hfnet_ros.inference.engine import Engine, NetworkModel, Tensor
from hfnet_ros.types import ImageArray, ImageFeatures, LocalFeatures, ReportProgress


class XFeatEngines:
    """What extractors on XFeat's weights share: an engine for each size of the input, and their identity."""

    def __init__(
        self,
        weights: Weights,
        id_prefix: str,
        inference: InferenceConfig,
        progress: ReportProgress | None = None,
    ) -> None:
        """Keep the weights; the network of an image size is loaded when its first image comes.

        Args:
            weights: of the network.
            id_prefix: of the extractor's kind.
            inference: how the network runs.
            progress: told what goes on while an engine is built, which may take minutes.
        """
        self._weights = weights
        self._inference = inference
        self._progress = progress
        self._engines = EnginesBySize()
        self._id = f"{id_prefix}{weights_digest(weights)}"

    @property
    def extractor_id(self) -> str:
        """Name of the method and digest of its weights."""
        return self._id

    @property
    def backend(self) -> str:
        """What runs the network; before the first image, what is asked for."""
        return self._engines.backend(unless=self._inference.backend)

    def close(self) -> None:
        """Free the engines; calling it again does nothing."""
        self._engines.close()


class XFeatExtractor(XFeatEngines):
    """Sparse XFeat with one engine per image size."""

    def __init__(self, weights: Weights, config: Config, progress: ReportProgress | None = None) -> None:
        """Keep the weights; see `XFeatEngines`.

        Args:
            weights: of the network.
            config: section xfeat says how keypoints are chosen, extractor how many, inference how the network runs.
            progress: told what goes on while an engine is built.
        """
        super().__init__(weights, KIND.id_prefix, config.inference, progress)
        self._rule = selection_rule(config)

    def networks(self, image_wh: tuple[int, int]) -> tuple[NetworkModel, ...]:
        """Return the network that runs on images of this size."""
        return (build_xfeat(self._weights, network_size(image_wh, SIZE_MULTIPLE)),)

    def extract(self, image: ImageArray) -> ImageFeatures:
        """Describe an image; see `FeatureExtractor.extract`."""
        check_image(image)
        image_wh = (image.shape[1], image.shape[0])
        input_wh = network_size(image_wh, SIZE_MULTIPLE)
        gray = resize_to(mean_gray(image), input_wh)
        outputs = self._engines.get(input_wh, self._load).run({"image": gray[None, None]})
        local = chosen_features(outputs)
        if local is None:
            local = select_keypoints(outputs, self._rule)
        scale = np.array(image_wh) / np.array(input_wh)
        keypoints = rescale_pixels(local.keypoints, scale).astype(np.float32)
        return ImageFeatures(local.moved_to(keypoints), None, self._id)

    def _load(self, input_wh: tuple[int, ...]) -> Engine:
        network = build_xfeat(self._weights, (input_wh[0], input_wh[1]))
        engine = create_engine(network, self._inference, self._progress)
        dense = DenseOutputs("heatmap", "descriptors", "reliability")
        return with_keypoints(engine, dense, self._rule, self._inference)


def selection_rule(config: Config) -> SelectionRule:
    """Return how keypoints are chosen of XFeat's dense outputs."""
    return SelectionRule(
        radius=config.xfeat.nms_radius_px,
        iterations=1,
        threshold=config.xfeat.detection_threshold,
        max_keypoints=config.extractor.max_keypoints,
        cubic=True,
    )


def select_keypoints(outputs: Mapping[str, Tensor], rule: SelectionRule) -> LocalFeatures:
    """Choose and describe keypoints, in pixels of the network's input.

    Args:
        outputs: of the network `build_xfeat`, batch of one.
        rule: threshold, radius and number of keypoints.

    Convention: equal to the published sparse inference, whose score is the heat map (nearest)
        times the reliability (bilinear). Its nearest-neighbour sampler reads outside the map in
        the last row and column, where the score is therefore zero and no keypoint remains.
    """
    heatmap = outputs["heatmap"][0, 0]
    height, width = heatmap.shape
    peaks = detect_peaks(heatmap, rule.radius, rule.threshold)
    rows, columns = np.divmod(peaks, width)
    inside = (columns < width - 1) & (rows < height - 1)
    peaks = peaks[inside]
    points = np.stack([columns[inside], rows[inside]], axis=1).astype(np.float32)
    coordinates = map_coordinates(points, (width // CELL, height // CELL), (width, height))
    reliability = sample_bilinear(outputs["reliability"][0], coordinates)[:, 0]
    scores = heatmap.ravel()[peaks] * reliability
    best = select_top(scores, rule.max_keypoints)
    best = best[scores[best] > 0.0]
    descriptors = unit_rows(sample_bicubic(outputs["descriptors"][0], coordinates[best]))
    return LocalFeatures(points[best], scores[best], descriptors)


def weights_digest(weights: Mapping[str, NDArray[np.float32]]) -> str:
    """Digest the tensors rather than the file: the same weights in another container are the same."""
    digest = hashlib.sha256()
    for name in sorted(expected_shapes()):
        digest.update(name.encode())
        digest.update(weights[name].tobytes())
    return digest.hexdigest()[:12]


def _create(config: Config, progress: ReportProgress | None) -> XFeatExtractor:
    weights = load_xfeat_weights(find_weights(XFEAT.file_name, config.extractor.weights))
    return XFeatExtractor(weights, config, progress)


KIND = ExtractorKind("xfeat", "xfeat-", _create, XFEAT)
