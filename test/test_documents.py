"""Commands and links in the documents against the parser and the files of the repository."""

import argparse
import re
import shlex
from itertools import product
from pathlib import Path

import pytest

from hfnet_ros.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", ".github/**/*.md", ".github/**/*.yml")
    for path in ROOT.glob(pattern)
)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
PARSER = build_parser()
END_OF_COMMAND = {"|", "||", "&&", ";", ">", ">>"}


def lines_of(text):
    """Lines, those that end with a backslash joined with the next."""
    return re.sub(r"\\\n\s*", " ", text).splitlines()


def words_of(command):
    """The words of a shell command without comment, and without what comes after it."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;>")
    lexer.whitespace_split = True
    words = list(lexer)
    return words[: next((i for i, word in enumerate(words) if word in END_OF_COMMAND), len(words))]


def whole_commands(text):
    """`hfnet-ros ...` that stands on a line of its own, which somebody will copy."""
    for line in lines_of(text):
        if match := re.match(r"\s*(?:\$ |run: )?hfnet-ros (\S.*)", line):
            yield words_of(match[1])


def mentioned_commands(text):
    """`hfnet-ros ...` within a sentence or a cell of a table, alternatives by `|` apart."""
    for mention in re.findall(r"`hfnet-ros\s+([^`]+)`", text):
        words = words_of(mention.replace("\\|", "|").replace("|", "\0"))
        yield from product(*(word.split("\0") for word in words))


def below(parser, word):
    """The parser of a verb below another, or None."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices.get(word)
    return None


def has_verbs(parser):
    return any(isinstance(action, argparse._SubParsersAction) for action in parser._actions)


def unknown_in(words):
    """The verb or option of a mentioned command that does not exist, or None."""
    parser, *rest = PARSER, *words
    while rest and has_verbs(parser) and not rest[0].startswith("-"):
        verb = rest.pop(0)
        if (found := below(parser, verb)) is None:
            return verb
        parser = found
    options = [word.split("=")[0] for word in rest if word.startswith("--")]
    return next((option for option in options if option not in parser._option_string_actions), None)


def is_understood(words):
    try:
        PARSER.parse_args(words)
    except SystemExit:
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_commands_to_copy_are_understood(name, capsys):
    for words in whole_commands((ROOT / name).read_text()):
        assert is_understood(words), f"hfnet-ros {' '.join(words)}: {capsys.readouterr().err}"


@pytest.mark.parametrize("name", NAMES)
def test_commands_in_sentences_exist(name):
    wrong = {
        f"hfnet-ros {' '.join(words)}": unknown
        for words in mentioned_commands((ROOT / name).read_text())
        if (unknown := unknown_in(words)) is not None
    }
    assert not wrong


def test_a_verb_or_an_option_that_does_not_exist_is_found():
    assert not is_understood(("map", "build", "--images", "DIR"))
    assert unknown_in(("map", "unbuild")) == "unbuild"
    assert unknown_in(("map", "build", "--picture")) == "--picture"
    assert unknown_in(("map", "build", "--images", "DIR")) is None
    (sentence,) = mentioned_commands("ask `hfnet-ros weights list`")
    assert sentence == ("weights", "list")
    assert len(list(mentioned_commands("`hfnet-ros map info|verify`"))) == 2
    (command,) = whole_commands("  hfnet-ros params \\\n    --markdown > a.md  # a page")
    assert command == ["params", "--markdown"]


@pytest.mark.parametrize("name", NAMES)
def test_scripts_exist_and_know_their_options(name):
    for line in lines_of((ROOT / name).read_text()):
        for program, script, rest in re.findall(
            r"\b(bash|python3?) ((?:scripts|bench|\.ci)/[\w/.]+)(.*)", line
        ):
            text = (ROOT / script).read_text()
            if program != "bash":
                for option in re.findall(r"(?<!\S)\[?(--[\w-]+)", rest.split("`")[0]):
                    assert option in text, f"{script} {option}"


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    path = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"", path.read_text()):
        place = next(filter(None, target)).split("#")[0]
        if place and not re.match(r"\w+:", place):
            assert (path.parent / place).exists(), place


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob("**/*.md")}
    missing = {page for page in pages if f"]({page})" not in index} - {"README.md"}
    assert not missing
