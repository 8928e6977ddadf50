"""Find the files a bag consists of; say what a damaged folder lacks."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hfnet_ros.config.yaml_text import parse_yaml
from hfnet_ros.errors import BagError

_STORAGE_OF_SUFFIX = {".mcap": "mcap", ".db3": "sqlite3", ".bag": "ros1"}
_ZSTD = ".zstd"
_EXPECTED = "a folder of rosbag2, or a file ending in .mcap, .db3 or .bag"
_NUMBERED = re.compile(r"(?P<stem>.*?)_?(?P<number>\d+)", re.DOTALL)
_COPY_BYTES = 1 << 20


@dataclass(slots=True)
class Recording:
    """The files of one bag.

    Attributes:
        path: what was asked for.
        storage: mcap, sqlite3 or ros1.
        files: in the order they were recorded; not empty, but for zero-length parts left out.
        notes: what is missing or not as it should be.
    """

    path: Path
    storage: str
    files: list[Path]
    notes: list[str] = field(default_factory=list)


def find_recording(path: Path) -> Recording:
    """Return the files of a bag: a folder with or without metadata.yaml, or one file.

    Raises:
        BagError: there is nothing, or nothing that is one bag.
    """
    if not path.exists():
        raise BagError(f"{path}: no such bag; expected {_EXPECTED}")
    recording = _in_folder(path) if path.is_dir() else Recording(path, _storage_of(path), [path])
    _leave_out_empty(recording)
    return recording


@contextmanager
def uncompressed(recording: Recording) -> Iterator[Recording]:
    """Give the recording with files that were compressed as a whole unpacked for the time being.

    They are unpacked to the system's temporary folder (TMPDIR), because reading by time needs to
    jump about in them. One that is cut off gives what can be unpacked.

    Raises:
        BagError: the temporary folder has no room.
    """
    if not any(file.suffix == _ZSTD for file in recording.files):
        yield recording
        return
    with tempfile.TemporaryDirectory(prefix="hfnet_ros_bag_") as folder:
        files, notes = [], list(recording.notes)
        for index, file in enumerate(recording.files):
            target = file
            if file.suffix == _ZSTD:
                target = Path(folder, f"{index}_{file.stem}")
                _unpack(file, target, notes)
            files.append(target)
        yield Recording(recording.path, recording.storage, files, notes)


def _storage_of(file: Path) -> str:
    suffix = file.with_suffix("").suffix if file.suffix == _ZSTD else file.suffix
    storage = _STORAGE_OF_SUFFIX.get(suffix)
    if storage is None:
        raise BagError(f"{file}: is no bag by its name; expected {_EXPECTED}")
    return storage


def _in_folder(folder: Path) -> Recording:
    notes: list[str] = []
    listed = _listed_files(folder, notes)
    files = [file for file in listed if file.is_file()]
    missing = [file.name for file in listed if not file.is_file()]
    if files and missing:
        notes.append(f"metadata.yaml names files that are not there: {', '.join(missing)}")
    if not files:
        files = _files_by_name(folder)
        if missing:
            notes.append(f"metadata.yaml names {', '.join(missing)}, found {files[0].name}")
    return Recording(folder, _storage_of(files[0]), files, notes)


def _listed_files(folder: Path, notes: list[str]) -> list[Path]:
    metadata = folder / "metadata.yaml"
    if not metadata.is_file():
        notes.append("metadata.yaml is missing; the files were taken by their names")
        return []
    try:
        document = parse_yaml(metadata.read_bytes())
        names = document["rosbag2_bagfile_information"]["relative_file_paths"]
        if not names:
            raise ValueError("it names no file")
        # Old versions wrote the path from where they were started; only the name is ours.
        files = [folder / Path(str(name)).name for name in names]
        for file in files:
            _storage_of(file)
    except (OSError, ValueError, KeyError, TypeError, BagError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())
        notes.append(f"metadata.yaml cannot be used ({reason}); the files were taken by their names")
        return []
    return files


def _files_by_name(folder: Path) -> list[Path]:
    entries = sorted(entry for entry in folder.iterdir() if entry.is_file() and entry.name[0] != ".")
    files = [entry for entry in entries if _is_storage(entry)]
    bags = [entry.name for entry in entries if entry.suffix == ".bag"]
    if not files:
        if bags:
            raise BagError(f"{folder}: holds ROS 1 bags; name one of them: {', '.join(bags[:5])}")
        found = ", ".join(entry.name for entry in entries[:5]) or "nothing"
        raise BagError(f"{folder}: holds no bag (found {found}); expected {_EXPECTED}")
    if len(files) == 1:
        return files
    # recording_0.mcap, recording_1.mcap, ... are parts; kitchen.mcap and hall.mcap are not.
    matches = [_NUMBERED.fullmatch(file.name.split(".")[0]) for file in files]
    kinds = {file.name.partition(".")[2] for file in files}
    stems = {match["stem"] if match else file.name for match, file in zip(matches, files, strict=True)}
    if len(stems) > 1 or len(kinds) > 1:
        names = ", ".join(file.name for file in files[:5])
        raise BagError(f"{folder}: holds several recordings and no metadata.yaml; name one of {names}")
    numbers = {file: int(match["number"]) if match else 0 for match, file in zip(matches, files, strict=True)}
    return sorted(files, key=numbers.__getitem__)


def _is_storage(file: Path) -> bool:
    suffix = file.with_suffix("").suffix if file.suffix == _ZSTD else file.suffix
    return suffix in (".mcap", ".db3")


def _leave_out_empty(recording: Recording) -> None:
    empty = [file for file in recording.files if file.stat().st_size == 0]
    if len(empty) == len(recording.files):
        raise BagError(
            f"{recording.path}: is empty (0 bytes): the recorder ended before it wrote anything; record it again"
        )
    recording.notes += [f"{file.name} is empty (0 bytes) and was left out" for file in empty]
    recording.files = [file for file in recording.files if file not in empty]


def _unpack(source: Path, target: Path, notes: list[str]) -> None:
    from hfnet_ros.bags.compression import ZstdError, open_zstd

    with target.open("wb") as unpacked:
        try:
            with open_zstd(source) as packed:
                shutil.copyfileobj(packed, unpacked, _COPY_BYTES)
        except (ZstdError, EOFError) as error:
            notes.append(f"{source.name} is cut off or damaged ({error}); what could be unpacked was read")
        except OSError as error:
            raise BagError(
                f"{source}: cannot be unpacked to {target.parent}: {error.strerror}; make room there or set "
                "TMPDIR to a folder that has it"
            ) from error
    if target.stat().st_size == 0:
        raise BagError(f"{source}: nothing of it can be unpacked; expected a file compressed by zstd")
