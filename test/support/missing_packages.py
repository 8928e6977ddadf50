"""Packages that are taken for not installed: those that have no wheels for Linux on ARM."""

import os
import sys
from pathlib import Path

import pytest

from hfnet_ros.pose.poselib_library import why_no_poselib

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_WHEELS = ("poselib", "pycolmap", "cyclonedds")


def environment_without(folder, names=WITHOUT_WHEELS):
    """Environment of a process, and of all that it starts, in which no package of these names is found."""
    lines = ["import sys", *(f"sys.modules[{name!r}] = None" for name in names)]
    (folder / "sitecustomize.py").write_text("\n".join(lines))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


@pytest.fixture
def without_poselib(monkeypatch):
    """Let the import of PoseLib fail."""
    monkeypatch.setitem(sys.modules, "poselib", None)
    why_no_poselib.cache_clear()
    yield
    why_no_poselib.cache_clear()
