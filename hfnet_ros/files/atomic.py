"""Write files and directories aside, then move them into place in one step.

Whoever looks at the path sees the old content or the new one, never half of it: a full disk,
an exception, Ctrl-C or a power cut in the middle leaves the old content as it was.

What is being written lives in a hidden sibling named `.<stem>.tmp-<pid>-<token><suffix>`
(directories also `.<name>.old-<pid>-<token>`), locked with flock while its writer lives. A
process that was killed leaves such a sibling behind; the next write to the same path
removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_MAX_STEM_BYTES = 120

# Between the birth of a temporary sibling and its lock, and between two renames, another thread
# must not sweep.
_birth = threading.Lock()


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes `path`.

    The temporary path keeps the suffix of `path`, because writers such as numpy.savez and
    cv2.imwrite look at it. A symbolic link stays and the file it points to is replaced. A
    device or pipe (/dev/stdout) cannot be replaced and is handed out itself.

    Args:
        path: file to create or replace; its folder must exist.

    Yields:
        Path of an empty file in the same folder.

    Raises:
        OSError: the folder is missing, `path` is a directory, or the disk is full; `path` is
            then what it was before.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "found a directory where a file shall be written", str(path))
    if target.exists() and not target.is_file():
        with _named(target, target):
            yield target
        return
    with _temporary_sibling(target, is_directory=False) as temporary:
        yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
        _fsync(temporary)
        temporary.replace(target)
        _fsync_directory(target.parent)


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary directory to fill; on success it becomes `path`.

    An existing directory is replaced as a whole and everything in it is deleted: check
    before that it is one of yours. Both change places in one system call where the file
    system can (renameat2), otherwise in two renames, the first of which is undone if the
    second fails.

    Args:
        path: directory to create or replace; its parent must exist.

    Yields:
        Path of an empty directory beside `path`.

    Raises:
        OSError: the parent is missing, `path` is not a directory or is a mount point, or the
            disk is full; `path` is then what it was before.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "found a file where a directory shall be written", str(path))
    if target.is_mount():
        raise OSError(errno.EBUSY, "is a mount point and cannot be replaced; name a folder in it", str(path))
    with _temporary_sibling(target, is_directory=True) as temporary:
        yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
        _fsync_tree(temporary)
        _install_directory(temporary, target)
        _fsync_directory(target.parent)


_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@contextlib.contextmanager
def _named(target: Path, temporary: Path) -> Iterator[None]:
    """Let errors of the file system name what was to be written, not the sibling nobody knows of."""
    try:
        yield
    except OSError as error:
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else error.filename
        of_sibling = name is not None and str(name).startswith(str(temporary))
        if of_sibling or (name is None and error.errno in _OF_THE_DISK):
            raise type(error)(error.errno, error.strerror, str(target)) from error
        raise


@contextlib.contextmanager
def _temporary_sibling(target: Path, *, is_directory: bool) -> Iterator[Path]:
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "folder does not exist; create it first", str(target.parent))
    temporary = _sibling(target, "tmp", is_directory=is_directory)
    lock = -1
    try:
        with _named(target, temporary):
            with _birth:
                _sweep(target, is_directory=is_directory)
                if is_directory:
                    temporary.mkdir()
                    lock = os.open(temporary, os.O_RDONLY)
                else:
                    lock = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
                # Not every network file system can lock; the process id in the name remains.
                with contextlib.suppress(OSError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield temporary
    finally:
        # After success the name is free, or holds the old directory of an exchange.
        _remove(temporary)
        if lock >= 0:
            os.close(lock)


def _install_directory(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    if _exchange(temporary, target):
        return
    old = _sibling(target, "old", is_directory=True)
    with _birth:
        try:
            target.rename(old)
            temporary.rename(target)
        except BaseException:
            if old.exists() and not target.exists():
                old.rename(target)
            raise
    _remove(old)


def _exchange(left: Path, right: Path) -> bool:
    """Let two directories swap names at once; False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    arguments = (_AT_FDCWD, os.fsencode(left), _AT_FDCWD, os.fsencode(right))
    return bool(renameat2(*arguments, ctypes.c_uint(_RENAME_EXCHANGE)) == 0)


def _name_parts(target: Path, *, is_directory: bool) -> tuple[str, str]:
    suffix = "" if is_directory else target.suffix
    stem = target.name.removesuffix(suffix) if suffix else target.name
    # A file name ends at 255 bytes, and our marks need room too.
    if len(os.fsencode(stem)) > _MAX_STEM_BYTES:
        stem = hashlib.sha256(os.fsencode(stem)).hexdigest()[:32]
    return stem, suffix


def _sibling(target: Path, kind: str, *, is_directory: bool) -> Path:
    stem, suffix = _name_parts(target, is_directory=is_directory)
    return target.parent / f".{stem}.{kind}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"


def _sweep(target: Path, *, is_directory: bool) -> None:
    """Remove what killed writers of `target` left; put an old directory back if it is all there is."""
    stem, suffix = _name_parts(target, is_directory=is_directory)
    pattern = re.compile(
        rf"\.{re.escape(stem)}\.(?P<kind>tmp|old)-(?P<pid>\d+)-[0-9a-f]{{8}}{re.escape(suffix)}"
    )
    for leftover in target.parent.iterdir():
        match = pattern.fullmatch(leftover.name)
        if match is None or leftover.is_dir() != is_directory:
            continue
        if not _is_abandoned(leftover, int(match["pid"])):
            continue
        if match["kind"] == "old" and not target.exists():
            with contextlib.suppress(OSError):
                leftover.rename(target)
        else:
            _remove(leftover)


def _is_abandoned(leftover: Path, pid: int) -> bool:
    """Tell whether the writer is gone.

    The process id alone would err in containers: every start has the same one, and another
    container's processes cannot be seen. The lock alone would err between two renames.
    """
    if pid != os.getpid() and _is_alive(pid):
        return False
    try:
        descriptor = os.open(leftover, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return pid != os.getpid()
    finally:
        os.close(descriptor)
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _fsync_tree(directory: Path) -> None:
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            file = Path(folder, name)
            if file.is_file() and not file.is_symlink():
                _fsync(file)
        _fsync_directory(Path(folder))


def _fsync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync_directory(directory: Path) -> None:
    try:
        _fsync(directory)
    except OSError as error:
        # Some network file systems know no fsync of directories; their renames are what they are.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
