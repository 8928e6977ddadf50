"""The only module that relies on what cyclonedds does not promise: raw CDR in and out, and wait sets.

cyclonedds serializes in pure Python, 100 to 1000 times too slowly for images. Its C layer moves CDR
bytes; those functions are private, so that the version is pinned and `check_private_names` is tested.
"""

from __future__ import annotations

import ctypes
from importlib import metadata
from typing import Any

from hfnet_ros.errors import DdsError

SUPPORTED_VERSION = "11.0.1"
_INSTALL = (
    f"pip install cyclonedds=={SUPPORTED_VERSION} brings it on x86_64; on a machine with ROS 2, and on every other "
    "processor, run the ROS node instead"
)

try:
    from cyclonedds import _clayer
    from cyclonedds.core import DDSException, Entity, InstanceState, SampleState, ViewState
    from cyclonedds.domain import DomainParticipant
    from cyclonedds.internal import DDS, SampleInfo
    from cyclonedds.pub import DataWriter
    from cyclonedds.sub import DataReader
except Exception as error:  # the package raises more than ImportError where its library does not load
    raise DdsError(f"Cyclone DDS is not available ({error}); {_INSTALL}") from error

TIMED_OUT, BAD_PARAMETER = DDSException.DDS_RETCODE_TIMEOUT, DDSException.DDS_RETCODE_BAD_PARAMETER
_FOREVER = (1 << 63) - 1
_PRIVATE_NAMES = (
    "ddspy_take",
    "ddspy_topic_create",
    "ddspy_get_matched_publication_data",
    "ddspy_get_matched_subscription_data",
)
_ANY_STATE = SampleState.Any | ViewState.Any | InstanceState.Any
_TAKEN_AT_ONCE = 64


class _Sample(ctypes.Structure):
    """What a Python topic's sample is in C: serialized bytes, header included."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t))


def _c_function(name: str, *argument_types: Any, returns: Any = ctypes.c_int32) -> Any:
    """Return a function of the C library, called without the GIL; most give back a code or an entity."""
    # `dll[name]` and not `dll.name`: the latter is shared with cyclonedds, whose signatures it would change.
    function = DDS._dll_handle[name]
    function.restype, function.argtypes = returns, argument_types
    return function


_ENTITY, _POINTER = ctypes.c_int32, ctypes.c_void_p
_write = _c_function("dds_write", _ENTITY, _POINTER)
_create_waitset = _c_function("dds_create_waitset", _ENTITY)
_waitset_attach = _c_function("dds_waitset_attach", _ENTITY, _ENTITY, ctypes.c_ssize_t)
_waitset_detach = _c_function("dds_waitset_detach", _ENTITY, _ENTITY)
_waitset_wait = _c_function("dds_waitset_wait", _ENTITY, _POINTER, ctypes.c_size_t, ctypes.c_int64)
_delete = _c_function("dds_delete", _ENTITY)
_get_user_data = _c_function("dds_qget_userdata", _POINTER, _POINTER, _POINTER, returns=ctypes.c_bool)
_free = _c_function("dds_free", _POINTER, returns=None)


def check_private_names() -> None:
    """Make sure that the installed cyclonedds is the one whose private names are used here.

    Raises:
        DdsError: another version, or a name is missing.
    """
    found = metadata.version("cyclonedds")
    if found != SUPPORTED_VERSION:
        raise DdsError(f"cyclonedds {found} is installed, {SUPPORTED_VERSION} is needed: {_INSTALL}")
    missing = [name for name in _PRIVATE_NAMES if not hasattr(_clayer, name)]
    if missing:
        raise DdsError(f"cyclonedds {found} lacks {', '.join(missing)}: it is damaged; {_INSTALL}")


def write_cdr(writer: DataWriter[Any], cdr: bytes) -> int:
    """Write serialized bytes, without the GIL and without a copy; return DDS's code, 0 when done.

    Args:
        writer: writer of a topic whose type describes the bytes.
        cdr: message with its four bytes of header; padded here to a multiple of four, as DDS wants it.
    """
    padded = cdr + bytes(-len(cdr) % 4) if len(cdr) % 4 else cdr
    sample = _Sample(ctypes.cast(ctypes.c_char_p(padded), ctypes.c_void_p), len(padded))
    code: int = _write(writer._ref, ctypes.byref(sample))
    return code


def take_cdr(reader: DataReader[Any]) -> list[tuple[bytes, SampleInfo]]:
    """Take what has arrived: little-endian CDR with its header, and where it came from.

    Returns:
        Nothing once the reader is deleted.
    """
    taken: list[tuple[bytes, SampleInfo]] = []
    while True:
        samples = _clayer.ddspy_take(reader._ref, _ANY_STATE, _TAKEN_AT_ONCE)
        if isinstance(samples, int):
            return taken
        taken += [sample for sample in samples if sample[1].valid_data]
        if len(samples) < _TAKEN_AT_ONCE:
            return taken


def delete(entity: Entity) -> None:
    """Delete an entity now, once, and not whenever Python collects it."""
    entity.__del__()


def instance_handle(entity: Entity) -> int:
    """Return the handle of an entity within this process, 64 bits unsigned."""
    return int(entity.get_instance_handle()) & 0xFFFFFFFFFFFFFFFF


def count_subscriptions(writer: Any) -> int:
    """Return how many readers match a writer, and clear that status."""
    return int(writer.get_publication_matched_status().current_count)


def count_publications(reader: Any) -> int:
    """Return how many writers match a reader, and clear that status."""
    return int(reader.get_subscription_matched_status().current_count)


def take_refused_policy(endpoint: Any) -> int | None:
    """Return the policy for which a reader or writer was refused since the last call, and clear that status.

    Returns:
        The policy's identifier in the DDS standard; None if nobody new was refused.
    """
    is_writer = isinstance(endpoint, DataWriter)
    name = "get_offered_incompatible_qos_status" if is_writer else "get_requested_incompatible_qos_status"
    status = getattr(endpoint, name)()
    return int(status.last_policy_id) if status.total_count_change else None


def publication_user_data(reader: DataReader[Any], publication: int) -> bytes | None:
    """Return what a writer that matches a reader says of itself; None if it does not match any more."""
    found = _clayer.ddspy_get_matched_publication_data
    user_data: bytes | None = found(reader._ref, publication, _pick_policies, _read_user_data)
    return user_data


def subscription_user_data(writer: DataWriter[Any], subscription: int) -> bytes | None:
    """Return what a reader that matches a writer says of itself; None if it does not match any more."""
    found = _clayer.ddspy_get_matched_subscription_data
    user_data: bytes | None = found(writer._ref, subscription, _pick_policies, _read_user_data)
    return user_data


def _pick_policies(*description: Any) -> Any:
    # Key, participant's key and handle, topic, type, policies as they were read, sample info, hash of the type.
    return description[5]


def _read_user_data(qos: int) -> bytes:
    """Read one policy from C.

    cyclonedds' own reading of policies puts all threads' values into the same variables, so that one
    thread gets what another asked for, and leaves the C library's copies behind.
    """
    value, size = ctypes.c_void_p(), ctypes.c_size_t()
    if not _get_user_data(qos, ctypes.byref(value), ctypes.byref(size)) or not value:
        return b""
    try:
        return ctypes.string_at(value, size.value)
    finally:
        _free(value)


class Waiter:
    """A wait set that says who triggered it, which cyclonedds' own does not."""

    def __init__(self, participant: DomainParticipant) -> None:
        """Start with nothing to wait for.

        Raises:
            DDSException: the participant is gone.
        """
        self._set = _checked(_create_waitset(participant._ref), "creating a wait set")
        self._triggered = (ctypes.c_ssize_t * 64)()

    def attach(self, entity: Entity, key: int) -> None:
        """Wait for an entity's enabled statuses too; `wait` returns its key.

        Raises:
            DDSException: the entity is gone.
        """
        _checked(_waitset_attach(self._set, entity._ref, key), "attaching to a wait set")

    def detach(self, entity: Entity) -> None:
        """Stop waiting for an entity; it may already be gone."""
        _waitset_detach(self._set, entity._ref)

    def wait(self) -> list[int]:
        """Sleep until something triggers; return the keys of what did.

        Raises:
            DDSException: the wait set is gone.
        """
        room = len(self._triggered)
        count = _checked(_waitset_wait(self._set, self._triggered, room, _FOREVER), "waiting")
        return list(self._triggered[: min(count, room)])

    def close(self) -> None:
        """Delete the wait set."""
        _delete(self._set)


def _checked(code: int, doing: str) -> int:
    if code < 0:
        raise DDSException(code, f"Occurred while {doing}")
    return code
