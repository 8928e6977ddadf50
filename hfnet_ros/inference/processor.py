"""What this machine's processor does quickly."""

from __future__ import annotations

from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
# As Linux names them, best first: sums of four products of bytes in one instruction, and last of two in one. A sum of
# two that does not fit 16 bits is cut there, which costs HF-Net nothing (docs/notes/hfnet.md).
_BYTE_PRODUCTS = ("avx512_vnni", "avx_vnni", "i8mm", "asimddp", "avx2")


def byte_products() -> str:
    """Return which instruction of this processor multiplies and sums bytes; empty if none is known."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        name, _, features = line.partition(":")
        if name.strip() in ("flags", "Features"):
            found = set(features.split())
            return next((one for one in _BYTE_PRODUCTS if one in found), "")
    return ""
