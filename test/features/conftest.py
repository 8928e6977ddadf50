from pathlib import Path

import cv2
import numpy as np
import pytest
from described_once import describe
from random_weights import make_random_weights

from hfnet_ros.config import InferenceConfig
from hfnet_ros.features.sift import SiftExtractor
from hfnet_ros.features.xfeat_network import build_xfeat, load_xfeat_weights
from hfnet_ros.inference.backend import create_engine

SHARED_WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "weights" / "xfeat.pt"


@pytest.fixture(autouse=True)
def described_anew(monkeypatch):
    monkeypatch.setattr(SiftExtractor, "extract", describe)


@pytest.fixture(scope="session")
def random_weights():
    return make_random_weights()


@pytest.fixture(params=["random", pytest.param("published", marks=pytest.mark.shared)])
def weights(request, random_weights):
    """Random weights, and the published ones where they are."""
    if request.param == "random":
        return random_weights
    if not SHARED_WEIGHTS.is_file():
        pytest.skip(f"needs {SHARED_WEIGHTS}")
    return load_xfeat_weights(SHARED_WEIGHTS)


@pytest.fixture
def shared_weights():
    """Return the path of the published file, where it is."""
    if not SHARED_WEIGHTS.is_file():
        pytest.skip(f"needs {SHARED_WEIGHTS}")
    return SHARED_WEIGHTS


@pytest.fixture(scope="session")
def make_image():
    """Return a function that paints corners: [H, W, 3] uint8 of random boxes, slightly blurred."""

    def paint(size_wh, seed=0):
        rng = np.random.default_rng(seed)
        width, height = size_wh
        image = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
        for _ in range(width * height // 150):
            x, y = int(rng.integers(-5, width)), int(rng.integers(-5, height))
            corner = (x + int(rng.integers(3, 25)), y + int(rng.integers(3, 25)))
            cv2.rectangle(image, (x, y), corner, rng.integers(0, 256, 3).tolist(), -1)
        return cv2.GaussianBlur(image, (0, 0), 0.7)

    return paint


@pytest.fixture
def run_network():
    """Return a function that runs the ONNX network on a gray image [H, W] and copies the outputs."""

    def run(weights, gray):
        engine = create_engine(build_xfeat(weights, (gray.shape[1], gray.shape[0])), InferenceConfig())
        outputs = engine.run({"image": gray.astype(np.float32)[None, None]})
        copies = {name: output.copy() for name, output in outputs.items()}
        engine.close()
        return copies

    return run
