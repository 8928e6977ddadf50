"""The end of a node's process."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
from typing import NoReturn


def exit_at_once(code: int = 0) -> NoReturn:
    """End this process and leave nothing of it running; for a node that is closed.

    At an ordinary end Python takes every module apart, which lasts longer than all else that a node does on SIGTERM,
    and a thread inside of TensorRT's builder outlives what it works with, CUDA among it, so that the process crashes.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(
            AttributeError, OSError, ValueError
        ):  # closed by whoever started the process
            stream.flush()
    os._exit(code)


def tell_of_crashes() -> None:
    """Let a process that crashes print in which call each thread was.

    A map whose files were overwritten in place ends it by a bus error, of which nobody else says a word.
    """
    with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):  # standard error is no file
        faulthandler.enable()
