"""Whether PoseLib samples poses here, or OpenCV has to: there are no wheels of PoseLib for Linux on ARM."""

from __future__ import annotations

import logging
from functools import cache

INSTALL_POSELIB = "pip install poselib (wheels on x86_64, elsewhere it compiles)"

_logger = logging.getLogger(__name__)


@cache
def why_no_poselib() -> str:
    """Return why PoseLib cannot be imported, empty where it can; found out, and logged, once in a process."""
    try:
        import poselib  # noqa: F401
    except ImportError as error:
        _logger.info("poses are sampled by OpenCV's USAC, because PoseLib cannot be imported: %s", error)
        return str(error)
    _logger.info("poses are sampled by PoseLib's LO-RANSAC")
    return ""
