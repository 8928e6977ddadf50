"""The package's CUDA kernels, compiled by g++ and run on the CPU, behind each interface that runs them.

* `HostMemory` and `HostModule` stand for `CudaMemory` and `KernelModule`: `open_host_module` for
  `open_module`. Memory ends at a page that nobody may touch, and unwritten memory is NaN.
* `install_kernels` gives the simulated GPU of `fake_cuda` what it needs to run kernels, so that the
  package's own module and compiler code is run too.

Work on a stream is done when somebody waits for it, as in `fake_cuda`. See host_cuda.h for the rest.
"""

import ctypes
import enum
import hashlib
import mmap
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fake_cuda
import numpy as np
import pytest

from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.source import read_source

HEADER = Path(__file__).with_name("host_cuda.h")
_built = []  # the folder with shared libraries
_KERNEL = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(')
_DYNAMIC = re.compile(r"extern __shared__ (?:__align__\(\d+\) )?([\w ]+?) (\w+)\[\];")
_FLAGS = (
    "-std=c++17",
    "-Og",
    "-shared",
    "-fPIC",
    "-w",
    "-U_FORTIFY_SOURCE",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fsanitize=undefined",
    "-fsanitize-undefined-trap-on-error",
)
_PAGE = mmap.PAGESIZE
_loaded = {}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def need_compiler():
    """Return g++, or skip the test."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    return compiler


def build_in(folder):
    """Keep libraries in a folder; in one of all workers each is compiled once, which takes two seconds."""
    _built[:] = [folder]


def built(name, text, command):
    """Return the path of a file of this name, compiled unless a worker has done so."""
    result, own = _built[0] / name, _built[0] / str(os.getpid())
    if not result.exists():
        own.mkdir(parents=True, exist_ok=True)
        file = own / "kernels.cpp"
        file.write_text(text, encoding="utf-8")
        asked = [*command, f"-I{HEADER.parent}", str(file), "-o", str(own / name)]
        compiled = subprocess.run(asked, capture_output=True, text=True, check=False)
        if compiled.returncode:
            raise EngineError(f"g++ refuses the kernels: {compiled.stderr[:4000]}")
        (own / name).replace(result)
    return result


def built_library(name, text, command):
    """Return the path of a shared library of this name; the header, a third of a compilation, is compiled first."""
    header = built(f"{HEADER.name}.gch", f'#include "{HEADER.name}"', [*command, "-x", "c++-header"])
    return built(name, text, [*command, f"-I{header.parent}"])


class HostKernels:
    """Kernels of one source in a shared library."""

    def __init__(self, source, defines=None):
        compiler = need_compiler()
        self.names = _KERNEL.findall(source)
        text = _DYNAMIC.sub(r"\1* \2 = reinterpret_cast<\1*>(host::dynamic_shared_);", source)
        # In a namespace of its own everything is static, which variables in one section must agree in.
        # What is defined stands behind the header, which was compiled without.
        macros = "".join(f"#define {key} {value}\n" for key, value in sorted((defines or {}).items()))
        text = f'#include "{HEADER.name}"\n{macros}namespace {{\n{text}\n}}\n'
        text += "".join(f"HOST_KERNEL({name})\n" for name in self.names)
        key = hashlib.sha256((text + HEADER.read_text()).encode()).hexdigest()[:16]
        self._library = ctypes.CDLL(str(built_library(f"{key}.so", text, [compiler, *_FLAGS])))

    def kinds(self, name):
        """Return the kinds of a kernel's parameters: p8 (pointer), i4, u4, f4, ..."""
        if name not in self.names:
            raise EngineError(f"no kernel '{name}', only {', '.join(self.names)}")
        function = self._library[f"{name}__kinds"]
        function.restype = ctypes.c_char_p
        return function().decode().split()

    def run(self, name, grid, block, values, shared_bytes=0, seed=0):
        """Run a kernel now.

        Args:
            name: of the kernel.
            grid: blocks along x, y, z.
            block: threads along x, y, z.
            values: bytes of the arguments.
            shared_bytes: of dynamic shared memory.
            seed: order of blocks and threads: 0 forward, 1 backward, else shuffled.
        """
        function = self._library[f"{name}__launch"]
        function.restype = ctypes.c_char_p
        buffers = [ctypes.create_string_buffer(value, len(value)) for value in values]
        pointers = (ctypes.c_void_p * max(len(buffers), 1))(*map(ctypes.addressof, buffers))
        dims = (ctypes.c_uint * 6)(*grid, *block)
        failure = function(pointers, dims, ctypes.c_size_t(shared_bytes), ctypes.c_int(seed))
        if failure:
            raise EngineError(f"kernel '{name}': {failure.decode()}")


def host_kernels(source, defines=None):
    """Return the kernels of a source, compiled once in a process."""
    key = (source, tuple(sorted((defines or {}).items())))
    if key not in _loaded:
        _loaded[key] = HostKernels(source, defines)
    return _loaded[key]


def checked_values(name, arguments, kinds):
    """Return the bytes of arguments, if they are what the parameters' kinds want.

    Raises:
        EngineError: one of them is not.
    """
    found = [_kind(argument) for argument in arguments]
    if found != kinds:
        raise EngineError(f"kernel '{name}' is given {' '.join(found)}, expected {' '.join(kinds)}")
    return [
        argument.tobytes() if isinstance(argument, np.generic) else int(argument).to_bytes(8, sys.byteorder)
        for argument in arguments
    ]


def _kind(argument):
    if isinstance(argument, np.generic):
        return f"{argument.dtype.kind}{argument.dtype.itemsize}"
    return "p8"


class HostMemory:
    """`CudaMemory` in ordinary memory; each allocation ends where a page begins that nobody may touch."""

    library = "pycuda"
    stream = 0x57EA

    def __init__(self):
        self._mapped, self._slack, self._queue, self._kept = {}, [], [], []
        self.synchronizations, self.closed = 0, False

    @property
    def num_allocations(self):
        return len(self._mapped)

    def allocate(self, nbytes):
        room = (max(nbytes, 1) + _PAGE - 1) // _PAGE * _PAGE
        start = _libc.mmap(None, room + 2 * _PAGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        assert _libc.mprotect(start + _PAGE, room, mmap.PROT_READ | mmap.PROT_WRITE) == 0
        whole = _bytes_at(start + _PAGE, room)
        whole[:] = 0xFF
        offset = (room - nbytes) // 16 * 16
        self._slack += [whole[:offset], whole[offset + nbytes :]]
        self._mapped[start] = room + 2 * _PAGE
        return start + _PAGE + offset

    def put(self, array):
        """Return the address of a copy of an array on the device, for tests."""
        array = np.ascontiguousarray(array)
        address = self.allocate(array.nbytes)
        self.view(address, array.shape, array.dtype)[...] = array
        return address

    def view(self, address, shape, dtype):
        """Return device memory as an array, for tests."""
        count = int(np.prod(shape, dtype=np.int64))
        return _bytes_at(address, count * np.dtype(dtype).itemsize).view(dtype).reshape(shape)

    def pinned(self, nbytes):
        self._kept.append(np.full(nbytes, 0xCD, np.uint8))
        return self._kept[-1]

    def copy_to_device(self, address, source):
        self._check_pinned(source)
        self._queue.append(lambda: ctypes.memmove(address, source.ctypes.data, source.nbytes))

    def copy_to_host(self, target, address):
        self._check_pinned(target)
        self._queue.append(lambda: ctypes.memmove(target.ctypes.data, address, target.nbytes))

    def put_work(self, work):
        """Put a function on the stream."""
        self._queue.append(work)

    def synchronize(self):
        self.synchronizations += 1
        while self._queue:
            self._queue.pop(0)()
        for slack in self._slack:
            assert (slack == 0xFF).all(), "something was written beside a buffer"

    def free_bytes(self):
        return 1 << 30, 2 << 30

    def close(self):
        self._slack.clear()
        for start, length in self._mapped.items():
            _libc.munmap(start, length)
        self._mapped.clear()
        self.closed = True

    def _check_pinned(self, array):
        assert array.flags.c_contiguous
        address = array.ctypes.data
        assert any(
            kept.ctypes.data <= address and address + array.nbytes <= kept.ctypes.data + kept.nbytes
            for kept in self._kept
        ), "asynchronous copy of memory that is not page-locked"


def _bytes_at(address, nbytes):
    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))


class HostModule:
    """`KernelModule` on the CPU; checks the types of arguments, which the real one cannot."""

    def __init__(self, memory, source, defines=None, seed=0):
        self._memory, self._kernels, self._seed = memory, host_kernels(source, defines), seed
        self.launched, self.closed = [], False

    def launch(self, name, grid, block, arguments, shared_bytes=0):
        self.prepare(name, grid, block, arguments, shared_bytes)()

    def prepare(self, name, grid, block, arguments, shared_bytes=0):
        assert not self.closed
        values = checked_values(name, arguments, self._kernels.kinds(name))

        def work():
            self._kernels.run(name, grid, block, values, shared_bytes, self._seed)

        def put():
            assert not self.closed and not self._memory.closed
            self.launched.append(name)
            self._memory.put_work(work)

        return put

    def close(self):
        assert not self._memory.closed, "kernels outlived their memory"
        self.closed = True


def open_host_module(memory, source_name, defines=None, seed=0):
    """Stand for `hfnet_ros.gpu.module.open_module` on a `HostMemory`."""
    return HostModule(memory, read_source(source_name), defines, seed)


# Kernels on the simulated GPU of fake_cuda

_IMAGE = b"HOSTCUBIN"


def install_kernels(monkeypatch, machine, compilers=("pycuda", "cuda-bindings"), seed=0):
    """Let a `fake_machine.Machine` compile kernels (by g++) and run them."""
    gpu = machine.gpu
    gpu.modules, gpu.launched = {}, []
    functions = {}

    def load(gpu, out, image):
        gpu.need_context()
        content = image.value
        if not content.startswith(_IMAGE):
            raise fake_cuda.CudaError(200)
        out.value = gpu.handle()
        gpu.modules[out.value] = _images[content]

    def unload(gpu, module):
        gpu.need_context()
        del gpu.modules[module.value]
        gpu.events.append("free module")

    def function(gpu, out, module, name):
        gpu.need_context()
        kernels = gpu.modules[module.value]
        if name.value.decode() not in kernels.names:
            raise fake_cuda.CudaError(500)
        out.value = gpu.handle()
        functions[out.value] = (kernels, name.value.decode())

    def launch(gpu, handle, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra):
        gpu.need_context()
        kernels, name = functions[handle.value]
        # The real driver copies the arguments while it is called, too.
        sizes = [int(kind[1:]) for kind in kernels.kinds(name)]
        values = [ctypes.string_at(address, size) for address, size in zip(parameters, sizes, strict=False)]
        assert len(values) == len(sizes), f"kernel '{name}' is given too few arguments"

        def work():
            gpu.launched.append(name)
            kernels.run(name, (gx, gy, gz), (bx, by, bz), values, shared, seed)

        gpu.put(stream.value, work)

    entries = {
        "cuModuleLoadData": load,
        "cuModuleUnload": unload,
        "cuModuleGetFunction": function,
        "cuFuncSetAttribute": lambda gpu, handle, which, value: None,
        "cuLaunchKernel": launch,
        "cuCtxGetDevice": lambda gpu, out: setattr(out, "value", 0),
    }
    for name, entry in entries.items():
        monkeypatch.setitem(fake_cuda._LIBCUDA, name, entry)
    for module in ("pycuda.compiler", "cuda.bindings.nvrtc"):
        monkeypatch.setitem(sys.modules, module, None)
    if "pycuda" in compilers:
        monkeypatch.setitem(sys.modules, "pycuda.compiler", fake_pycuda_compiler())
    if "cuda-bindings" in compilers:
        monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", fake_nvrtc())


_images = {}
num_compiled = [0]


def _compile(source, options):
    defines = dict(option[2:].split("=") for option in options if option.startswith("-D"))
    kernels = host_kernels(source, defines)
    image = _IMAGE + f"{len(_images):06d}".encode()  # of one length, whatever was compiled before
    _images[image] = kernels
    num_compiled[0] += 1
    return image


def fake_pycuda_compiler():
    """`pycuda.compiler`."""
    module = fake_cuda.new_module("pycuda.compiler")

    def compile(source, nvcc="nvcc", options=None, keep=False, no_extern_c=False, arch=None):
        assert no_extern_c
        assert re.fullmatch(r"sm_\d+", arch)
        return _compile(source, options)

    module.compile = compile
    return module


def fake_nvrtc():
    """`cuda.bindings.nvrtc`."""

    class nvrtcResult(enum.IntEnum):  # noqa: N801 - the real name
        NVRTC_SUCCESS = 0
        NVRTC_ERROR_COMPILATION = 6

    ok = nvrtcResult.NVRTC_SUCCESS
    programs = {}

    def create(src, name, count, headers, names):
        assert isinstance(src, bytes) and isinstance(name, bytes) and count == len(headers) == len(names)
        programs[len(programs) + 1] = {"source": src.decode(), "log": b"\0", "image": b""}
        return ok, len(programs)

    def compile(program, count, options):
        assert count == len(options) and all(isinstance(option, bytes) for option in options)
        state = programs[program]
        try:
            state["image"] = _compile(state["source"], [option.decode() for option in options])
        except EngineError as error:
            state["log"] = str(error).encode() + b"\0"
            return (nvrtcResult.NVRTC_ERROR_COMPILATION,)
        return (ok,)

    def copy(key):
        def write(program, target):
            content = programs[program][key]
            assert len(target) >= len(content) and len(target) > 1, "would write into a shared object"
            ctypes.memmove(target, content, len(content))
            return (ok,)

        return write

    module = fake_cuda.new_module("cuda.bindings.nvrtc")
    module.nvrtcVersion = lambda: (ok, 12, 9)
    module.nvrtcCreateProgram = create
    module.nvrtcCompileProgram = compile
    module.nvrtcGetProgramLogSize = lambda program: (ok, len(programs[program]["log"]))
    module.nvrtcGetProgramLog = copy("log")
    module.nvrtcGetCUBINSize = lambda program: (ok, len(programs[program]["image"]))
    module.nvrtcGetCUBIN = copy("image")
    module.nvrtcDestroyProgram = lambda program: (ok,)
    return module
