"""Images whose stamps are not of the node's clock."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from hfnet_ros.node.transport import Transport

_FAR_S = 5.0  # older than any image is that still comes from a camera
_PATIENCE_S = 1.0  # until the first message of /clock has come

_logger = logging.getLogger(__name__)


class ImageClock:
    """Compares the stamps of images with the time of the node, which dates what it says of the present."""

    def __init__(self, transport: Transport, now_s: Callable[[], float] = time.monotonic) -> None:
        """Take whose time it is, and a clock, s."""
        self._transport = transport
        self._now_s = now_s
        self._since_s: float | None = None
        self._problem = ""

    @property
    def problem(self) -> str:
        """Return how stamps of images and the node's time disagree, for a second at least; empty if they do not."""
        return self._problem

    def check(self, stamp_ns: int) -> None:
        """Compare the stamp of an image that has just come; 0, which is none, says nothing."""
        if stamp_ns == 0:
            return
        found = clock_disagreement(stamp_ns, self._transport.now_ns())
        if not found:
            self._since_s, self._problem = None, ""
            return
        now_s = self._now_s()
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s < _PATIENCE_S:
            return
        if not self._problem:
            _logger.warning("%s", found)
        self._problem = found


def clock_disagreement(stamp_ns: int, now_ns: int) -> str:
    """Return how far the stamp of an image that has just come is from the time then, ns; empty where it is near."""
    if now_ns == 0:
        return "use_sim_time is set, but nothing comes on /clock: play with --clock, or unset it"
    ahead_s = 1e-9 * (stamp_ns - now_ns)
    if abs(ahead_s) <= _FAR_S:
        return ""
    return (
        f"another clock: images are stamped {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0.0 else 'behind'} this "
        "node's time; synchronize the machines, or set use_sim_time where a recording is played with --clock"
    )
