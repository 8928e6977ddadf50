"""Which cameras of a rig are believed alone: not one that contradicted the others, until it agrees with one again.

One image cannot tell that its camera was knocked, or that it is late or frozen. Where other cameras see the map they
object; where none does, what they objected to before still holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hfnet_ros.types import Localization, Query

_MIN_INLIERS = 6  # of each of two views that agree
# Doubt that a contradiction adds and an agreement takes away. A late camera agrees while the robot stands, a frozen one
# where it stood: what goes on contradicting is believed again only after it agreed many times.
_CONTRADICTION, _AGREEMENT, _MOST = 2, 1, 10


class CameraTrust:
    """Remembers from query to query which cameras contradicted others; belongs to one rig."""

    def __init__(self) -> None:
        """Trust every camera."""
        self._doubts: dict[str, int] = {}

    @property
    def doubted(self) -> frozenset[str]:
        """Names of the cameras that are not believed alone."""
        return frozenset(self._doubts)

    def marked(self, query: Query, names: Sequence[str]) -> Query:
        """Return a query whose views of doubted cameras say so.

        Args:
            query: of some cameras of the rig.
            names: of the cameras, in the order of its views.
        """
        views = tuple(
            dataclasses.replace(view, is_doubted=True) if name in self._doubts else view
            for view, name in zip(query.views, names, strict=True)
        )
        return dataclasses.replace(query, views=views)

    def note(self, answer: Localization, names: Sequence[str]) -> None:
        """Learn from an answer which cameras contradict others, and which agree.

        Args:
            answer: to a query of some cameras of the rig.
            names: of these, in the order of its views.
        """
        if len(answer.views) != len(names):
            return  # a localizer that does not say what views brought
        shares = dict(zip(names, answer.views, strict=True))
        agreeing = {name for name, share in shares.items() if share.num_inliers >= _MIN_INLIERS}
        for name, share in shares.items():
            if share.contradicts:
                self._doubts[name] = min(self._doubts.get(name, 0) + _CONTRADICTION, _MOST)
            elif answer.is_valid and name in agreeing and len(agreeing) > 1 and name in self._doubts:
                self._doubts[name] -= _AGREEMENT
                if self._doubts[name] <= 0:
                    del self._doubts[name]
