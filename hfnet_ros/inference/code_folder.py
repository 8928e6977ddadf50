"""Executable code that was made on this machine, kept for the next start.

What is found is used only if its file belongs to the user who runs this, nobody else can write it, and the
sidecar beside it says that it was made of the same things in the same way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfnet_ros.errors import EngineError
from hfnet_ros.files.atomic import atomic_file

FORMAT = 1
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MAX_SIDECAR_BYTES = 4 << 20


def default_cache_folder() -> Path:
    """Return the folder for code of this user."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 (never raises)
    return Path(cache) / "hfnet_ros" / "engines"


class CodeFolder:
    """A folder of this user's code, each file with a sidecar (.json) that says what it was made of."""

    def __init__(self, folder: str = "") -> None:
        """Use a folder; it is made when something is first kept. Empty takes the user's cache.

        Raises:
            EngineError: it is in the home of nobody.
        """
        try:
            self.path = Path(folder).expanduser() if folder else default_cache_folder()
        except RuntimeError as error:  # ~nobody
            raise EngineError(f"{folder}: {error} Write inference.engine_cache out") from error

    def load(self, name: str, key: Mapping[str, Any], kind: str) -> tuple[bytes | None, str]:
        """Return code that was made by a key, or None and why there is none that fits.

        Args:
            name: of the file.
            key: everything that the code depends on.
            kind: one word for what it is, e.g. `plan`.

        Returns:
            The code and an empty reason; None and an empty reason if nothing was kept under this name.

        Raises:
            EngineError: there is some that somebody else made or could have changed.
        """
        path = self.path / name
        sidecar = self.read_own(path.with_suffix(".json"))
        if sidecar is None:
            return None, ""
        try:
            record = json.loads(sidecar)
            if record["format"] != FORMAT:
                return None, f"the {kind}'s record has format {record['format']}, expected {FORMAT}"
            if record["key"] != key:
                return None, f"the {kind} was built otherwise: {difference(record['key'], key)}"
            expected = record[f"{kind}_sha256"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return None, f"the {kind}'s record is damaged: {error!r}"
        code = self.read_own(path)
        if code is None:
            return None, f"the {kind}'s file is missing"
        if hashlib.sha256(code).hexdigest() != expected:
            return None, f"the {kind}'s file is not the one that was built: its digest differs"
        return code, ""

    def store(
        self,
        name: str,
        key: Mapping[str, Any],
        kind: str,
        code: bytes,
        *,
        seconds: float = 0.0,
        log: tuple[str, ...] = (),
    ) -> Path:
        """Keep code and its record, each in one step.

        Args:
            name: of the file.
            key: everything that the code depends on.
            kind: one word for what it is.
            code: to keep.
            seconds: that it took to make.
            log: what its builder said.

        Raises:
            EngineError: the folder belongs to somebody else, or cannot be written.
        """
        path = self.path / name
        record = {
            "format": FORMAT,
            "key": dict(key),
            f"{kind}_sha256": hashlib.sha256(code).hexdigest(),
            f"{kind}_bytes": len(code),
            "build_seconds": round(seconds, 3),
            "log": list(log),
        }
        # Code first: a record without its code, or with another's, is noticed by the digest.
        self.write(path, code)
        self.write(path.with_suffix(".json"), json.dumps(record, indent=1).encode())
        return path

    def discard(self, name: str) -> None:
        """Delete code and its record, whatever they are; what cannot be deleted stays.

        Raises:
            EngineError: the folder is somebody else's.
        """
        self.check()
        for path in (self.path / name, (self.path / name).with_suffix(".json")):
            with contextlib.suppress(OSError):
                path.unlink()

    def make(self) -> None:
        """Make the folder, for this user alone.

        Raises:
            EngineError: it cannot be made, or somebody else could put code there.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EngineError(
                f"{self.path}: cannot be made: {error.strerror}; name another with inference.engine_cache"
            ) from error
        self.check()

    def check(self) -> None:
        """Refuse a folder in which somebody else could put code.

        Raises:
            EngineError: says whose it is or who may write.
        """
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise EngineError(f"{self.path}: cannot be read: {error.strerror}") from error
        _check_owner(self.path, status)

    @property
    def is_writable(self) -> bool:
        """Tell whether something can be kept; of a folder that is still to be made, whether it can be."""
        existing = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        return os.access(existing, os.W_OK | os.X_OK)

    def read_own(self, path: Path) -> bytes | None:
        """Return a file's content if it is ours alone; None if there is no file.

        Owner and content are those of the same open file: it cannot be exchanged in between.

        Raises:
            EngineError: it, or the folder, is somebody else's, or it is no plain file.
        """
        self.check()
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EngineError(
                f"{path}: cannot be opened as a plain file: {error.strerror}; delete it"
            ) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise EngineError(f"{path}: is no plain file; delete it")
            _check_owner(path, status)
            if path.suffix == ".json" and status.st_size > _MAX_SIDECAR_BYTES:
                return b""
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read()
        except OSError as error:
            raise EngineError(f"{path}: cannot be read: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file of the folder in one step, for this user alone.

        Raises:
            EngineError: the folder is somebody else's, or cannot be written.
        """
        self.make()
        try:
            with atomic_file(path) as temporary:
                temporary.chmod(0o600)
                temporary.write_bytes(content)
            path.chmod(0o600)
        except OSError as error:
            raise EngineError(f"{path}: cannot be written: {error.strerror}") from error


def short_digest(key: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that tell keys apart in file names."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return in words what two keys differ in."""
    differing = [name for name in expected if found.get(name) != expected[name]]
    return ", ".join(f"{name} is {found.get(name)!r}, expected {expected[name]!r}" for name in differing[:2])


def _check_owner(path: Path, status: os.stat_result) -> None:
    user = os.geteuid()
    if status.st_uid != user:
        raise EngineError(
            f"{path}: belongs to user {status.st_uid}, expected {user}, who runs this: it is code, and only "
            "one's own is run; delete it, or name another folder with inference.engine_cache"
        )
    if status.st_mode & _OTHERS_WRITE:
        raise EngineError(
            f"{path}: others may write it (mode {stat.S_IMODE(status.st_mode):o}): it is code; "
            f"chmod go-w {path} if you trust what is in it"
        )
