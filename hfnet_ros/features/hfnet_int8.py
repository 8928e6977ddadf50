"""HF-Net in int8, for processors that are faster with bytes: made of a float file, and looked for beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import WeightsError
from hfnet_ros.features.hfnet import network_input, output_names
from hfnet_ros.features.onnx_network import OnnxNetwork
from hfnet_ros.files.images import read_image
from hfnet_ros.inference.quantization import quantize_network
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
    output_names(path, network)  # which refuses what is no HF-Net, or int8 already
    inputs = [network_input(network, _of_size(read_image(image), network))[0] for image in images]
    quantize_network(path, out, inputs, _KEEP_FLOAT)


def _of_size(image: ImageArray, network: OnnxNetwork) -> ImageArray:
    """Resize to what the network is made for, to 640x480 px where it fits every size."""
    fixed = [length for length in network.input_shape[1:] if length is not None and length != 1]
    size_wh = (fixed[1], fixed[0]) if len(fixed) == 2 else _SIZE_WH
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
