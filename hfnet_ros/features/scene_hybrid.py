"""A hybrid scene-coordinate network: where keypoints are in the scene, seen the way a keyframe saw it.

Reference: Li et al., "Hierarchical Scene Coordinate Classification and Regression for Visual Localization", CVPR 2020,
    its network over sparse features for large scenes, of which no code was published.

Contract of the file: inputs `descriptors` [N, D], `positions` [N, 2] (see `normalised_positions`) and `identity`
[1, I], what the network learned of a keyframe, float32; outputs `points` [N, 3] m, `sigmas` [N] m, `confidence` [N],
float32, and `leaves` [N], int64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import InferenceConfig
from hfnet_ros.features.engines import EnginesBySize, checked_outputs
from hfnet_ros.features.onnx_network import read_scene_network, set_shape
from hfnet_ros.features.turning import turned
from hfnet_ros.inference.backend import create_engine
from hfnet_ros.inference.engine import Engine, NetworkModel
from hfnet_ros.map.scene_network import SceneNetwork
from hfnet_ros.types import ImageFeatures, SceneCoordinates

INPUTS = ("descriptors", "positions", "identity")
OUTPUTS = ("points", "sigmas", "confidence", "leaves")
# Engines are made for these numbers of keypoints, of which the last are padding.
_COUNTS = (256, 512, 1024, 2048)


class HybridNetwork:
    """The network of a map; belongs to the thread that uses it first, as engines do."""

    def __init__(self, scene: SceneNetwork, inference: InferenceConfig) -> None:
        """Read it; no engine is made before the first image.

        Raises:
            MapFormatError: it is no ONNX, or not of this kind.
        """
        self._model = read_scene_network(scene.network, INPUTS, OUTPUTS)
        self._identities = np.asarray(scene.arrays["identities"], np.float32)
        self._inference = inference
        self._engines = EnginesBySize()

    def predict(self, features: ImageFeatures, keyframe_idx: int) -> SceneCoordinates:
        """Return where the keypoints of an image are, as seen from where a keyframe was.

        Args:
            features: of the map's extractor; of more than 2048 keypoints the best ones are taken.
            keyframe_idx: row of a keyframe that looks like the image.

        Raises:
            EngineError: the network failed.
        """
        features = features.strongest(_COUNTS[-1])
        num = len(features.local)
        count = next(known for known in _COUNTS if known >= num)
        descriptors = np.zeros((count, features.local.descriptors.shape[1]), np.float32)
        descriptors[:num] = features.local.descriptors
        positions = np.zeros((count, 2), np.float32)
        positions[:num] = normalised_positions(features)
        found = self._engines.get((count, descriptors.shape[1]), self._load).run(
            {
                "descriptors": descriptors,
                "positions": positions,
                "identity": self._identities[keyframe_idx : keyframe_idx + 1],
            }
        )
        shapes = {"points": (count, 3), "sigmas": (count,), "confidence": (count,), "leaves": (count,)}
        found = checked_outputs(found, shapes, "scene")
        return SceneCoordinates(
            np.arange(num),
            features.local.keypoints.astype(np.float64),
            found["points"][:num].astype(np.float64),
            found["sigmas"][:num].astype(np.float64),
            found["confidence"][:num].astype(np.float32),
            found["leaves"][:num].astype(np.int64),
        )

    def _load(self, shape: tuple[int, ...]) -> Engine:
        import onnx

        count, size = shape
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        shapes: dict[str, tuple[int, ...]] = {
            "descriptors": (count, size),
            "positions": (count, 2),
            "identity": (1, self._identities.shape[1]),
            "points": (count, 3),
        }
        for tensor in (*model.graph.input, *model.graph.output):
            set_shape(tensor, shapes.get(tensor.name, (count,)))
        return create_engine(NetworkModel(f"scene-{count}", model.SerializeToString()), self._inference)

    def close(self) -> None:
        """Free the engines; calling it again does nothing."""
        self._engines.close()


def normalised_positions(features: ImageFeatures) -> NDArray[np.float32]:
    """Return keypoints [N, 2] as they stand in the image that was described: its longer side goes from -1 to 1."""
    size_wh = features.extent_wh
    points = turned(features.local.keypoints, size_wh, features.turn_rad)
    size = np.array(size_wh, np.float64)
    return np.asarray((points - (size - 1.0) / 2.0) / (size.max() / 2.0), np.float32)
