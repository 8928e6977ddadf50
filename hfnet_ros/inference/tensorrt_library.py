"""The TensorRT library of this machine: found, old enough or new enough, and its log.

Checked against the Python bindings of TensorRT 10.3, 10.13, 10.16, 11.0 and 11.4.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import threading
from collections import deque
from typing import Any

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.driver import DriverReport, probe_driver

_logger = logging.getLogger(__name__)

OLDEST = (10, 3)
INSTALL = (
    "on a Jetson: apt install python3-libnvinfer (JetPack) and a virtual environment with "
    "--system-site-packages; elsewhere: pip install tensorrt-cu12 (or -cu13)"
)
_MAX_LINES = 5000


def is_installed() -> bool:
    """Tell whether there is a module `tensorrt`; nothing is imported."""
    try:
        return importlib.util.find_spec("tensorrt") is not None
    except ValueError:  # half imported
        return False


def installed_version() -> str:
    """Return the version that the package index of Python knows, empty if unknown; nothing is imported."""
    names = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13")
    found = {dist.name: dist.version for dist in importlib.metadata.distributions() if dist.name in names}
    return next((found[name] for name in names if name in found), "")


def import_tensorrt(driver: DriverReport | None = None) -> Any:
    """Return the module `tensorrt`, once it is certain that there is a GPU.

    Args:
        driver: what `probe_driver` said; asked here if None.

    Raises:
        EngineError: there is no GPU, no TensorRT, or one of a version that this program does not know.
    """
    driver = driver or probe_driver()
    if driver.reason:
        raise EngineError(f"TensorRT needs a GPU: {driver.reason}; {driver.remedy}")
    try:
        module = importlib.import_module("tensorrt")
    except Exception as error:  # a library it was linked with may be missing or another one
        raise EngineError(f"TensorRT cannot be imported: {error}; {INSTALL}") from error
    version = version_numbers(module)
    if version < OLDEST:
        raise EngineError(
            f"TensorRT is {module.__version__}, expected {OLDEST[0]}.{OLDEST[1]} or newer (JetPack 6.1 or newer)"
        )
    return module


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
