"""Entry of the program `hfnet-ros`."""

from __future__ import annotations

import argparse
import importlib
import logging
import signal
import sys
from collections.abc import Sequence

import hfnet_ros
from hfnet_ros.cli.signals import end_at_once_on_signals
from hfnet_ros.cli.streams import describe_failure, lenient_streams
from hfnet_ros.errors import BagError, HfnetRosError

DONE, FAILED, WRONG_USAGE = 0, 1, 2
_INTERRUPTED = 130


# By verb, in the order of the help, the module of this package that adds it.
_MODULE_OF = {
    "map": "maps",
    "localize": "localize",
    "evaluate": "evaluate",
    "compare": "compare",
    "calibrate": "calibrate",
    "mask": "masks",
    "replay": "replay",
    "run": "run",
    "play": "play",
    "echo": "dds",
    "topics": "dds",
    "bag": "bags",
    "engine": "engine",
    "doctor": "doctor",
    "weights": "weights",
    "train": "train",
    "demo": "demo",
    "params": "parameters",
}


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of every verb, or of this one alone, so that what the others import is not waited for."""
    parser = argparse.ArgumentParser(
        prog="hfnet-ros",
        description="Visual relocalization: build a map from images, find out where new images were taken.",
        epilog="Example: hfnet-ros demo",
    )
    parser.add_argument("--version", action="version", version=f"hfnet-ros {hfnet_ros.__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    names = [_MODULE_OF[verb]] if verb in _MODULE_OF else list(dict.fromkeys(_MODULE_OF.values()))
    for name in names:
        importlib.import_module(f"hfnet_ros.cli.{name}").add_verbs(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0 done, 1 failed with a line on stderr, 2 wrong usage."""
    end_at_once_on_signals()  # a Ctrl-C amid imports is a traceback, or is swallowed by them
    with lenient_streams() as stdout:
        given = sys.argv[1:] if arguments is None else list(arguments)
        status = _run(build_parser(given[0] if given else None).parse_args(given))
        stdout.flush()
        lost = describe_failure(stdout.failure)
        if lost:
            return _fail(lost)
        return status if stdout.failure is None else FAILED


def _run(options: argparse.Namespace) -> int:
    level = logging.INFO if options.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # A terminated run cleans up behind itself just as an interrupted one does.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise_interrupt)
    try:
        status: int = options.run(options)
    except BagError as error:
        return _fail_with_table(str(error))
    except HfnetRosError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        _fail("interrupted; nothing was left half written")
        return _INTERRUPTED
    return status


def _fail(message: str) -> int:
    print(f"hfnet-ros: error: {' '.join(message.split())}", file=sys.stderr)
    return FAILED


def _fail_with_table(message: str) -> int:
    """Print the first line as the error and the rest, such as the topics of a bag, as it is."""
    first, *rows = message.splitlines()
    _fail(first)
    for row in rows:
        print(row, file=sys.stderr)
    return FAILED


def _raise_interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
