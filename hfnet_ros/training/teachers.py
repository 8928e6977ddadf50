"""Who is imitated: teachers of keypoints and descriptors, and of the global descriptor.

Measured before the first training (docs/hfnet.md): VLAD over XFeat's keypoints with a vocabulary
learned from photos retrieves as well as with one learned from the map itself, VLAD over ALIKE's
adds to it, a NetVLAD network published for XFeat's features is far behind both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config, InferenceConfig, RetrievalConfig
from hfnet_ros.errors import WeightsError
from hfnet_ros.features.aggregation import aggregate_vlad, fit_aggregation
from hfnet_ros.features.keypoints import detect_peaks, select_top, unit_rows
from hfnet_ros.features.onnx_network import OnnxNetwork
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.features.weights import find_weights
from hfnet_ros.features.xfeat import XFeatExtractor
from hfnet_ros.features.xfeat_network import load_xfeat_weights
from hfnet_ros.training.options import TeacherOptions
from hfnet_ros.types import ImageArray, ImageFeatures, LocalFeatures

Float32Array = NDArray[np.float32]

_ALIKE_FILE = "teacher_alike-n.onnx"
_BORDER_PX = 4


class LocalTeacher(Protocol):
    """Finds and describes keypoints; its views' sides are multiples of 32."""

    @property
    def name(self) -> str:
        """Method and digest of the weights."""
        ...

    def teach(self, image: ImageArray, count: int) -> LocalFeatures:
        """Return the `count` best keypoints of a BGR image, px of the image."""
        ...


class AlikeTeacher:
    """ALIKE as a dense ONNX network: score map and descriptor map at full resolution.

    Reference: Zhao et al., "ALIKE: Accurate and Lightweight Keypoint Detection and Descriptor
    Extraction", IEEE Transactions on Multimedia 2022.
    """

    def __init__(self, path: Path, options: TeacherOptions, inference: InferenceConfig) -> None:
        """Load the network."""
        self._network = OnnxNetwork(path, inference)
        self._options = options

    @property
    def name(self) -> str:
        """Method and digest of the weights."""
        return f"alike-{self._network.digest[:12]}"

    def teach(self, image: ImageArray, count: int) -> LocalFeatures:
        """Return the best keypoints; see `LocalTeacher.teach`."""
        rgb = np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1), np.float32)[None] / 255.0
        outputs = self._network.engine(rgb.shape).run({self._network.input_name: rgb.astype(np.float32)})
        heatmap = outputs["score_map"][0, 0].copy()
        width = heatmap.shape[1]
        inside = np.zeros_like(heatmap)
        inside[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX] = 1.0
        peaks = detect_peaks(heatmap * inside, self._options.nms_radius_px, self._options.detection_threshold)
        scores = heatmap.ravel()[peaks]
        best = select_top(scores, count)
        rows, columns = np.divmod(peaks[best], width)
        dense = outputs["descriptor_map"][0]
        descriptors = unit_rows(np.ascontiguousarray(dense[:, rows, columns].T))
        return LocalFeatures(np.stack([columns, rows], axis=1).astype(np.float32), scores[best], descriptors)


class XFeatTeacher:
    """XFeat as published."""

    def __init__(self, path: Path, inference: InferenceConfig) -> None:
        """Load the network."""
        self._extractor = XFeatExtractor(load_xfeat_weights(path), Config(inference=inference))

    @property
    def name(self) -> str:
        """Method and digest of the weights."""
        return self._extractor.extractor_id

    def teach(self, image: ImageArray, count: int) -> LocalFeatures:
        """Return the best keypoints; see `LocalTeacher.teach`."""
        found = self._extractor.extract(image).local
        return LocalFeatures(found.keypoints[:count], found.scores[:count], found.descriptors[:count])


class SiftTeacher:
    """RootSIFT: needs no weights, for trials and tests."""

    def __init__(self) -> None:
        """Make the detector."""
        self._extractor = SiftExtractor(Config())

    @property
    def name(self) -> str:
        """Method."""
        return self._extractor.extractor_id

    def teach(self, image: ImageArray, count: int) -> LocalFeatures:
        """Return the best keypoints; see `LocalTeacher.teach`."""
        found = self._extractor.extract(image).local
        return LocalFeatures(found.keypoints[:count], found.scores[:count], found.descriptors[:count])


def create_local_teacher(options: TeacherOptions, inference: InferenceConfig) -> LocalTeacher:
    """Load the chosen local teacher.

    Raises:
        WeightsError: its weights are not there.
    """
    if options.local == "sift":
        return SiftTeacher()
    if options.local == "xfeat":
        return XFeatTeacher(
            find_weights("xfeat.pt", options.local_weights or options.xfeat_weights), inference
        )
    return AlikeTeacher(find_weights(_ALIKE_FILE, options.local_weights), options, inference)


class GlobalTeacher:
    """Concatenated VLADs of one or more local teachers, with vocabularies learned from views.

    The cosine of the concatenation is the mean of the parts' cosines.
    """

    def __init__(self, vocabularies: Sequence[Float32Array]) -> None:
        """Take one vocabulary [K, D] per part."""
        self._vocabularies = tuple(vocabularies)

    @classmethod
    def fit(
        cls, parts: Sequence[Sequence[NDArray[np.floating]]], vocabulary_size: int, seed: int
    ) -> GlobalTeacher:
        """Learn a vocabulary per part from the descriptors [N, D] of some views."""
        return cls([fit_vocabulary(views, vocabulary_size, seed) for views in parts])

    def describe(self, parts: Sequence[NDArray[np.floating]]) -> Float32Array:
        """Return the concatenated VLADs of one view's descriptors, unit norm."""
        vlads = [
            aggregate_vlad(descriptors.astype(np.float32), vocabulary)
            for descriptors, vocabulary in zip(parts, self._vocabularies, strict=True)
        ]
        return unit_rows(np.concatenate(vlads)[None])[0]


class GlobalNetwork:
    """Another teacher of the global descriptor: one ONNX file.

    Contract: one input, the image [1, 3, H, W] float32, RGB, 0 to 1, sides that are multiples of 32 and may be of any
        length (or [1, 1, H, W], gray); the first output holds G numbers, of any length as a vector.
    """

    def __init__(self, path: Path, inference: InferenceConfig) -> None:
        """Load the network.

        Raises:
            WeightsError: it is missing, no ONNX, or takes something else.
        """
        self._network = OnnxNetwork(path, inference)
        shape = self._network.input_shape
        if len(shape) != 4 or shape[1] not in (1, 3):
            raise WeightsError(
                f"{path}: the input has shape {list(shape)}, expected an image [1, 3, H, W] or [1, 1, H, W]"
            )
        self._is_gray = shape[1] == 1

    @property
    def name(self) -> str:
        """Digest of the file."""
        return f"onnx-{self._network.digest[:12]}"

    def describe(self, image: ImageArray) -> Float32Array:
        """Return the descriptor [G], unit norm, of a BGR image."""
        values = image.astype(np.float32) / 255.0
        planes = values.mean(axis=2)[None] if self._is_gray else values[:, :, ::-1].transpose(2, 0, 1)
        tensor = np.ascontiguousarray(planes[None])
        outputs = self._network.engine(tensor.shape).run({self._network.input_name: tensor})
        return unit_rows(np.array(outputs[self._network.output_names[0]], np.float32).reshape(1, -1))[0]


def fit_vocabulary(views: Sequence[NDArray[np.floating]], vocabulary_size: int, seed: int) -> Float32Array:
    """Learn unit centres [K, D] from the descriptors [N, D] of some views."""
    features = [_described(descriptors) for descriptors in views if len(descriptors)]
    return fit_aggregation(features, RetrievalConfig(vocabulary_size=vocabulary_size), seed).vocabulary


def _described(descriptors: NDArray[np.floating]) -> ImageFeatures:
    nowhere = np.empty((0, 2), np.float32), np.empty(0, np.float32)
    return ImageFeatures(LocalFeatures(*nowhere, descriptors.astype(np.float32)), None, "teacher")


def fit_projection(vectors: Float32Array, size: int) -> Float32Array:
    """Return the `size` main directions [size, D] of vectors [N, D], not centred, padded with zeros.

    Not centred, so that cosines are kept as far as they lie in the subspace.
    """
    scatter = vectors.T.astype(np.float64) @ vectors if len(vectors) >= vectors.shape[1] else None
    if scatter is not None:
        _, directions = np.linalg.eigh(scatter)
        rows = directions.T[::-1][:size]
    else:
        values, left = np.linalg.eigh(vectors.astype(np.float64) @ vectors.T)
        keep = np.flatnonzero(values[::-1] > 1e-9 * values[-1])[:size]
        rows = (left.T[::-1][keep] @ vectors) / np.sqrt(values[::-1][keep])[:, None]
    projection = np.zeros((size, vectors.shape[1]), np.float32)
    projection[: len(rows)] = rows
    return projection
