"""Measure choosing and describing keypoints on a GPU, beside the CPU's way and plain torch on the same GPU.

    export HFNET_ROS_WEIGHTS=../shared/weights   # the folder of xfeat.pt, or: hfnet-ros weights fetch xfeat.pt
    python bench/gpu/features.py --out features.json
    compute-sanitizer --tool memcheck  python bench/gpu/features.py --rounds 3 --frames 20 --no-torch
    compute-sanitizer --tool racecheck python bench/gpu/features.py --rounds 3 --frames 20 --no-torch

Needs an NVIDIA driver and pycuda (with nvcc) or cuda-bindings with NVRTC; torch is compared with where it is
installed. The GPU is named in the result. This was written without a GPU and has not run on one yet.

The dense outputs are those of the networks on the CPU for one image, put on the device in place of a
TensorRT plan's. Times are medians over rounds, the ways in turns, from dense outputs on the device to
keypoints on the host; only "CPU" has the dense outputs on the host already. The floor reads the dense outputs
once and writes the chosen keypoints, at the memory bandwidth given by --bandwidth.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measuring import describe_gpu, median_ms, memory_growth, write_result
from scipy.spatial import cKDTree

from hfnet_ros.config import Config, ExtractorConfig, InferenceConfig
from hfnet_ros.errors import WeightsError
from hfnet_ros.features import hfnet, xfeat
from hfnet_ros.features.onnx_network import OnnxNetwork
from hfnet_ros.features.preprocess import mean_gray
from hfnet_ros.features.weights import HFNET, XFEAT, find_weights
from hfnet_ros.features.xfeat_network import build_xfeat, load_xfeat_weights
from hfnet_ros.files.images import read_image
from hfnet_ros.gpu.features import DeviceTensor, FeatureKernels, SelectionRule
from hfnet_ros.inference.backend import create_engine
from hfnet_ros.inference.cuda_memory import CudaMemory, open_cuda_memory
from hfnet_ros.inference.driver import CudaDriver
from hfnet_ros.types import LocalFeatures

SAME_PX = 0.02
SIZE_WH = (640, 480)
ON_CPU = InferenceConfig(backend="onnxruntime")


@dataclass
class Dense:
    """What a network puts out for one image, and how keypoints are chosen of it."""

    scores: np.ndarray
    descriptors: np.ndarray
    reliability: np.ndarray | None
    rule: SelectionRule

    def arrays(self) -> list[np.ndarray]:
        return [array for array in (self.scores, self.descriptors, self.reliability) if array is not None]

    def astype(self, dtype: type) -> Dense:
        reliability = None if self.reliability is None else self.reliability.astype(dtype)
        return Dense(self.scores.astype(dtype), self.descriptors.astype(dtype), reliability, self.rule)

    def chosen_on_cpu(self) -> LocalFeatures:
        scores, descriptors = self.scores.astype(np.float32), self.descriptors.astype(np.float32)
        if self.reliability is None:
            return hfnet.select_keypoints(scores[0, 0], descriptors[0], self.rule)
        outputs = {
            "heatmap": scores,
            "descriptors": descriptors,
            "reliability": self.reliability.astype(np.float32),
        }
        return xfeat.select_keypoints(outputs, self.rule)


def paint(seed: int = 0) -> np.ndarray:
    """Return an image [H, W, 3] of many corners."""
    rng = np.random.default_rng(seed)
    width, height = SIZE_WH
    image = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
    for _ in range(1500):
        x, y = int(rng.integers(-5, width)), int(rng.integers(-5, height))
        corner = (x + int(rng.integers(3, 40)), y + int(rng.integers(3, 40)))
        cv2.rectangle(image, (x, y), corner, rng.integers(0, 256, 3).tolist(), -1)
    return cv2.GaussianBlur(image, (0, 0), 0.7)


def dense_outputs(image: np.ndarray, keypoints: int) -> dict[str, Dense]:
    """Run the networks on the CPU; without XFeat's weights only HF-Net."""
    gray = mean_gray(cv2.resize(image, SIZE_WH))[None, None]
    network = OnnxNetwork(find_weights(HFNET.file_name), ON_CPU)
    outputs = {key: value.copy() for key, value in network.engine(gray.shape).run({"image": gray}).items()}
    network.close()
    config = Config(extractor=ExtractorConfig(max_keypoints=keypoints))
    found = {"hfnet": Dense(outputs["scores"], outputs["local"], None, hfnet.selection_rule(config))}
    try:
        weights = load_xfeat_weights(find_weights(XFEAT.file_name))
    except WeightsError as error:
        print(f"without XFeat: {error}")
        return found
    engine = create_engine(build_xfeat(weights, SIZE_WH), ON_CPU)
    outputs = {key: value.copy() for key, value in engine.run({"image": gray}).items()}
    engine.close()
    rule = xfeat.selection_rule(config)
    found["xfeat"] = Dense(outputs["heatmap"], outputs["descriptors"], outputs["reliability"], rule)
    return found


def put(memory: CudaMemory, array: np.ndarray) -> DeviceTensor:
    host = memory.pinned(array.nbytes)
    host[:] = np.ascontiguousarray(array).view(np.uint8).ravel()
    address = memory.allocate(array.nbytes)
    memory.copy_to_device(address, host)
    memory.synchronize()
    return DeviceTensor(address, array.shape, array.dtype)


def torch_way(dense: Dense, device: str = "cuda") -> Callable[[], LocalFeatures]:
    """Return the same steps in plain torch."""
    import torch
    from torch.nn import functional

    scores, descriptors = (torch.from_numpy(array).to(device) for array in (dense.scores, dense.descriptors))
    reliability = None if dense.reliability is None else torch.from_numpy(dense.reliability).to(device)
    rule, (height, width) = dense.rule, dense.scores.shape[-2:]

    def highest(image: Any) -> Any:
        return functional.max_pool2d(image, 2 * rule.radius + 1, 1, rule.radius)

    def sample(values: Any, grid: Any, mode: str, corners: bool) -> Any:
        # In float16 a grid would not tell neighbouring pixels apart.
        grid = grid[None, None].float()
        return functional.grid_sample(values.float(), grid, mode=mode, align_corners=corners)[0, :, 0].T

    def choose() -> LocalFeatures:
        image = torch.where(scores > rule.threshold, scores, 0.0)
        kept = (image == highest(image)) & (image > 0)
        for _ in range(rule.iterations - 1):
            rest = torch.where(highest(kept.float()) > 0, 0.0, image)
            kept = kept | ((rest == highest(rest)) & (rest > 0))
        rows, columns = torch.nonzero(kept[0, 0], as_tuple=True)
        values = scores[0, 0, rows, columns]
        last = torch.tensor([width - 1, height - 1], device=device)
        if reliability is not None:
            inside = (columns < width - 1) & (rows < height - 1)
            rows, columns, values = rows[inside], columns[inside], values[inside]
        pixels = torch.stack([columns, rows], dim=1)
        grid = 2.0 * pixels / last - 1.0
        if reliability is not None:
            values = values * sample(reliability, grid, "bilinear", False)[:, 0]
        values, best = values.topk(min(rule.max_keypoints, len(values)))
        mode, corners = ("bicubic", False) if rule.cubic else ("bilinear", True)
        described = functional.normalize(sample(descriptors, grid[best], mode, corners).float(), dim=1)
        points = pixels[best].float()
        if rule.center_radius:
            window = torch.arange(-rule.center_radius, rule.center_radius + 1, device=device)
            padded = functional.pad(scores[0, 0].float(), [rule.center_radius] * 4)
            at = rule.center_radius + window
            around = padded[rows[best][:, None, None] + at[:, None], columns[best][:, None, None] + at]
            total = around.sum(dim=(1, 2))
            shift = [(around.sum(dim=1) @ window.float()), (around.sum(dim=2) @ window.float())]
            points = points + torch.stack(shift, dim=1) / total[:, None]
        return LocalFeatures(points.cpu().numpy(), values.float().cpu().numpy(), described.cpu().numpy())

    return choose


def agreement(found: LocalFeatures, wanted: LocalFeatures) -> dict[str, float]:
    """Return the share of keypoints that both have, and the lowest and median cosine of theirs."""
    if not len(found) or not len(wanted):
        return {"same_keypoints": float(len(found) == len(wanted))}
    distance, nearest = cKDTree(wanted.keypoints).query(found.keypoints)
    rows = np.flatnonzero(distance < SAME_PX)
    cosines = np.einsum("nd,nd->n", found.descriptors[rows], wanted.descriptors[nearest[rows]])
    return {
        "same_keypoints": len(rows) / max(len(found), len(wanted)),
        "lowest_cosine": float(cosines.min()),
        "median_cosine": float(np.median(cosines)),
    }


def recorded(memory: CudaMemory, kernels: FeatureKernels) -> Callable[[], None]:
    """Return what launches the kernels as one CUDA graph."""
    driver = CudaDriver()
    driver.begin_capture(memory.stream)
    kernels.put()
    graph = driver.end_capture(memory.stream)
    return lambda: driver.launch_graph(graph, memory.stream)


def measure(dense: Dense, memory: CudaMemory, options: argparse.Namespace) -> dict[str, Any]:
    tensors = [put(memory, array) for array in dense.arrays()]
    reliability = tensors[2] if dense.reliability is not None else None
    kernels = FeatureKernels(memory, *tensors[:2], dense.rule, reliability=reliability)

    def by_kernels() -> LocalFeatures:
        kernels.put()
        memory.synchronize()
        return kernels.features()

    hosts = [memory.pinned(array.nbytes) for array in dense.arrays()]

    def by_cpu() -> LocalFeatures:
        for host, tensor in zip(hosts, tensors, strict=True):
            memory.copy_to_host(host, tensor.address)
        memory.synchronize()
        return dense.chosen_on_cpu()

    ways: dict[str, Callable[[], Any]] = {
        "kernels": by_kernels,
        "copy and CPU": by_cpu,
        "CPU": dense.chosen_on_cpu,
    }
    wanted = dense.chosen_on_cpu()
    same = {"kernels": agreement(by_kernels(), wanted)}
    if not options.no_graph:
        launch = recorded(memory, kernels)

        def by_graph() -> LocalFeatures:
            launch()
            memory.synchronize()
            return kernels.features()

        ways["kernels, CUDA graph"] = by_graph
        same["kernels, CUDA graph"] = agreement(by_graph(), wanted)
    if not options.no_torch:
        ways["torch"] = torch_way(dense)
        same["torch"] = agreement(ways["torch"](), wanted)
    ms = median_ms(ways, options.rounds)
    growth = memory_growth(memory, by_kernels, options.frames)
    kernels.close()
    moved = sum(array.nbytes for array in dense.arrays()) + 4 * dense.rule.max_keypoints * (
        3 + wanted.descriptors.shape[1]
    )
    return {
        "num_keypoints": len(wanted),
        "same_as_cpu": same,
        "ms": ms,
        "faster_than": {
            name: times["median"] / ms["kernels"]["median"]
            for name, times in ms.items()
            if not name.startswith("kernels")
        },
        "floor_ms": 1e-6 * moved / options.bandwidth,
        "frames": options.frames,
        "memory_growth_bytes": growth,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, metavar="FILE", help="a photo instead of a painted image")
    parser.add_argument("--keypoints", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--frames", type=int, default=10000, help="after which the memory is looked at")
    parser.add_argument("--bandwidth", type=float, default=4800.0, help="GB/s of the GPU's memory")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--no-graph", action="store_true")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the result as JSON")
    options = parser.parse_args()
    gpu = describe_gpu()
    outputs = dense_outputs(read_image(options.image) if options.image else paint(), options.keypoints)
    result: dict[str, Any] = {
        **gpu,
        "size": "x".join(map(str, SIZE_WH)),
    }
    memory = open_cuda_memory()
    try:
        result["cuda_library"] = memory.library
        for name, dense in outputs.items():
            for dtype in (np.float32, np.float16):
                key = f"{name}, {np.dtype(dtype).name}"
                result[key] = measure(dense.astype(dtype), memory, options)
    finally:
        memory.close()
    write_result(result, options.out)


if __name__ == "__main__":
    main()
