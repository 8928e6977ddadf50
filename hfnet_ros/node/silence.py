"""Why nothing comes on a topic: who publishes it, how, and what is published beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from hfnet_ros.messages.topics import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    ODOMETRY,
    TF,
    TF_STATIC,
    Qos,
    Topic,
    compressed_topic,
)
from hfnet_ros.node.transport import PublishedTopic, Transport

_LOOK_AGAIN_S = 1.0
_MOST_NAMED = 3
# Fast DDS matches them and then sends through memory that the other cannot open.
_APART = (
    "is of another user or in another container, between which Fast DDS loses all (docs/ros2.md, Fast DDS)"
)
_LOST_ON_THE_WAY = {
    CAMERA_INFO.type_name: "if it was sent once, before this node listened, the driver has to latch it (reliable, "
    "transient local) or repeat it",
    IMAGE.type_name: "either the camera stands still, or images are lost on the way, as large ones are without "
    f"config/fastdds.xml or, on Cyclone DDS, config/cyclonedds.xml, or the driver {_APART}",
    ODOMETRY.type_name: f"its sender runs but sends nothing, see what it says; or it {_APART}",
}
_LOST_ON_THE_WAY[COMPRESSED_IMAGE.type_name] = _LOST_ON_THE_WAY[IMAGE.type_name]
_ASKED_FOR = {Qos.RELIABLE: "reliable", Qos.LATCHED: "reliable, transient local"}


class Silence:
    """Explains why a topic is silent; looks at the others in the domain once a second at most."""

    def __init__(self, topic: Topic, transport: Transport) -> None:
        """Take the topic and where to look."""

        def look() -> str:
            name = transport.resolved(topic)
            return f"{name}: {explain_silence(topic, name, transport.published_topics())}"

        self._look = _now_and_then(look)

    def explain(self) -> str:
        """Return what is known of the topic, beginning with its name."""
        return self._look()


class UnheardTransforms:
    """Tells of transforms that are published but do not reach this node; looks once a second at most."""

    def __init__(self, transport: Transport) -> None:
        """Take where to look."""

        def look() -> str:
            names = {topic: transport.resolved(topic) for topic in (TF, TF_STATIC)}
            return explain_missing_transforms(names, transport.published_topics())

        self._look = _now_and_then(look)

    def explain(self) -> str:
        """Return which of /tf and /tf_static does not reach this node, and why; empty where both may."""
        return self._look()

    def beside(self, problem: str) -> str:
        """Return what is missing in TF with why it does not come; empty where nothing is missing."""
        why = self.explain() if problem else ""
        return f"{problem}; {why}" if why else problem


def _now_and_then(look: Callable[[], str]) -> Callable[[], str]:
    """Return a function that looks once a second at most, and returns between what was found last."""
    found, until_s = "", 0.0

    def look_again() -> str:
        nonlocal found, until_s
        now_s = time.monotonic()
        if now_s >= until_s:
            found, until_s = look(), now_s + _LOOK_AGAIN_S
        return found

    return look_again


def explain_unheard(topic: Topic, name: str, published: Sequence[PublishedTopic]) -> str:
    """Return why what is published on a topic does not reach a node that listens; empty where it may.

    Args:
        topic: as the node calls it; its `qos` is what the node asks for.
        name: absolute, after remapping.
        published: all that others publish on.
    """
    for found in published:
        is_less = topic.qos in _ASKED_FOR and not found.reliable
        is_less = is_less or (topic.qos is Qos.LATCHED and not found.transient_local)
        if found.name == name and is_less:
            one = "" if found.num_publishers == 1 else ", one of them at least,"
            return (
                f"{_publishers(found)}{one} offers less than this node asks for ({_ASKED_FOR[topic.qos]}), so that "
                f"nothing comes of it; publish it {_ASKED_FOR[topic.qos]}, as tf2's broadcasters do"
            )
    return ""


def explain_missing_transforms(names: Mapping[Topic, str], published: Sequence[PublishedTopic]) -> str:
    """Return why transforms may be missing: nobody publishes any, or not where or not as this node listens; or "".

    Args:
        names: of TF and TF_STATIC, absolute, after remapping.
        published: all that others publish on.
    """
    others = [found for found in published if found.name not in names.values()]
    is_elsewhere = any(TF.type_name in found.type_names for found in others)
    is_nowhere = len(others) == len(published)
    reasons = []
    for topic, name in names.items():
        if any(found.name == name for found in published):
            why = explain_unheard(topic, name, published)
        else:
            why = (
                f"nobody publishes it{_neighbour(topic, name, others)}" if is_elsewhere or is_nowhere else ""
            )
        if why:
            reasons.append(f"{name}: {why}")
    return "; ".join(reasons)


def _publishers(found: PublishedTopic) -> str:
    """Return how many publish on a topic, and what of delivery all of them offer."""
    reliability = "reliable" if found.reliable else "best effort"
    durability = "transient local" if found.transient_local else "volatile"
    number = "1 publisher" if found.num_publishers == 1 else f"{found.num_publishers} publishers"
    return f"{number} ({reliability}, {durability})"


def explain_silence(topic: Topic, name: str, published: Sequence[PublishedTopic]) -> str:
    """Return who publishes on a topic from which nothing comes, and what to do about it.

    Args:
        topic: as the node calls it.
        name: absolute, after remapping.
        published: all that others publish on.
    """
    for found in published:
        if found.name != name:
            continue
        if topic.type_name not in found.type_names:
            is_image = {topic.type_name, *found.type_names} <= {IMAGE.type_name, COMPRESSED_IMAGE.type_name}
            remedy = f"; {_other_transport(topic)}" if is_image else ""
            return f"it is published as {', '.join(found.type_names)}, expected {topic.type_name}{remedy}"
        return f"{_publishers(found)}, but no message; {_LOST_ON_THE_WAY[topic.type_name]}"
    return f"nobody publishes it{_neighbour(topic, name, published)}"


def _neighbour(topic: Topic, name: str, published: Sequence[PublishedTopic]) -> str:
    """Return what there is instead of a topic, as the end of a sentence."""
    names = {found.name for found in published}
    compressed = topic.type_name == COMPRESSED_IMAGE.type_name
    other = name.removesuffix("/compressed") if compressed else compressed_topic(name)
    if topic.type_name != CAMERA_INFO.type_name and other in names:
        return f", but {other}: {_other_transport(topic)}"
    last_word = name.rpartition("/")[2]
    same = [found.name for found in published if topic.type_name in found.type_names]
    same.sort(key=lambda other: (other.rpartition("/")[2] != last_word, other))
    if not same:
        return f", nor any other {topic.type_name}"
    more = f" and {len(same) - _MOST_NAMED} more" if len(same) > _MOST_NAMED else ""
    wanted = topic.beside if compressed else topic.name
    target = same[0].removesuffix("/compressed")
    return f"; {topic.type_name} is on {', '.join(same[:_MOST_NAMED])}{more}: remap {wanted}:={target}"


def _other_transport(topic: Topic) -> str:
    """Return how images are taken in the form that is not listened to."""
    parameter = "node.image_transport" if IMAGE.name in (topic.name, topic.beside) else "cameras.transports"
    return f"set {parameter} to {'raw' if topic.type_name == COMPRESSED_IMAGE.type_name else 'compressed'}"
