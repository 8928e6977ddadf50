import pytest

from hfnet_ros.dds.domain import LOOPBACK_URI, choose_domain_id, domain_configuration
from hfnet_ros.dds.participant import DdsNode
from hfnet_ros.errors import DdsError


def test_the_domain_is_the_one_given_then_the_environments_then_0():
    assert choose_domain_id(5, {"ROS_DOMAIN_ID": "7"}) == 5
    assert choose_domain_id(None, {"ROS_DOMAIN_ID": "7"}) == 7
    assert choose_domain_id(None, {"ROS_DOMAIN_ID": ""}) == 0
    assert choose_domain_id(None, {}) == 0


@pytest.mark.parametrize("text", ["-1", "233", "x", "1.0", "²"])
def test_other_domains_are_refused(text):
    with pytest.raises(DdsError, match=r"ROS_DOMAIN_ID is '.*'; expected a whole number from 0 to 232"):
        choose_domain_id(None, {"ROS_DOMAIN_ID": text})


def test_the_users_configuration_has_the_last_word():
    assert domain_configuration({"CYCLONEDDS_URI": "file:///x.xml"}).endswith(",file:///x.xml")
    assert domain_configuration({"CYCLONEDDS_URI": "file:///x.xml"}, loopback=True).endswith(",file:///x.xml")
    assert domain_configuration({}, loopback=True) == LOOPBACK_URI


@pytest.mark.parametrize(
    ("environment", "multicast", "peers"),
    [
        ({}, True, []),
        ({"ROS_STATIC_PEERS": "10.0.0.1;robot.local"}, True, ["10.0.0.1", "robot.local"]),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, False, ["localhost"]),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "nonsense"}, False, ["localhost"]),
        ({"ROS_LOCALHOST_ONLY": "1", "ROS_STATIC_PEERS": "10.0.0.1"}, False, ["localhost"]),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, False, []),
    ],
)
def test_the_variables_of_ros_choose_who_is_discovered(environment, multicast, peers):
    import xml.etree.ElementTree as ElementTree

    domain = ElementTree.fromstring(domain_configuration(environment)).find("Domain")
    assert (domain.findtext("General/AllowMulticast") != "false") == multicast
    assert [peer.get("address") for peer in domain.findall("Discovery/Peers/Peer")] == peers


def test_system_default_leaves_everything_to_cyclone():
    assert domain_configuration({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT"}) == ""


@pytest.mark.parametrize("uri", ["file:///no/such/file.xml", "<Wrong/>", "<ä/>"])
def test_a_wrong_configuration_is_an_error_that_names_it(monkeypatch, uri):
    monkeypatch.setenv("CYCLONEDDS_URI", uri)
    with pytest.raises(DdsError, match="CYCLONEDDS_URI"):
        DdsNode("tested")


def test_a_domain_opens_again_after_a_failure_and_after_its_last_node(monkeypatch, new_node):
    monkeypatch.setenv("CYCLONEDDS_URI", "<Wrong/>")
    with pytest.raises(DdsError):
        DdsNode("tested")
    monkeypatch.setenv("CYCLONEDDS_URI", LOOPBACK_URI)
    for _ in range(3):
        with DdsNode("first"), DdsNode("second"):
            pass


def test_a_domain_somebody_else_has_opened_is_shared_and_left_open():
    from cyclonedds.domain import DomainParticipant

    theirs = DomainParticipant(choose_domain_id(None))
    DdsNode("tested").close()
    assert theirs.get_domain_id() == choose_domain_id(None)


def test_the_shipped_configuration_is_one_cyclone_understands(monkeypatch):
    """The socket buffer is left out: whether the kernel grants it is this machine's affair."""
    import re

    from hfnet_ros.files.share import share_path

    text = share_path("config/cyclonedds.xml").read_text(encoding="utf-8")
    text = re.sub(r"<\?xml.*?\?>|<!--.*?-->|<SocketReceiveBufferSize[^>]*>", "", text, flags=re.DOTALL)
    monkeypatch.setenv("CYCLONEDDS_URI", f"{LOOPBACK_URI},{text.strip()}")
    with DdsNode("tested") as node:
        assert node.domain_id == choose_domain_id(None)
