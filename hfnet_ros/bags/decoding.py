"""Turn stored bytes into messages by the definitions in the bag, and into CDR for another bag."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hfnet_ros.bags.compression import ZSTD_MAGIC, decompress_zstd
from hfnet_ros.bags.definitions import contradiction, defined_types, generated_definition, type_hash
from hfnet_ros.bags.topics import READ_TYPES, BagTopic, Definition
from hfnet_ros.errors import BagError
from hfnet_ros.messages.factory import RosbagsMessages

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore


class MessageDecoder:
    """Reads the messages of one bag.

    A type is read as the bag defines it, or as this package knows it where the bag says nothing.
    Messages of ROS 1 become those of ROS 2: header.seq is dropped, D K R P of CameraInfo turn small.
    """

    def __init__(self, *, is_ros1: bool) -> None:
        """Start without types; they are taken from topics as they come."""
        self._is_ros1 = is_ros1
        self._known = RosbagsMessages()
        self._stores: dict[str, Typestore] = {}
        self._decoders: dict[tuple[str, str], Callable[[bytes], Any]] = {}

    def message(self, topic: BagTopic, data: bytes) -> Any:
        """Return the message of stored bytes; its arrays may be read-only views of them.

        Raises:
            Exception: of whatever kind the damage leads to; BagError where the type is unknown.
        """
        decoder = self._decoders.get(topic.key)
        if decoder is None:
            decoder = self._decoders[topic.key] = self._decoder_of(topic)
        return decoder(_unpacked(data))

    def cdr(self, topic: BagTopic, data: bytes) -> bytes:
        """Return the message as ROS 2 writes it.

        Raises:
            Exception: as `message`; only where it has to be converted from ROS 1 or unpacked.
        """
        if not self._is_ros1:
            return _unpacked(data)
        if topic.type_name in self._known.store.fielddefs:
            return self._known.serialize(self.message(topic, data), topic.type_name)
        return bytes(self._store_of(topic).ros1_to_cdr(data, topic.type_name))

    def definition(self, topic: BagTopic) -> Definition:
        """Return what another bag has to say about the type, with the hash of ROS 2.

        Raises:
            BagError: the type is unknown: neither bag nor package define it.
        """
        if self._is_ros1 and topic.type_name in self._known.store.fielddefs:
            return generated_definition(self._known.store, topic.type_name)
        store = self._store_of(topic)
        if topic.definition is None or self._is_ros1:
            return generated_definition(store, topic.type_name)
        digest = topic.definition.digest
        if not digest.startswith("RIHS01_"):
            digest = type_hash(store, topic.type_name)
        return Definition(topic.definition.text, topic.definition.is_idl, digest)

    def _decoder_of(self, topic: BagTopic) -> Callable[[bytes], Any]:
        store, name = self._store_of(topic), topic.type_name
        if not self._is_ros1:
            # A view: rosbags cuts off the four bytes of the header, which copies bytes.
            return lambda data: store.deserialize_cdr(memoryview(data), name)
        if name not in self._known.store.fielddefs:
            return lambda data: store.deserialize_ros1(data, name)
        return lambda data: self._as_ros2(store.deserialize_ros1(data, name), name)

    def _store_of(self, topic: BagTopic) -> Typestore:
        name = topic.type_name
        if name not in self._stores:
            known = self._known.store
            store = known if topic.definition is None else defined_types(name, topic.definition)
            if name not in store.fielddefs:
                raise BagError(f"{topic.name}: nothing defines its type {name}")
            # Others have gained fields from one ROS 2 to the next, and nobody here counts on them.
            if name in READ_TYPES and not self._is_ros1 and (problem := contradiction(known, store, name)):
                raise BagError(f"{topic.name}: the bag defines {problem}")
            self._stores[name] = store
        return self._stores[name]

    def _as_ros2(self, message: Any, type_name: str) -> Any:
        """Return a message of ROS 1 in ROS 2's type of the same name; new fields are zero or empty."""
        values = {}
        for field, kind in self._known.store.fielddefs[type_name][1]:
            source = next((name for name in (field, field.upper()) if hasattr(message, name)), None)
            if source is not None:
                values[field] = self._field_as_ros2(getattr(message, source), kind)
        return self._known.make(type_name, **values)

    def _field_as_ros2(self, value: Any, kind: Any) -> Any:
        from rosbags.interfaces import Nodetype

        node, detail = kind
        if node == Nodetype.NAME:
            return self._as_ros2(value, detail)
        if node in (Nodetype.ARRAY, Nodetype.SEQUENCE) and detail[0][0] == Nodetype.NAME:
            return [self._as_ros2(entry, detail[0][1]) for entry in value]
        return value


def _unpacked(data: bytes) -> bytes:
    """Return a message as it was before rosbag2 compressed it; CDR never begins as zstd does."""
    return decompress_zstd(data) if data[:4] == ZSTD_MAGIC else data
