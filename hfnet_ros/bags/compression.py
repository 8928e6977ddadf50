"""The compressions that occur in bags, whole and as far as a cut-off block goes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import lz4.frame  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZstdError = zstd.ZstdError
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_UNPACKED_BYTES = 256 << 20  # of a chunk or message; writers make chunks of a few MB

_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "zstd": zstd.ZstdDecompressor,
    "lz4": lz4.frame.LZ4FrameDecompressor,
}


def open_zstd(path: Path) -> IO[bytes]:
    """Open a file compressed by zstd for reading its content."""
    return cast("IO[bytes]", zstd.open(path, "rb"))


def decompress_zstd(data: bytes | memoryview) -> bytes:
    """Return the content of one block.

    Raises:
        ValueError: damaged, cut off, or more than 256 MiB when unpacked.
    """
    return decompress_chunk(bytes(data), MAX_UNPACKED_BYTES, "zstd")


def decompress_chunk(data: bytes, size: int, compression: str, *, cut_off: bool = False) -> bytes:
    """Return the content of an MCAP chunk; of a block that is cut off, what can be had.

    Args:
        data: the block.
        size: that the content is said to have, bytes; no more is unpacked than that.
        compression: zstd, lz4, or empty.
        cut_off: take what can be had.

    Raises:
        ValueError: the compression is unknown, or the block is damaged or larger than it says or may be.
    """
    if compression == "":
        return data
    if compression not in _DECOMPRESSORS:
        raise ValueError(f"compression '{compression}' is unknown, expected zstd or lz4")
    if size > MAX_UNPACKED_BYTES:
        raise ValueError(f"{size} bytes when unpacked, expected {MAX_UNPACKED_BYTES} at most")
    parts: list[bytes] = []
    while data:
        decompressor = _DECOMPRESSORS[compression]()
        try:
            parts.append(bytes(decompressor.decompress(data, max_length=size + 1)))
        except (ZstdError, RuntimeError, EOFError) as error:
            raise ValueError(f"{compression}: {error}") from error
        size -= len(parts[-1])
        if size < 0:
            raise ValueError(f"{compression}: more than it says when unpacked")
        if not decompressor.eof and not cut_off:
            raise ValueError(f"{compression}: the block is cut off")
        data = decompressor.unused_data if decompressor.eof else b""
    return b"".join(parts)
