"""What is printed never stands in the way of the work: streams that take every name and outlive their reader."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF  # how Python holds the bytes of a file name that is no text


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode what an encoding lacks: bytes of a file name as they are, other characters by their number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    failing = error.object[error.start : error.end]
    escaped = b"".join(
        bytes([ord(character) - 0xDC00])
        if _FIRST_BYTE <= ord(character) <= _LAST_BYTE
        else character.encode("ascii", "backslashreplace")
        for character in failing
    )
    return escaped, error.end


codecs.register_error("hfnet_ros_escape", _escape)


class LenientStream(io.TextIOBase):
    """A text stream that drops what its file no longer takes, and remembers why.

    Attributes:
        failure: the first error of a write; None as long as all went well.
    """

    def __init__(self, stream: TextIO) -> None:
        """Wrap a stream; a real one takes every character from now on."""
        self._stream = stream
        self.failure: OSError | None = None
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="hfnet_ros_escape")

    def write(self, text: str) -> int:
        """Write what can be written; return the length of the text."""
        if self.failure is None:
            try:
                self._stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush what is left."""
        if self.failure is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def fileno(self) -> int:
        """Return the file descriptor of the stream behind."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Tell whether a person looks at it."""
        return self._stream.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Name of the encoding of the stream behind."""
        return self._stream.encoding

    def _give_up(self, error: OSError) -> None:
        self.failure = error
        # What is buffered must go somewhere when the program ends.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


@contextlib.contextmanager
def lenient_streams() -> Iterator[LenientStream]:
    """Let stdout and stderr be lenient; yields stdout.

    A stream that was closed before the program began is the null device: else the first file that is
    opened would take its place and get what libraries print.
    """
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as opened:
        found = [stream or opened.enter_context(open(os.devnull, "w")) for stream in before]  # noqa: PTH123
        stdout, stderr = (LenientStream(stream) for stream in found)
        sys.stdout, sys.stderr = stdout, stderr
        try:
            yield stdout
        finally:
            stdout.flush()
            stderr.flush()
            sys.stdout, sys.stderr = before


def is_stdout_lost() -> bool:
    """Tell whether nothing that is printed reaches anybody any more."""
    return isinstance(sys.stdout, LenientStream) and sys.stdout.failure is not None


def describe_failure(failure: OSError | None) -> str:
    """Say what went wrong with stdout; empty where nothing did, or its reader has just left (a pager)."""
    if failure is None or failure.errno == errno.EPIPE:
        return ""
    return f"stdout: {failure.strerror or failure}; the rest of the output is lost"
