import io

import pytest

from hfnet_ros.cli.streams import LenientStream, describe_failure


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", b"b\\xe4d\\U0001f600 \xff"),
        ("latin-1", b"b\xe4d\\U0001f600 \xff"),
        ("utf-8", "b\u00e4d\U0001f600 ".encode() + b"\xff"),
    ],
)
def test_every_name_is_printed(encoding, expected):
    file = io.BytesIO()
    text = io.TextIOWrapper(file, encoding)
    print("b\u00e4d\U0001f600 \udcff", end="", file=LenientStream(text), flush=True)
    assert file.getvalue() == expected


class Broken(io.StringIO):
    def write(self, text):
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BrokenPipeError(32, "Broken pipe"), ""),
        (OSError(28, "No space left on device"), "stdout: No space left"),
    ],
)
def test_what_cannot_be_printed_is_dropped_and_told_at_the_end(error, said):
    broken = Broken()
    broken.error = error
    stream = LenientStream(broken)
    print("first", file=stream)
    print("second", file=stream, flush=True)
    assert stream.failure is error
    assert describe_failure(stream.failure).startswith(said)
    assert bool(describe_failure(stream.failure)) == bool(said)
