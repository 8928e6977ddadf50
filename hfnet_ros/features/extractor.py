"""The seam between localization and whatever describes an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError, ExtractorMismatchError
from hfnet_ros.types import ImageArray, ImageFeatures


class FeatureExtractor(Protocol):
    """Turns images into features; belongs to the thread that made it (see `Engine`)."""

    @property
    def extractor_id(self) -> str:
        """Name of the method and digest of its weights; features of two ids never match."""
        ...

    @property
    def backend(self) -> str:
        """What runs it, e.g. `onnxruntime-cpu`."""
        ...

    def extract(self, image: ImageArray) -> ImageFeatures:
        """Describe an image.

        Args:
            image: [H, W] gray or [H, W, 3] BGR, uint8.

        Raises:
            ImageError: the image has another type or shape, or is too small.
            EngineError: the network failed.
        """
        ...

    def close(self) -> None:
        """Free the networks; calling it again does nothing."""
        ...


def create_extractor(config: Config, progress: Callable[[str], None] | None = None) -> FeatureExtractor:
    """Make the configured extractor, loading its weights.

    Args:
        config: section extractor says which, section inference how it runs.
        progress: told what goes on while an engine is built; an empty text means it is ready.

    Raises:
        WeightsError: the weights are missing or not the published ones.
        EngineError: no backend can run the network.
    """
    if config.extractor.name == "sift":
        from hfnet_ros.features.sift import SiftExtractor

        return SiftExtractor(config.extractor)
    from hfnet_ros.features.weights import find_weights
    from hfnet_ros.features.xfeat import XFeatExtractor
    from hfnet_ros.features.xfeat_network import load_xfeat_weights

    path = find_weights("xfeat.pt", config.extractor.weights)
    return XFeatExtractor(load_xfeat_weights(path), config.extractor, config.inference, progress)


def with_extractor_of(config: Config, extractor_id: str) -> Config:
    """Return the parameters with the extractor that made a map, named by its identity.

    Raises:
        ExtractorMismatchError: this program has no such extractor.
    """
    name = "sift" if extractor_id.startswith("rootsift") else extractor_id.split("-")[0]
    try:
        known = Config.from_dict({"extractor": {"name": name}}).extractor.name
    except ConfigError:
        raise ExtractorMismatchError(
            f"the map was built with '{extractor_id}', an extractor this program does not have; "
            "update hfnet_ros or build the map anew"
        ) from None
    return dataclasses.replace(config, extractor=dataclasses.replace(config.extractor, name=known))
