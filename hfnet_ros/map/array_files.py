"""One array in one `.npy` file: written plainly, mapped into memory, never unpickled."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.errors import MapFormatError

# Up to this size every load reads all and checks digests: 64 MiB take less than 0.2 s, and a flipped bit
# never localizes.
ALWAYS_VERIFIED_BYTES = 64 * 1024 * 1024
ARRAYS_FOLDER = "arrays"
ADVICE = "copy the map again or rebuild it"


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
    np.save(file, plain, allow_pickle=False)
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
    """Map one array into memory after checking its file against the manifest.

    Args:
        folder: the map.
        name: of the array.
        entry: what the manifest says of it.
        digest: read the whole file and compare its SHA-256.
        subfolder: of the map, in which the file is.

    Raises:
        MapFormatError: the file is missing, damaged or something else.
    """
    file = folder / array_file(name, subfolder)
    where = f"{file}: array '{name}'"
    try:
        problem = file_problem(file, entry, digest=digest)
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
    if problem:
        raise MapFormatError(f"{where} {problem}; {ADVICE}")
    try:
        # open_memmap, unlike load, reads nothing but .npy, and never objects.
        mapped = np.lib.format.open_memmap(file, mode="r")
    except OSError as error:
        raise MapFormatError(
            f"{where} cannot be mapped into memory: {error.strerror or error}; {ADVICE}"
        ) from error
    except Exception as error:  # a damaged header ends in Python's tokenizer, whose errors are many
        raise MapFormatError(f"{where} is not a plain array ({error}), expected .npy; {ADVICE}") from error
    described = f"{mapped.dtype.str}{list(mapped.shape)}"
    expected = f"{entry['dtype']}{entry['shape']}"
    # A damaged header length would shift all numbers, and the size of the file would still be right.
    plain = mapped.flags.c_contiguous and mapped.offset + mapped.nbytes == entry["bytes"]
    if described != expected or not plain:
        raise MapFormatError(
            f"{where} is {described}, expected {expected}, row by row and nothing else; {ADVICE}"
        )
    # A plain view: the memmap class itself would turn up in every result computed from it.
    return np.asarray(mapped)


def release_pages(array: NDArray[Any]) -> None:
    """Let go of what was read of an array that is mapped from a file; reading it again is quick.

    What a query touches of a large map would otherwise stay resident, and the kernel maps up to a megabyte around
    each touch.
    """
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


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
    if not file.is_file():
        return f"is missing, expected {entry['bytes']} bytes"
    size = file.stat().st_size
    if size != entry["bytes"]:
        return f"has {size} bytes, expected {entry['bytes']}"
    found = file_digest(file) if digest else entry["sha256"]
    if found != entry["sha256"]:
        return f"has SHA-256 {found[:16]}..., expected {entry['sha256'][:16]}...: it is damaged"
    return ""
