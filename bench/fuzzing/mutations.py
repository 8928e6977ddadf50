"""Change a sound input a little, as a broken disk, a wrong writer or somebody malicious would."""

from __future__ import annotations

import copy
import re
import struct
from typing import Any

import numpy as np

Rng = np.random.Generator

_NUMBERS = (
    0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**48, 2**63 - 1, 2**64 - 1,
)  # fmt: skip
_TOKEN = re.compile(rb"[A-Za-z0-9_.+/-]+|[^\sA-Za-z0-9_]")
_TOKENS = (
    b"", b"0", b"-1", b"1e-05", b"1e400", b"-0.0", b"nan", b".inf", b"inf", b"9" * 400, b"0x10", b"1_000", b"1:30",
    b"2001-01-01", b"\xd9\xa3", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"null", b"~", b"true", b"[]", b"{}",
    b"[[1, 2], [3]]", b"%YAML:1.0", b"---", b"...", b"? ", b"- ", b"!!binary aGFsbG8=", b"&a [1, *a]", b"*a", b"<<: *a",
    b"!!python/object/apply:os.mkdir [executed]", b"!!python/name:os.system", b"|", b"'", b'"', b"#", b"\r", b"\t",
    b",",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 10**30, -(10**30), 10**400, 0.0, 0.5, 1e308, -1e308, float("nan"), float("inf"),
    "", "x", "0", "\x00", "../../x", "/dev/zero", "\udcff", [], {}, [[]], [None], [1, 2, 3], {"data": []},
)  # fmt: skip
_TEXTS = (
    "",
    "/",
    "//",
    "x",
    "\x00",
    "../../x",
    "/dev/zero",
    "map",
    "odom",
    "base_link",
    "a" * 5000,
    "é",
    "\n",
    "%s%n{}",
)
_SEQUENCES = ("d", "data")  # all other arrays of the messages heard have a fixed length
_REALS = (0.0, -0.0, 1.0, -1.0, 1e-300, 1e9, 1e200, 1e308, float("nan"), float("inf"), -float("inf"))


def pick(rng: Rng, choices: Any) -> Any:
    """Return one of a sequence."""
    return choices[int(rng.integers(len(choices)))]


def mutated_bytes(rng: Rng, data: bytes, most: int = 6) -> bytes:
    """Return bytes with bits flipped, lengths replaced, pieces lost, doubled or moved."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, most + 1))):
        size = len(changed)
        at = int(rng.integers(size + 1))
        length = int(rng.integers(1, 1 + min(64, max(1, size - at))))
        kind = int(rng.integers(8))
        if kind == 0 and at < size:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind in (1, 2):
            width = pick(rng, ((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
            number = pick(rng, _NUMBERS) & (256 ** width[0] - 1)
            changed[at : at + width[0]] = struct.pack(f"<{width[1]}", number)
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = changed[at : at + length]
        elif kind == 5:
            changed[at : at + length] = bytes(length)
        elif kind == 6:
            changed[at : at + length] = rng.bytes(length)
        elif rng.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def mutated_text(rng: Rng, data: bytes) -> bytes:
    """Return text with words replaced, lines lost, doubled or exchanged; sometimes bytes of it changed."""
    if rng.random() < 0.15:
        return mutated_bytes(rng, data)
    for _ in range(int(rng.integers(1, 4))):
        kind = int(rng.integers(5))
        lines = data.split(b"\n")
        row = int(rng.integers(len(lines)))
        if kind == 0:
            del lines[row]
        elif kind == 1:
            lines.insert(int(rng.integers(len(lines) + 1)), lines[row])
        elif kind == 2:
            other = int(rng.integers(len(lines)))
            lines[row], lines[other] = lines[other], lines[row]
        if kind < 3:
            data = b"\n".join(lines)
            continue
        tokens = list(_TOKEN.finditer(data))
        if tokens:
            token = pick(rng, tokens)
            data = data[: token.start()] + pick(rng, _TOKENS) + data[token.end() :]
    return data


def mutated_tree(rng: Rng, tree: Any) -> Any:
    """Return JSON values with one of them replaced, left out, doubled or wrapped."""
    changed = copy.deepcopy(tree)
    places: list[tuple[Any, Any]] = []
    _collect(changed, places)
    parent, key = pick(rng, places)
    kind = rng.random()
    if kind < 0.15:
        del parent[key]
    elif kind < 0.25:
        parent[key] = [parent[key]]
    elif kind < 0.35 and isinstance(parent[key], list):
        parent[key] = parent[key] * 2
    elif kind < 0.5 and isinstance(parent[key], (int, float)):
        parent[key] = parent[key] * pick(rng, (-1, 0, 2, 1000, 10**20))
    else:
        parent[key] = pick(rng, _VALUES)
    return changed


def _collect(node: Any, places: list[tuple[Any, Any]]) -> None:
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(entries):
        places.append((node, key))
        _collect(value, places)


def mutated_array(rng: Rng, array: np.ndarray) -> np.ndarray:
    """Return an array with numbers replaced, or of another shape or type."""
    changed = array.copy()
    kind = rng.random()
    if kind < 0.7 and changed.size:
        flat = changed.reshape(-1)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(flat.size))
            if changed.dtype.kind == "f":
                flat[at] = np.array(pick(rng, _REALS)).astype(changed.dtype)
            else:
                low, high = np.iinfo(changed.dtype).min, np.iinfo(changed.dtype).max
                flat[at] = pick(rng, (0, 1, low, high, int(np.clip(int(flat[at]) + 1, low, high))))
        return changed
    if kind < 0.8:
        return changed[: int(rng.integers(len(changed) + 1))]
    if kind < 0.9:
        return np.concatenate([changed, changed[:1]])
    if kind < 0.95:
        return changed[..., None]
    return changed.astype(pick(rng, ("<f4", ">f8", "<i2", "<u8", "|u1")))


def mutated_message(rng: Rng, message: Any) -> Any:
    """Return a message of rosbags with one or two of its fields replaced by what its type can just hold."""
    changed = copy.deepcopy(message)
    for _ in range(int(rng.integers(1, 3))):
        leaves: list[tuple[Any, str]] = []
        _collect_fields(changed, leaves)
        owner, name = pick(rng, leaves)
        value = getattr(owner, name)
        if isinstance(value, str):
            value = pick(rng, _TEXTS)
        elif isinstance(value, bool):
            value = not value
        elif isinstance(value, float):
            value = pick(rng, _REALS)
        elif isinstance(value, int):
            value = pick(rng, _NUMBERS) & (2**31 - 1)
            value = -value if name == "sec" and rng.random() < 0.5 else value
        elif isinstance(value, np.ndarray):
            drawn = mutated_array(rng, value).astype(value.dtype).reshape(-1)
            value = drawn if name in _SEQUENCES else np.resize(drawn, value.shape)
        object.__setattr__(owner, name, value)
    return changed


def _collect_fields(node: Any, leaves: list[tuple[Any, str]]) -> None:
    for name in getattr(node, "__dataclass_fields__", {}):
        if name == "__msgtype__":
            continue
        value = getattr(node, name)
        if isinstance(value, list):
            for entry in value:
                _collect_fields(entry, leaves)
        elif hasattr(value, "__dataclass_fields__"):
            _collect_fields(value, leaves)
        else:
            leaves.append((node, name))
