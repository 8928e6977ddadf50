"""Measure matching and retrieval on a GPU, beside the CPU's way and plain torch on the same GPU.

    python bench/gpu/matching.py --out matching.json
    compute-sanitizer --tool memcheck  python bench/gpu/matching.py --rounds 3 --frames 20 --no-torch
    compute-sanitizer --tool racecheck python bench/gpu/matching.py --rounds 3 --frames 20 --no-torch

Needs an NVIDIA driver and pycuda (with nvcc) or cuda-bindings with NVRTC; torch is compared with where it is
installed. The GPU is named in the result. This was written without a GPU and has not run on one yet.

Times are medians over rounds, the ways in turns. Each begins with an image's descriptors and ends with the
matches on the host, copies included. The floor is that of docs/notes/gpu.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import describe_gpu, median_ms, memory_growth, write_result

from hfnet_ros.config import MatchingConfig
from hfnet_ros.gpu.matching import GpuLandmarks
from hfnet_ros.gpu.retrieval import GpuKeyframes
from hfnet_ros.inference.cuda_memory import open_cuda_memory
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_words import assign_words
from hfnet_ros.matching.mutual_nearest import mutual_nearest
from hfnet_ros.matching.visual_words import mutual_nearest_in_words
from hfnet_ros.retrieval.descriptor_index import ExactIndex

NUM_WORDS = 64


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make_scene(
    rng: np.random.Generator, num_keypoints: int, num_landmarks: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints of which most see a landmark, more or less alike, and the landmarks."""
    landmarks = unit(rng.normal(size=(num_landmarks, size)))
    noise = rng.uniform(0.2, 1.2, (num_keypoints, 1)) * unit(rng.normal(size=(num_keypoints, size)))
    return unit(landmarks[rng.integers(num_landmarks, size=num_keypoints)] + noise), landmarks


def torch_ways(keypoints: np.ndarray, landmarks: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return the same steps in plain torch, from descriptors to matches on the host."""
    import torch

    ways = {}
    for name, dtype in (("torch fp16", torch.float16), ("torch fp32", torch.float32)):
        table = torch.from_numpy(landmarks).to("cuda", dtype)

        def match(table: Any = table, dtype: Any = dtype) -> Any:
            fixed = torch.from_numpy(keypoints).to("cuda", dtype)
            similarity = fixed @ table.T
            best, nearest = similarity.topk(2, dim=1)
            back = similarity.argmax(dim=0)
            own = torch.arange(len(fixed), device="cuda")
            kept = (back[nearest[:, 0]] == own) & (best[:, 0] >= 0.6)
            rows = own[kept].cpu().numpy()
            return rows, nearest[kept, 0].cpu().numpy(), best[kept, 0].float().cpu().numpy()

        ways[name] = match
    return ways


def agreement(found: Any, wanted: Any) -> float:
    """Return the share of pairs that both ways give."""
    ours = set(zip(found[0].tolist(), found[1].tolist(), strict=True))
    theirs = set(zip(wanted[0].tolist(), wanted[1].tolist(), strict=True))
    return len(ours & theirs) / max(len(ours | theirs), 1)


def measure_matching(options: argparse.Namespace, memory: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    keypoints, landmarks = make_scene(rng, options.keypoints, options.landmarks, options.size)
    rows = np.arange(len(landmarks))
    xyz = rng.uniform(-20.0, 20.0, (len(landmarks), 3))
    table = GpuLandmarks(memory, landmarks, xyz, max_keypoints=len(keypoints), max_listed=len(landmarks))

    def by_kernels(ratio: float = 1.0) -> Any:
        return table.match(keypoints, rows, min_similarity=0.6, ratio=ratio, same_place_m=0.4)

    gpu_ways: dict[str, Callable[[], Any]] = {
        "kernels": by_kernels,
        "kernels, ratio 0.9": lambda: by_kernels(0.9),
    }
    if not options.no_torch:
        gpu_ways.update(torch_ways(keypoints, landmarks))
    vocabulary = unit(rng.normal(size=(NUM_WORDS, options.size)))
    words = assign_words(landmarks, vocabulary)
    order = np.argsort(words, kind="stable")
    cpu_ways: dict[str, Callable[[], Any]] = {
        "CPU, all landmarks": lambda: mutual_nearest(keypoints, landmarks, 0.6),
        "CPU, within visual words": lambda: mutual_nearest_in_words(
            keypoints, landmarks[order], words[order], vocabulary, MatchingConfig().words_per_keypoint, 0.6
        ),
    }
    wanted = mutual_nearest(keypoints, landmarks, 0.6)
    result = {
        "num_matches": len(wanted[0]),
        "same_as_cpu": {
            name: agreement(way(), wanted) for name, way in gpu_ways.items() if "ratio" not in name
        },
        "ms": median_ms(gpu_ways, options.rounds) | median_ms(cpu_ways, max(options.rounds // 20, 3)),
        "memory_growth_bytes": memory_growth(memory, by_kernels, options.frames),
    }
    table.close()
    return result


def measure_retrieval(options: argparse.Namespace, memory: Any) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    database = unit(rng.normal(size=(options.keyframes, options.global_size)))
    query = unit(rng.normal(size=(1, options.global_size)))[0]
    keyframes, index = GpuKeyframes(memory, database, max_found=25), ExactIndex(UnitVectors.encode(database))
    wanted = {hit.keyframe_idx for hit in index.search(query, 25)}
    ways: dict[str, Callable[[], Any]] = {
        "kernels": lambda: keyframes.search(query, 25),
        "CPU": lambda: index.search(query, 25),
    }
    if not options.no_torch:
        import torch

        table = torch.from_numpy(database).to("cuda", torch.float16)

        def search() -> Any:
            wanted = torch.from_numpy(query).to("cuda", torch.float16)
            best, idxs = (table @ wanted).topk(25)
            return best.cpu(), idxs.cpu()

        ways["torch fp16"] = search
    found = set(keyframes.search(query, 25)[0].tolist())
    result = {"same_as_cpu": len(found & wanted) / 25, "ms": median_ms(ways, options.rounds)}
    keyframes.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keypoints", type=int, default=2048)
    parser.add_argument("--landmarks", type=int, default=20000)
    parser.add_argument("--size", type=int, default=64, help="numbers of a local descriptor")
    parser.add_argument("--keyframes", type=int, default=5000)
    parser.add_argument("--global-size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--frames", type=int, default=10000, help="after which the memory is looked at")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the result as JSON")
    options = parser.parse_args()
    gpu = describe_gpu()
    memory = open_cuda_memory()
    try:
        result = {
            **gpu,
            "cuda_library": memory.library,
            "matching": f"{options.keypoints} x {options.landmarks} x {options.size}",
            "gigaflop": 2e-9 * options.keypoints * (options.landmarks + options.keypoints) * options.size,
            "match": measure_matching(options, memory),
            "retrieve": measure_retrieval(options, memory),
        }
    finally:
        memory.close()
    write_result(result, options.out)


if __name__ == "__main__":
    main()
