"""The seam between localization and whatever describes an image."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError, ExtractorMismatchError
from hfnet_ros.inference.engine import NetworkModel
from hfnet_ros.types import ImageArray, ImageFeatures, ReportProgress

if TYPE_CHECKING:
    from hfnet_ros.features.hfnet import CombinedExtractor, HFNetExtractor
    from hfnet_ros.features.xfeat import XFeatExtractor


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


class NetworkExtractor(FeatureExtractor, Protocol):
    """An extractor whose networks can be named and built before they are needed, and told where to leave what."""

    def networks(self, image_wh: tuple[int, int]) -> tuple[NetworkModel, ...]:
        """Return the networks that run on images of this size; none where the method has no network.

        Raises:
            WeightsError: the network fits images of other sizes only.
        """
        ...

    def leave_descriptors(self, leave: bool) -> None:
        """Leave local descriptors of the next images on the GPU, where they are computed there, or do not.

        Those of an image are then gone when the next one is extracted, unless they were read on the host
        before; so this is for whoever is done with an image by then.
        """
        ...


def create_extractor(config: Config, progress: ReportProgress | None = None) -> NetworkExtractor:
    """Make the configured extractor, loading its weights.

    Args:
        config: section extractor says which, section inference how it runs.
        progress: told what goes on while an engine is built; an empty text means it is ready.

    Raises:
        WeightsError: the weights are missing, or not those of the extractor.
        EngineError: no backend can run the network.
    """
    name = config.extractor.name
    if name == "hfnet":
        return _create_hfnet(config, progress)
    if name == "xfeat":
        return _create_xfeat(config, progress)
    if name == "xfeat+hfnet":
        return _create_combined(config, progress)
    from hfnet_ros.features.sift import SiftExtractor

    return SiftExtractor(config.extractor)


def _create_hfnet(config: Config, progress: ReportProgress | None) -> HFNetExtractor:
    from hfnet_ros.features.hfnet import HFNetExtractor
    from hfnet_ros.features.weights import HFNET, find_weights

    path = find_weights(HFNET.file_name, config.extractor.weights)
    return HFNetExtractor(path, config.extractor, config.inference, progress)


def _create_xfeat(config: Config, progress: ReportProgress | None) -> XFeatExtractor:
    from hfnet_ros.features.weights import XFEAT, find_weights
    from hfnet_ros.features.xfeat import XFeatExtractor
    from hfnet_ros.features.xfeat_network import load_xfeat_weights

    weights = load_xfeat_weights(find_weights(XFEAT.file_name, config.extractor.weights))
    return XFeatExtractor(weights, config.extractor, config.inference, progress)


def _create_combined(config: Config, progress: ReportProgress | None) -> CombinedExtractor:
    from hfnet_ros.features.hfnet import CombinedExtractor, GlobalHead
    from hfnet_ros.features.weights import HFNET, find_weights

    with ExitStack() as made:
        local = _create_xfeat(config, progress)
        made.callback(local.close)
        head = GlobalHead(find_weights(HFNET.file_name), config.inference, progress)
        made.pop_all()  # both are there, and belong to the pair
        return CombinedExtractor(local, head)


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
