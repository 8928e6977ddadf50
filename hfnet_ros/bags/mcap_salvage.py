"""Read MCAP files without trusting their index: cut off, damaged, or written without one.

One pass over the file notes where chunks of records lie and what they hold. Reading then merges the
chunks by time, as rosbags does with sound files. A damaged chunk is left out; the end of a file that
was cut off is read as far as it goes.

Reference: https://mcap.dev/spec
"""

from __future__ import annotations

import heapq
import struct
from binascii import crc32
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from hfnet_ros.bags.compression import MAX_UNPACKED_BYTES, decompress_chunk
from hfnet_ros.errors import BagError

MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _MESSAGE_INDEX, _DATA_END = 2, 3, 4, 5, 6, 7, 15
_RECORD = struct.Struct("<BQ")  # what it is, bytes that follow
_MESSAGE_START = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK_START = struct.Struct("<QQQI")  # first time, last time, bytes when unpacked, CRC-32 of these
_LOOSE, _CUT = -1, -2
_LOOSE_KINDS = (_SCHEMA, _CHANNEL, _MESSAGE)
_LOOSE_BYTES = 4 << 20  # messages outside of chunks are read this many bytes at a time
_INDEX_ENTRY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic of the file and the definition of its type."""

    topic: str
    type_name: str
    encoding: str
    schema_encoding: str
    schema: str
    latched: bool


@dataclass(frozen=True, slots=True)
class _Span:
    """Where records lie: a chunk, or a run of messages that are in none."""

    offset: int
    size: int
    is_chunk: bool
    start_ns: int
    cut_off: bool = False


@dataclass(slots=True)
class McapScan:
    """What one pass over a file found.

    Attributes:
        channels: by the number that messages carry.
        counts: readable messages by channel.
        start_ns: smallest log time; None without messages.
        end_ns: largest log time.
        damage: one sentence per damaged stretch.
        num_lost: messages known to be in damaged chunks, by the index that follows them.
        schemas: (name, encoding, text) by the number that channels carry.
        spans: where messages lie.
    """

    path: Path
    channels: dict[int, Channel] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    start_ns: int | None = None
    end_ns: int | None = None
    damage: list[str] = field(default_factory=list)
    num_lost: int = 0
    schemas: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    spans: list[_Span] = field(default_factory=list)

    def messages(self, channels: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield (channel, log time, payload) in order of time, then of place in the file."""
        wanted = frozenset(channels)
        with self.path.open("rb") as file:
            spans = [self._span_messages(file, span, wanted) for span in self.spans]
            for _, channel, stamp_ns, payload in heapq.merge(*spans, key=itemgetter(0)):
                if payload is not None:
                    yield channel, stamp_ns, payload

    def _span_messages(
        self, file: BinaryIO, span: _Span, wanted: frozenset[int]
    ) -> Iterator[tuple[int, int, int, bytes | None]]:
        # The merge asks every span for its first item: what costs memory comes after it.
        yield span.start_ns, 0, 0, None
        found: list[tuple[int, int, int, bytes | None]] = []
        for kind, body in _records(_read_span(file, span)):
            if kind == _MESSAGE:
                channel, _, stamp_ns, _ = _MESSAGE_START.unpack_from(body)
                if channel in wanted:
                    found.append((stamp_ns, channel, stamp_ns, bytes(body[_MESSAGE_START.size :])))
        found.sort(key=itemgetter(0))
        yield from found


def scan_mcap(path: Path) -> McapScan:
    """Look through a file from its start to its end, or to where it can no longer be followed.

    Raises:
        BagError: it is not MCAP at all.
    """
    scan = McapScan(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise BagError(f"{path}: is not MCAP (its first bytes are others)")
        _scan_regions(scan, file, size)
    return scan


def _scan_regions(scan: McapScan, file: BinaryIO, size: int) -> None:
    chunk_is_lost = False
    for kind, offset, length in _regions(file, size):
        if kind == _CUT:
            scan.damage.append(_describe_cut(scan.path, offset, size))
        elif kind == _LOOSE:
            _add_span(scan, file, _Span(offset, length, False, 0))
        elif kind == _CHUNK:
            span = _Span(offset, min(length, size - offset), True, 0, cut_off=offset + length > size)
            chunk_is_lost = not _add_span(scan, file, span)
        elif kind == _MESSAGE_INDEX and chunk_is_lost:
            file.seek(offset)
            _, num_bytes = struct.unpack("<HI", file.read(6).ljust(6, b"\0"))
            scan.num_lost += num_bytes // _INDEX_ENTRY_BYTES


def _regions(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (kind, offset, length) of records, of runs of loose records, and of where the file breaks off."""
    position = run_start = len(MAGIC)
    while position + _RECORD.size <= size:
        file.seek(position)
        kind, length = _RECORD.unpack(file.read(_RECORD.size))
        body, end = position + _RECORD.size, position + _RECORD.size + length
        is_loose = kind in _LOOSE_KINDS and end <= size
        if run_start < position and (not is_loose or position - run_start > _LOOSE_BYTES):
            yield _LOOSE, run_start, position - run_start
            run_start = position
        if not is_loose:
            if kind in (_FOOTER, _DATA_END):
                return
            if kind == _CHUNK or (kind != 0 and end <= size):
                yield kind, body, length
            if kind == 0 or end > size:
                yield _CUT, position, 0
                return
            run_start = end
        position = end
    if run_start < position:
        yield _LOOSE, run_start, position - run_start
    yield _CUT, position, 0


def _add_span(scan: McapScan, file: BinaryIO, span: _Span) -> bool:
    """Take note of what a span holds; False where it cannot be read."""
    try:
        records = _read_span(file, span)
    except ValueError as error:
        scan.damage.append(f"{scan.path.name}: the chunk at byte {span.offset} cannot be read ({error})")
        return False
    stamps = []
    for kind, body in _records(records):
        if kind == _SCHEMA:
            _add_schema(scan, body)
        elif kind == _CHANNEL:
            _add_channel(scan, body)
        elif kind == _MESSAGE:
            channel, _, stamp_ns, _ = _MESSAGE_START.unpack_from(body)
            if channel in scan.channels:
                scan.counts[channel] += 1
                stamps.append(stamp_ns)
    if stamps:
        first, last = min(stamps), max(stamps)
        scan.start_ns = first if scan.start_ns is None else min(first, scan.start_ns)
        scan.end_ns = last if scan.end_ns is None else max(last, scan.end_ns)
        scan.spans.append(replace(span, start_ns=first))
    return True


def _read_span(file: BinaryIO, span: _Span) -> bytes:
    """Return the records of a span.

    Raises:
        ValueError: a chunk is damaged.
    """
    if span.size > MAX_UNPACKED_BYTES and not span.cut_off:
        raise ValueError(f"{span.size} bytes long, expected {MAX_UNPACKED_BYTES} at most")
    file.seek(span.offset)
    data = file.read(min(span.size, MAX_UNPACKED_BYTES))
    if not span.is_chunk:
        return data
    try:
        _, _, unpacked_size, checksum = _CHUNK_START.unpack_from(data)
        compression, position = _read_text(data, _CHUNK_START.size)
        (packed_size,) = struct.unpack_from("<Q", data, position)
    except struct.error:
        return b"" if span.cut_off else _refuse("its head is cut off")
    packed = data[position + 8 : position + 8 + packed_size]
    records = decompress_chunk(packed, unpacked_size, compression, cut_off=span.cut_off)
    if not span.cut_off and len(records) != unpacked_size:
        raise ValueError(f"{len(records)} bytes, expected {unpacked_size}")
    if not span.cut_off and checksum and crc32(records) != checksum:
        raise ValueError("checksum differs")
    return records


def _refuse(reason: str) -> bytes:
    raise ValueError(reason)


def _records(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield (kind, body) of the whole records in a stretch of bytes."""
    view, position = memoryview(data), 0
    while position + _RECORD.size <= len(data):
        kind, length = _RECORD.unpack_from(data, position)
        body = view[position + _RECORD.size : position + _RECORD.size + length]
        if kind == 0 or len(body) < length:  # no record is of kind 0: zeros of a damaged disk
            return
        position += _RECORD.size + length
        if kind != _MESSAGE or length >= _MESSAGE_START.size:
            yield kind, body


def _add_schema(scan: McapScan, body: memoryview) -> None:
    with suppress(struct.error, UnicodeDecodeError):
        (number,) = struct.unpack_from("<H", body)
        name, position = _read_text(body, 2)
        encoding, position = _read_text(body, position)
        text, _ = _read_text(body, position)
        scan.schemas[number] = (name, encoding, text)


def _add_channel(scan: McapScan, body: memoryview) -> None:
    with suppress(struct.error, UnicodeDecodeError):
        number, schema_number = struct.unpack_from("<HH", body)
        topic, position = _read_text(body, 4)
        encoding, position = _read_text(body, position)
        name, schema_encoding, text = scan.schemas.get(schema_number, ("", "", ""))
        metadata = bytes(body[position:])
        latched = b"durability: 1" in metadata or b"durability: transient_local" in metadata
        scan.channels[number] = Channel(topic, name, encoding, schema_encoding, text, latched)


def _read_text(data: bytes | memoryview, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data, position)
    start = position + 4
    if start + length > len(data):
        raise struct.error("text is cut off")
    return bytes(data[start : start + length]).decode(), start + length


def _describe_cut(path: Path, offset: int, size: int) -> str:
    if offset == size:
        return f"{path.name} has no end mark: the recorder was killed; whole records up to there were read"
    return f"{path.name} breaks off at byte {offset} of {size}; what lies before was read"
