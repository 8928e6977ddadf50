"""Features of an image whose descriptors stay where an engine computed them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import EngineError
from hfnet_ros.types import LocalFeatures


@dataclass(frozen=True, eq=False)
class DeviceRows:
    """Rows of a table of descriptors on the device, float16, row by row.

    Attributes:
        address: of the table's first row.
        size: numbers of a row.
        count: rows that are meant.
        rows: [count] which of the table, None for the first ones in their order.
    """

    address: int
    size: int
    count: int
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Return the number of rows meant."""
        return self.count


class LeftDescriptors:
    """Descriptors of one run of an engine, which are on the device until its next run.

    Nobody may keep addresses: each use asks again, and is refused once the engine ran again or was closed.
    """

    def __init__(
        self, table: DeviceRows, check: Callable[[], str], fetch: Callable[[], NDArray[np.float32]]
    ) -> None:
        """Remember where they are.

        Args:
            table: all of them.
            check: says why they are gone, nothing while they are there.
            fetch: copies them to the host [N, D].
        """
        self._table, self._check, self._fetch = table, check, fetch
        self._on_host: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Return their number."""
        return len(self._table)

    @property
    def are_there(self) -> bool:
        """Tell whether they are still on the device."""
        return not self._check()

    def on_device(self) -> DeviceRows:
        """Return where they are, for use at once.

        Raises:
            EngineError: they are gone.
        """
        self._refuse_if_gone()
        return self._table

    def on_host(self) -> NDArray[np.float32]:
        """Return a copy [N, D] float32 on the host, made when it is first asked for.

        Raises:
            EngineError: they are gone, and nobody asked in time.
        """
        if self._on_host is None:
            self._refuse_if_gone()
            self._on_host = self._fetch()
        return self._on_host

    def _refuse_if_gone(self) -> None:
        reason = self._check()
        if reason:
            raise EngineError(f"descriptors that were left on the GPU are not there any more: {reason}")


class FeaturesOnDevice(LocalFeatures):
    """`LocalFeatures` whose descriptors come to the host only if somebody reads them there."""

    __slots__ = ("_left", "_rows")
    _left: LeftDescriptors
    _rows: NDArray[np.int64] | None

    def __init__(
        self,
        keypoints: NDArray[np.float32],
        scores: NDArray[np.float32],
        left: LeftDescriptors,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        """Take what belongs together.

        Args:
            keypoints: [N, 2] px.
            scores: [N].
            left: descriptors of the image.
            rows: [N] which of these are the keypoints'; all, in their order, unless given.

        Raises:
            ValueError: there are more or fewer keypoints than descriptors.
        """
        count = len(left) if rows is None else len(rows)
        if len(keypoints) != count:
            raise ValueError(f"{len(keypoints)} keypoints for {count} descriptors on the device")
        for name, value in (("keypoints", keypoints), ("scores", scores), ("_left", left), ("_rows", rows)):
            object.__setattr__(self, name, value)

    @property
    def descriptors(self) -> NDArray[np.float32]:
        """Descriptors [N, D] float32, copied from the device the first time.

        Raises:
            EngineError: the engine ran again or was closed before they were read.
        """
        found = self._left.on_host()
        return found if self._rows is None else found[self._rows]

    @property
    def are_on_device(self) -> bool:
        """Tell whether `device_rows` would return them."""
        return self._left.are_there

    def device_rows(self, limit: int) -> DeviceRows:
        """Return where the first `limit` descriptors are; only valid until the engine runs again.

        The engine has waited for its stream, so any other stream of the same context may read them.

        Raises:
            EngineError: the engine ran again or was closed.
        """
        table = self._left.on_device()
        rows = None if self._rows is None else self._rows[:limit]
        count = min(table.count, limit) if rows is None else len(rows)
        return DeviceRows(table.address, table.size, count, rows)

    def moved_to(self, keypoints: NDArray[np.float32]) -> LocalFeatures:
        """Return the same features at other points; see `LocalFeatures.moved_to`."""
        return FeaturesOnDevice(keypoints, self.scores, self._left, self._rows)

    def chosen(self, rows: NDArray[np.int64]) -> LocalFeatures:
        """Return some of the features; see `LocalFeatures.chosen`."""
        own = rows if self._rows is None else self._rows[rows]
        return FeaturesOnDevice(self.keypoints[rows], self.scores[rows], self._left, own)
