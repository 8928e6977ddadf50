"""Which backends this machine can run, and why not the others."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_ros.errors import EngineError
from hfnet_ros.inference import tensorrt_library
from hfnet_ros.inference.cuda_memory import INSTALL as INSTALL_CUDA
from hfnet_ros.inference.cuda_memory import find_cuda_library
from hfnet_ros.inference.driver import DriverReport, probe_driver
from hfnet_ros.inference.onnxruntime_library import load_onnxruntime

# Fastest first, the order of `auto`. TensorRT is before the one for RTX: it measures its kernels on this very GPU when
# it builds, where the other compiles what it takes to be good.
BACKENDS = (*tensorrt_library.LIBRARIES, "onnxruntime-cuda", "onnxruntime")


@dataclass(frozen=True)
class BackendReport:
    """Whether a backend can be used.

    Attributes:
        version: of its library, empty where unknown.
        reason: why it cannot be used; empty if it can.
        remedy: what to do about it.
    """

    name: str
    version: str
    reason: str = ""
    remedy: str = ""


def probe_backend(name: str, driver: DriverReport | None = None) -> BackendReport:
    """Look for one of BACKENDS; never raises.

    Args:
        name: of the backend.
        driver: what `probe_driver` said; asked here if None and needed.
    """
    if name == "onnxruntime":
        return _probe_onnxruntime()
    driver = driver or probe_driver()
    if name == "onnxruntime-cuda":
        return _probe_onnxruntime_cuda(driver)
    return _probe_tensorrt(tensorrt_library.LIBRARIES[name], driver)


def _probe_tensorrt(library: tensorrt_library.TensorrtLibrary, driver: DriverReport) -> BackendReport:
    version = library.installed_version()

    def lack(reason: str, remedy: str) -> BackendReport:
        return BackendReport(library.backend, version, reason, remedy)

    if driver.reason:
        return lack(driver.reason, driver.remedy)
    if not library.module:
        return lack(f"no module '{library.modules[0]}' in this Python", library.install)
    if not find_cuda_library():
        return lack("neither pycuda nor cuda-bindings in this Python", INSTALL_CUDA)
    try:
        library.check_capability(driver.gpus[0].capability, driver.gpus[0].name)
    except EngineError as error:
        return lack(str(error), f"set inference.backend to '{tensorrt_library.TENSORRT.backend}'")
    try:
        version = str(library.load(driver).__version__)
    except EngineError as error:
        return lack(str(error), library.install)
    return BackendReport(library.backend, version)


def _probe_onnxruntime_cuda(driver: DriverReport) -> BackendReport:
    plain = _probe_onnxruntime()
    reason, remedy = driver.reason or plain.reason, driver.remedy or plain.remedy
    if not reason:
        from hfnet_ros.inference.onnxruntime_engine import CUDA_PROVIDER

        if CUDA_PROVIDER not in load_onnxruntime().get_available_providers():
            reason = "this ONNX Runtime has no CUDA provider"
            remedy = "pip uninstall onnxruntime; pip install onnxruntime-gpu"
    return BackendReport("onnxruntime-cuda", plain.version, reason, remedy)


def _probe_onnxruntime() -> BackendReport:
    try:
        onnxruntime = load_onnxruntime()
    except Exception as error:  # a library it was linked with may be missing
        return BackendReport(
            "onnxruntime", "", f"ONNX Runtime cannot be imported: {error}", "pip install onnxruntime"
        )
    return BackendReport("onnxruntime", str(onnxruntime.__version__))
