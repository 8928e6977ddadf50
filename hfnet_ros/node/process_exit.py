"""The end of a process in which something goes on that cannot be stopped."""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn


def exit_at_once(code: int = 0) -> NoReturn:
    """End this process and leave nothing of it running.

    At an ordinary end a thread inside of TensorRT's builder outlives what it works with, CUDA among it,
    and the process crashes instead of ending well.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
