"""XFeat's keypoints and descriptors beside HF-Net's global descriptor."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config, InferenceConfig
from hfnet_ros.features import xfeat
from hfnet_ros.features.hfnet import network_for, output_names, run_on_image
from hfnet_ros.features.keypoints import unit_rows
from hfnet_ros.features.onnx_network import OnnxNetwork
from hfnet_ros.features.protocol import ExtractorKind, NetworkExtractor
from hfnet_ros.features.weights import HFNET, XFEAT, find_weights
from hfnet_ros.inference.engine import NetworkModel
from hfnet_ros.types import ImageArray, ImageFeatures, ReportProgress


class GlobalHead:
    """HF-Net's global descriptor alone; the local heads are not computed."""

    def __init__(
        self, path: Path, inference: InferenceConfig, progress: ReportProgress | None = None
    ) -> None:
        """Read the network; see `HFNetExtractor`.

        Raises:
            WeightsError: the file is missing, no ONNX, or its outputs have other names.
        """
        self._name = output_names(path, OnnxNetwork(path, inference))["global"]
        self._network = OnnxNetwork(path, inference, (self._name,), progress)

    @property
    def backend(self) -> str:
        """What runs the network; before the first image, what is asked for."""
        return self._network.backend

    @property
    def digest(self) -> str:
        """First digits of the file's SHA-256."""
        return self._network.digest[:12]

    def networks(self, image_wh: tuple[int, int]) -> tuple[NetworkModel, ...]:
        """Return the network that runs on images of this size."""
        return (network_for(self._network, image_wh),)

    def describe(self, image: ImageArray) -> NDArray[np.float32]:
        """Return the global descriptor [G] float32, unit norm."""
        outputs, _ = run_on_image(self._network, image)
        return unit_rows(np.array(outputs[self._name], np.float32).reshape(1, -1))[0]

    def close(self) -> None:
        """Free the engines; calling it again does nothing."""
        self._network.close()


class CombinedExtractor:
    """Local features of one extractor, such as XFeat, and the global descriptor of HF-Net."""

    def __init__(self, local: NetworkExtractor, head: GlobalHead) -> None:
        """Take ownership of both."""
        self._local = local
        self._head = head

    @property
    def extractor_id(self) -> str:
        """Names and digests of both, e.g. `xfeat+hfnet-<digest>-<digest>`."""
        name, _, digest = self._local.extractor_id.partition("-")
        return f"{name}+hfnet-{digest}-{self._head.digest}"

    @property
    def backend(self) -> str:
        """What runs the networks; both names where they differ."""
        return " + ".join(dict.fromkeys([self._local.backend, self._head.backend]))

    def networks(self, image_wh: tuple[int, int]) -> tuple[NetworkModel, ...]:
        """Return the networks of both."""
        return *self._local.networks(image_wh), *self._head.networks(image_wh)

    def extract(self, image: ImageArray) -> ImageFeatures:
        """Describe an image; see `FeatureExtractor.extract`."""
        local = self._local.extract(image).local
        return ImageFeatures(local, self._head.describe(image), self.extractor_id)

    def close(self) -> None:
        """Free the engines of both; calling it again does nothing."""
        try:
            self._local.close()
        finally:
            self._head.close()


def _create(config: Config, progress: ReportProgress | None) -> CombinedExtractor:
    with ExitStack() as made:
        local = xfeat.KIND.create(config, progress)
        made.callback(local.close)
        head = GlobalHead(find_weights(HFNET.file_name), config.inference, progress)
        made.pop_all()  # both are there, and belong to the pair
        return CombinedExtractor(local, head)


KIND = ExtractorKind("xfeat+hfnet", "xfeat+hfnet-", _create, XFEAT)
