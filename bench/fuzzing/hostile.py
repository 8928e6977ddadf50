"""Inputs that random changes do not come upon: bombs, loops, code."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from typing import Any

import lz4.frame
import numpy as np

from fuzzing.mutations import Rng, pick

_LAUGHS = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b", ".join([b"*%c" % (name - 1)] * 9))
    for name in range(ord("b"), ord("k"))
)
_WIDE = (
    _LAUGHS + b"camera_matrix: *j\nimage_width: *j\nimage_height: *j\ndistortion_model: *j\nextractor: *j\n"
)

YAMLS = (
    _LAUGHS,
    _WIDE,
    b"image_width: &a [*a]\n",
    b"image_width: 4\nimage_height: &a {x: *a}\ncamera_matrix: *a\nextractor: *a\n",
    b"[" * 3000,
    b"{a: " * 3000,
    b"- " * 5000,
    b"image_width: " + b"9" * 20_000,
    b"image_width: 1e" + b"9" * 5000,
    b"image_width: 0b" + b"1" * 20_000,
    b"image_width: 1:" + b"59:" * 5000 + b"1",
    b"image_width: 2001-13-40\n",
    b"image_width: !!timestamp x\n",
    b"image_width: !!python/object/apply:os.system ['mkdir executed']\n",
    b"!!python/object/new:os.mkdir [executed]\n",
    b"image_width: !!binary '*'\n",
    b"? [1, 2]\n: 3\n",
    b"? {a: b}\n: 3\n",
    b"<<: [1, 2]\n",
    b"a: &x {<<: *x}\n",
    b"%TAG ! tag:yaml.org,2002:python/\n--- !name:os.system\n",
    b"\xfe\xff\x00a",
    b"\x85\x00\x01",
)


class _Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


def _object_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([_Trap()], object), allow_pickle=True)
    return buffer.getvalue()


def _header(text: str) -> bytes:
    head = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head


_NPY = (
    pickle.dumps(_Trap()),
    _object_array(),
    _header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 3), }"),
    _header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 3), }"),
    _header(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807), }"
    ),
    _header("{'descr': '|O', 'fortran_order': False, 'shape': (3, 3), }"),
    _header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (3,), }"),
    _header("{'descr': '<f8', 'fortran_order': True, 'shape': (5, 3), }") + bytes(120),
    _header("__import__('os').mkdir('executed')"),
    _header("(" * 100),
    b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{",
    b"PK\x03\x04" + bytes(60),
)


def npy(rng: Rng) -> bytes:
    """Return the bytes of a file that is to pass for an array."""
    return pick(rng, _NPY)


def png_bomb(side: int = 30_000) -> bytes:
    """Return a PNG of some kB that is a picture of side x side px, all black."""
    row = bytes(1 + side)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def jpeg_bomb(side: int = 60_000) -> bytes:
    """Return a JPEG whose head says side x side px and that ends there."""
    size = struct.pack(">HH", side, side)
    return (
        b"\xff\xd8\xff\xc0\x00\x11\x08" + size + b"\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00"
        b"\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00" + bytes(64) + b"\xff\xd9"
    )


def _record(kind: int, body: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(body)) + body


def _text(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


def mcap_bomb(packed: bytes, compression: bytes, says: int) -> bytes:
    """Return an MCAP of one chunk that says it is so large when unpacked."""
    chunk = struct.pack("<QQQI", 0, 1, says, 0) + _text(compression) + struct.pack("<Q", len(packed)) + packed
    whole = (
        b"\x89MCAP0\r\n"
        + _record(1, _text(b"ros2") + _text(b"x"))
        + _record(6, chunk)
        + _record(15, bytes(4))
    )
    return whole + _record(2, bytes(20)) + b"\x89MCAP0\r\n"


def bag_bombs(size: int) -> list[bytes]:
    """Return MCAP files of some kB whose chunks are of `size` bytes, and say so or not."""
    from hfnet_ros.bags.compression import zstd

    zeros = bytes(1 << 20)
    zstd_packer, lz4_packer = zstd.ZstdCompressor(), lz4.frame.LZ4FrameCompressor()
    packed = {b"zstd": b"", b"lz4": lz4_packer.begin()}
    for _ in range(size // len(zeros)):
        packed[b"zstd"] += zstd_packer.compress(zeros)
        packed[b"lz4"] += lz4_packer.compress(zeros)
    packed[b"zstd"] += zstd_packer.flush()
    packed[b"lz4"] += lz4_packer.flush()
    return [mcap_bomb(data, name, says) for name, data in packed.items() for says in (size, 1000)]


DEFINITIONS = (
    "uint8[4000000000] data\n",
    "a/msg/B[1000000000] data\n" + "=" * 80 + "\nMSG: a/B\nuint8[1000000000] x\n",
    "sensor_msgs/msg/Image again\n",
    "std_msgs/Header header\n" + "=" * 80 + "\nMSG: std_msgs/Header\nstd_msgs/Header header\n",
    "uint8 A=__import__('os').mkdir('executed')\n",
    "string A=\"\"\"\\n__import__('os').mkdir('executed')\n",
    'uint8 data"""\n__import__("os").mkdir("executed")\n',
    "uint8[<=__import__('os')] x\n",
    "".join(f"uint8 f{number}\n" for number in range(3000)),
    "\x00",
)
TYPES = (
    'sensor_msgs/msg/Image"""\n\nimport os; os.mkdir("executed")\n"""',
    "sensor_msgs/msg/Image(object): pass\nimport os; os.mkdir('executed')\nclass X",
    "../../x",
    "",
    "a",
    "sensor_msgs/msg/" + "I" * 5000,
)
SQL = (
    "drop table topics",
    "drop table messages",
    "delete from topics",
    "update topics set name = null",
    "update topics set type = x'00ff'",
    "update topics set type = 'a/msg/B'",
    "update topics set serialization_format = 'json'",
    "update topics set offered_qos_profiles = '&a [*a]'",
    "update topics set offered_qos_profiles = 3",
    "update topics set id = id + 1000",
    "update messages set data = null",
    "update messages set data = 'text'",
    "update messages set data = 3",
    "update messages set data = zeroblob(10000000)",
    "update messages set timestamp = -timestamp",
    "update messages set timestamp = 'soon'",
    "update messages set timestamp = 9223372036854775807",
    "update messages set timestamp = 1e300",
    "update messages set topic_id = 'x'",
    "alter table topics rename to themes",
    "alter table messages rename column data to payload",
    "alter table messages rename to kept; create view messages as select * from kept",
    "alter table messages rename to kept; create view messages as with recursive n(i) as (select 1 union all select "
    "i + 1 from n) select i as id, 1 as topic_id, i as timestamp, x'00' as data from n",
    "create trigger t after insert on messages begin select load_extension('x'); end",
    "pragma user_version = 99",
)
