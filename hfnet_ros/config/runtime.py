"""Parameters of how networks run on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_ros.config.schema import parameter


@dataclass(frozen=True)
class InferenceConfig:
    """How networks run on this machine."""

    backend: str = parameter(
        "auto",
        "Runtime of the networks; auto takes the fastest one that works here and logs why not a faster one.",
        choices=("auto", "onnxruntime", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx"),
        level="basic",
    )
    num_threads: int = parameter(
        2,
        "CPU threads of the network; of 2 and more, a part that shares no layer with the rest has one of its own.",
        low=1,
        high=64,
        level="basic",
    )
    allow_spinning: bool = parameter(
        False,
        "Let network threads wait busily: a little faster where cores are idle, and several times slower where other "
        "programs want them.",
    )
    cpu_precision: str = parameter(
        "auto",
        "Numbers of a network on the CPU: bytes (int8) where a file of them lies beside the weights and the processor "
        "has an instruction for their products (auto; maps are made in float32; docs/hfnet.md says what it gains "
        "and costs), or one of the two whatever the processor: without that instruction int8 is slow and less exact.",
        choices=("auto", "float32", "int8"),
    )
    precision: str = parameter(
        "fp16",
        "Numbers of a TensorRT engine: convolutions and products in float16 (fp16), those that the int8 form beside "
        "the weights holds in bytes and the others in float16 (int8), everything as in the file (fp32, also for files "
        "with float16 or Q/DQ nodes of their own), or what TensorRT 10 chooses itself (weak-fp16, weak-int8).",
        choices=("fp16", "int8", "fp32", "weak-fp16", "weak-int8"),
    )
    engine_cache: str = parameter(
        "",
        "Folder of built TensorRT engines and compiled kernels; empty is hfnet_ros/engines in the user's cache.",
    )
    build_engines: bool = parameter(
        True,
        "Build a missing TensorRT engine when it is needed, which takes minutes; otherwise it is an error.",
    )
    workspace_mib: int = parameter(
        512,
        "MiB of GPU memory a TensorRT layer may work in; XFeat's largest tensor at 640x480 has 5, and a Jetson's is "
        "that of the whole machine.",
        low=16,
        high=65536,
    )
    cuda_graph: bool = parameter(
        False,
        "Record a TensorRT run once and replay it, which spares the CPU; off because it never ran on a GPU yet "
        "(docs/gpu.md says what to check first).",
    )
    dla_core: int = parameter(
        -1,
        "Deep learning accelerator of a Jetson that runs what it can of the network; -1 is the GPU alone.",
        low=-1,
        high=3,
    )
    gpu_postprocessing: str = parameter(
        "off",
        "Choose and describe keypoints on the GPU: behind a TensorRT engine (auto), or never; off because it never ran "
        "on a GPU yet (bench/gpu/features.py says whether it may be on).",
        choices=("auto", "off"),
    )
    gpu_matching: str = parameter(
        "off",
        "Search and match in the map on the GPU: where the network runs there and the map fits (auto), or never; off "
        "because it never ran on a GPU yet (bench/gpu/matching.py says whether it may be on).",
        choices=("auto", "off"),
    )
