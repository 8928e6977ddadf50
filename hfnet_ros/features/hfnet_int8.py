"""HF-Net in int8, for processors that are faster with bytes: made of a float file, and looked for beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import WeightsError
from hfnet_ros.features.hfnet import network_input
from hfnet_ros.features.onnx_network import OnnxNetwork
from hfnet_ros.files.images import read_image
from hfnet_ros.inference.engine import Tensor
from hfnet_ros.inference.quantization import QUANTIZED_OF, quantize_network
from hfnet_ros.types import ImageArray

MIN_IMAGES = 8
_SIZE_WH = (640, 480)
# The first convolution sees the image itself, the others decide between classes or are divided by their length:
# in bytes they cost most of the accuracy, and as floats a millisecond (docs/notes/hfnet.md).
_KEEP_FLOAT = ("stem.0.0", "detector.1", "describer.1", "assignment")


def quantize_hfnet(path: Path, out: Path, images: Sequence[Path]) -> None:
    """Write the int8 form of an HF-Net, ranges of whose activations come of some images.

    Args:
        path: ONNX file that keeps the contract of `features.hfnet`.
        out: file to write; it is found if it is `quantized_path` of the other.
        images: files, at least `MIN_IMAGES`; each is brought to 640x480 px.

    Raises:
        WeightsError: too few images, or the network is missing, int8 already, or none.
        ImageError: an image cannot be read.
    """
    if len(images) < MIN_IMAGES:
        raise WeightsError(f"{len(images)} images to measure activations on, expected at least {MIN_IMAGES}")
    network = OnnxNetwork(path, InferenceConfig())
    if QUANTIZED_OF in network.metadata:
        raise WeightsError(f"{path} is int8 already; name the float32 file it was made of")
    quantize_network(path, out, _inputs(network, images), _KEEP_FLOAT)


def _inputs(network: OnnxNetwork, images: Sequence[Path]) -> Iterator[Tensor]:
    for path in images:
        yield network_input(network, _of_size(read_image(path)))[0]


def _of_size(image: ImageArray) -> ImageArray:
    import cv2

    return np.asarray(cv2.resize(image, _SIZE_WH, interpolation=cv2.INTER_AREA), np.uint8)
