"""Localize in a set of maps that may be changed meanwhile, and of which parts may be damaged."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.errors import ExtractorMismatchError, HfnetRosError, MapFormatError
from hfnet_ros.features.extractor import NetworkExtractor
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.map.joined_map import JoinedMap, join_set
from hfnet_ros.map.manifest import MANIFEST_NAME
from hfnet_ros.map.map_io import verify_map
from hfnet_ros.map.map_set import MapSet
from hfnet_ros.map.map_set_io import open_index, read_map_set
from hfnet_ros.map.name_table import NameTable
from hfnet_ros.map.open_maps import OpenMaps, SubMapError
from hfnet_ros.types import Frame, ImageArray, ImageFeatures, Localization, PosePrior, Query

Opened = TypeVar("Opened")

_logger = logging.getLogger(__name__)


class FollowedSet:
    """A set on disk, and what its manifest said last.

    Attributes:
        path: folder of the set.
        found: what the manifest said when it was read last.
        problem: why the manifest that is there now cannot be read; "" where it can.
        digest_answered: of the manifest that the last answer is by; of the one that is there, before there was one.
    """

    def __init__(self, path: Path) -> None:
        """Read the manifest; raises as `read_map_set`."""
        self.path = path
        self._signature = self._sign()
        self.found = read_map_set(path)
        self.problem = ""
        self.digest_answered = self.found.digest
        self._names: Sequence[str] | None = None

    def changed(self, known: MapSet) -> MapSet | None:
        """Return the set as it is on disk now; None if that is what is known, or nothing that can be read."""
        signature = self._sign()
        if signature != self._signature:
            self._signature = signature
            try:
                self.found, self.problem = read_map_set(self.path), ""
            except MapFormatError as error:
                self.problem = str(error)
                _logger.warning("goes on with the set as it was: %s", error)
        return None if self.found.digest == known.digest else self.found

    def opened(self, make: Callable[[MapSet], Opened]) -> Opened:
        """Return what is made of the set as it is now; begins again if the set is changed meanwhile.

        Raises:
            HfnetRosError: as `make`.
        """
        while True:
            self.changed(self.found)
            found = self.found
            try:
                return make(found)
            except MapFormatError:
                if self.changed(found) is None:
                    raise

    def names(self) -> Sequence[str]:
        """Return the names of the keyframes that the rows of the last answer count; of the set before there was one.

        Raises:
            MapFormatError: the index is damaged.
        """
        if self._names is None:
            index = self.opened(lambda found: open_index(self.path, found))
            self._names = NameTable(index["keyframe_name_text"], index["keyframe_name_offsets"])
        return self._names

    def note_answered(self, joined: JoinedMap) -> None:
        """Note whose rows the last answer counts."""
        self._names = joined.keyframe_names
        self.digest_answered = joined.found.digest

    def signature(self) -> tuple[int, ...]:
        """Return what changes when the manifest, or a file of the index that it was last read to name, is replaced."""
        files = [self.path / str(entry["file"]) for entry in self.found.index.values()]
        return sum(map(_sign, files), self._signature)

    def _sign(self) -> tuple[int, ...]:
        return _sign(self.path / MANIFEST_NAME)


def _sign(file: Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced; nothing where it is missing."""
    try:
        status = file.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ino, status.st_size


@dataclass(frozen=True, eq=False)
class _State:
    """A set as one manifest has it, searched as one map."""

    found: MapSet
    joined: JoinedMap
    localizer: Localizer


class SetLocalizer:
    """Localizes in a set, goes on when sub-maps are exchanged, and without those that cannot be used."""

    def __init__(
        self,
        following: FollowedSet,
        extractor: NetworkExtractor,
        config: Config,
        opener: OpenMaps,
        joined: JoinedMap | None = None,
    ) -> None:
        """Take what knows the set on disk, and what describes images; opens no sub-map.

        Args:
            following: the set.
            extractor: the one that it was built with.
            config: how is localized.
            opener: opens its sub-maps.
            joined: the set as one map, opened already; its index is opened here unless given.

        Raises:
            MapFormatError: the index is damaged.
            ConfigError: `map.areas` names what the set does not have.
        """
        self._following, self._config, self._opener = following, config, opener
        self._extractor = _OncePerQuery(extractor)
        self._unusable: dict[str, str] = {}
        # Signature of a set that cannot be taken, and why.
        self._refused: tuple[tuple[int, ...], str] = (), ""
        self._state = following.opened(self._join) if joined is None else self._searched(joined, {})

    @property
    def unusable(self) -> Mapping[str, str]:
        """Sub-maps that cannot be used, and why."""
        return dict(self._unusable)

    @property
    def num_open(self) -> int:
        """Sub-maps that are open."""
        return self._opener.num_open

    def localize(self, query: Query | Frame, prior: PosePrior | None = None) -> Localization:
        """Find the pose of a camera or rig in the set; raises as `Localizer.localize`, of the index only."""
        self._extractor.forget()
        self._follow()
        while True:
            state = self._state
            try:
                answer = state.localizer.localize(query, prior)
            except ExtractorMismatchError:  # of features that were given
                raise
            except MapFormatError as error:
                damaged = self._damaged(error)
                if not damaged:
                    raise MapFormatError(f"{self._following.path}: {error}") from error
                self._leave_out(damaged)
                continue
            self._following.note_answered(state.joined)
            problem = self._following.problem or self._refused[1]
            warnings = [f"goes on with the set as it was: {problem}"] * bool(problem) + [
                f"sub-map '{name}' cannot be used: {reason}" for name, reason in self._unusable.items()
            ]
            return dataclasses.replace(answer, warnings=(*answer.warnings, *warnings))

    def close(self) -> None:
        """Let go of all sub-maps; calling it again does nothing."""
        self._state.localizer.close()
        self._opener.close()

    def _follow(self) -> None:
        """Take the set as it is on disk now, if it was changed; what cannot be read leaves everything as it is."""
        if self._following.changed(self._state.found) is None:
            self._refused = (), ""
            return
        # Its index may be large: what was refused is opened again when one of its files is another.
        signature = self._following.signature()
        if self._refused[1] and signature == self._refused[0]:
            return
        try:
            state = self._following.opened(self._join)
        except HfnetRosError as error:
            if str(error) != self._refused[1]:
                _logger.warning("goes on with the set as it was: %s", error)
            self._refused = signature, str(error)
            return
        self._refused = (), ""
        self._unusable = {}
        self._state.localizer.close()
        self._state = state
        self._opener.keep_only(state.found.sub_maps)
        _logger.info("set of maps changed: now %s", ", ".join(state.found.names))

    def _join(self, found: MapSet) -> _State:
        return self._searched(join_set(self._following.path, found, self._opener), {})

    def _searched(self, joined: JoinedMap, unusable: Mapping[str, str]) -> _State:
        usable = None
        if unusable:
            kept = [sub_map.name not in unusable for sub_map in joined.found.sub_maps]
            usable = np.repeat(kept, np.diff(joined.starts))
        return _State(joined.found, joined, Localizer(joined, self._extractor, self._config, usable=usable))

    def _damaged(self, error: MapFormatError) -> dict[str, str]:
        """Return the sub-maps that an error is of: the one it names, or those touched that are not sound."""
        if isinstance(error, SubMapError):
            return {error.name: error.reason}
        found, damaged = self._state.found, {}
        for sub_map in self._opener.which_open(found.sub_maps):
            problems = verify_map(self._following.path / sub_map.folder)
            if problems:
                damaged[sub_map.name] = problems[0]
        return damaged

    def _leave_out(self, damaged: Mapping[str, str]) -> None:
        before = self._state
        self._follow()
        if self._state is not before:
            return  # what is gone was replaced since the query began
        for name, reason in damaged.items():
            _logger.warning("goes on without it: sub-map '%s': %s", name, reason)
        self._unusable |= damaged
        # The index is not opened again: on disk it may be another one by now.
        before.localizer.close()
        self._state = self._searched(before.joined, self._unusable)


class _OncePerQuery:
    """An extractor that remembers the images of one query, which is asked again without a sub-map that is damaged."""

    def __init__(self, extractor: NetworkExtractor) -> None:
        """Take what describes."""
        self._extractor = extractor
        self._described: list[tuple[ImageArray, ImageFeatures]] = []

    @property
    def extractor_id(self) -> str:
        """Of the extractor."""
        return self._extractor.extractor_id

    @property
    def backend(self) -> str:
        """Of the extractor."""
        return self._extractor.backend

    def extract(self, image: ImageArray) -> ImageFeatures:
        """Describe an image; see `FeatureExtractor.extract`."""
        for known, features in self._described:
            if known is image:
                return features
        features = self._extractor.extract(image)
        self._described.append((image, features))
        return features

    def close(self) -> None:
        """Do nothing: whoever made the extractor closes it."""

    def forget(self) -> None:
        """Forget all images."""
        self._described.clear()
