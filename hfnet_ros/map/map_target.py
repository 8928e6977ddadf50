"""Where a map may be written: writing one replaces a whole folder."""

from __future__ import annotations

import os
from pathlib import Path

from hfnet_ros.errors import MapFormatError
from hfnet_ros.map.array_files import ARRAYS_FOLDER
from hfnet_ros.map.manifest import FORMAT_NAME, MANIFEST_NAME
from hfnet_ros.map.scene_files import NETWORK_FILE, SCENE_FOLDER


def check_map_target(path: str | os.PathLike[str]) -> None:
    """Refuse a place where no map can be written; call it before a long build.

    Only a free name, an empty folder or a map with nothing but a map's files in it will do,
    because writing a map replaces the whole folder.

    Raises:
        MapFormatError: says what is there instead.
    """
    try:
        problem = _target_problem(Path(os.path.realpath(path)))
    except OSError as error:
        problem = f"cannot be examined: {error.strerror}"
    if problem:
        raise MapFormatError(f"{path}: {problem}; choose another folder for the map")


def _target_problem(target: Path) -> str:
    if target.exists():
        if not target.is_dir():
            return "is a file, expected a free name"
        if target.is_mount():
            return "is a mount point and cannot be replaced, a folder in it can"
        foreign = _foreign_entry(target)
        if foreign:
            return (
                f"holds '{foreign}', expected a free name, an empty folder or a map to replace: "
                "writing would delete it"
            )
    parent = target.parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        return f"'{parent}' is a file, expected a folder to write the map in"
    if not os.access(parent, os.W_OK | os.X_OK):
        return f"no permission to write in '{parent}'"
    return ""


def _foreign_entry(folder: Path) -> str:
    """Return the name of something in `folder` that no map puts there, or ""."""
    entries = sorted(folder.iterdir())
    for entry in entries:
        if entry.name in (ARRAYS_FOLDER, SCENE_FOLDER) and entry.is_dir() and not entry.is_symlink():
            for file in sorted(entry.iterdir()):
                name = f"{entry.name}/{file.name}"
                if (file.suffix != ".npy" and name != NETWORK_FILE) or not file.is_file():
                    return name
        elif entry.name != MANIFEST_NAME or not entry.is_file():
            return entry.name
    # A damaged map may be replaced too, so the name is looked for, not parsed.
    manifest = folder / MANIFEST_NAME
    if entries and not (manifest.is_file() and FORMAT_NAME.encode() in manifest.read_bytes()):
        return entries[0].name
    return ""
