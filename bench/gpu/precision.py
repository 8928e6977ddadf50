"""Compare what HF-Net returns in the forms that TensorRT engines are built from, run by ONNX Runtime on the CPU.

    python bench/gpu/precision.py --images ../shared/data/photos --every 100

Needs no GPU: an engine's kernels add in another order and are not asked here. Graph optimisations are off: ONNX Runtime
1.32 rounds bytes with scales in float16 otherwise than the file says when it fuses them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

import hfnet_ros
from hfnet_ros.config import InferenceConfig
from hfnet_ros.features.onnx_network import OnnxNetwork
from hfnet_ros.inference.engine import NetworkModel
from hfnet_ros.inference.explicit_int8 import with_symmetric_bytes
from hfnet_ros.inference.half_precision import with_half_products

SIZE_WH = (640, 480)


def forms() -> dict[str, NetworkModel]:
    """Return the network by the name of its precision; `int8 of the CPU` is what lies in the file."""
    path = Path(hfnet_ros.__file__).parent / "weights" / "hfnet.onnx"
    network = OnnxNetwork(path, InferenceConfig()).model((1, 1, SIZE_WH[1], SIZE_WH[0]))
    assert network.quantized is not None
    given = network.quantized()
    return {
        "fp32": network,
        "fp16": with_half_products(network),
        "int8": with_half_products(with_symmetric_bytes(given)),
        "int8 of the CPU": given,
    }


def answers(model: NetworkModel, images: list[np.ndarray]) -> list[list[np.ndarray]]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.onnx, options, providers=["CPUExecutionProvider"])
    return [session.run(["scores", "local", "global"], {"image": image}) for image in images]


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine between vectors along the second axis, flat."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return ((first * second).sum(1) / lengths).ravel()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of photos")
    parser.add_argument("--every", type=int, default=1, help="take every N-th")
    options = parser.parse_args()
    paths = sorted(path for path in options.images.rglob("*") if path.suffix in (".jpg", ".png"))
    grays = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths[:: options.every]]
    images = [cv2.resize(gray, SIZE_WH).astype(np.float32)[None, None] for gray in grays if gray is not None]
    found = {name: answers(model, images) for name, model in forms().items()}
    print(f"{len(images)} images, ONNX Runtime {onnxruntime.__version__}; cosine with fp32")
    for name in list(found)[1:]:
        pairs = list(zip(found["fp32"], found[name], strict=True))
        local = np.concatenate([cosines(full[1], other[1]) for full, other in pairs])
        whole = np.concatenate([cosines(full[2], other[2]) for full, other in pairs])
        scores = max(float(np.abs(full[0] - other[0]).max()) for full, other in pairs)
        print(
            f"{name}: local mean {local.mean():.6f}, 1 % below {np.percentile(local, 1):.6f}; "
            f"global mean {whole.mean():.6f}, least {whole.min():.6f}; scores differ by at most {scores:.4f}"
        )


if __name__ == "__main__":
    main()
