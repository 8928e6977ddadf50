"""The compressions that occur in bags, whole and as far as a cut-off block goes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, cast

import lz4.frame  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZstdError = zstd.ZstdError
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def open_zstd(path: Path) -> IO[bytes]:
    """Open a file compressed by zstd for reading its content."""
    return cast("IO[bytes]", zstd.open(path, "rb"))


def decompress_zstd(data: bytes | memoryview) -> bytes:
    """Return the content of one block.

    Raises:
        ZstdError: damaged or cut off.
    """
    return bytes(zstd.decompress(data))


def decompress_chunk(data: bytes, compression: str, *, cut_off: bool = False) -> bytes:
    """Return the content of an MCAP chunk; of a block that is cut off, what can be had.

    Raises:
        ValueError: the compression is unknown, or the block damaged.
    """
    try:
        if compression == "":
            return data
        if compression == "zstd":
            return bytes(zstd.ZstdDecompressor().decompress(data)) if cut_off else decompress_zstd(data)
        if compression == "lz4":
            whole = lz4.frame.LZ4FrameDecompressor().decompress if cut_off else lz4.frame.decompress
            return bytes(whole(data))
    except (ZstdError, RuntimeError, EOFError) as error:
        raise ValueError(f"{compression}: {error}") from error
    raise ValueError(f"compression '{compression}' is unknown, expected zstd or lz4")
