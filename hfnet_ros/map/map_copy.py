"""Copy a map file by file, and say in one sentence why that cannot be done."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


class NotCopiedError(Exception):
    """A map cannot be copied; says which and why. No OSError, of which `copytree` gathers one for each file."""


def copy_map(path: Path, folder: Path, name: str, *, link: bool = False) -> None:
    """Copy the files of a map into a folder that is there.

    Args:
        path: of the map.
        folder: where to.
        name: of the map, to be named by an error.
        link: share the files instead, where the file system can.

    Raises:
        NotCopiedError: the disk refuses; of a full one it says what is needed.
    """
    source = Path(os.path.realpath(path))

    def copy(file: str, target: str) -> None:
        try:
            _link_or_copy(file, target) if link else shutil.copy2(file, target)
        except OSError as error:
            raise NotCopiedError(
                f"sub-map '{name}': {error.strerror or error}{_room(error, source, folder)}"
            ) from error

    shutil.copytree(source, folder, copy_function=copy, dirs_exist_ok=True)


def _room(error: OSError, source: Path, folder: Path) -> str:
    """Return what is needed and free where a disk is full, and what to do."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    needed, copied = (
        sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) for place in (source, folder)
    )
    free = shutil.disk_usage(folder).free + copied
    return (
        f", {needed / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB were free; free some space, then give the same "
        "command again"
    )


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
