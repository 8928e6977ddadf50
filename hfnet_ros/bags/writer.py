"""Write bags of ROS 2 that are whole or not there, the same bytes for the same messages."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from hfnet_ros.bags.topics import Definition
from hfnet_ros.errors import BagError
from hfnet_ros.files.atomic import atomic_directory
from hfnet_ros.messages.factory import RosbagsMessages

StorageName = Literal["mcap", "sqlite3"]
STORAGES: tuple[StorageName, ...] = ("mcap", "sqlite3")

_METADATA_VERSION: Literal[8] = 8  # Humble reads it, too
_PLUGINS = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
_FILE_STEM = "messages"
_PART_SUFFIXES = (".mcap", ".db3", ".zstd")
_INFINITE = QosTime(2147483647, 4294967295)


class BagWriter:
    """A rosbag2 folder being written; a context manager.

    It is written aside and takes its name when the context ends without an error. Messages are to
    come in order of time: readers sort within chunks, and ros2 bag play expects it.

    Attributes:
        path: folder of the bag.
    """

    def __init__(self, path: Path | str, storage: str = "mcap") -> None:
        """Check the target; an older bag there is replaced in the end.

        Raises:
            BagError: the storage is unknown, or something else is at the path.
        """
        self.path = Path(path)
        if storage not in _PLUGINS:
            raise BagError(f"storage is '{storage}', expected {' or '.join(STORAGES)}")
        check_bag_target(self.path)
        self._plugin = _PLUGINS[storage]
        self._messages = RosbagsMessages()
        self._topics: dict[str, tuple[str, Connection]] = {}
        self._stack = ExitStack()
        self._folder = self.path
        self._writer: Writer | None = None

    def __enter__(self) -> BagWriter:
        """Begin to write aside.

        Raises:
            BagError: the folder above does not exist or cannot be written in.
        """
        target = self.path.resolve()  # `.` has no name
        try:
            temporary = self._stack.enter_context(atomic_directory(target))
            # rosbags names the file like its folder and writes that name into it: a fixed one keeps
            # the bytes the same wherever the bag is written.
            self._folder = temporary / _FILE_STEM
            self._writer = Writer(self._folder, version=_METADATA_VERSION, storage_plugin=self._plugin)
            self._writer.open()
        except Exception as error:
            self._abandon(error)
            raise self._failure(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the bag its name, or leave nothing behind if the context failed.

        Raises:
            BagError: the rest cannot be written.
        """
        if error is not None:
            self._abandon(error)
            return
        assert self._writer is not None
        try:
            self._writer.close()
            for part in self._folder.iterdir():
                part.rename(self._folder.parent / part.name)
            self._folder.rmdir()
            self._stack.close()
        except Exception as failure:
            self._abandon(failure)
            raise self._failure(failure) from failure

    def add_topic(
        self, topic: str, type_name: str, *, latched: bool = False, definition: Definition | None = None
    ) -> None:
        """Announce a topic; `write` does so itself for types that this package knows.

        Args:
            topic: name.
            type_name: e.g. sensor_msgs/msg/Image.
            latched: offered transient local, as /tf_static is.
            definition: from `BagReader.definition`, for types that only that bag knows.

        Raises:
            BagError: the topic is there already with another type, the type is unknown, or the disk
                is full.
        """
        if topic in self._topics:
            if self._topics[topic][0] != type_name:
                raise BagError(f"{topic} holds {self._topics[topic][0]}, cannot take {type_name}, too")
            return
        if definition is None and type_name not in self._messages.store.fielddefs:
            raise BagError(f"{topic}: type {type_name} is unknown; give its definition")
        writer = self._open_writer()
        known = (
            {"typestore": self._messages.store}
            if definition is None
            else {"msgdef": definition.text, "rihs01": definition.digest}
        )
        try:
            connection = writer.add_connection(
                topic, type_name, offered_qos_profiles=[_qos(latched=latched)], **known
            )
        except Exception as error:
            raise self._failure(error) from error
        self._topics[topic] = (type_name, connection)

    def write(self, topic: str, type_name: str, stamp_ns: int, message: Any) -> None:
        """Write a message, of this package's factory or of any reader.

        Raises:
            BagError: as `add_topic`, or the message does not fit its type.
        """
        try:
            cdr = self._messages.serialize(message, type_name)
        except Exception as error:
            raise BagError(
                f"{topic}: no {type_name} can be made of {type(message).__name__}: {error}"
            ) from error
        self.write_cdr(topic, type_name, stamp_ns, cdr)

    def write_cdr(self, topic: str, type_name: str, stamp_ns: int, cdr: bytes) -> None:
        """Write a message that is serialized already.

        Raises:
            BagError: as `add_topic`, or the stamp is negative.
        """
        if stamp_ns < 0:
            raise BagError(f"{topic}: stamp is {stamp_ns} ns, expected 0 or later")
        if topic not in self._topics or self._topics[topic][0] != type_name:
            self.add_topic(topic, type_name)
        try:
            self._open_writer().write(self._topics[topic][1], stamp_ns, cdr)
        except Exception as error:
            raise self._failure(error) from error

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise BagError(f"{self.path}: is not open; use `with BagWriter(path) as bag:`")
        return self._writer

    def _abandon(self, error: BaseException) -> None:
        """Close and remove what was written."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(Exception):  # flushing to a full disk fails once more
                writer.abort()
        # With an error the directory is removed instead of renamed.
        self._stack.__exit__(type(error), error, error.__traceback__)

    def _failure(self, error: Exception) -> BagError:
        if isinstance(error, BagError):
            return error
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return BagError(f"{self.path}: cannot be written: {reason}; nothing was left half written")


def check_bag_target(path: Path) -> None:
    """Refuse a path at which a bag cannot be written, before the work whose result it shall hold.

    Raises:
        BagError: there is something that is no bag, or no folder to write in.
    """
    if path.is_dir():
        others = [entry.name for entry in path.iterdir() if not _is_part(entry)]
        if others:
            raise BagError(
                f"{path}: holds {', '.join(sorted(others)[:3])}, which is no part of a bag; name another folder"
            )
    elif path.exists():
        raise BagError(f"{path}: is a file, expected a folder to write the bag as")
    elif not path.resolve().parent.is_dir():
        raise BagError(f"{path}: the folder {path.resolve().parent} does not exist; create it first")


def _is_part(entry: Path) -> bool:
    return entry.is_file() and (entry.name == "metadata.yaml" or entry.suffix in _PART_SUFFIXES)


def _qos(*, latched: bool) -> Qos:
    return Qos(
        QosHistory.KEEP_LAST,
        1 if latched else 10,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        _INFINITE,
        _INFINITE,
        QosLiveliness.AUTOMATIC,
        _INFINITE,
        avoid_ros_namespace_conventions=False,
    )
