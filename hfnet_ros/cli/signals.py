"""What SIGINT and SIGTERM do to a program while it is imported, and to one that runs until told to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_ENDING = (signal.SIGINT, signal.SIGTERM)


def end_at_once_on_signals() -> None:
    """Let the system end this process on a signal, as long as there is nothing to clean up."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def ended_by_signals(end: Callable[[], None]) -> Iterator[None]:
    """Call a function on SIGINT or SIGTERM, in a thread of its own.

    A handler interrupts the main thread, which may hold the very lock that the function waits for.
    """
    former = [signal.signal(number, lambda *_: threading.Thread(target=end).start()) for number in _ENDING]
    try:
        yield
    finally:
        for number, handler in zip(_ENDING, former, strict=True):
            signal.signal(number, handler)
