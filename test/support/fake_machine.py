"""A computer with a simulated GPU."""

import sys

from fake_cuda import FakeLibcuda, SimulatedGpu, fake_cuda_bindings, fake_pycuda
from fake_tensorrt import make_tensorrt

from hfnet_ros.config import InferenceConfig
from hfnet_ros.inference import driver
from hfnet_ros.inference.tensorrt_library import TENSORRT_RTX

CUDA_MODULES = {"pycuda": "pycuda.driver", "cuda-bindings": "cuda.bindings.driver"}


class Machine:
    """A computer with a simulated GPU: what is installed on it can be chosen and taken away."""

    def __init__(self, monkeypatch, cache):
        self._patch, self._cache = monkeypatch, cache
        self.gpu = SimulatedGpu()
        self.install_driver()
        for name in ("tensorrt", *TENSORRT_RTX.modules, *CUDA_MODULES.values()):
            self.remove(name)

    def install_driver(self):
        self._patch.setattr(driver, "_open_library", lambda: FakeLibcuda(self.gpu))

    def remove_driver(self):
        def missing():
            raise OSError("libcuda.so.1: cannot open shared object file")

        self._patch.setattr(driver, "_open_library", missing)

    def remove(self, module):
        self._patch.setitem(sys.modules, module, None)

    def install_cuda(self, library="pycuda"):
        make = fake_pycuda if library == "pycuda" else fake_cuda_bindings
        self._patch.setitem(sys.modules, CUDA_MODULES[library], make(self.gpu))

    def install_tensorrt(self, version="10.3"):
        self.trt = make_tensorrt(version, self.gpu)
        self._patch.setitem(sys.modules, self.trt.__name__, self.trt)
        return self.trt

    def config(self, **options):
        defaults = {
            "backend": "tensorrt",
            "precision": "fp32",
            "engine_cache": str(self._cache),
            "gpu_postprocessing": "auto",
        }
        return InferenceConfig(**{**defaults, **options})

    @property
    def cache(self):
        return self._cache
