"""Give memory back that the C library keeps for later."""

from __future__ import annotations

import ctypes


def return_memory() -> None:
    """Return freed memory to the system, where the C library is glibc; elsewhere do nothing.

    Every localizing thread gets an arena of its own, and what its arrays leave behind there stays:
    after a hundred starts and stops the process was twice as large as at first.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
