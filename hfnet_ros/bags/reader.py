"""Read bags of ROS 2 and ROS 1 as a stream, whatever state they are in."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from hfnet_ros.bags.decoding import MessageDecoder
from hfnet_ros.bags.recording import Recording, find_recording, uncompressed
from hfnet_ros.bags.storage import StorageFile, StoredMessage, TopicKey, open_storage
from hfnet_ros.bags.topics import BagTopic, Definition, choose_topic, mean_rate_hz, topic_table
from hfnet_ros.errors import BagError

_logger = logging.getLogger(__name__)

_LONGEST_REASON = 300  # characters


class BagMessage(NamedTuple):
    """One message.

    Attributes:
        stamp_ns: when it was received by the recorder; when it was made is in its header.
        data: the message, or its CDR bytes where these were asked for.
    """

    topic: str
    type_name: str
    stamp_ns: int
    data: Any


class BagReader:
    """A bag opened for reading; a context manager.

    Messages come in the order in which they were received, whatever their order in the file, and
    never more of them are in memory than the chunks that overlap in time. What is damaged is left
    out and told in `notes`; a message that cannot be decoded is counted in `undecodable`.

    Attributes:
        path: as given.
        storage: mcap, sqlite3 or ros1.
        topics: what is in the bag, sorted by name.
        start_ns: receipt of the first message, 0 without messages.
        end_ns: receipt of the last one.
        notes: what is damaged, missing or left out, one sentence each.
        undecodable: messages that could not be decoded in the latest pass, by topic.
    """

    def __init__(self, path: Path | str) -> None:
        """Look for the files; reading begins when the context is entered.

        Raises:
            BagError: there is no bag.
        """
        self.path = Path(path)
        self._recording: Recording = find_recording(self.path)
        self.storage = self._recording.storage
        self.topics: tuple[BagTopic, ...] = ()
        self.start_ns = self.end_ns = 0
        self.notes: list[str] = []
        self.undecodable: dict[str, int] = {}
        self._files: list[StorageFile] = []
        self._decoder = MessageDecoder(is_ros1=self.storage == "ros1")
        self._open_files = ExitStack()

    def __enter__(self) -> BagReader:
        """Open all files and read what is in them.

        Raises:
            BagError: nothing can be read, or the bag is empty.
        """
        try:
            self._open()
        except BaseException:
            self._open_files.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close all files."""
        self._open_files.close()
        self._files = []

    @property
    def message_count(self) -> int:
        """Return the number of messages of all topics."""
        return sum(topic.count for topic in self.topics)

    def messages(
        self, topics: Collection[str | BagTopic] = (), *, raw: bool | Collection[str] = False
    ) -> Iterator[BagMessage]:
        """Yield the messages of some topics, or of all, in order of receipt.

        Args:
            topics: names, or topics of this bag.
            raw: give CDR bytes instead of messages: of all topics, or of the types named; also of
                ROS 1.

        Raises:
            BagError: a topic is not in the bag.
        """
        decoder, failures = self._decoder, dict[str, int]()
        self.undecodable = failures
        wanted = {}
        for topic in self._wanted(topics):
            is_raw = raw if isinstance(raw, bool) else topic.type_name in raw
            wanted[topic.key] = topic, decoder.cdr if is_raw else decoder.message
        for key, stamp_ns, stored in self._merged(wanted):
            topic, convert = wanted[key]
            try:
                data = convert(topic, stored)
            # A parser that reads damaged bytes may fail in any way.
            except Exception as error:
                if topic.name not in failures:
                    self.note(f"{topic.name}: messages cannot be decoded, the first because: {_brief(error)}")
                failures[topic.name] = failures.get(topic.name, 0) + 1
                continue
            yield BagMessage(topic.name, topic.type_name, stamp_ns, data)

    def definition(self, topic: BagTopic) -> Definition:
        """Return the definition of a topic's type, for writing its messages into another bag.

        Raises:
            BagError: nothing defines it.
        """
        try:
            return self._decoder.definition(topic)
        except BagError:
            raise
        # A parser that reads damaged text may fail in any way.
        except Exception as error:
            raise BagError(
                f"{topic.name}: the definition of {topic.type_name} is unusable: {_brief(error)}"
            ) from error

    def choose(
        self, types: Collection[str], asked: str = "", *, purpose: str, option: str, instead: str = ""
    ) -> BagTopic:
        """Return the topic asked for, or the only one of these types; see `choose_topic`.

        Raises:
            BagError: with the table of topics.
        """
        return choose_topic(self.topics, types, asked, purpose=purpose, option=option, instead=instead)

    def table(self) -> str:
        """Return one line per topic."""
        return topic_table(self.topics)

    def report(self) -> list[str]:
        """Return everything a person should know about the state of the bag, one sentence each."""
        counted = [
            f"{topic}: {count} messages could not be decoded" for topic, count in self.undecodable.items()
        ]
        return [*self.notes, *counted]

    def note(self, sentence: str) -> None:
        """Remember once, and log, what a person should know about the state of the bag."""
        if sentence not in self.notes:
            self.notes.append(sentence)
            _logger.warning("%s: %s", self.path.name, sentence)

    def _open(self) -> None:
        recording = self._open_files.enter_context(uncompressed(self._recording))
        for note in recording.notes:
            self.note(note)
        failures = []
        for file in recording.files:
            try:
                opened = open_storage(file, self.storage, self.note)
            except BagError as error:
                failures.append(error)
                continue
            self._open_files.callback(opened.close)
            self._files.append(opened)
        if not self._files:
            raise failures[0]
        for failure in failures:
            self.note(f"{failure}; read without it")
        starts = [file.start_ns for file in self._files if file.start_ns is not None]
        ends = [file.end_ns for file in self._files if file.end_ns is not None]
        if not starts:
            notes = "".join(f"; {note}" for note in self.notes)
            raise BagError(f"{self.path}: the bag holds no messages{notes}")
        self.start_ns, self.end_ns = min(starts), max(ends)
        self.topics = _joined(self._files, self.start_ns, self.end_ns)

    def _merged(self, wanted: Collection[TopicKey]) -> Iterator[StoredMessage]:
        if not self._files:
            raise BagError(f"{self.path}: is not open; use `with BagReader(path) as bag:`")
        streams = [file.messages(wanted) for file in self._files]
        return streams[0] if len(streams) == 1 else heapq.merge(*streams, key=itemgetter(1))

    def _wanted(self, topics: Collection[str | BagTopic]) -> list[BagTopic]:
        if not topics:
            return list(self.topics)
        wanted: list[BagTopic] = []
        for asked in topics:
            found = [topic for topic in self.topics if asked in (topic.name, topic)]
            if not found:
                name = asked if isinstance(asked, str) else asked.name
                raise BagError(f"{self.path}: no topic {name}; the bag holds:\n{self.table()}")
            wanted += found
        return wanted


def _brief(error: Exception) -> str:
    """Return the beginning of what a parser says, in one line: it may repeat all that it was given."""
    return " ".join(str(error).split())[:_LONGEST_REASON]


def _joined(files: list[StorageFile], start_ns: int, end_ns: int) -> tuple[BagTopic, ...]:
    """Return the topics of all files, counts added up."""
    joined: dict[TopicKey, list[BagTopic]] = {}
    for file in files:
        for topic in file.topics:
            joined.setdefault(topic.key, []).append(topic)
    topics = []
    for (name, type_name), parts in joined.items():
        count = sum(part.count for part in parts)
        definition = next((part.definition for part in parts if part.definition), None)
        rate = mean_rate_hz(count, start_ns, end_ns)
        topics.append(BagTopic(name, type_name, count, rate, definition, any(part.latched for part in parts)))
    return tuple(sorted(topics, key=lambda topic: topic.key))
