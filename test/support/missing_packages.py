"""Packages that are taken for not installed: those that have no wheels for Linux on ARM."""

import os
import sys
from pathlib import Path

import pytest

from hfnet_ros.pose.poselib_library import why_no_poselib

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_WHEELS = ("poselib", "pycolmap", "cyclonedds")
SITE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {names}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)

sys.meta_path.insert(0, Missing())
"""


def environment_without(folder, names=WITHOUT_WHEELS):
    """Environment of a process, and of all that it starts, in which no package of these names is found."""
    (folder / "sitecustomize.py").write_text(SITE.format(names=tuple(names)))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


@pytest.fixture
def without_poselib(monkeypatch):
    """Let the import of PoseLib fail."""
    monkeypatch.setitem(sys.modules, "poselib", None)
    why_no_poselib.cache_clear()
    yield
    why_no_poselib.cache_clear()
