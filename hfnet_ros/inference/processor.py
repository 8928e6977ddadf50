"""What this machine's processor does quickly."""

from __future__ import annotations

from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
# As Linux names them: sums of products of bytes, four in one instruction.
_DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "i8mm", "asimddp")


def byte_dot_product() -> str:
    """Return which instruction of this processor multiplies and sums bytes; empty if none is known.

    Without one int8 is no faster than float32, and on older x86 processors sums of two products overflow.
    """
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        name, _, features = line.partition(":")
        if name.strip() in ("flags", "Features"):
            found = set(features.split())
            return next((one for one in _DOT_PRODUCTS if one in found), "")
    return ""
