"""DDS domains: which one, over which network, shared by the nodes of a process."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

from cyclonedds.core import DDSException
from cyclonedds.domain import Domain

from hfnet_ros.dds import cyclone
from hfnet_ros.errors import DdsError

logger = logging.getLogger(__name__)

LARGEST_DOMAIN_ID = 232
# For programs on one machine that no other machine shall see: tests, the demo.
LOOPBACK_URI = (
    "<CycloneDDS><Domain>"
    '<General><Interfaces><NetworkInterface address="127.0.0.1" multicast="false"/></Interfaces>'
    "<AllowMulticast>false</AllowMulticast>"
    # Packets as large as the interface takes: an image is 15 of them instead of 64.
    "<MaxMessageSize>65500B</MaxMessageSize><FragmentSize>65000B</FragmentSize></General>"
    "<Discovery><ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>100</MaxAutoParticipantIndex>"
    '<Peers><Peer address="127.0.0.1"/></Peers></Discovery>'
    "</Domain></CycloneDDS>"
)
_RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")

_open_domains: dict[int, tuple[Domain | None, int]] = {}
_lock = threading.Lock()


def choose_domain_id(given: int | None, environment: Mapping[str, str] = os.environ) -> int:
    """Return the domain: as given, else ROS_DOMAIN_ID, else 0.

    Raises:
        DdsError: it is no domain.
    """
    text = str(given) if given is not None else environment.get("ROS_DOMAIN_ID", "").strip() or "0"
    if not text.isascii() or not text.isdigit() or int(text) > LARGEST_DOMAIN_ID:
        source = "domain id" if given is not None else "ROS_DOMAIN_ID"
        raise DdsError(f"the {source} is {text!r}; expected a whole number from 0 to {LARGEST_DOMAIN_ID}")
    return int(text)


def domain_configuration(environment: Mapping[str, str] = os.environ, *, loopback: bool = False) -> str:
    """Return Cyclone DDS's configuration: what ROS 2's own variables ask for, then CYCLONEDDS_URI.

    Args:
        environment: CYCLONEDDS_URI, ROS_LOCALHOST_ONLY, ROS_AUTOMATIC_DISCOVERY_RANGE, ROS_STATIC_PEERS.
        loopback: keep to this machine's loopback interface, unless CYCLONEDDS_URI is set.
    """
    own = environment.get("CYCLONEDDS_URI", "")
    if loopback and not own:
        return LOOPBACK_URI
    discovery = _discovery_range(environment)
    peers = [peer for peer in environment.get("ROS_STATIC_PEERS", "").split(";") if peer]
    if environment.get("ROS_LOCALHOST_ONLY", "").strip() == "1":
        discovery, peers = "LOCALHOST", []
    if discovery == "SYSTEM_DEFAULT":
        return own
    # Later fragments override earlier ones, so that CYCLONEDDS_URI has the last word.
    return ",".join(part for part in (_ros_fragment(discovery, peers), own) if part)


def _discovery_range(environment: Mapping[str, str]) -> str:
    asked = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").strip() or "SUBNET"
    if asked in _RANGES:
        return asked
    logger.warning("ROS_AUTOMATIC_DISCOVERY_RANGE=%s is none of %s: keeping to LOCALHOST", asked, _RANGES)
    return "LOCALHOST"


def _ros_fragment(discovery: str, peers: list[str]) -> str:
    if discovery == "OFF":
        # A tag of its own: nobody else is in this domain, whatever its number.
        body = f"<ParticipantIndex>none</ParticipantIndex><Tag>discovery_off_{os.getpid()}</Tag>"
    else:
        listed = ["localhost", *peers] if discovery == "LOCALHOST" else peers
        addresses = "".join(f"<Peer address={quoteattr(peer)}/>" for peer in listed)
        body = (
            "<ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>32</MaxAutoParticipantIndex>"
        )
        body += f"<Peers>{addresses}</Peers>" if addresses else ""
    multicast = "" if discovery == "SUBNET" else "<General><AllowMulticast>false</AllowMulticast></General>"
    return f"<CycloneDDS><Domain>{multicast}<Discovery>{body}</Discovery></Domain></CycloneDDS>"


def enter_domain(domain_id: int, *, loopback: bool = False) -> None:
    """Open a domain, or share the one a node of this process has opened; `leave_domain` closes it.

    Raises:
        DdsError: Cyclone DDS refuses, most often because of CYCLONEDDS_URI.
    """
    with _lock:
        domain, users = _open_domains.get(domain_id, (None, 0))
        if not users:
            domain = _open(domain_id, domain_configuration(loopback=loopback))
        _open_domains[domain_id] = (domain, users + 1)


def leave_domain(domain_id: int) -> None:
    """Close a domain when its last node leaves."""
    with _lock:
        domain, users = _open_domains.pop(domain_id)
        if users > 1:
            _open_domains[domain_id] = (domain, users - 1)
        elif domain is not None:
            cyclone.delete(domain)


def _open(domain_id: int, configuration: str) -> Domain | None:
    try:
        return Domain(domain_id, configuration)
    except UnicodeEncodeError as error:
        raise DdsError(f"CYCLONEDDS_URI has a character that is not ASCII: {configuration!r}") from error
    except DDSException as error:
        if error.code == DDSException.DDS_RETCODE_PRECONDITION_NOT_MET:
            return None  # somebody else in this process has opened it: it is theirs to close
        uri = os.environ.get("CYCLONEDDS_URI", "")
        raise DdsError(
            f"Cyclone DDS cannot open domain {domain_id}: {error} CYCLONEDDS_URI is {uri!r}; expected XML or "
            "file:///path of a file such as config/cyclonedds.xml; and no more programs than its "
            "MaxAutoParticipantIndex allows. Cyclone DDS says more on standard error"
        ) from error
