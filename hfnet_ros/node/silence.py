"""Why nothing comes on a topic: who publishes it, how, and what is published beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from hfnet_ros.messages.topics import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, Topic, compressed_topic
from hfnet_ros.node.transport import PublishedTopic, Transport

_LOOK_AGAIN_S = 1.0
_MOST_NAMED = 3
_LOST_ON_THE_WAY = {
    CAMERA_INFO.type_name: "if it was sent once, before this node listened, the driver has to latch it (reliable, "
    "transient local) or repeat it",
    IMAGE.type_name: "either the camera stands still or images are lost on the way, as large ones are without "
    "config/cyclonedds.xml",
}
_LOST_ON_THE_WAY[COMPRESSED_IMAGE.type_name] = _LOST_ON_THE_WAY[IMAGE.type_name]


class Silence:
    """Explains why a topic is silent; looks at the others in the domain once a second at most."""

    def __init__(self, topic: Topic, transport: Transport) -> None:
        """Take the topic and where to look."""
        self._topic, self._transport = topic, transport
        self._explained, self._until_s = "", 0.0

    def explain(self) -> str:
        """Return what is known of the topic, beginning with its name."""
        now_s = time.monotonic()
        if now_s >= self._until_s:
            name = self._transport.resolved(self._topic)
            found = explain_silence(self._topic, name, self._transport.published_topics())
            self._explained, self._until_s = f"{name}: {found}", now_s + _LOOK_AGAIN_S
        return self._explained


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
            return f"it is published as {', '.join(found.type_names)}, expected {topic.type_name}"
        reliability = "reliable" if found.reliable else "best effort"
        durability = "transient local" if found.transient_local else "volatile"
        publishers = "1 publisher" if found.num_publishers == 1 else f"{found.num_publishers} publishers"
        return (
            f"{publishers} ({reliability}, {durability}), but no message; {_LOST_ON_THE_WAY[topic.type_name]}"
        )
    return f"nobody publishes it{_neighbour(topic, name, published)}"


def _neighbour(topic: Topic, name: str, published: Sequence[PublishedTopic]) -> str:
    """Return what there is instead of a topic, as the end of a sentence."""
    names = {found.name for found in published}
    compressed = topic.type_name == COMPRESSED_IMAGE.type_name
    other = name.removesuffix("/compressed") if compressed else compressed_topic(name)
    if topic.type_name != CAMERA_INFO.type_name and other in names:
        parameter = (
            "node.image_transport" if IMAGE.name in (topic.name, topic.beside) else "cameras.transports"
        )
        return f", but {other}: set {parameter} to {'raw' if compressed else 'compressed'}"
    same = sorted(found.name for found in published if topic.type_name in found.type_names)
    if not same:
        return f", nor any other {topic.type_name}"
    more = f" and {len(same) - _MOST_NAMED} more" if len(same) > _MOST_NAMED else ""
    wanted = topic.beside if compressed else topic.name
    target = same[0].removesuffix("/compressed")
    return f"; {topic.type_name} is on {', '.join(same[:_MOST_NAMED])}{more}: remap {wanted}:={target}"
