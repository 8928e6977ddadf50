"""A scene network whose file says anything: it is refused, fails as an engine does, or answers."""

import dataclasses

import numpy as np
import pytest
from memorised_scenes import IDENTITY_SIZE, looking_up

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import EngineError, MapFormatError
from hfnet_ros.features.scene_hybrid import HybridNetwork
from hfnet_ros.map.scene_network import FEATURES, SceneNetwork
from hfnet_ros.map.visual_map import MapConsistency
from hfnet_ros.types import ImageFeatures, LocalFeatures

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def unit_rows(rng, count, size):
    rows = rng.normal(size=(count, size))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def mutated(rng, content):
    """Return the bytes with a few of them changed, or cut off."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        position = int(rng.integers(len(changed)))
        changed[position] = changed[position] ^ (1 << int(rng.integers(8))) if rng.random() < 0.5 else 0xFF
    return bytes(changed[: int(rng.integers(len(changed)))] if rng.random() < 0.2 else changed)


def test_whatever_the_file_says_nothing_else_escapes():
    rng = np.random.default_rng(0)
    network = looking_up(unit_rows(rng, 20, 8), rng.normal(size=(20, 3)), np.zeros(20, np.int64))
    arrays = {"identities": np.zeros((1, IDENTITY_SIZE), np.float32)}
    scene = SceneNetwork(FEATURES, network, arrays, {}, MapConsistency(0.0, 0.0, 0.0, 0))
    local = LocalFeatures(
        rng.uniform(0, 200, (5, 2)).astype(np.float32), np.ones(5, np.float32), unit_rows(rng, 5, 8)
    )
    features = ImageFeatures(local, None, "toy", (320, 240))
    ends = {"answered": 0, "refused": 0, "failed": 0}
    for _ in range(400):
        damaged = dataclasses.replace(scene, network=mutated(rng, network))
        try:
            hybrid = HybridNetwork(damaged, InferenceConfig(backend="onnxruntime"))
            try:
                found = hybrid.predict(features, 0)
            finally:
                hybrid.close()
        except MapFormatError:
            ends["refused"] += 1
        except EngineError:
            ends["failed"] += 1
        else:
            ends["answered"] += 1
            assert len(found) == 5
    assert min(ends.values()) > 5, ends
