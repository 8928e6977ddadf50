"""How a stream's camera rolled when it was last known, and when to look for another roll.

To look for an image turned by every angle takes eight times as long as to look for it as it is. A camera that was known
turned is turned much the same in its next image; a robot that sees no map at all does not see it turned either.
"""

from __future__ import annotations

import dataclasses

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import Frame, Localization, Query

_NS_PER_S = 1_000_000_000
# A hand turns a camera in a second or two; a roll of longer ago is worth no second description of each image.
_KNOWN_NS = 10 * _NS_PER_S


class RollMemory:
    """Tells queries of one stream what its last answers say of the camera's roll."""

    def __init__(self, pause_s: float) -> None:
        """Start with nothing known; `pause_s` is `retrieval.roll_pause_s`."""
        self._pause_ns = round(pause_s * _NS_PER_S)
        self._rolled: tuple[int, Rigid3] | None = None
        self._in_vain_ns: int | None = None

    def marked(self, seen: Frame | Query) -> Frame | Query:
        """Return what is asked with what is known of its roll; as it is where that is nothing."""
        rolled_as = None
        if self._rolled is not None and abs(seen.stamp_ns - self._rolled[0]) <= _KNOWN_NS:
            rolled_as = self._rolled[1]
        # Stamps may go back: then a moment of the other time tells nothing.
        seeks_roll = self._in_vain_ns is None or abs(seen.stamp_ns - self._in_vain_ns) >= self._pause_ns
        if rolled_as is None and seeks_roll:
            return seen
        return dataclasses.replace(Query.of(seen), rolled_as=rolled_as, seeks_roll=seeks_roll)

    def note(self, answer: Localization) -> None:
        """Learn from an answer, as the localizer gave it."""
        if answer.estimate is not None:
            self._in_vain_ns = None
            is_turned = answer.turn_rad != 0.0
            self._rolled = (answer.stamp_ns, answer.estimate.map_from_camera) if is_turned else None
        elif answer.sought_roll and answer.stamp_ns > 0:
            self._in_vain_ns = answer.stamp_ns
