"""A browser without a window, for pages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
    "--enable-logging=stderr",
    "--virtual-time-budget=4000",
    "--dump-dom",
)


@dataclass(frozen=True)
class Visit:
    """What a browser made of a page: the document after its scripts, and what they complained about."""

    document: str
    complaints: list[str]


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., Visit]:
    """A function that opens a page in a headless Chromium, after adding a script of the test."""
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if executable is None:
        pytest.skip(f"no Chromium browser here: looked for {', '.join(CHROMIUM_NAMES)}")

    def browse(path: Path, probe: str = "", *flags: str) -> Visit:
        text = path.read_text(encoding="utf-8")
        page = tmp_path / "probed.html"
        page.write_text(text.replace("</body>", f"<script>{probe}</script></body>"), encoding="utf-8")
        command = [executable, *CHROMIUM_FLAGS, *flags, f"--user-data-dir={tmp_path / 'profile'}"]
        environment = {**os.environ, "HOME": str(tmp_path)}
        run = subprocess.run(
            [*command, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env=environment,
        )
        return Visit(run.stdout, re.findall(r"CONSOLE[^\n]*", run.stderr))

    return browse
