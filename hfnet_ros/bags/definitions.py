"""Definitions of message types as bags carry them: compiled, compared with ROS 2's, written into other bags."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hfnet_ros.bags.topics import Definition
from hfnet_ros.errors import BagError

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

_UNKNOWN_DIGEST = "RIHS01_" + "0" * 64
_IDL_SEPARATOR = "=" * 80 + "\n"
_MAX_ARRAY = 10_000  # entries that are no numbers
_ALIKE = {"octet": "uint8", "byte": "uint8", "char": "uint8", "wstring": "string"}


@lru_cache(maxsize=256)
def defined_types(type_name: str, definition: Definition) -> Typestore:
    """Return the types of one definition, apart from those of others that may contradict it.

    rosbags compiles functions for each, so that the next bag of the same robot is opened faster.

    Raises:
        BagError: a type holds an array that rosbags would write code without an end for.
        Exception: of whatever kind a damaged text leads to.
    """
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    store = get_typestore(Stores.EMPTY)
    parts = definition.text.split(_IDL_SEPARATOR) if definition.is_idl else [definition.text]
    for text in parts:
        if not definition.is_idl:
            types = get_types_from_msg(text, type_name)
        elif text.strip():
            types = get_types_from_idl(text.partition("\n")[2] if text.startswith("IDL: ") else text)
        else:
            continue
        _check_arrays(types)
        store.register(types)
    return store


def _check_arrays(types: Mapping[str, Any]) -> None:
    """Refuse arrays for each of whose elements rosbags would write code, without an end."""
    from rosbags.interfaces import Nodetype

    for type_name, (_, fields) in types.items():
        for field, (node, detail) in fields:
            if node != Nodetype.ARRAY or detail[1] <= _MAX_ARRAY:
                continue
            if detail[0][0] == Nodetype.NAME or detail[0][1][0].endswith("string"):
                raise BagError(
                    f"{type_name}.{field} is an array of {detail[1]} entries, expected {_MAX_ARRAY} at most"
                )


def generated_definition(store: Typestore, type_name: str) -> Definition:
    """Return what a store knows of a type, with the hash of ROS 2."""
    return Definition(store.generate_msgdef(type_name, ros_version=2)[0], False, type_hash(store, type_name))


def type_hash(store: Typestore, type_name: str) -> str:
    """Return the hash that ROS 2 has of a type; zeros where a part of it is not defined."""
    try:
        return store.hash_rihs01(type_name)
    except KeyError:  # a part is not defined
        return _UNKNOWN_DIGEST


def contradiction(known: Typestore, given: Typestore, type_name: str) -> str:
    """Return in which field a bag defines a type otherwise than ROS 2 does, or "".

    Fields that a bag has beyond those of ROS 2 say nothing; one that it lacks, or that is of another kind, would let
    readers fail on what they count on.
    """
    from rosbags.interfaces import Nodetype

    if type_name not in known.fielddefs:
        return ""
    if type_name not in given.fielddefs:
        return f"no type {type_name}"
    fields = dict(given.fielddefs[type_name][1])
    for field, kind in known.fielddefs[type_name][1]:
        if field not in fields or _plain(fields[field]) != _plain(kind):
            return f"{type_name} with another field '{field}' than ROS 2 does, or without it; record it with ROS 2's"
        inner = kind[1][0] if kind[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE) else kind
        if inner[0] == Nodetype.NAME and (problem := contradiction(known, given, inner[1])):
            return problem
    return ""


def _plain(kind: Any) -> Any:
    """Return a kind of field without bounds and without names for the same thing."""
    from rosbags.interfaces import Nodetype

    node, detail = kind
    if node == Nodetype.BASE:
        return node, _ALIKE.get(detail[0], detail[0])
    if node == Nodetype.NAME:
        return node, detail
    return node, _plain(detail[0]), detail[1] if node == Nodetype.ARRAY else 0
