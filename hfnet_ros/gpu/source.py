"""CUDA sources that come with this package."""

from __future__ import annotations

import re
from importlib import resources

_INCLUDE = re.compile(r'^#include "([a-z0-9_]+\.cuh)"$', re.MULTILINE)


def read_source(name: str) -> str:
    """Return a source of `hfnet_ros/gpu/kernels` with the package's own headers put in.

    Compilers that work in memory (NVRTC) see no folder, so that nothing is left to include.

    Args:
        name: of the file, e.g. `features.cu`.

    Raises:
        FileNotFoundError: there is no such file.
    """
    folder = resources.files("hfnet_ros.gpu") / "kernels"
    text = (folder / name).read_text(encoding="utf-8")

    def included(match: re.Match[str]) -> str:
        header = (folder / match[1]).read_text(encoding="utf-8")
        line = text.count("\n", 0, match.end()) + 2
        return f'#line 1 "{match[1]}"\n{header}#line {line} "{name}"'

    return f'#line 1 "{name}"\n{_INCLUDE.sub(included, text)}'
