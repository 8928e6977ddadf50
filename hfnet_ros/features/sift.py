"""SIFT through OpenCV: the extractor that needs no weights.

Reference: Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004;
Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval",
CVPR 2012, section 2 (RootSIFT).
"""

from __future__ import annotations

import cv2
import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.features.keypoints import select_top
from hfnet_ros.features.preprocess import check_image
from hfnet_ros.features.protocol import ExtractorKind
from hfnet_ros.inference.engine import NetworkModel
from hfnet_ros.types import ImageArray, ImageFeatures, LocalFeatures


class SiftExtractor:
    """RootSIFT keypoints, one per position."""

    def __init__(self, config: Config) -> None:
        """Make the detector, as section sift says, for as many keypoints as extractor says."""
        self._max_keypoints = config.extractor.max_keypoints
        self._sift = cv2.SIFT.create(contrastThreshold=config.sift.contrast_threshold)

    @property
    def extractor_id(self) -> str:
        """Name of the method; it has no weights."""
        return f"{KIND.id_prefix}1"

    @property
    def backend(self) -> str:
        """What runs it."""
        return "opencv-cpu"

    def networks(self, image_wh: tuple[int, int]) -> tuple[NetworkModel, ...]:  # noqa: ARG002
        """Return nothing: it has no network."""
        return ()

    def extract(self, image: ImageArray) -> ImageFeatures:
        """Describe an image; see `FeatureExtractor.extract`."""
        check_image(image)
        gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        found = self._sift.detect(gray, None)
        points = np.array([keypoint.pt for keypoint in found], np.float32).reshape(-1, 2)
        responses = np.array([keypoint.response for keypoint in found], np.float32)
        # A point with two orientations is found twice; the first stands for the place in the image.
        _, first = np.unique(points, axis=0, return_index=True)
        best = first[select_top(responses[first], self._max_keypoints)]
        kept, descriptors = self._sift.compute(gray, [found[index] for index in best])
        if not kept:
            return ImageFeatures(_no_features(), None, self.extractor_id)
        points = np.array([keypoint.pt for keypoint in kept], np.float32)
        scores = np.array([keypoint.response for keypoint in kept], np.float32)
        summed = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-9)
        rooted = np.sqrt(descriptors / summed).astype(np.float32)
        return ImageFeatures(LocalFeatures(points, scores, rooted), None, self.extractor_id)

    def close(self) -> None:
        """Nothing to free."""


def _no_features() -> LocalFeatures:
    return LocalFeatures(
        np.empty((0, 2), np.float32), np.empty(0, np.float32), np.empty((0, 128), np.float32)
    )


KIND = ExtractorKind(
    "sift",
    "rootsift-",
    lambda config, progress: SiftExtractor(config),  # noqa: ARG005
    knows_turned=True,  # it turns every patch by the keypoint's own orientation
)
