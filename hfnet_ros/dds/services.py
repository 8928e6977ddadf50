"""Services, as rmw_cyclonedds puts them on the wire.

Requests and replies are two topics. Before the fields comes a header: the client's identifier and a
sequence number, 8 bytes each, which the reply repeats. Its size leaves the alignment of what follows as
it was.
"""

from __future__ import annotations

import itertools
import logging
import queue
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from cyclonedds.core import DDSException, DDSStatus
from cyclonedds.pub import DataWriter

from hfnet_ros.dds import cyclone
from hfnet_ros.dds.entities import NodeEntities
from hfnet_ros.dds.names import dds_service
from hfnet_ros.dds.qos import SERVICES
from hfnet_ros.errors import DdsError
from hfnet_ros.messages.factory import RosbagsMessages

logger = logging.getLogger(__name__)

_HEADER = struct.Struct("<Qq")
_ENCAPSULATION = 4
_MAX_WAITING = 32
# A client's reader may be discovered after its request has come. rmw_cyclonedds gives it 0.1 s, too little
# where a processor is busy: discovery is some packets and thread switches. Without its reader the answer
# would be lost and the client would wait in vain; longer than this a client rarely waits at all.
_MATCHING_S = 1.0
_LOOK_AGAIN_S = 0.05


class ServiceServer:
    """Answers requests, one after the other, in a thread of its own.

    Attributes:
        name: absolute.
        type_name: e.g. `std_srvs/srv/Trigger`.
    """

    def __init__(
        self,
        entities: NodeEntities,
        messages: RosbagsMessages,
        name: str,
        type_name: str,
        callback: Callable[[Any], Any],
    ) -> None:
        """Offer a service.

        Args:
            entities: of the node.
            messages: reads and writes messages.
            name: absolute.
            type_name: of the service.
            callback: makes a response of a request; may take its time. If it raises, the client gets no
                answer: ROS 2 has no other way to say so.
        """
        self.name = name
        self.type_name = type_name
        self._entities = entities
        self._messages = messages
        self._callback = callback
        self._closed = False
        requests, replies = dds_service(name)
        identity = f"serviceid={entities.next_service_id()};"
        self._writer = entities.create_writer(replies, f"{type_name}_Response", SERVICES, identity)
        self._reader = entities.create_reader(requests, f"{type_name}_Request", SERVICES, identity)
        self._waiting: queue.Queue[tuple[bytes, int] | None] = queue.Queue(_MAX_WAITING)
        self._thread = threading.Thread(target=self._work, name=f"dds service {name}", daemon=True)
        self._thread.start()
        self._key = entities.receiver.attach(self._reader, DDSStatus.DataAvailable, self._receive)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Take the service back; a callback that runs is waited for half a second."""
        if self._closed:
            return
        self._closed = True
        self._entities.receiver.detach(self._reader, self._key)
        while not self._waiting.empty():
            self._waiting.get()
        self._waiting.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(0.5)
        self._entities.delete(self._reader)
        self._entities.delete(self._writer)

    def _receive(self) -> None:
        for cdr, info in cyclone.take_cdr(self._reader):
            if not self._waiting.full():  # only this thread adds requests
                self._waiting.put_nowait((cdr, info.publication_handle))
            else:
                logger.warning("%s: %d requests are waiting; one is dropped", self.name, _MAX_WAITING)

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None and not self._closed:
            self._try_to_answer(*job)

    def _try_to_answer(self, cdr: bytes, publication: int) -> None:
        try:
            self._answer(cdr, publication)
        except Exception:
            logger.exception("%s: a request could not be answered", self.name)

    def _answer(self, cdr: bytes, publication: int) -> None:
        header, body = _split(cdr)
        request = self._messages.deserialize(body, f"{self.type_name}_Request")
        response = self._callback(request)
        reply = _join(header, self._messages.serialize(response, f"{self.type_name}_Response"))
        if self._closed or not self._client_listens(publication):
            return
        code = cyclone.write_cdr(self._writer, reply)
        if code and not self._closed:
            logger.warning("%s: no answer sent: %s", self.name, DDSException(code))

    def _client_listens(self, publication: int) -> bool:
        """Return whether the client's reader is matched, or cannot be told; False if the client has gone."""
        until = time.monotonic() + _MATCHING_S
        while not self._closed:
            request_writer = cyclone.publication_user_data(self._reader, publication)
            if request_writer is None:
                return False
            client = _values(request_writer).get("clientid")
            if client is None or client in _listening(self._writer, "clientid"):
                return True
            if time.monotonic() > until:
                logger.warning("%s: a client is not ready to be answered", self.name)
                return False
            time.sleep(0.01)
        return False


class ServiceClient:
    """Calls a service; any thread but the node's receiver may do so.

    Attributes:
        name: absolute.
        type_name: e.g. `std_srvs/srv/Trigger`.
    """

    def __init__(self, entities: NodeEntities, messages: RosbagsMessages, name: str, type_name: str) -> None:
        """Look for a service of an absolute name."""
        self.name = name
        self.type_name = type_name
        self._entities = entities
        self._messages = messages
        self._closed = False
        self._sequence = itertools.count(1)
        self._pending: dict[int, Future[Any]] = {}
        self._matching = threading.Condition()
        requests, replies = dds_service(name)
        identity = f"clientid={entities.next_service_id()};"
        self._writer = entities.create_writer(requests, f"{type_name}_Request", SERVICES, identity)
        self._reader = entities.create_reader(replies, f"{type_name}_Response", SERVICES, identity)
        self._guid = cyclone.instance_handle(self._writer)
        attach = entities.receiver.attach
        statuses = DDSStatus.DataAvailable | DDSStatus.SubscriptionMatched
        self._reader_key = attach(self._reader, statuses, self._receive)
        self._writer_key = attach(self._writer, DDSStatus.PublicationMatched, self._notice_match)

    def wait_for_service(self, timeout_s: float) -> bool:
        """Wait until the service can be called; return whether it can."""
        self._check_thread()
        until = time.monotonic() + timeout_s
        with self._matching:
            while not (is_available := self._is_available()) and not self._closed:
                left_s = until - time.monotonic()
                if left_s <= 0.0:
                    break
                # Looks again without being told to, so that nothing hangs on a single notification.
                self._matching.wait(min(left_s, _LOOK_AGAIN_S))
            return is_available

    def call(self, request: Any, timeout_s: float) -> Any:
        """Call the service and wait for its response; waiting for the service to appear is part of it.

        Raises:
            DdsError: nobody offers the service, or there was no answer in time.
        """
        start = time.monotonic()
        if not self.wait_for_service(timeout_s):
            raise DdsError(
                f"nobody offers the service {self.name} ({self.type_name}): waited {timeout_s:g} s"
            )
        sequence, answer = next(self._sequence), Future[Any]()
        self._pending[sequence] = answer
        try:
            body = self._messages.serialize(request, f"{self.type_name}_Request")
            code = cyclone.write_cdr(self._writer, _join(_HEADER.pack(self._guid, sequence), body))
            if code:
                raise DdsError(f"the service {self.name} cannot be called: {DDSException(code)}")
            return answer.result(max(0.0, timeout_s - (time.monotonic() - start)))
        except FutureTimeoutError as error:
            raise DdsError(f"the service {self.name} gave no answer within {timeout_s:g} s") from error
        finally:
            self._pending.pop(sequence, None)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Forget the service; calls that wait fail. A second time does nothing."""
        if self._closed:
            return
        self._closed = True
        self._entities.receiver.detach(self._reader, self._reader_key)
        self._entities.receiver.detach(self._writer, self._writer_key)
        for answer in list(self._pending.values()):
            answer.set_exception(DdsError(f"the client of {self.name} was closed during a call"))
        with self._matching:
            self._matching.notify_all()
        self._entities.delete(self._reader)
        self._entities.delete(self._writer)

    def _check_thread(self) -> None:
        if self._entities.receiver.is_current_thread:
            raise DdsError(f"{self.name} was called inside a callback, where its answer cannot arrive")

    def _is_available(self) -> bool:
        if self._closed:
            return False
        answering = {
            _values(user_data).get("serviceid")
            for publication in self._reader.get_matched_publications()
            if (user_data := cyclone.publication_user_data(self._reader, publication)) is not None
        }
        return bool(answering & _listening(self._writer, "serviceid"))

    def _notice_match(self) -> None:
        cyclone.count_subscriptions(self._writer)
        with self._matching:
            self._matching.notify_all()

    def _receive(self) -> None:
        cyclone.count_publications(self._reader)
        with self._matching:
            self._matching.notify_all()
        for cdr, _ in cyclone.take_cdr(self._reader):
            header, body = _split(cdr)
            guid, sequence = _HEADER.unpack(header)
            # Everybody's replies come here; a late one finds nobody waiting any more.
            answer = self._pending.pop(sequence, None) if guid == self._guid else None
            if answer is None:
                continue
            try:
                answer.set_result(self._messages.deserialize(body, f"{self.type_name}_Response"))
            except Exception as error:  # whatever foreign bytes lead to
                answer.set_exception(DdsError(f"{self.name} answered with no {self.type_name}: {error!r}"))


def _join(header: bytes, cdr: bytes) -> bytes:
    return cdr[:_ENCAPSULATION] + header + cdr[_ENCAPSULATION:]


def _split(cdr: bytes) -> tuple[bytes, bytes]:
    end = _ENCAPSULATION + _HEADER.size
    return cdr[_ENCAPSULATION:end], cdr[:_ENCAPSULATION] + cdr[end:]


def _listening(writer: DataWriter[Any], key: str) -> set[str | None]:
    """Return who the readers are that match a writer, by one value of what they say of themselves."""
    return {
        _values(user_data).get(key)
        for subscription in writer.get_matched_subscriptions()
        if (user_data := cyclone.subscription_user_data(writer, subscription)) is not None
    }


def _values(user_data: bytes) -> dict[str, str]:
    """Return what a peer says of an endpoint, `key=value;` after each other."""
    text = user_data.decode(errors="replace")
    return dict(part.split("=", 1) for part in text.split(";") if "=" in part)
