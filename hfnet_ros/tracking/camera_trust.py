"""Which cameras of a rig are believed alone: not one that contradicted the others, until it agrees with one again.

One image cannot tell that its camera was knocked, or that it is late or frozen. Where other cameras see the map they
object; where none does, what they objected to before still holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hfnet_ros.types import Localization, Query

_MIN_INLIERS = 6  # of each of two views that agree


class CameraTrust:
    """Remembers from query to query which cameras contradicted others; belongs to one rig."""

    def __init__(self) -> None:
        """Trust every camera."""
        self._doubted: dict[str, str] = {}

    @property
    def doubted(self) -> dict[str, str]:
        """Cameras that are not believed alone, by name, and what was said of each."""
        return dict(self._doubted)

    def marked(self, query: Query, names: Sequence[str]) -> Query:
        """Return a query whose views of doubted cameras say so.

        Args:
            query: of some cameras of the rig.
            names: of the cameras, in the order of its views.
        """
        views = tuple(
            dataclasses.replace(view, is_doubted=True) if name in self._doubted else view
            for view, name in zip(query.views, names, strict=True)
        )
        return dataclasses.replace(query, views=views)

    def note(self, answer: Localization, names: Sequence[str]) -> None:
        """Learn from an answer which cameras contradict others, and which agree.

        Args:
            answer: to a query of some cameras of the rig.
            names: of these, in the order of its views.
        """
        agreeing = [
            name
            for name, share in zip(names, answer.views, strict=True)
            if share.num_inliers >= _MIN_INLIERS and not share.contradicts
        ]
        if answer.is_valid and len(agreeing) > 1:
            for name in agreeing:
                self._doubted.pop(name, None)
        for name, share in zip(names, answer.views, strict=True):
            if share.contradicts:
                self._doubted[name] = share.problem
