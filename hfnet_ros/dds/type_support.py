"""ROS types as DDS knows them: a name, a structure that Cyclone DDS checks bytes against, and a hash."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from typing import Any

from cyclonedds.idl import IdlStruct, make_idl_struct
from cyclonedds.idl import types as idl_types
from rosbags.interfaces import Nodetype
from rosbags.typesys.store import Typestore

from hfnet_ros.dds.names import dds_type, split_type
from hfnet_ros.errors import DdsError
from hfnet_ros.messages.factory import stored_name

types: Any = idl_types  # its generics are made by hand, which mypy does not follow
_BASE: dict[str, Any] = {
    "bool": bool,
    "octet": types.byte,
    "byte": types.byte,
    "char": types.uint8,
    "int8": types.int8,
    "uint8": types.uint8,
    "int16": types.int16,
    "uint16": types.uint16,
    "int32": types.int32,
    "uint32": types.uint32,
    "int64": types.int64,
    "uint64": types.uint64,
    "float32": types.float32,
    "float64": types.float64,
}
# What rmw_cyclonedds puts before the fields of requests and replies.
_SERVICE_HEADER = {"client_guid": types.uint64, "sequence_number": types.int64}


@dataclass(frozen=True, slots=True)
class TypeSupport:
    """One type as a topic needs it.

    Attributes:
        name: e.g. `sensor_msgs/msg/Image`, or half of a service, `std_srvs/srv/Trigger_Request`.
        idl: structure of the same layout; halves of services have their header in front.
        hash: RIHS01, which ROS 2 since Iron tells its peers.
    """

    name: str
    idl: type[IdlStruct]
    hash: str


class TypeSupports:
    """Makes type supports from a rosbags type store, each once."""

    def __init__(self, store: Typestore) -> None:
        """Take the store that knows the types."""
        self._store = store
        self._hashed_fields = {
            name: (constants, [(field, _char_as_uint8(kind)) for field, kind in fields])
            for name, (constants, fields) in store.fielddefs.items()
        }
        self._structures: dict[str, type[IdlStruct]] = {}
        self._supports: dict[str, TypeSupport] = {}
        self._lock = threading.Lock()

    def of(self, type_name: str) -> TypeSupport:
        """Return the support of a type.

        Raises:
            DdsError: the store has no such type, or it has a field Cyclone DDS cannot carry.
        """
        with self._lock:
            if type_name not in self._supports:
                self._supports[type_name] = self._make(type_name)
            return self._supports[type_name]

    def _make(self, type_name: str) -> TypeSupport:
        _, kind, _ = split_type(type_name)
        stored = stored_name(type_name)
        if stored not in self._store.fielddefs:
            raise DdsError(
                f"the type {type_name} is not known here: expected one of ROS 2 Jazzy's common interfaces or "
                "of hfnet_ros"
            )
        header = _SERVICE_HEADER if kind == "srv" else {}
        return TypeSupport(type_name, self._structure(type_name, header), self._hash(type_name, stored))

    def _structure(self, type_name: str, header: dict[str, Any]) -> type[IdlStruct]:
        if type_name not in self._structures:
            name = dds_type(type_name)
            fields = self._store.fielddefs[stored_name(type_name)][1]
            self._structures[type_name] = make_idl_struct(
                name.rpartition("::")[2],
                name.replace("::", "."),
                header | {field: self._field(kind, f"{type_name}.{field}") for field, kind in fields},
            )
        return self._structures[type_name]

    def _field(self, kind: Any, name: str) -> Any:
        node, detail = kind
        if node == Nodetype.NAME:
            return self._structure(detail, {})
        if node == Nodetype.BASE:
            base, bound = detail
            if base == "string":
                return types.bounded_str[bound] if bound else str
            if base not in _BASE:
                raise DdsError(f"the field {name} is of type {base}, which cannot be carried over DDS here")
            return _BASE[base]
        inner, size = detail
        element = self._field(inner, name)
        if node == Nodetype.ARRAY:
            return types.array[element, size]
        return types.sequence[element, size] if size else types.sequence[element]

    def _hash(self, type_name: str, stored: str) -> str:
        # rosbags hashes what it keeps below `msg`; ROS has halves of services directly below `srv`.
        store = copy.copy(self._store)
        store.fielddefs = {**self._hashed_fields, type_name: self._hashed_fields[stored]}
        return store.hash_rihs01(type_name)


def _char_as_uint8(kind: Any) -> Any:
    """Return a field's type with ROS 2's `char` as what its hashes take it for."""
    node, detail = kind
    if node == Nodetype.BASE:
        return (node, ("uint8", detail[1])) if detail[0] == "char" else kind
    return kind if node == Nodetype.NAME else (node, (_char_as_uint8(detail[0]), detail[1]))
