"""The TensorRT libraries of this machine: found, old enough or new enough, and their logs.

There are two behind the same calls: TensorRT, and TensorRT for RTX, which compiles in the builder for one compute
capability, with or without a GPU, and in the runtime for the very GPU. Checked against the Python bindings of
TensorRT 10.3, 10.13, 10.16, 11.0 and 11.4, and of TensorRT for RTX 1.7.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.metadata
import importlib.util
import logging
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.driver import DriverReport, probe_driver

_logger = logging.getLogger(__name__)

_MAX_LINES = 5000
# Its wheel holds the libraries that the bindings' wheel lacks.
_RTX_LIBRARIES = "onnxruntime_ep_nv_tensorrt_rtx"


@dataclass(frozen=True)
class TensorrtLibrary:
    """One library with TensorRT's interface: what differs from the others, and how it is found.

    Attributes:
        backend: value of `inference.backend`.
        title: name for people.
        modules: names of the Python module, the first that is there counts.
        distributions: names under which the package index of Python may know it.
        oldest: version that this program was checked against first.
        install: how to get it.
        suffix: of its plans' files.
        capabilities: compute capabilities that it builds for without their GPU; empty: it builds for the GPU that is
            there, whichever.
        caution: what nobody has tried; empty where there is nothing to say beyond the documentation.
    """

    backend: str
    title: str
    modules: tuple[str, ...]
    distributions: tuple[str, ...]
    oldest: tuple[int, int]
    install: str
    suffix: str
    capabilities: tuple[tuple[int, int], ...] = ()
    caution: str = ""

    @property
    def builds_ahead(self) -> bool:
        """Tell whether it builds for named compute capabilities, and compiles the rest where the plan runs."""
        return bool(self.capabilities)

    @property
    def module(self) -> str:
        """Name of the module that is there; nothing is imported. Empty if there is none."""
        return next((name for name in self.modules if _exists(name)), "")

    def installed_version(self) -> str:
        """Return the version that the package index of Python knows, empty if unknown; nothing is imported."""
        for name in self.distributions:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                return importlib.metadata.version(name)
        return ""

    def load(self, driver: DriverReport | None = None) -> Any:
        """Return the module, once it is certain that there is a GPU that it can use.

        Args:
            driver: what `probe_driver` said; asked here if None.

        Raises:
            EngineError: there is no such GPU, no library, or one of a version that this program does not know.
        """
        driver = driver or probe_driver()
        if driver.reason:
            ahead = f"; for another machine: {self.build_ahead_hint}" if self.builds_ahead else ""
            raise EngineError(f"{self.title} needs a GPU: {driver.reason}; {driver.remedy}{ahead}")
        self.check_capability(driver.gpus[0].capability, driver.gpus[0].name)
        return self.load_builder()

    def load_builder(self) -> Any:
        """Return the module for building alone, for which TensorRT for RTX needs neither GPU nor driver.

        Raises:
            EngineError: there is no library, or one of a version that this program does not know.
        """
        try:
            if self.builds_ahead:
                _load_rtx_libraries()
            module = importlib.import_module(self.module or self.modules[0])
        except Exception as error:  # a library it was linked with may be missing or another one
            raise EngineError(f"{self.title} cannot be imported: {error}; {self.install}") from error
        if version_numbers(module) < self.oldest:
            hint = " (JetPack 6.1 or newer)" if self is TENSORRT else f"; {self.install}"
            raise EngineError(
                f"{self.title} is {module.__version__}, expected {self.oldest[0]}.{self.oldest[1]} or newer{hint}"
            )
        return module

    def check_capability(self, capability: tuple[int, int], whose: str = "") -> None:
        """Refuse a compute capability that plans cannot be built for.

        Raises:
            EngineError: names those that are possible.
        """
        if not self.capabilities or capability in self.capabilities:
            return
        found = f"compute capability {capability[0]}.{capability[1]}{f' ({whose})' if whose else ''}"
        raise EngineError(
            f"{self.title} does not build for {found}, expected one of {self.capability_names}; Orin (8.7), Hopper "
            "(9.0) and Thor (11.0) need inference.backend 'tensorrt', which builds on the machine itself"
        )

    @property
    def capability_names(self) -> str:
        """Compute capabilities that it builds for, as people write them."""
        return ", ".join(f"{major}.{minor}" for major, minor in self.capabilities)

    @property
    def build_ahead_hint(self) -> str:
        """How to build for a GPU that is not there."""
        return "hfnet-ros engine build --compute-capability 8.6 (or another)"


TENSORRT = TensorrtLibrary(
    backend="tensorrt",
    title="TensorRT",
    modules=("tensorrt",),
    distributions=("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    oldest=(10, 3),
    install="on a Jetson: apt install python3-libnvinfer (JetPack) and a virtual environment with "
    "--system-site-packages; elsewhere: pip install tensorrt-cu12 (or -cu13)",
    suffix=".plan",
)
TENSORRT_RTX = TensorrtLibrary(
    backend="tensorrt-rtx",
    title="TensorRT for RTX",
    modules=("tensorrt_rtx", "tensorrt_rtx_bindings"),
    distributions=("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu13-bindings"),
    oldest=(1, 7),
    install="on x86_64 Linux: pip install tensorrt-rtx-cu13-bindings==1.7.1.116 "
    "onnxruntime-ep-nv-tensorrt-rtx-cu13==0.5.0 'cuda-bindings>=13,<14' (the extra rtx); it needs a driver for CUDA 13",
    suffix=".rtxplan",
    capabilities=((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1)),
    caution="engines were built with it, none has run yet (docs/gpu.md)",
)
LIBRARIES = {library.backend: library for library in (TENSORRT, TENSORRT_RTX)}


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # half imported
        return False


def _load_rtx_libraries() -> None:
    """Load what the bindings are linked with from where pip put it; the loader of the system does not look there.

    Nothing of that package is imported: importing it writes links into its folder and loads ONNX Runtime. Where
    it is not installed the system's loader finds the libraries, or the import says which one is missing.
    """
    spec = importlib.util.find_spec(_RTX_LIBRARIES)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for name in ("libtensorrt_rtx.so", "libtensorrt_onnxparser_rtx.so"):
            for path in sorted(Path(folder).glob(f"{name}.*"), reverse=True)[:1]:
                ctypes.CDLL(str(path))


def version_numbers(module: Any) -> tuple[int, int]:
    """Return major and minor version."""
    major, minor, *_ = str(module.__version__).split(".")
    return int(major), int(minor)


class TensorrtLog:
    """What TensorRT says, forwarded to logging and kept for error messages.

    There is one for the process, kept for good: TensorRT uses the first logger it is given for
    everything that follows, and calls it from threads of its own.
    """

    def __init__(self, module: Any) -> None:
        """Make the object that TensorRT is given as its logger, `sink`."""
        severity = module.ILogger.Severity
        levels = {
            severity.INTERNAL_ERROR: logging.ERROR,
            severity.ERROR: logging.ERROR,
            severity.WARNING: logging.WARNING,
            severity.INFO: logging.INFO,
            severity.VERBOSE: logging.DEBUG,
        }
        self._lines: deque[tuple[int, int, str]] = deque(maxlen=_MAX_LINES)
        self._lock = threading.Lock()
        self._count = 0
        keep = self._keep

        class Sink(module.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                module.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                keep(levels.get(severity, logging.DEBUG), msg)

        self.sink = Sink()

    def _keep(self, level: int, message: str) -> None:
        # An exception in here would be thrown through TensorRT's own frames, which ends the process.
        with self._lock:
            self._count += 1
            self._lines.append((self._count, level, message))
        # What matters of it comes back in exceptions; here it is for whoever asks with -v.
        _logger.log(logging.INFO if level >= logging.WARNING else logging.DEBUG, "%s", message)

    def since(self, start: int) -> list[tuple[int, str]]:
        """Return level and text of everything said after the first `start` lines."""
        with self._lock:
            return [(level, text) for number, level, text in self._lines if number > start]

    @property
    def count(self) -> int:
        """Number of lines said so far."""
        return self._count

    def errors_since(self, start: int) -> str:
        """Return the errors said after the first `start` lines, in one line."""
        errors = [text.strip() for level, text in self.since(start) if level >= logging.ERROR]
        return "; ".join(errors[-3:]) or "TensorRT did not say why"


_logs: dict[Any, TensorrtLog] = {}
_logs_lock = threading.Lock()


def tensorrt_log(module: Any) -> TensorrtLog:
    """Return the log of a TensorRT module, the same one every time."""
    with _logs_lock:
        if module not in _logs:
            _logs[module] = TensorrtLog(module)
        return _logs[module]


def started(kind: Any, log: TensorrtLog, what: str) -> Any:
    """Return a new `Runtime` or `Builder`.

    Raises:
        EngineError: TensorRT does not start, as with a driver older than it needs.
    """
    start = log.count
    try:
        return kind(log.sink)
    except TypeError as error:  # what the bindings make of a null pointer
        raise EngineError(
            f"TensorRT cannot make a {what}: {log.errors_since(start)} ({error}); update the NVIDIA driver, or "
            "install the TensorRT that fits it"
        ) from None
