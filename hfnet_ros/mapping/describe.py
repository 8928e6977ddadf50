"""Images to keyframes: check them all, then extract features and colours one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config, RetrievalConfig
from hfnet_ros.errors import ImageError, MappingError
from hfnet_ros.features.extractor import FeatureExtractor
from hfnet_ros.features.turning import extract_turned
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.mapping.views import Keyframe, MappingImage
from hfnet_ros.types import ImageArray, ImageFeatures, Progress

if TYPE_CHECKING:
    from hfnet_ros.features.aggregation import VladAggregation

Float32Array = NDArray[np.float32]


def check_images(
    images: Sequence[MappingImage], cameras: Sequence[Camera] | None, progress: Progress
) -> list[tuple[int, int]]:
    """Read every image once, because a damaged one should not be found after an hour of work.

    Args:
        images: what to read.
        cameras: calibrations by the images' `camera_idx`; None where there are none to compare with.
        progress: called with stage "check".

    Returns:
        Width and height of each image, px.

    Raises:
        ImageError: an image cannot be read or has another size than its calibration.
    """
    sizes = []
    for done, image in enumerate(images):
        progress("check", done, len(images))
        shape = _read(image).shape
        if cameras is not None:
            cameras[image.camera_idx].check_size(shape, image.name)
        sizes.append((shape[1], shape[0]))
    progress("check", len(images), len(images))
    return sizes


def describe_images(
    images: Sequence[MappingImage],
    extractor: FeatureExtractor,
    max_keypoints: int,
    progress: Progress,
    turns_rad: Sequence[float] | None = None,
) -> list[Keyframe]:
    """Extract the features of every image, and the colours at the `max_keypoints` that mapping uses.

    Args:
        images: what to read.
        extractor: describes them.
        max_keypoints: strongest ones that mapping uses.
        progress: called with stage "extract".
        turns_rad: by how much each image is turned clockwise to be described (see `turns_upright`); none without.

    Raises:
        ImageError: an image cannot be read.
        EngineError: the network failed.
    """
    keyframes = []
    for done, image in enumerate(images):
        progress("extract", done, len(images))
        pixels = _read(image)
        extracted = extract_turned(extractor, pixels, turns_rad[done] if turns_rad is not None else 0.0)
        features = extracted.strongest(max_keypoints)
        colors = _sample_colors(pixels, features.local.keypoints)
        keyframes.append(Keyframe(image, extracted, features, colors))
    progress("extract", len(images), len(images))
    return keyframes


def learn_aggregation(
    keyframes: Sequence[Keyframe], config: RetrievalConfig, seed: int
) -> VladAggregation | None:
    """Learn from keyframes how keypoints become a global descriptor; None where a network's head alone is asked for.

    Raises:
        MappingError: no keyframe has a keypoint.
    """
    features = [keyframe.features for keyframe in keyframes]
    has_keypoints = any(len(entry.local) for entry in features)
    if _have_head(features) and not (config.second_list and has_keypoints):
        return None
    if not has_keypoints:
        raise MappingError(
            f"no keypoint in any of {len(features)} images; check exposure, or lower the threshold in "
            "the extractor's section of the parameters"
        )
    from hfnet_ros.features.aggregation import fit_aggregation

    return fit_aggregation(features, config, seed)


def describe_globally(
    keyframes: Sequence[Keyframe],
    config: RetrievalConfig,
    seed: int,
    aggregation: VladAggregation | None = None,
) -> tuple[Float32Array, dict[str, Float32Array]]:
    """Return the global descriptors [F, G] and the arrays of their aggregation.

    Features of a network with a global head carry their descriptor; what is learned from these keyframes' keypoints
    then stands beside it, unless `second_list` is off and there is no aggregation.

    Args:
        keyframes: described images.
        config: parameters.
        seed: of the clustering.
        aggregation: learned before, of more keyframes than these; learned of these unless given.

    Raises:
        MappingError: no keyframe has a keypoint.
    """
    features = [keyframe.features for keyframe in keyframes]
    if aggregation is None:
        aggregation = learn_aggregation(keyframes, config, seed)
    if aggregation is None:
        heads = [entry.global_descriptor for entry in features if entry.global_descriptor is not None]
        return np.stack(heads).astype(np.float32), {}
    if _have_head(features):
        from hfnet_ros.features.aggregation import describe_beside_head

        described = np.stack([describe_beside_head(aggregation, entry) for entry in features])
        return described, aggregation.arrays()
    return np.stack([aggregation.describe(entry) for entry in features]), aggregation.arrays()


@dataclass(frozen=True, eq=False)
class PairDescription:
    """How keyframes were described to be paired.

    Attributes:
        keyframes: F of them.
        descriptors: [F, G], by which they are paired.
        aggregation: learned of these keyframes; None by a network's head.
    """

    keyframes: Sequence[Keyframe]
    descriptors: Float32Array
    aggregation: VladAggregation | None

    def aggregation_of(self, keyframes: Sequence[Keyframe]) -> VladAggregation | None:
        """Return what would be learned of these keyframes once more: None unless they are the same ones."""
        is_same = len(keyframes) == len(self.keyframes) and all(
            keyframe is own for keyframe, own in zip(keyframes, self.keyframes, strict=True)
        )
        return self.aggregation if is_same else None


def describe_for_pairs(keyframes: Sequence[Keyframe], config: Config) -> PairDescription:
    """Describe keyframes to pair them, by the network's head alone if it has one; raises as `describe_globally`."""
    by_one = dataclasses.replace(config.retrieval, second_list=False)
    aggregation = learn_aggregation(keyframes, by_one, config.pose.seed)
    descriptors = describe_globally(keyframes, by_one, config.pose.seed, aggregation)[0]
    return PairDescription(keyframes, descriptors, aggregation)


def _have_head(features: Sequence[ImageFeatures]) -> bool:
    return all(entry.global_descriptor is not None for entry in features)


def _read(image: MappingImage) -> ImageArray:
    try:
        return image.read()
    except ImageError as error:
        raise error if image.name in str(error) else ImageError(f"{image.name}: {error}") from error


def _sample_colors(image: ImageArray, keypoints: Float32Array) -> NDArray[np.uint8]:
    """Return RGB [N, 3] of the pixels nearest to the keypoints."""
    height, width = image.shape[:2]
    column = np.clip(np.rint(keypoints[:, 0]).astype(int), 0, width - 1)
    row = np.clip(np.rint(keypoints[:, 1]).astype(int), 0, height - 1)
    sampled = image[row, column]
    if sampled.ndim == 1:
        return np.repeat(sampled[:, None], 3, axis=1)
    return np.ascontiguousarray(sampled[:, ::-1])
