"""One array in one `.npy` file: written plainly, never unpickled, mapped into memory where it is large.

What is small enough to be checked whole is read once and kept: a file that is overwritten under a mapping changes what
a running program knows of its map, and one that is cut off ends the program (SIGBUS).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import mmap
import os
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MapFormatError

# Up to this size every load reads all and checks digests: 64 MiB take less than 0.2 s, and a flipped bit
# never localizes.
ALWAYS_VERIFIED_BYTES = 64 * 1024 * 1024
ARRAYS_FOLDER = "arrays"
ADVICE = "copy the map again or rebuild it"
_TRIES = 5  # to read a header
_ArrayT = TypeVar("_ArrayT", bound=NDArray[Any])
# Large files, open and named, by what maps them.
_open_files: weakref.WeakKeyDictionary[mmap.mmap, tuple[int, Path]] = weakref.WeakKeyDictionary()


def array_file(name: str, subfolder: str = ARRAYS_FOLDER) -> str:
    """Return where an array lies, relative to its map."""
    return f"{subfolder}/{name}.npy"


def write_array(
    folder: Path, name: str, array: NDArray[Any], dtype: str, subfolder: str = ARRAYS_FOLDER
) -> dict[str, Any]:
    """Write an array row by row and return its entry for the manifest.

    Raises:
        OSError: the disk refuses.
    """
    plain = np.asarray(array, dtype=dtype, order="C")
    file = folder / array_file(name, subfolder)
    # As np.save does, whose own writing does not say why a disk refuses.
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(plain))
        stream.write(plain.data)
    return {
        "file": array_file(name, subfolder),
        "dtype": dtype,
        "shape": list(plain.shape),
        "bytes": file.stat().st_size,
        "sha256": file_digest(file),
    }


def open_array(
    folder: Path, name: str, entry: Mapping[str, Any], *, digest: bool, subfolder: str = ARRAYS_FOLDER
) -> NDArray[Any]:
    """Open one array after checking its file against the manifest.

    Args:
        folder: the map.
        name: of the array.
        entry: what the manifest says of it.
        digest: read the whole file and compare its SHA-256; the array is kept in memory, unless it is larger than
            `ALWAYS_VERIFIED_BYTES`, and what becomes of the file is no matter then.
        subfolder: of the map, in which the file is.

    Raises:
        MapFormatError: the file is missing, damaged or something else.
    """
    file = folder / array_file(name, subfolder)
    where = f"{file}: array '{name}'"
    if digest and entry["bytes"] <= ALWAYS_VERIFIED_BYTES:
        return _read_whole(file, where, entry)
    try:
        problem = file_problem(file, entry, digest=digest)
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
    if problem:
        raise MapFormatError(f"{where} {problem}; {ADVICE}")
    try:
        mapped = _parsed(lambda: np.lib.format.open_memmap(file, mode="r"), where)
    except OSError as error:
        raise MapFormatError(
            f"{where} cannot be mapped into memory: {error.strerror or error}; {ADVICE}"
        ) from error
    _check_form(mapped, mapped.offset, where, entry)
    if mapped.nbytes > ALWAYS_VERIFIED_BYTES and hasattr(os, "preadv"):
        _keep_open(file, _mapping_of(mapped))
    # A plain view: the memmap class itself would turn up in every result computed from it.
    return np.asarray(mapped)


def _read_whole(file: Path, where: str, entry: Mapping[str, Any]) -> NDArray[Any]:
    try:
        content = file.read_bytes() if file.is_file() else None
    except OSError as error:
        raise MapFormatError(f"{where} cannot be read: {error.strerror or error}; {ADVICE}") from error
    size = None if content is None else len(content)
    problem = _size_problem(size, entry)
    if content is None or problem:
        raise MapFormatError(f"{where} {problem}; {ADVICE}")
    problem = _digest_problem(hashlib.sha256(content).hexdigest(), entry)
    if problem:
        raise MapFormatError(f"{where} {problem}; {ADVICE}")
    stream = io.BytesIO(content)

    def read() -> NDArray[Any]:
        stream.seek(0)
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))

    array = _parsed(read, where)
    _check_form(array, stream.tell() - array.nbytes, where, entry)
    array.flags.writeable = False
    return array


def _parsed(read: Callable[[], _ArrayT], where: str) -> _ArrayT:
    # open_memmap and read_array, unlike load, read nothing but .npy, and never objects. They have Python parse the
    # header, which before Python 3.11.8 fails for a sound one, too, if another thread has something parsed just then
    # (CPython issue 106905).
    try:
        for _ in range(_TRIES - 1):
            with contextlib.suppress(SystemError):
                return read()
        return read()
    except OSError:
        raise
    except Exception as error:  # a damaged header ends in Python's tokenizer, whose errors are many
        raise MapFormatError(f"{where} is not a plain array ({error}), expected .npy; {ADVICE}") from error


def _check_form(array: NDArray[Any], offset: int, where: str, entry: Mapping[str, Any]) -> None:
    described = f"{array.dtype.str}{list(array.shape)}"
    expected = f"{entry['dtype']}{entry['shape']}"
    # A damaged header length would shift all numbers, and the size of the file would still be right.
    plain = array.flags.c_contiguous and offset + array.nbytes == entry["bytes"]
    if described != expected or not plain:
        raise MapFormatError(
            f"{where} is {described}, expected {expected}, row by row and nothing else; {ADVICE}"
        )


def _keep_open(file: Path, mapping: mmap.mmap | None) -> None:
    """Open a mapped file for `read_rows`; where that fails, as with too many open files, rows are mapped."""
    if mapping is None:
        return
    with contextlib.suppress(OSError):
        number = os.open(file, os.O_RDONLY)
        weakref.finalize(mapping, os.close, number)
        # The map may have been exchanged since it was mapped.
        if os.fstat(number).st_size == len(mapping):
            _open_files[mapping] = number, file


def _mapping_of(array: NDArray[Any]) -> mmap.mmap | None:
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    return base


def read_rows(array: NDArray[Any], rows: NDArray[np.integer]) -> NDArray[Any]:
    """Return rows [K, ...] of an array [N, ...].

    Rows of a large file are read, not mapped: a row that is touched costs some microseconds, since the kernel maps up
    to a megabyte around it, which then counts as memory of this process.

    Raises:
        MapFormatError: the file has become shorter, or cannot be read any more.
    """
    mapping = _mapping_of(array) if isinstance(array, np.ndarray) and array.flags.c_contiguous else None
    opened = None if mapping is None else _open_files.get(mapping)
    if mapping is None or opened is None or not len(rows) or not 0 <= rows.min() <= rows.max() < len(array):
        return array[rows]
    found = np.empty((len(rows), *array.shape[1:]), array.dtype)
    size = array.strides[0]
    first = array.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data
    # Neighbours are read at once.
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    ends = [*starts[1:].tolist(), len(rows)]
    positions = (first + rows[starts].astype(np.int64) * size).tolist()
    content = memoryview(found.view(np.uint8).data).cast("B")
    for start, end, position in zip(starts.tolist(), ends, positions, strict=True):
        wanted = content[start * size : end * size]
        try:
            num_read = os.preadv(opened[0], [wanted], position)
        except OSError as error:
            raise MapFormatError(
                f"{opened[1]}: cannot be read: {error.strerror or error}; {ADVICE}"
            ) from error
        if num_read != len(wanted):
            raise MapFormatError(
                f"{opened[1]}: has become shorter than {position + len(wanted)} bytes; {ADVICE}"
            )
    return found


def release_pages(array: NDArray[Any]) -> None:
    """Let go of what was read of an array that is mapped from a file; reading it again is quick.

    What a query touches of a large map would otherwise stay resident, and the kernel maps up to a megabyte around
    each touch.
    """
    mapping = _mapping_of(array)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def file_problem(file: Path, entry: Mapping[str, Any], *, digest: bool) -> str:
    """Return what of a file contradicts its entry, "" if nothing does; of its content only with `digest`.

    Raises:
        OSError: it cannot be read.
    """
    problem = _size_problem(file.stat().st_size if file.is_file() else None, entry)
    return problem or (_digest_problem(file_digest(file), entry) if digest else "")


def _size_problem(size: int | None, entry: Mapping[str, Any]) -> str:
    if size is None:
        return f"is missing, expected {entry['bytes']} bytes"
    return "" if size == entry["bytes"] else f"has {size} bytes, expected {entry['bytes']}"


def _digest_problem(found: str, entry: Mapping[str, Any]) -> str:
    if found == entry["sha256"]:
        return ""
    return f"has SHA-256 {found[:16]}..., expected {entry['sha256'][:16]}...: it is damaged"
