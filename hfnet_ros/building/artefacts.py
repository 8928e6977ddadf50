"""What tasks leave on disk: plain arrays or a map, found again by a digest of all that they were made of.

```
WORK/about.json                    says what the folder is
WORK/<stage>/<2 digits>/<key>.npz  arrays, or <key>.map/ a map
WORK/<stage>/<2 digits>/<key>.json its record: digest and size, written last
```

An artefact is there when its record is. It is written aside and renamed, so that whoever is killed leaves nothing half
written; what the disk has damaged is noticed when it is read, and made anew. Nothing is unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import BuildingError, ConfigError, MapFormatError
from hfnet_ros.files.atomic import atomic_file
from hfnet_ros.map.array_files import file_digest
from hfnet_ros.map.manifest import MANIFEST_NAME
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.open_maps import is_short_of_room
from hfnet_ros.map.visual_map import VisualMap

Arrays = dict[str, NDArray[Any]]

_FORMAT = {"format": "hfnet_ros work folder", "format_version": 1}
_ABOUT = "about.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class DamagedArtefactError(BuildingError):
    """An artefact is missing, cut off or damaged, and has to be made anew.

    Attributes:
        artefact: which one.
    """

    def __init__(self, artefact: Artefact, problem: str) -> None:
        """Name the file and what is wrong with it."""
        super().__init__(f"{artefact.path}: {problem}")
        self.artefact = artefact


@dataclass(frozen=True)
class Record:
    """What is known of an artefact beside its content.

    Attributes:
        sha256: of the file of arrays, or of a map's manifest, which holds the digests of its arrays.
        bytes: on disk.
        seconds: that it took to make.
        cpu_seconds: the same, of all threads of the process.
        made_by: machine and process.
        of: what it is of, for people.
    """

    sha256: str
    bytes: int
    seconds: float
    cpu_seconds: float
    made_by: str
    of: str


@dataclass(frozen=True)
class Artefact:
    """Where an artefact lies.

    Attributes:
        path: without suffix.
        sha256: of its content; "" before it is made.
        bytes: on disk.
    """

    path: Path
    sha256: str = ""
    bytes: int = 0

    @property
    def arrays_file(self) -> Path:
        """File of arrays."""
        return self.path.with_suffix(".npz")

    @property
    def map_folder(self) -> Path:
        """Folder of a map."""
        return self.path.with_suffix(".map")

    @property
    def record_file(self) -> Path:
        """File that says that the artefact is there."""
        return self.path.with_suffix(".json")

    def read_arrays(self, names: Iterable[str] | None = None) -> Arrays:
        """Return its arrays, or some of them; their checksums are compared.

        Raises:
            DamagedArtefactError: it is not what was written.
        """
        try:
            with np.load(self.arrays_file, allow_pickle=False) as file:
                return {name: file[name] for name in (file.files if names is None else names)}
        except MemoryError:
            raise
        except Exception as error:  # a damaged archive ends in errors of many kinds
            _raise_if_short_of_room(error)
            raise DamagedArtefactError(self, f"cannot be read as arrays: {error!r}") from error

    def read_map(self) -> VisualMap:
        """Return its map, every byte of it checked.

        Raises:
            DamagedArtefactError: it is not what was written.
        """
        try:
            return load_map(self.map_folder, verify=True)
        except MapFormatError as error:
            _raise_if_short_of_room(error)
            raise DamagedArtefactError(self, str(error)) from error

    def found(self) -> Artefact | None:
        """Return it with what its record says, if it is there; its content is checked when it is read."""
        try:
            record = Record(**json.loads(self.record_file.read_text()))
            if self.map_folder.is_dir():
                is_there = file_digest(self.map_folder / MANIFEST_NAME) == record.sha256
            else:
                is_there = self.arrays_file.stat().st_size == record.bytes
            is_there = is_there and _DIGEST.fullmatch(record.sha256) is not None
        except (OSError, ValueError, TypeError):
            return None
        return Artefact(self.path, record.sha256, record.bytes) if is_there else None

    def write(self, content: Arrays | VisualMap, *, seconds: float, cpu_seconds: float, of: str) -> Artefact:
        """Write it, then its record.

        Raises:
            BuildingError: the disk is full.
            OSError: the disk refuses otherwise.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if isinstance(content, VisualMap):
                digest, size = self._write_map(content)
            else:
                digest, size = self._write_arrays(content)
            made_by = f"{os.uname().nodename} {os.getpid()}"
            record = Record(digest, size, round(seconds, 3), round(cpu_seconds, 3), made_by, of)
            with atomic_file(self.record_file) as temporary:
                temporary.write_text(json.dumps(asdict(record)))
        except (OSError, MapFormatError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
                raise BuildingError(_full_disk(self.path.parent, content)) from error
            raise
        return Artefact(self.path, digest, size)

    def _write_arrays(self, arrays: Arrays) -> tuple[str, int]:
        with atomic_file(self.arrays_file) as temporary:
            if any(array.dtype.hasobject for array in arrays.values()):
                raise TypeError("an array of objects would have to be pickled")
            np.savez(temporary, **arrays)  # type: ignore[arg-type]
            return file_digest(temporary), temporary.stat().st_size

    def _write_map(self, visual_map: VisualMap) -> tuple[str, int]:
        save_map(visual_map, self.map_folder)
        size = sum(file.stat().st_size for file in self.map_folder.rglob("*") if file.is_file())
        return file_digest(self.map_folder / MANIFEST_NAME), size

    def forget(self) -> None:
        """Remove it, the record first."""
        self.record_file.unlink(missing_ok=True)
        self.arrays_file.unlink(missing_ok=True)
        shutil.rmtree(self.map_folder, ignore_errors=True)


def _raise_if_short_of_room(error: Exception) -> None:
    """Keep a file that could not be mapped for want of memory from being taken for damaged, and made anew.

    Raises:
        MemoryError: that is what the error is of.
    """
    if is_short_of_room(error):
        raise MemoryError(str(error)) from error


def open_work_folder(folder: Path) -> None:
    """Make a work folder, or go on in one.

    Raises:
        ConfigError: something else is there.
    """
    about = folder / _ABOUT
    if about.is_file():
        try:
            found = json.loads(about.read_text())
        except (OSError, ValueError):
            found = None
        if found == _FORMAT:
            return
        raise ConfigError(
            f"{about}: is of another program or version, found {found}; name another --work folder"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: holds something else than a build; name a free or empty --work folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(about) as temporary:
            temporary.write_text(json.dumps(_FORMAT))
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be made: {error.strerror}; name another --work folder"
        ) from error


def digest_of(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of named JSON values and arrays, whatever their order."""
    digest = hashlib.sha256()

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            return {"dtype": value.dtype.str, "shape": list(value.shape), "sha256": content}
        raise TypeError(f"{type(value).__name__} is neither an array nor plain JSON")

    digest.update(json.dumps(values, sort_keys=True, default=plain).encode())
    return digest.hexdigest()


def _full_disk(folder: Path, content: Arrays | VisualMap) -> str:
    needed = ""
    if not isinstance(content, VisualMap):
        needed = f"{sum(array.nbytes for array in content.values()) / 1e6:.1f} MB are needed here and "
    try:
        free = f"{shutil.disk_usage(folder).free / 1e6:.1f} MB are free"
    except OSError:
        free = "nothing is said of what is free"
    return (
        f"{folder}: the disk is full: {needed}{free}; free some space or give --work on another disk, then start the "
        "same command again: it goes on where it stopped"
    )
