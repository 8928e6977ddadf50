"""Ctrl-C while a node is still importing: a library that swallows exceptions meanwhile cannot keep it alive."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What is on the way of the program's imports and takes long, as any of them may.
SLOW_IMPORT = """
import os, signal
try:
    os.kill(os.getpid(), signal.{name})
except BaseException:
    pass
raise ImportError("the signal was swallowed")
"""


def end_of(program, module, name, folder):
    """Return how a program ends that gets a signal while it imports `module`, and what it says."""
    (folder / f"{module}.py").write_text(SLOW_IMPORT.format(name=name))
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, *program], env=environment, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("program", "module"),
    [
        (("-m", "hfnet_ros", "run"), "cyclonedds"),
        (("-m", "hfnet_ros", "run"), "tqdm"),  # while the verbs are imported
        ((str(ROOT / "scripts" / "relocalizer_node"),), "rclpy"),
    ],
)
def test_a_signal_amid_imports_ends_the_program_without_a_word(tmp_path, program, module, name):
    assert end_of(program, module, name, tmp_path) == (-signal.Signals[name], "")
