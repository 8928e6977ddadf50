"""HF-Net: keypoints, local and global descriptor of one network.

The engine contract, which this project's weights and a converted published HF-Net both keep:

* one input, the gray image, float32, 0 to 255 (the network normalises): [1, 1, H, W] or [1, H, W, 1];
* scores: keypoint probability per pixel, [1, 1, H, W], [1, H, W, 1] or [1, H, W];
* local: descriptors, [1, D, H/8, W/8] or [1, H/8, W/8, D];
* global: [1, G].

The outputs are found by the names in `OUTPUT_NAMES`, or by those that the file's metadata give
under `hfnet_ros.scores`, `hfnet_ros.local`, `hfnet_ros.global` (`hfnet-ros weights name`). Sides
are multiples of the metadata's `hfnet_ros.multiple`, 8 without it.

Reference: Sarlin et al., "From Coarse to Fine: Robust Hierarchical Localization at Large Scale",
CVPR 2019, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config, InferenceConfig
from hfnet_ros.errors import WeightsError
from hfnet_ros.features.keypoints import sample_bilinear, select_top, unit_rows
from hfnet_ros.features.onnx_network import OnnxNetwork
from hfnet_ros.features.preprocess import check_image, mean_gray, network_size, resize_to
from hfnet_ros.features.protocol import ExtractorKind
from hfnet_ros.features.weights import HFNET, find_weights
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.geometry.pixels import rescale_pixels
from hfnet_ros.gpu.features import SelectionRule
from hfnet_ros.gpu.keypoint_engine import DenseOutputs, chosen_features, with_keypoints
from hfnet_ros.inference.engine import NetworkModel
from hfnet_ros.inference.quantization import QUANTIZED_OF
from hfnet_ros.types import ImageArray, ImageFeatures, LocalFeatures, ReportProgress

Float32Array = NDArray[np.float32]

CELL = 8
OUTPUT_NAMES = {
    "scores": ("scores", "scores_dense"),
    "local": ("local", "local_descriptor_map"),
    "global": ("global", "global_descriptor"),
}
_NMS_ITERATIONS = 3  # as published
_CENTER_RADIUS_PX = 2


class HFNetExtractor:
    """Keypoints, local descriptors and global descriptor in one pass; one engine per image size."""

    def __init__(self, path: Path, config: Config, progress: ReportProgress | None = None) -> None:
        """Read the network; the engine of an image size is loaded when its first image comes.

        Args:
            path: ONNX file that keeps the contract above.
            config: section hfnet says how keypoints are chosen, extractor how many, inference how the network runs.
            progress: told what goes on while an engine is built, which may take minutes.

        Raises:
            WeightsError: the file is missing, no ONNX, or its outputs have other names.
        """
        self._names = output_names(path, OnnxNetwork(path, config.inference))
        self._rule = selection_rule(config)
        complete = partial(  # which does not know this extractor, so that it is freed when it is let go of
            with_keypoints,
            dense=DenseOutputs(self._names["scores"], self._names["local"]),
            rule=self._rule,
            config=config.inference,
        )
        self._network = OnnxNetwork(path, config.inference, tuple(self._names.values()), progress, complete)

    @property
    def extractor_id(self) -> str:
        """Name of the method and digest of its weights."""
        return f"{KIND.id_prefix}{self._network.digest[:12]}"

    @property
    def backend(self) -> str:
        """What runs the network; before the first image, what is asked for."""
        return self._network.backend

    def networks(self, image_wh: tuple[int, int]) -> tuple[NetworkModel, ...]:
        """Return the network that runs on images of this size."""
        return (network_for(self._network, image_wh),)

    def extract(self, image: ImageArray) -> ImageFeatures:
        """Describe an image; see `FeatureExtractor.extract`."""
        outputs, scale = run_on_image(self._network, image)
        local = chosen_features(outputs)
        if local is None:
            scores = as_plane(outputs[self._names["scores"]])
            dense = as_channels_first(outputs[self._names["local"]], scores.shape)
            local = select_keypoints(scores, dense, self._rule)
        keypoints = rescale_pixels(local.keypoints, scale).astype(np.float32)
        descriptor = unit_rows(np.array(outputs[self._names["global"]], np.float32).reshape(1, -1))[0]
        return ImageFeatures(local.moved_to(keypoints), descriptor, self.extractor_id)

    def close(self) -> None:
        """Free the engines; calling it again does nothing."""
        self._network.close()


def selection_rule(config: Config) -> SelectionRule:
    """Return how keypoints are chosen of HF-Net's dense outputs."""
    return SelectionRule(
        radius=config.hfnet.nms_radius_px,
        iterations=_NMS_ITERATIONS,
        threshold=config.hfnet.detection_threshold,
        max_keypoints=config.extractor.max_keypoints,
        cubic=False,
        center_radius=_CENTER_RADIUS_PX,
    )


def output_names(path: Path, network: OnnxNetwork) -> dict[str, str]:
    """Return the network's names of `scores`, `local` and `global`.

    Raises:
        WeightsError: one of them is not there, and the message says how to name it; or the file is an int8 form.
    """
    if QUANTIZED_OF in network.metadata:
        raise WeightsError(
            f"{path} is the int8 form of a file; name that one, and this is used where it is faster"
        )
    names: dict[str, str] = {}
    for role, known in OUTPUT_NAMES.items():
        given = network.metadata.get(f"hfnet_ros.{role}")
        candidates = (given,) if given else known
        found = [name for name in candidates if name in network.output_names]
        if not found:
            raise WeightsError(
                f"{path}: network has outputs {', '.join(network.output_names)}, expected {role} as "
                f"{' or '.join(candidates)}; if it is one of them, say which: 'hfnet-ros weights name "
                f"{path} --{role} NAME --out named.onnx'"
            )
        names[role] = found[0]
    return names


def name_outputs(path: Path, out: Path, names: Mapping[str, str]) -> None:
    """Write a copy of a network whose metadata name its outputs (see the engine contract above).

    Args:
        path: ONNX file, e.g. converted from the published TensorFlow model.
        out: file to write.
        names: by `scores`, `local` and `global`.

    Raises:
        WeightsError: the file is missing, no ONNX, or an output is not there.
    """
    import onnx

    network = OnnxNetwork(path, InferenceConfig())
    missing = [name for name in names.values() if name not in network.output_names]
    if missing:
        raise WeightsError(
            f"{path}: network has no output '{missing[0]}', only {', '.join(network.output_names)}"
        )
    model = onnx.load(path)
    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(
        model, {**kept, **{f"hfnet_ros.{role}": name for role, name in names.items()}}
    )
    with atomic_file(out) as temporary:
        temporary.write_bytes(model.SerializeToString())


def run_on_image(
    network: OnnxNetwork, image: ImageArray
) -> tuple[Mapping[str, Float32Array], NDArray[np.float64]]:
    """Run the network on an image of any size.

    Returns:
        The engine's outputs, overwritten by the next call, and the scale [2] (x, y) from the network's
        input to the image.

    Raises:
        ImageError: the image has another type or shape, or is too small.
        EngineError: the network failed.
    """
    tensor, scale = network_input(network, image)
    return network.engine(tensor.shape).run({network.input_name: tensor}), scale


def network_input(network: OnnxNetwork, image: ImageArray) -> tuple[Float32Array, NDArray[np.float64]]:
    """Return an image as the network wants it, and the scale [2] (x, y) back to the image.

    Raises:
        ImageError: the image has another type or shape, or is too small.
    """
    check_image(image)
    image_wh = (image.shape[1], image.shape[0])
    size_wh = _input_size(network, image_wh)
    gray = resize_to(mean_gray(image), size_wh)
    return gray.reshape(_input_shape(network, size_wh)), np.array(image_wh) / np.array(size_wh)


def network_for(network: OnnxNetwork, image_wh: tuple[int, int]) -> NetworkModel:
    """Return the network that runs on images of a size."""
    return network.model(_input_shape(network, _input_size(network, image_wh)))


def _input_size(network: OnnxNetwork, image_wh: tuple[int, int]) -> tuple[int, int]:
    return network_size(image_wh, int(network.metadata.get("hfnet_ros.multiple", str(CELL))))


def _input_shape(network: OnnxNetwork, size_wh: tuple[int, int]) -> tuple[int, ...]:
    width, height = size_wh
    is_channels_last = network.input_shape[-1] == 1
    return (1, height, width, 1) if is_channels_last else (1, 1, height, width)


def as_plane(tensor: Float32Array) -> Float32Array:
    """Return scores [H, W] of a tensor that has these and lengths of one.

    Raises:
        WeightsError: it has something else, such as the 65 classes of each cell.
    """
    lengths = [length for length in tensor.shape if length > 1]
    if len(lengths) != 2:
        raise WeightsError(
            f"scores have shape {list(tensor.shape)}, expected one per pixel, [1, 1, H, W] or [1, H, W, 1]"
        )
    return np.asarray(tensor.reshape(lengths), np.float32)


def as_channels_first(tensor: Float32Array, input_hw: Sequence[int]) -> Float32Array:
    """Return descriptors [D, h, w] of [1, D, h, w] or [1, h, w, D] for an input of [H, W].

    Raises:
        WeightsError: neither has one descriptor per cell of 8 x 8 px.
    """
    cells = (input_hw[0] // CELL, input_hw[1] // CELL)
    if tensor.shape[2:] == cells:
        return tensor[0]
    if tensor.shape[1:3] == cells:
        return np.ascontiguousarray(tensor[0].transpose(2, 0, 1))
    raise WeightsError(
        f"local descriptors have shape {list(tensor.shape)} for an input of {input_hw[1]}x{input_hw[0]} px, expected "
        f"{cells[0]}x{cells[1]} of them"
    )


def select_keypoints(scores: Float32Array, dense: Float32Array, rule: SelectionRule) -> LocalFeatures:
    """Choose and describe keypoints, in pixels of the network's input.

    Args:
        scores: [H, W] keypoint probability.
        dense: [D, H/8, W/8] descriptors.
        rule: how keypoints are chosen.

    Convention: descriptors are sampled bilinearly at the peak's pixel x (w - 1) / (W - 1), as published; the
        keypoint itself lies between pixels.
    """
    height, width = scores.shape
    peaks = suppress_non_maxima(scores, rule.radius, rule.threshold, rule.iterations)
    values = scores.ravel()[peaks]
    best = select_top(values, rule.max_keypoints)
    rows, columns = np.divmod(peaks[best], width)
    points = np.stack([columns, rows], axis=1).astype(np.float32)
    map_size = np.array([dense.shape[2] - 1, dense.shape[1] - 1], np.float64)
    coordinates = points * (map_size / np.array([width - 1, height - 1]))
    descriptors = unit_rows(sample_bilinear(dense, coordinates))
    return LocalFeatures(
        center_on_scores(scores, rows, columns, rule.center_radius), values[best], descriptors
    )


def center_on_scores(
    scores: Float32Array, rows: NDArray[np.intp], columns: NDArray[np.intp], radius: int = _CENTER_RADIUS_PX
) -> Float32Array:
    """Return points (x, y) [N, 2] at the centre of gravity of the scores around peaks.

    The network spreads a corner that lies between two pixels over both. Against whole pixels it
    makes the epipolar error of matches in generated scenes 0.19 px instead of 0.32 (a parabola through
    three scores 0.21), see docs/hfnet.md.
    """
    window = np.arange(-radius, radius + 1)
    side, width = len(window), scores.shape[1] + 2 * radius
    padded = cv2.copyMakeBorder(scores, radius, radius, radius, radius, cv2.BORDER_CONSTANT, value=0.0)
    places = (rows + radius) * width + columns + radius
    offsets = (window[:, None] * width + window).ravel()
    around = np.take(padded.ravel(), places[:, None] + offsets).astype(np.float64)
    # Of each peak: the sum of its scores, and of these times how far they are to the right, and below.
    right, down = np.tile(window, side), np.repeat(window, side)
    total, across, along = (around @ np.stack([np.ones(side * side), right, down], axis=1)).T
    return np.stack([columns + across / total, rows + along / total], axis=1).astype(np.float32)


def suppress_non_maxima(
    scores: Float32Array, radius: int, threshold: float, iterations: int = _NMS_ITERATIONS
) -> NDArray[np.intp]:
    """Return the flat indices of peaks above a threshold, in row order.

    A pixel that is the highest of its square stays; those in the square of one that stays are
    suppressed, and pixels that are the highest among the others may stay in the next iteration.

    Args:
        scores: [H, W].
        radius: half size of the square, px.
        threshold: a peak is strictly higher.
        iterations: of the above; with 1, only the highest of their square stay.
    """
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    scores = np.ascontiguousarray(scores, np.float32)
    candidate, highest = scores > threshold, cv2.dilate(scores, kernel)
    kept = (scores == highest) & candidate
    if iterations > 1:
        covered = cv2.dilate(kept.view(np.uint8), kernel)
        np.greater(candidate, covered.view(np.bool_), out=candidate)
        # A tenth of all pixels were candidates, and what is left is few of them: from here on one by one.
        left = np.flatnonzero(candidate)
        values = scores.ravel()[left]
        # Pages of new arrays of this size cost as much as what is done with them: they are used again.
        alone = np.zeros(scores.shape, np.float32)
        alone.ravel()[left] = values
    for iteration in range(1, iterations):
        cv2.dilate(alone, kernel, dst=highest)
        kept.ravel()[left[values == highest.ravel()[left]]] = True
        if iteration < iterations - 1:
            cv2.dilate(kept.view(np.uint8), kernel, dst=covered)
            is_covered = covered.ravel()[left].view(np.bool_)
            alone.ravel()[left[is_covered]] = 0.0
            left, values = left[~is_covered], values[~is_covered]
    return np.flatnonzero(kept)


def _create(config: Config, progress: ReportProgress | None) -> HFNetExtractor:
    return HFNetExtractor(find_weights(HFNET.file_name, config.extractor.weights), config, progress)


KIND = ExtractorKind("hfnet", "hfnet-", _create, HFNET)
