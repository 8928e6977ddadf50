"""One file of a bag, read by rosbags as far as it can and salvaged where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag1,
    MessageDefinitionFormat,
    QosDurability,
)
from rosbags.rosbag1 import Reader as Rosbag1Reader
from rosbags.rosbag2 import Reader as Rosbag2Reader
from rosbags.rosbag2.storage_mcap import DECOMPRESSORS, McapReader

from hfnet_ros.bags.compression import decompress_chunk
from hfnet_ros.bags.mcap_salvage import Channel, McapScan, scan_mcap
from hfnet_ros.bags.topics import BagTopic, Definition
from hfnet_ros.errors import BagError

Note = Callable[[str], None]
_RENAMED = {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}  # tf of ROS 1's early days, the same fields
TopicKey = tuple[str, str]  # name and type
StoredMessage = tuple[TopicKey, int, bytes]

# rosbags would unpack a chunk to whatever it holds, and look at its size afterwards.
DECOMPRESSORS.update({name: partial(decompress_chunk, compression=name) for name in ("lz4", "zstd")})


class StorageFile(Protocol):
    """A file that messages can be read from.

    Attributes:
        topics: with counts; rates are not known here.
        start_ns: receipt of the first message; None without messages.
        end_ns: receipt of the last message.
    """

    topics: list[BagTopic]
    start_ns: int | None
    end_ns: int | None

    def messages(self, keys: Collection[TopicKey]) -> Iterator[StoredMessage]:
        """Yield topic, receipt and message as stored, in order of receipt."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def open_storage(file: Path, storage: str, note: Note) -> StorageFile:
    """Open one file.

    Args:
        file: not empty.
        storage: mcap, sqlite3 or ros1.
        note: told what is damaged, now or while reading.

    Raises:
        BagError: nothing can be read from it.
    """
    try:
        opened = RosbagsFile(file, storage, note)
    # A parser that reads damaged bytes may fail in any way.
    except Exception as error:
        if isinstance(error, PermissionError):
            raise BagError(f"{file}: cannot be read: {error.strerror}") from error
        if storage != "mcap":
            raise BagError(f"{file}: {_advice(storage, error)}") from error
        return SalvagedFile(file, note)
    if opened.is_unindexed_mcap:
        opened.close()
        return SalvagedFile(file, note)
    return opened


class RosbagsFile:
    """A file as rosbags reads it; MCAP goes on by salvage where that fails."""

    def __init__(self, file: Path, storage: str, note: Note) -> None:
        """Open the file and read its index."""
        self._file, self._storage, self._note = file, storage, note
        self._reader = Rosbag1Reader(file) if storage == "ros1" else Rosbag2Reader(file)
        self._bound_search()
        self._reader.open()
        self.topics = [_topic_of(connection) for connection in self._reader.connections]
        self._keys = {
            connection.id: topic.key
            for connection, topic in zip(self._reader.connections, self.topics, strict=True)
        }
        count = self._reader.message_count
        self.start_ns = self._reader.start_time if count else None
        self.end_ns = self._reader.end_time - 1 if count else None
        # SQLite lets a column hold whatever somebody has written into it.
        words = [word for topic in self.topics for word in topic.key]
        times = [time for time in (self.start_ns, self.end_ns) if time is not None]
        if not all(isinstance(word, str) for word in words) or not all(type(time) is int for time in times):
            raise ValueError("names of topics or times are of another type")
        self._wal_note()

    @property
    def is_unindexed_mcap(self) -> bool:
        """Tell whether messages lie in the file in the order of recording, with no index by time."""
        stored = getattr(self._reader, "storage", None)
        return isinstance(stored, McapReader) and not stored.chunks

    def messages(self, keys: Collection[TopicKey]) -> Iterator[StoredMessage]:
        """Yield topic, receipt and message as stored, in order of receipt."""
        connections = [c for c in self._reader.connections if self._keys[c.id] in keys]
        if not connections:
            return
        count, stamp_ns, num_of_stamp = 0, -1, 0
        try:
            for connection, receipt_ns, data in self._reader.messages(connections):
                if type(receipt_ns) is not int or not isinstance(data, (bytes, memoryview)):
                    self._note(f"{self._file.name}: rows that hold no message, or no time, were left out")
                    continue
                num_of_stamp = num_of_stamp + 1 if receipt_ns == stamp_ns else 1
                count, stamp_ns = count + 1, receipt_ns
                yield self._keys[connection.id], receipt_ns, data
        # A parser that reads damaged bytes may fail in any way.
        except Exception as error:
            if self._storage != "mcap":
                expected = sum(topic.count for topic in self.topics if topic.key in keys)
                self._note(
                    f"{self._file.name}: after {count} of {expected} messages: {_advice(self._storage, error)}"
                )
                return
        else:
            return
        salvaged = SalvagedFile(self._file, self._note)
        yield from salvaged.messages_after(keys, stamp_ns, num_of_stamp)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _bound_search(self) -> None:
        """Keep rosbags from looking through an MCAP without a usable index: salvage does so with bounds."""
        stored = getattr(self._reader, "storage", None)
        if isinstance(stored, McapReader):
            stored.meta_scan = _refuse_search  # type: ignore[method-assign]

    def _wal_note(self) -> None:
        wal = self._file.with_name(self._file.name + "-wal")
        if self._storage == "sqlite3" and wal.exists() and wal.stat().st_size:
            self._note(
                f"{wal.name} holds {wal.stat().st_size} bytes that the recorder did not bring home; they were not "
                f"read: sqlite3 {self._file.name} 'pragma wal_checkpoint' brings them in"
            )


class SalvagedFile:
    """An MCAP file read without its index."""

    def __init__(self, file: Path, note: Note) -> None:
        """Look through the file once.

        Raises:
            BagError: it is not MCAP, or holds no message that can be read.
        """
        self._scan: McapScan = scan_mcap(file)
        for sentence in self._scan.damage:
            note(sentence)
        if self._scan.num_lost:
            note(f"{file.name}: {self._scan.num_lost} messages of damaged chunks are lost")
        scan = self._scan
        if scan.damage and not scan.counts:
            raise BagError(f"{file}: {'; '.join(scan.damage)}; no message can be read from it")
        unreadable = {c.topic for c in scan.channels.values() if c.encoding != "cdr"}
        if unreadable:
            note(f"{file.name}: {', '.join(sorted(unreadable))}: not CDR, the encoding of ROS 2; left out")
        self._topics = {
            number: _topic_of_channel(channel, scan.counts[number])
            for number, channel in scan.channels.items()
            if channel.encoding == "cdr"
        }
        self.topics = list(self._topics.values())
        self.start_ns, self.end_ns = scan.start_ns, scan.end_ns

    def messages(self, keys: Collection[TopicKey]) -> Iterator[StoredMessage]:
        """Yield topic, receipt and message as stored, in order of receipt."""
        return self.messages_after(keys, -1, 0)

    def messages_after(
        self, keys: Collection[TopicKey], stamp_ns: int, num_of_stamp: int
    ) -> Iterator[StoredMessage]:
        """Yield the messages that follow the given number of messages of that receipt."""
        wanted = [number for number, topic in self._topics.items() if topic.key in keys]
        for number, receipt_ns, data in self._scan.messages(wanted):
            if receipt_ns < stamp_ns:
                continue
            if receipt_ns == stamp_ns and num_of_stamp:
                num_of_stamp -= 1
                continue
            yield self._topics[number].key, receipt_ns, data

    def close(self) -> None:
        """Leave nothing open: files are opened while they are read."""


def _refuse_search() -> NoReturn:
    raise ValueError("the file has no index")


def _topic_of(connection: Connection) -> BagTopic:
    form, text = connection.msgdef
    extra = connection.ext
    if isinstance(extra, ConnectionExtRosbag1):
        latched = bool(extra.latching)
    else:
        latched = any(qos.durability == QosDurability.TRANSIENT_LOCAL for qos in extra.offered_qos_profiles)
    definition = Definition(text, form == MessageDefinitionFormat.IDL, connection.digest) if text else None
    type_name = _RENAMED.get(connection.msgtype, connection.msgtype)
    return BagTopic(connection.topic, type_name, connection.msgcount, 0.0, definition, latched)


def _topic_of_channel(channel: Channel, count: int) -> BagTopic:
    is_idl = channel.schema_encoding in ("ros2idl", "omgidl")
    definition = Definition(channel.schema, is_idl) if channel.schema else None
    return BagTopic(channel.topic, channel.type_name, count, 0.0, definition, channel.latched)


def _advice(storage: str, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    command = {
        "ros1": "repair it with `rosbag reindex`",
        "sqlite3": "save what there is with `sqlite3 damaged.db3 .recover | sqlite3 saved.db3`",
    }[storage]
    return f"cannot be read ({reason}); {command}"
