"""An engine that takes as long as a test wants, in this process or in another one.

What it shall say and when it shall be ready is told by files, so that every transport's node can be led
by the same test.
"""

import time
from pathlib import Path

from hfnet_ros.errors import EngineError
from hfnet_ros.localization import query_extractor

POLL_S = 0.01
LONGEST_S = 120.0  # a test that went wrong leaves no thread behind for ever


class SlowEngine:
    """Leads the building of an engine; `folder` is where both sides meet."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.create = query_extractor.create_extractor

    # What a test does

    def say(self, text):
        """Let the builder report its progress."""
        self._write("progress", text)

    def finish(self):
        """Let the engine be ready."""
        self._write("finish", "")

    def fail(self, text):
        """Let the building fail."""
        self._write("fail", text)

    def be_deaf(self):
        """Let the builder report nothing from now on, so that it cannot be called off."""
        self._write("deaf", "")

    def begin_again(self):
        """Forget all that was said."""
        for path in self.folder.iterdir():
            path.unlink()

    @property
    def num_begun(self):
        return len(self._read("begun"))

    @property
    def num_ended(self):
        return len(self._read("ended"))

    def _write(self, name, text):
        partial = self.folder / f"{name}.partial"
        partial.write_text(text)
        partial.rename(self.folder / name)

    def _read(self, name):
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    # What the node does

    def create_extractor(self, config, progress=None):
        self._count("begun")
        try:
            self._build(progress or (lambda text: None))
            return self.create(config, progress)
        finally:
            self._count("ended")

    def _build(self, progress):
        until = time.monotonic() + LONGEST_S
        while not (self.folder / "finish").exists() and time.monotonic() < until:
            if (self.folder / "fail").exists():
                raise EngineError(self._read("fail"))
            text = self._read("progress")
            if text and not (self.folder / "deaf").exists():
                progress(text)
            time.sleep(POLL_S)

    def _count(self, name):
        with (self.folder / name).open("a") as file:
            file.write("x")

    def install(self, patch=setattr):
        patch(query_extractor, "create_extractor", self.create_extractor)


def install_in(folder):
    """Let this process have such an engine."""
    SlowEngine(folder).install()
