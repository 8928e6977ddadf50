"""The sub-maps of a set that are open: those used last, as many as are allowed."""

from __future__ import annotations

import errno
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.manifest import read_manifest
from hfnet_ros.map.map_io import load_map
from hfnet_ros.map.map_set import MapSet, SubMap
from hfnet_ros.map.map_set_io import mismatch
from hfnet_ros.map.visual_map import VisualMap

_SHORT_OF_ROOM = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class SubMapError(MapFormatError):
    """A sub-map cannot be used.

    Attributes:
        name: of the sub-map.
        reason: why, without its name.
    """

    def __init__(self, name: str, reason: str) -> None:
        """Keep what is wrong with which."""
        super().__init__(f"sub-map '{name}': {reason}")
        self.name, self.reason = name, reason


class OpenMaps:
    """Opens sub-maps when they are touched and lets go of those that were not for longest.

    Where memory or files come to an end before what is allowed does, all others are let go of.

    A map that is let go of is closed when nobody holds an array of it: its memory and its files are then free.
    """

    def __init__(self, path: Path, max_open: int, max_bytes: int) -> None:
        """Take the folder of the set, and how many maps and how many bytes of maps are kept; one always is."""
        self._path, self._max_open, self._max_bytes = path, max_open, max_bytes
        self._maps: OrderedDict[str, tuple[VisualMap, int]] = OrderedDict()  # by digest: names come again
        self._lock = threading.RLock()
        self.num_opened = 0

    @property
    def num_open(self) -> int:
        """Number of maps that are open."""
        return len(self._maps)

    def get(self, found: MapSet, sub_map: SubMap) -> VisualMap:
        """Return a sub-map of a set.

        Raises:
            SubMapError: it is missing, damaged or not the one that the set names.
        """
        key = f"{sub_map.folder}:{sub_map.digest}"
        with self._lock:
            if key in self._maps:
                self._maps.move_to_end(key)
                return self._maps[key][0]
            try:
                opened = self._open(found, sub_map)
            except SubMapError as error:
                if not (self._maps and is_short_of_room(error)):
                    raise
                self._maps.clear()
                opened = self._open(found, sub_map)
            self._maps[key] = opened, sub_map.bytes
            self.num_opened += 1
            while len(self._maps) > 1 and self._is_too_much():
                self._maps.popitem(last=False)
            return opened

    def keep_only(self, sub_maps: Sequence[SubMap]) -> None:
        """Let go of maps that are none of these."""
        wanted = {f"{sub_map.folder}:{sub_map.digest}" for sub_map in sub_maps}
        with self._lock:
            for key in [key for key in self._maps if key not in wanted]:
                del self._maps[key]

    def which_open(self, sub_maps: Sequence[SubMap]) -> list[SubMap]:
        """Return those of the sub-maps that are open."""
        with self._lock:
            return [sub_map for sub_map in sub_maps if f"{sub_map.folder}:{sub_map.digest}" in self._maps]

    def each(self, do: Callable[[VisualMap], None]) -> None:
        """Do something with every open map."""
        with self._lock:
            for opened, _ in self._maps.values():
                do(opened)

    def close(self) -> None:
        """Let go of all."""
        with self._lock:
            self._maps.clear()

    def _is_too_much(self) -> bool:
        return (
            len(self._maps) > self._max_open or sum(size for _, size in self._maps.values()) > self._max_bytes
        )

    def _open(self, found: MapSet, sub_map: SubMap) -> VisualMap:
        folder = self._path / sub_map.folder
        try:
            contradiction = mismatch(found, sub_map, read_manifest(folder)[0])
            if contradiction:
                raise MapFormatError(f"{folder}: {contradiction}")
            return load_map(folder)
        except MapFormatError as error:
            raise SubMapError(sub_map.name, str(error)) from error


def is_short_of_room(error: BaseException | None) -> bool:
    """Tell whether memory, or the files that a process may open, came to an end, and nothing is wrong with a map."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _SHORT_OF_ROOM:
            return True
        error = error.__cause__
    return False
