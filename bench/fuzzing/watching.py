"""What no input may bring about: code that runs, files that are written, memory and time without bound."""

from __future__ import annotations

import faulthandler
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# None of the readers needs any of these.
_FORBIDDEN = (
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
)
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.chmod", "shutil.rmtree")
LONGEST_S = 10.0
MOST_MB = 512.0

_events: list[str] = []
_allowed: list[str] = []
_is_watching = False
_most_mb = 0.0


class Flaw(Exception):  # noqa: N818
    """An input brought about what none may."""


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _is_watching:
        return
    if (
        event in _FORBIDDEN
        or (event in _CHANGES and not _is_allowed(arguments[0]))
        or (event == "open" and set(arguments[1] or "") & set("wax+") and not _is_allowed(arguments[0]))
    ):
        _events.append(f"{event} {arguments!r}")


def _is_allowed(path: Any) -> bool:
    return str(path).startswith(tuple(_allowed))


def install(folder: Path) -> None:
    """Begin to listen to what the interpreter does; files may be changed in `folder` only."""
    _allowed.append(str(folder))
    if len(_allowed) == 1:
        sys.addaudithook(_audit)


@contextmanager
def watched() -> Iterator[None]:
    """Look at what happens until the end of the block.

    A hang ends the process with the stack, because no exception would get through to compiled code.

    Raises:
        Flaw: something ran or was written that should not, or it took too much time or memory.
    """
    global _is_watching, _most_mb
    _events.clear()
    _forget_peak()
    before_mb, start_s = _peak_mb(), time.monotonic()
    faulthandler.dump_traceback_later(6 * LONGEST_S, exit=True)
    _is_watching = True
    try:
        yield
    finally:
        _is_watching = False
        faulthandler.cancel_dump_traceback_later()
    most_mb = _peak_mb()
    _most_mb = max(_most_mb, most_mb)
    seconds, grown_mb = time.monotonic() - start_s, most_mb - before_mb
    if _events:
        raise Flaw(f"forbidden: {_events[0]}")
    if seconds > LONGEST_S:
        raise Flaw(f"took {seconds:.1f} s, expected {LONGEST_S:g} s at most")
    if grown_mb > MOST_MB:
        raise Flaw(f"took {grown_mb:.0f} MB more memory than before, expected {MOST_MB:g} MB at most")


def _forget_peak() -> None:
    """Let the largest memory be that of now; where the kernel forbids it, only what is larger than ever is seen."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def most_mb() -> float:
    """Return the largest resident memory this process has had while it was watched, MB."""
    return _most_mb


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
