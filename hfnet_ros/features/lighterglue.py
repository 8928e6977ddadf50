"""LighterGlue: which keypoints of two images show the same thing, by a network that looks at both at once.

Reference: Lindenberger et al., "LightGlue: Local Feature Matching at Light Speed", ICCV 2023; made smaller for XFeat's
    descriptors (64 numbers in, 96 inside, 6 layers of one head, or 3 as exported) beside Potje et al., CVPR 2024.

Contract of the file: inputs `kpts0` [1, N, 2], `desc0` [1, N, 64], `kpts1` [1, M, 2], `desc1` [1, M, 64], float32,
points normalised as (k - centre) / (half of the longer side). What the published file makes of the log assignment
[1, N, M] at its end, two TopK of one and a list of unknown length, is cut off: engines need shapes that are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import ConfigError, WeightsError
from hfnet_ros.features.engines import EnginesBySize
from hfnet_ros.features.onnx_network import read_onnx, set_shape
from hfnet_ros.features.turning import turned
from hfnet_ros.features.weights import LIGHTERGLUE, find_weights
from hfnet_ros.features.xfeat_network import DESCRIPTOR_SIZE
from hfnet_ros.inference.backend import create_engine
from hfnet_ros.inference.engine import Engine, NetworkModel
from hfnet_ros.inference.onnx_graph import remove_unused
from hfnet_ros.types import ImageFeatures

# Beginnings of the identities of extractors whose local descriptors it was trained on.
_KNOWN_EXTRACTORS = ("xfeat-", "xfeat+hfnet-")
# Engines are made for these numbers of keypoints; the rest of an image's is left out.
_COUNTS = (32, 64, 128, 256, 512, 1024, 2048)
_INPUTS = ("kpts0", "kpts1", "desc0", "desc1")
_MIN_SCORE = 0.1  # as published


@dataclass(frozen=True, slots=True, eq=False)
class KeypointSet:
    """Keypoints of one image.

    Attributes:
        points: [N, 2] px of the image.
        descriptors: [N, 64] float32 unit norm.
        size_wh: of the image, px.
    """

    points: NDArray[np.floating]
    descriptors: NDArray[np.float32]
    size_wh: tuple[int, int]

    @classmethod
    def of(cls, features: ImageFeatures) -> KeypointSet:
        """Return the local features of an image, at the pixels of the image that was described."""
        points, size_wh = features.local.keypoints, features.extent_wh
        return cls(turned(points, size_wh, features.turn_rad), features.local.descriptors, size_wh)

    def __len__(self) -> int:
        """Return the number of keypoints."""
        return len(self.points)

    def chosen(self, rows: NDArray[np.int64]) -> KeypointSet:
        """Return some of the keypoints [M], in the order of `rows`."""
        return KeypointSet(self.points[rows], self.descriptors[rows], self.size_wh)


class LighterGlue:
    """The network; belongs to the thread that uses it first, as engines do."""

    def __init__(self, path: Path, inference: InferenceConfig) -> None:
        """Read the file.

        Raises:
            WeightsError: it is missing, no ONNX, or not of this kind.
        """
        _, model = read_onnx(path, "LighterGlue")
        names = {tensor.name for tensor in model.graph.input}
        if names != set(_INPUTS):
            raise WeightsError(
                f"{path}: network has inputs {', '.join(sorted(names))}, expected {', '.join(_INPUTS)} (LighterGlue)"
            )
        self._outputs = _cut_behind_assignment(model.graph, path)
        self._model, self._path, self._inference = model, path, inference
        self._engines = EnginesBySize()

    def match(
        self, first: KeypointSet, second: KeypointSet, max_keypoints: int = _COUNTS[-1]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return which keypoints of two images show the same thing.

        Its time grows by the square of what it is shown. Of half of the keypoints, the best ones, it found half the
        right matches; of those most like any of the other image nine in ten (docs/notes/matching.md).

        Args:
            first: of an image.
            second: of another.
            max_keypoints: of either image, that the network is shown.

        Returns:
            Rows [M, 2] of keypoints that match, each at most once, and how sure that is [M], 0 to 1.

        Raises:
            EngineError: the network failed.
        """
        counts = tuple(_known_count(min(len(entry), max_keypoints)) for entry in (first, second))
        if 0 in counts:
            return np.empty((0, 2), np.int64), np.empty(0, np.float32)
        rows_a, rows_b = _most_alike(first.descriptors, second.descriptors, counts)
        first, second = first.chosen(rows_a), second.chosen(rows_b)
        outputs = self._engines.get(counts, self._load).run(
            {
                "kpts0": _normalised(first),
                "kpts1": _normalised(second),
                "desc0": np.asarray(first.descriptors, np.float32)[None],
                "desc1": np.asarray(second.descriptors, np.float32)[None],
            }
        )
        best, nearest, back = (outputs[name].ravel() for name in self._outputs)
        scores = np.exp(best.astype(np.float32))
        mutual = (back[nearest] == np.arange(len(nearest))) & (scores > _MIN_SCORE)
        rows = np.column_stack([rows_a[mutual], rows_b[nearest[mutual]]])
        return rows.astype(np.int64), scores[mutual]

    def model(self, counts: tuple[int, ...]) -> NetworkModel:
        """Return the network for two numbers of keypoints."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        for tensor in model.graph.input:
            count = counts[0] if tensor.name.endswith("0") else counts[1]
            set_shape(tensor, (1, count, 2 if tensor.name.startswith("kpts") else DESCRIPTOR_SIZE))
        shapes = ((1, counts[0], 1), (1, counts[0], 1), (1, 1, counts[1]))
        for tensor, shape in zip(model.graph.output, shapes, strict=True):
            set_shape(tensor, shape)
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        return NetworkModel(f"{self._path.stem}-{counts[0]}x{counts[1]}", model.SerializeToString())

    def _load(self, counts: tuple[int, ...]) -> Engine:
        return create_engine(self.model(counts), self._inference)

    def close(self) -> None:
        """Free the engines; calling it again does nothing."""
        self._engines.close()


def check_known(extractor_id: str, parameter: str, whose: str = "") -> None:
    """Refuse descriptors that the network was not trained on.

    Args:
        extractor_id: of what they are.
        parameter: which asks for the network, and its value.
        whose: said before the identity, such as "a map of ".

    Raises:
        ConfigError: they are of another extractor than XFeat.
    """
    if not extractor_id.startswith(_KNOWN_EXTRACTORS):
        raise ConfigError(
            f"{parameter} knows descriptors of XFeat, found {whose}'{extractor_id}'; build the map with --extractor "
            "xfeat or xfeat+hfnet, or set it to nearest"
        )


def load_lighterglue(inference: InferenceConfig) -> LighterGlue:
    """Return the published network, from where weights are searched.

    Raises:
        WeightsError: it is nowhere; the message says where was looked and what to do.
    """
    return LighterGlue(find_weights(LIGHTERGLUE.file_name), inference)


def _cut_behind_assignment(graph: Any, path: Path) -> tuple[str, str, str]:
    """End a graph with the best of each row of the log assignment, where that is, and where that of each column is.

    Returns:
        Names of these outputs: [1, N, 1] float32, [1, N, 1] int64, [1, 1, M] int64.
    """
    from onnx import TensorProto, helper

    found = {
        int(attribute.i): node
        for node in graph.node
        if node.op_type == "TopK"
        for attribute in node.attribute
        if attribute.name == "axis"
    }
    if set(found) != {1, 2} or found[1].input[0] != found[2].input[0]:
        raise WeightsError(
            f"{path}: the network does not end with the best of rows and of columns of one assignment, as LighterGlue "
            "does; take the published file"
        )
    names = (found[2].output[0], found[2].output[1], found[1].output[1])
    kinds = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT64)
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, kind, None) for name, kind in zip(names, kinds, strict=True)
    )
    del graph.value_info[:]
    remove_unused(graph)
    return names


def _most_alike(
    first: NDArray[np.float32], second: NDArray[np.float32], counts: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows, ascending, of so many descriptors of two images as are most like any of the other's."""
    if (len(first), len(second)) == tuple(counts):
        return np.arange(counts[0]), np.arange(counts[1])
    similarity = first @ second.T
    highest = similarity.max(axis=1), similarity.max(axis=0)
    rows_a, rows_b = (
        np.sort(np.argsort(-values, kind="stable")[:count])
        for values, count in zip(highest, counts, strict=True)
    )
    return rows_a, rows_b


def _known_count(count: int) -> int:
    """Return the largest number of keypoints, at most `count`, that there is an engine for; 0 if there is none."""
    return max((known for known in _COUNTS if known <= count), default=0)


def _normalised(keypoints: KeypointSet) -> NDArray[np.float32]:
    size = np.array(keypoints.size_wh, np.float64)
    return ((keypoints.points - size / 2.0) / (size.max() / 2.0))[None].astype(np.float32)
