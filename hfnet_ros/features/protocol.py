"""The seam between localization and whatever describes an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hfnet_ros.config import Config
from hfnet_ros.features.weights import KnownWeights
from hfnet_ros.inference.engine import NetworkModel
from hfnet_ros.types import ImageArray, ImageFeatures, ReportProgress


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
    """An extractor whose networks can be named and built before they are needed."""

    def networks(self, image_wh: tuple[int, int]) -> tuple[NetworkModel, ...]:
        """Return the networks that run on images of this size; none where the method has no network.

        Raises:
            WeightsError: the network fits images of other sizes only.
        """
        ...


@dataclass(frozen=True)
class ExtractorKind:
    """What `extractor.name` chooses; each module with an extractor declares one.

    Attributes:
        name: the word that chooses it.
        id_prefix: how every `extractor_id` of it begins, and of no other kind.
        create: makes one, loading its weights; told what goes on while an engine is built.
        weights: the file that it needs and that `extractor.weights` may name; None without one.
        knows_turned: its descriptors of a turned image are those of the image as it is.
    """

    name: str
    id_prefix: str
    create: Callable[[Config, ReportProgress | None], NetworkExtractor]
    weights: KnownWeights | None = None
    knows_turned: bool = False

    def makes(self, extractor_id: str) -> bool:
        """Return whether features of this identity are of this kind."""
        return extractor_id.startswith(self.id_prefix)
