import re
from pathlib import Path

import pytest

from hfnet_ros.messages.interfaces import interface_definitions

DOCUMENT = (Path(__file__).parents[2] / "docs" / "interfaces.md").read_text(encoding="utf-8")


def documented_fields(type_name: str) -> list[tuple[str, str]]:
    """Return (name, type) of a table of docs/interfaces.md, requests marked as in the document."""
    section = DOCUMENT.split(f"## {type_name}\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "`" in line
    ]
    return [(row[0].replace("`", ""), row[1]) for row in rows if len(row) == 4]


def defined_fields(text: str, prefix: str = "") -> list[tuple[str, str]]:
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    fields = [line.split() for line in lines if line and not re.search(r"[A-Z]=", line)]
    return [(prefix + name, kind) for kind, name in fields]


@pytest.mark.parametrize("name", ["RelocalizationStatus", "StageTimings", "ViewShare", "MapInfo"])
def test_the_document_lists_the_fields_of_messages(name):
    fields = defined_fields(interface_definitions()[f"hfnet_ros/msg/{name}"])
    assert documented_fields(f"hfnet_ros/msg/{name}") == fields


@pytest.mark.parametrize("name", ["Relocalize", "LoadMap"])
def test_the_document_lists_the_fields_of_services(name):
    definitions = interface_definitions()
    request = defined_fields(definitions[f"hfnet_ros/srv/{name}_Request"], "request ")
    response = defined_fields(definitions[f"hfnet_ros/srv/{name}_Response"])
    assert documented_fields(f"hfnet_ros/srv/{name}") == request + response


def test_the_document_lists_the_words_of_a_status():
    text = interface_definitions()["hfnet_ros/msg/RelocalizationStatus"]
    words = re.findall(r"^string ([A-Z_]+)=", text, re.MULTILINE)
    rows = dict(re.findall(r"^\| `(outcome|verdict|state)` \| string \| \| ([^|]*)", DOCUMENT, re.MULTILINE))
    told = [
        word
        for field in ("outcome", "verdict", "state")
        for word in re.findall(r"\b[A-Z_]{4,}\b", rows[field])
    ]
    assert [word for index, word in enumerate(told) if word not in told[:index]] == words


def test_the_document_lists_the_encodings():
    from hfnet_ros.messages.images import KNOWN_ENCODINGS

    table = DOCUMENT.split("## Images")[1].split("\n## ")[0]
    missing = [name for name in KNOWN_ENCODINGS if name.removesuffix("16") not in table]
    assert missing == []


def test_the_document_lists_what_the_node_publishes_and_serves():
    from hfnet_ros.messages import topics

    rows = set(re.findall(r"^\| `([^`]+)` \| (\w+/\w+/\w+) \|", DOCUMENT, re.MULTILINE))
    inputs = (
        topics.IMAGE,
        topics.COMPRESSED_IMAGE,
        topics.CAMERA_INFO,
        topics.ODOMETRY,
        topics.INITIAL_POSE,
    )
    offered = {(entry.name, entry.type_name) for entry in (*inputs, *topics.PUBLISHED, *topics.SERVICES)}
    transforms = {("/tf", "tf2_msgs/msg/TFMessage"), ("/tf_static", "tf2_msgs/msg/TFMessage")}
    assert rows == offered | transforms
