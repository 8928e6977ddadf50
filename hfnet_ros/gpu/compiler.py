"""Compile CUDA sources: by pycuda (which runs nvcc) or by NVRTC (a library, through cuda-bindings)."""

from __future__ import annotations

import hashlib
import importlib
import logging
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from typing import Any

from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.kernel_cache import KernelKey, kept_kernels
from hfnet_ros.inference.code_folder import CodeFolder

_logger = logging.getLogger(__name__)


def compile_kernels(
    source: str,
    name: str,
    capability: tuple[int, int],
    defines: Mapping[str, int],
    first: str = "pycuda",
    folder: CodeFolder | None = None,
) -> bytes:
    """Return machine code (cubin) of a source for GPUs of a compute capability.

    Args:
        source: CUDA C++ without includes.
        name: of the source, for messages.
        capability: e.g. (8, 7) for Orin.
        defines: preprocessor macros.
        first: the compiler to try first, `pycuda` or `cuda-bindings`; the other one comes second.
        folder: keeps what NVRTC compiled, for the next start; pycuda keeps its own.

    Raises:
        EngineError: neither is installed, or the source is refused; the message has the log.
    """
    architecture = f"sm_{capability[0]}{capability[1]}"
    macros = [f"-D{key}={value}" for key, value in sorted(defines.items())]
    compilers: dict[str, Callable[[str, str, str, list[str]], bytes]] = {
        "pycuda": _compile_by_pycuda,
        "cuda-bindings": partial(_keep_from_nvrtc, folder),
    }
    reasons = []
    for library in sorted(compilers, key=lambda library: library != first):
        try:
            return compilers[library](source, name, architecture, macros)
        except Exception as error:  # noqa: PERF203 - both libraries raise more than they tell of
            reasons.append(f"{library}: {error}")
    raise EngineError(f"kernels {name} cannot be compiled for {architecture}: {'; '.join(reasons)}")


def _compile_by_pycuda(source: str, name: str, architecture: str, macros: list[str]) -> bytes:
    compiler: Any = importlib.import_module("pycuda.compiler")
    with warnings.catch_warnings(record=True) as said:  # a cache that has nothing yet is one of them
        warnings.simplefilter("always")
        image: bytes = compiler.compile(source, options=macros, no_extern_c=True, arch=architecture)
    for warning in said:
        _logger.debug("compiling %s: %s", name, warning.message)
    return image


def _keep_from_nvrtc(
    folder: CodeFolder | None, source: str, name: str, architecture: str, macros: list[str]
) -> bytes:
    compile_anew = partial(_compile_by_nvrtc, source, name, architecture, macros)
    if folder is None:
        return compile_anew()
    nvrtc: Any = importlib.import_module("cuda.bindings.nvrtc")
    _, *version = nvrtc.nvrtcVersion()
    key = KernelKey(
        source=name,
        source_sha256=hashlib.sha256(source.encode()).hexdigest(),
        macros=" ".join(macros),
        architecture=architecture,
        compiler=f"NVRTC {'.'.join(map(str, version))}, cuda-bindings {_version_of('cuda-bindings')}",
    )
    return kept_kernels(folder, key, compile_anew)


def _version_of(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _compile_by_nvrtc(source: str, name: str, architecture: str, macros: list[str]) -> bytes:
    nvrtc: Any = importlib.import_module("cuda.bindings.nvrtc")

    def call(function: str, *arguments: Any) -> Any:
        code, *results = getattr(nvrtc, function)(*arguments)
        if int(code) != 0:
            raise EngineError(f"{function} failed with {getattr(code, 'name', code)}")
        return results[0] if results else None

    options = [option.encode() for option in (f"--gpu-architecture={architecture}", *macros)]
    program = call("nvrtcCreateProgram", source.encode(), name.encode(), 0, [], [])
    try:
        try:
            call("nvrtcCompileProgram", program, len(options), options)
        except EngineError as error:
            log = _writable(call("nvrtcGetProgramLogSize", program))
            call("nvrtcGetProgramLog", program, log)
            raise EngineError(f"{error}: {log.decode(errors='replace').strip(chr(0))}") from None
        size = call("nvrtcGetCUBINSize", program)
        image = _writable(size)
        call("nvrtcGetCUBIN", program, image)
    finally:
        call("nvrtcDestroyProgram", program)
    return image[:size]


def _writable(size: int) -> bytes:
    """Return bytes that the library may write into, which is how its functions return texts.

    Never fewer than two: Python has each single byte only once, for everybody.
    """
    return b"\0" * max(size, 2)
