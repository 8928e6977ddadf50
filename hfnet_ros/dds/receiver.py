"""One thread per node that sleeps until DDS has something for it."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable

from cyclonedds.core import DDSException, Entity, GuardCondition
from cyclonedds.domain import DomainParticipant

from hfnet_ros.dds import cyclone

logger = logging.getLogger(__name__)

_STOP_KEY = 1


class Receiver:
    """Calls a handler when the enabled statuses of a reader or writer change."""

    def __init__(self, participant: DomainParticipant, name: str) -> None:
        """Start the thread; it has a node's name."""
        self._waiter = cyclone.Waiter(participant)
        self._stop = GuardCondition(participant)
        self._waiter.attach(self._stop, _STOP_KEY)
        self._keys = itertools.count(_STOP_KEY + 1)
        self._handlers: dict[int, Callable[[], None]] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"dds {name}", daemon=True)
        self._thread.start()

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller runs inside a handler."""
        return threading.current_thread() is self._thread

    def attach(self, entity: Entity, statuses: int, handler: Callable[[], None]) -> int:
        """Call a handler, in the receiver's thread, whenever one of the statuses is raised.

        Args:
            entity: reader or writer.
            statuses: bits of `DDSStatus`.
            handler: has to clear the statuses; with data, by taking them.

        Returns:
            Key to detach by.
        """
        key = next(self._keys)
        self._handlers[key] = handler
        entity.set_status_mask(statuses)
        self._waiter.attach(entity, key)
        return key

    def detach(self, entity: Entity, key: int) -> None:
        """Forget an entity; a handler that runs at this moment is not waited for."""
        self._waiter.detach(entity)
        self._handlers.pop(key, None)

    def close(self, timeout_s: float = 2.0) -> None:
        """End the thread; from inside a handler, it ends when the handler does."""
        self._stopping = True
        self._stop.set(True)
        if self.is_current_thread:
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            logger.warning("a callback of %s is still running while its node closes", self._thread.name)

    def _run(self) -> None:
        try:
            while not self._stopping:
                for key in self._waiter.wait():
                    self._handle(key)
        except DDSException as error:
            if not self._stopping:  # deleted from outside, e.g. with the whole domain
                logger.error("reception of %s ended: %s", self._thread.name, error)
        finally:
            self._waiter.close()
            cyclone.delete(self._stop)

    def _handle(self, key: int) -> None:
        handler = self._handlers.get(key)
        if handler is None:
            return
        try:
            handler()
        except Exception:
            logger.exception("unexpected failure while receiving")
