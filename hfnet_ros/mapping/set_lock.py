"""One program at a time changes a set of maps, and whoever comes second is told which one does.

The lock is the kernel's (flock on SET/.lock): it ends with the process that holds it, however that ends. What the file
says only names the holder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.manifest import PathLike

LOCK_NAME = ".lock"


@contextlib.contextmanager
def set_locked(folder: PathLike, doing: str) -> Iterator[None]:
    """Keep a set to this program.

    Args:
        folder: of the set, which is there.
        doing: what this program does with it, for whoever finds it locked, such as "changes it".

    Raises:
        MapFormatError: another program has it; names that one. Or the disk refuses.
    """
    path = Path(os.path.realpath(folder))
    lock = _lock_of(path)
    try:
        holder = {
            "doing": doing,
            "pid": os.getpid(),
            "host": os.uname().nodename,
            "since": time.strftime("%Y-%m-%d %H:%M"),
        }
        _write(lock, json.dumps(holder))
        yield
    finally:
        with contextlib.suppress(OSError):
            if _is_in_place(lock, path):
                (path / LOCK_NAME).unlink()
        os.close(lock)


def check_unlocked(folder: PathLike) -> None:
    """Refuse a set that another program is changing, before the work of a change is done.

    Raises:
        MapFormatError: names that program.
    """
    try:
        lock = os.open(Path(folder) / LOCK_NAME, os.O_RDONLY)
    except OSError:
        return
    try:
        _flock(lock, fcntl.LOCK_SH, Path(folder))
    finally:
        os.close(lock)


def _lock_of(path: Path) -> int:
    """Return the set's lock file, open and locked."""
    while True:
        try:
            lock = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise MapFormatError(
                f"{path}: set cannot be written: {error.strerror}; what was there is untouched"
            ) from error
        try:
            _flock(lock, fcntl.LOCK_EX, path)
            if _is_in_place(lock, path):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _is_in_place(lock: int, path: Path) -> bool:
    """Tell whether an open file is the set's lock: one that was removed, or is in a replaced folder, locks nothing."""
    try:
        return os.path.samestat(os.fstat(lock), (path / LOCK_NAME).stat())
    except FileNotFoundError:
        return False


def _flock(lock: int, kind: int, path: Path) -> None:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MapFormatError(
            f"{path}: {_holder(lock)}; try again when it is done, or end that program: what it has not finished leaves "
            "the set as it is"
        ) from None
    except OSError:
        pass  # not every network file system can lock


def _holder(lock: int) -> str:
    try:
        said = json.loads(os.pread(lock, 4096, 0))
        return f"process {int(said['pid'])} on {said['host']} {said['doing']} since {said['since']} and has it locked"
    except (OSError, ValueError, KeyError, TypeError):
        return "another program is changing it"


def _write(lock: int, text: str) -> None:
    """Write who has the set, over who had it; on a full disk nobody is named."""
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, text.encode(), 0)
