"""Quality of service: the profiles ROS names, and what they are in DDS."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cyclonedds.qos import Policy, Qos


class Reliability(str, Enum):
    """Whether lost messages are sent again."""

    BEST_EFFORT = "BEST_EFFORT"
    RELIABLE = "RELIABLE"


class Durability(str, Enum):
    """Whether a subscriber that comes later gets the last messages."""

    VOLATILE = "VOLATILE"
    TRANSIENT_LOCAL = "TRANSIENT_LOCAL"


@dataclass(frozen=True, slots=True)
class QosProfile:
    """What a publisher offers or a subscription asks for.

    Attributes:
        reliability: a reliable subscription does not match a best-effort publisher.
        durability: a transient-local subscription does not match a volatile publisher.
        depth: messages kept; the newest win.
        lifespan_s: age after which a message is not delivered any more, s; None: never.
        max_blocking_s: how long publishing may wait for slow reliable subscribers before the message is
            dropped, s.
    """

    reliability: Reliability = Reliability.RELIABLE
    durability: Durability = Durability.VOLATILE
    depth: int = 10
    lifespan_s: float | None = None
    max_blocking_s: float = 0.1

    def to_dds(self, user_data: str = "") -> Qos:
        """Return the policies of a reader or writer.

        Args:
            user_data: what peers may read during discovery, `key=value;` after each other.
        """
        policies = [
            Policy.History.KeepLast(self.depth),
            Policy.DataRepresentation(use_cdrv0_representation=True, use_xcdrv2_representation=False),
            Policy.WriterDataLifecycle(autodispose=False),
            Policy.Userdata(user_data.encode()),
        ]
        if self.reliability == Reliability.RELIABLE:
            policies.append(Policy.Reliability.Reliable(_nanoseconds(self.max_blocking_s)))
        else:
            policies.append(Policy.Reliability.BestEffort)
        if self.durability == Durability.TRANSIENT_LOCAL:
            keep = Policy.History.KeepLast(self.depth)
            policies.append(Policy.Durability.TransientLocal)
            # What a late subscriber gets is decided here and not by the writer's history.
            policies.append(Policy.DurabilityService(0, keep, -1, -1, -1))
        else:
            policies.append(Policy.Durability.Volatile)
        if self.lifespan_s is not None:
            policies.append(Policy.Lifespan(_nanoseconds(self.lifespan_s)))
        return Qos(*policies)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


SENSOR_DATA = QosProfile(Reliability.BEST_EFFORT, depth=5)
IMAGE = QosProfile(Reliability.BEST_EFFORT, depth=1)
CLOCK = QosProfile(Reliability.BEST_EFFORT, depth=1)
RELIABLE = QosProfile()
# Every client of a service is sent the answers of all: with ROS's depth of 10, one that is kept from running for a
# moment would lose its own to those of the others.
SERVICES = QosProfile(depth=1000)
LATCHED = QosProfile(durability=Durability.TRANSIENT_LOCAL, depth=1)
TF = QosProfile(depth=100)
TF_STATIC = QosProfile(durability=Durability.TRANSIENT_LOCAL, depth=100)
ROSOUT = QosProfile(durability=Durability.TRANSIENT_LOCAL, depth=1000, lifespan_s=10.0)
