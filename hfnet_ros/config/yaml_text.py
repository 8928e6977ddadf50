"""Read YAML that came from outside: PyYAML fails in many ways, and a few lines can stand for billions of values."""

from __future__ import annotations

from typing import Any

from hfnet_ros.errors import HfnetRosError

_MOST_VALUES = 100_000  # where aliases are used
_MOST_BITS = 1000  # of a whole number; Python does not print far longer ones
_LONGEST_REASON = 300  # characters


def parse_yaml(content: bytes | str, loader: type[Any] | None = None, *, first: bool = False) -> Any:
    """Return a document of plain values; no tag makes anything else.

    Args:
        content: the text.
        loader: a safe loader of PyYAML that knows more; what it raises of this package's errors passes through.
        first: take the first of several documents, which are otherwise refused.

    Raises:
        ValueError: it is not YAML, its aliases stand for more than 100,000 values or themselves, or a number has
            hundreds of digits; one line.
    """
    import yaml

    loader = loader or yaml.SafeLoader
    try:
        document = next(yaml.load_all(content, loader), None) if first else yaml.load(content, loader)
    except HfnetRosError:
        raise
    except Exception as error:  # of any kind: a date that is none, an unhashable key, too deep
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise ValueError(reason or type(error).__name__) from error
    _num_values(document, {})
    return document


def _num_values(node: Any, known: dict[int, int]) -> int:
    """Return how many values a document has if it is written out; 0 stands for one that is being counted."""
    if isinstance(node, int) and node.bit_length() > _MOST_BITS:
        raise ValueError(f"a number has {node.bit_length()} bits, expected {_MOST_BITS} at most")
    if not isinstance(node, (dict, list, tuple, set)):
        return 1
    count = known.get(id(node))
    if count is None:
        known[id(node)] = 0
        entries = [*node, *node.values()] if isinstance(node, dict) else node
        known[id(node)] = count = 1 + sum(_num_values(entry, known) for entry in entries)
    elif count == 0:
        raise ValueError("an alias stands for what it is a part of")
    elif count > _MOST_VALUES:
        raise ValueError(f"an alias stands for {count} values, expected {_MOST_VALUES} at most")
    return count
