"""Options and console habits that several verbs share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from hfnet_ros.config import EXTRACTOR_NAMES, Config, load_config
from hfnet_ros.errors import ConfigError

INSTALL_DDS = "pip install cyclonedds==11.0.1"  # what the extra `dds` does; there are wheels for x86_64 only

Item = TypeVar("Item")


def new_verb(
    verbs: Any, name: str, summary: str, example: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add a verb with an example in its help, `-v`, and the function that does its work."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"Example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is done")
    parser.set_defaults(run=run)
    return parser


def add_config_options(parser: argparse.ArgumentParser, *, extractor: bool) -> None:
    """Add the options that change parameters."""
    parser.add_argument(
        "--params", type=Path, metavar="FILE", help="YAML with parameters (docs/parameters.md)"
    )
    if extractor:
        parser.add_argument(
            "--extractor",
            choices=EXTRACTOR_NAMES,
            help=f"feature extractor (default: {Config().extractor.name}, in a map its own)",
        )
    parser.add_argument("--weights", metavar="FILE", help="weights of the extractor (default: searched)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of the network (default: 2)")


def add_answer_frame(parser: argparse.ArgumentParser) -> None:
    """Add the option that says in which frame of a refined map answers are."""
    parser.add_argument(
        "--answer-frame",
        choices=("given", "refined"),
        help="frame of the answers in a map whose poses were refined (default: given, as the poses it was built with)",
    )


def add_area(parser: argparse.ArgumentParser) -> None:
    """Add the option that says in which areas of a map is localized."""
    parser.add_argument(
        "--area",
        action="append",
        metavar="NAME",
        help="localize in this area of the map or set only; may be repeated (default: everywhere)",
    )


def add_mask_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says what of a camera's images is not scene."""
    parser.add_argument(
        "--mask",
        action="append",
        metavar="[NAME=]FILE",
        help="picture of what the camera carries with it, black; of one of several cameras NAME=FILE, may be repeated "
        "(docs/masks.md; default: cameras.masks)",
    )


def read_config(options: argparse.Namespace, node_name: str = "relocalizer") -> Config:
    """Return the parameters: defaults, then the file, then the command line."""
    config = load_config(options.params, node_name) if options.params else Config()
    values = config.to_dict()
    if getattr(options, "extractor", None):
        values["extractor"]["name"] = options.extractor
    if options.weights:
        values["extractor"]["weights"] = options.weights
    if getattr(options, "answer_frame", None):
        values["pose"]["answer_frame"] = options.answer_frame
    if getattr(options, "area", None):
        if not all(area.strip() for area in options.area):
            raise ConfigError("--area names nothing; name an area, or leave it out to localize everywhere")
        values["map"]["areas"] = options.area
    if getattr(options, "mask", None):
        if any(char.isspace() for mask in options.mask for char in mask):
            raise ConfigError("--mask holds a space, which paths of masks cannot: rename the file")
        values["cameras"]["masks"] = options.mask
    if getattr(options, "matcher", None):
        values["mapping"]["matcher"] = options.matcher
    if getattr(options, "keep_observations", False):
        values["mapping"]["keep_observations"] = True
    if options.threads is not None:
        values["inference"]["num_threads"] = options.threads
    return Config.from_dict(values)


def check_file_target(path: Path) -> None:
    """Refuse a file that cannot be written, before the work whose result it shall hold.

    Raises:
        ConfigError: says why.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise ConfigError(f"{path}: is a folder, expected a file to write")
    if target.exists() and not target.is_file():
        return  # a pipe or a device
    if not target.parent.is_dir():
        raise ConfigError(f"{path}: the folder {target.parent} does not exist; create it first")
    _check_permission(path, target.parent)


def check_folder_target(path: Path) -> None:
    """Refuse a folder that cannot be made or written in, before the work.

    Raises:
        ConfigError: says why.
    """
    existing = Path(os.path.realpath(path))
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise ConfigError(f"{path}: {existing} is a file, expected a folder to write in")
    _check_permission(path, existing)


def _check_permission(path: Path, folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{path}: no permission to write in {folder}, or it is on a read-only file system; name another place"
        )


class ProgressBars:
    """Progress on a terminal, silence in a pipe; one bar per stage."""

    def __init__(self) -> None:
        """Start without a bar."""
        self._bar: tqdm[Any] | None = None
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        if stage != self._stage:
            self.close()
            self._bar = tqdm(total=total, desc=stage, leave=False, disable=not sys.stderr.isatty())
            self._stage = stage
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar, self._stage = None, ""


def tracked(items: Iterable[Item], stage: str, total: int) -> Iterable[Item]:
    """Yield items under a progress bar."""
    bar: Iterable[Item] = tqdm(items, desc=stage, total=total, leave=False, disable=not sys.stderr.isatty())
    return bar


def print_doubts(doubts: Iterable[tuple[str, Sequence[str]]], of: str = "images") -> None:
    """Print what is doubtful about calibration, mounting or map: each sentence once, with the number it is said of.

    Args:
        doubts: name and sentences of each image, or whatever `of` says.
        of: what the names are of.
    """
    from hfnet_ros.evaluation.reasons import Reasons

    said, count = Reasons(), 0
    for name, sentences in doubts:
        count += 1
        for sentence in sentences:
            said.add(name, sentence)
    for sentence in said.sentences(count, of):
        print(f"warning: {sentence}", file=sys.stderr)
