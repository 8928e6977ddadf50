import pytest
from rosbags.typesys import Stores, get_typestore

from hfnet_ros.dds import cyclone
from hfnet_ros.dds.echo import describe_topics
from hfnet_ros.dds.graph import list_topics, wait_for_topic
from hfnet_ros.dds.qos import IMAGE, LATCHED, RELIABLE, SENSOR_DATA, Durability, Reliability

STRING, IMAGE_TYPE = "std_msgs/msg/String", "sensor_msgs/msg/Image"


def topics_of(node):
    return {topic.name: topic for topic in list_topics(node)}


def test_topics_are_listed_with_types_and_numbers(node, other, new_node, wait_until):
    other.create_publisher("image", IMAGE_TYPE, IMAGE)
    other.create_publisher("~/pose", STRING, LATCHED)
    new_node("third").create_subscription("image", IMAGE_TYPE, IMAGE, print)
    wait_until(lambda: {"/image", "/other/pose"} <= set(topics_of(node)))
    image = topics_of(node)["/image"]
    assert (image.type_names, image.num_publishers, image.num_subscribers) == ((IMAGE_TYPE,), 1, 1)
    assert topics_of(node)["/other/pose"].num_subscribers == 0


def test_what_a_node_has_itself_and_what_ros_hides_is_not_listed(node, other, wait_until):
    node.create_publisher("mine", STRING, RELIABLE)
    other.create_service("go", "std_srvs/srv/Trigger", print)
    other.create_publisher("theirs", STRING, RELIABLE)
    wait_until(lambda: "/theirs" in topics_of(node))
    assert set(topics_of(node)) == {"/theirs"}


def test_topics_vanish_with_their_publisher(node, other, wait_until):
    publisher = other.create_publisher("text", STRING, RELIABLE)
    wait_until(lambda: topics_of(node))
    publisher.close()
    wait_until(lambda: not topics_of(node))


def test_a_topic_is_waited_for(node, other):
    assert wait_for_topic(node, "/text", 0.0) is None
    other.create_subscription("text", STRING, RELIABLE, print)
    assert wait_for_topic(node, "/text", 0.1) is None  # nobody publishes it
    other.create_publisher("text", STRING, RELIABLE)
    assert wait_for_topic(node, "/text", 60.0).type_names == (STRING,)


@pytest.mark.parametrize(
    ("offered", "reliability", "durability"),
    [
        ((LATCHED,), Reliability.RELIABLE, Durability.TRANSIENT_LOCAL),
        ((RELIABLE,), Reliability.RELIABLE, Durability.VOLATILE),
        ((LATCHED, SENSOR_DATA), Reliability.BEST_EFFORT, Durability.VOLATILE),
    ],
)
def test_a_listener_can_match_every_publisher(node, new_node, wait_until, offered, reliability, durability):
    for number, qos in enumerate(offered):
        new_node(f"talker{number}").create_publisher("text", STRING, qos)
    wait_until(
        lambda: topics_of(node).get("/text") and topics_of(node)["/text"].num_publishers == len(offered)
    )
    qos = topics_of(node)["/text"].matching_qos(depth=3)
    assert (qos.reliability, qos.durability, qos.depth) == (reliability, durability, 3)
    subscription = node.create_subscription("text", STRING, qos, print)
    wait_until(lambda: subscription.num_publishers == len(offered))


def test_topics_are_printed_as_a_table(node, other, wait_until):
    assert "no topics" in describe_topics([])
    other.create_publisher("image", IMAGE_TYPE, IMAGE)
    wait_until(lambda: topics_of(node))
    assert [line.split() for line in describe_topics(list_topics(node)).splitlines()] == [
        ["topic", "type", "publishers", "subscriptions"],
        ["/image", IMAGE_TYPE, "1", "0"],
    ]


@pytest.mark.parametrize(("distribution", "gid_size"), [("jazzy", 16), ("humble", 24)])
def test_a_node_tells_ros_what_it_has(new_node, node, wait_until, monkeypatch, distribution, gid_size):
    """What `ros2 node info` reads: rmw_dds_common/ParticipantEntitiesInfo."""
    monkeypatch.setenv("ROS_DISTRO", distribution)
    told = new_node("told", "/robot")
    publisher = told.create_publisher("text", STRING, RELIABLE)
    subscription = told.create_subscription("image", IMAGE_TYPE, IMAGE, print)
    store = get_typestore(Stores.ROS2_HUMBLE if gid_size == 24 else Stores.ROS2_JAZZY)
    graph_type = "rmw_dds_common/msg/ParticipantEntitiesInfo"
    reader = told.entities.create_reader("ros_discovery_info", graph_type, LATCHED)
    infos = []

    def node_infos():
        for cdr, _ in cyclone.take_cdr(reader):
            info = store.deserialize_cdr(cdr, graph_type)
            if info.gid.data.tobytes()[:16] == told.entities.participant.guid.bytes:
                infos.append(info)
        return infos

    def gids(entities):
        return [entity.guid.bytes.ljust(gid_size, b"\0") for entity in entities]

    expected_readers = gids([subscription._reader, reader])
    wait_until(lambda: node_infos() and len(infos[-1].node_entities_info_seq[0].reader_gid_seq) == 2)
    (info,) = infos[-1].node_entities_info_seq
    assert (info.node_namespace, info.node_name) == ("/robot", "told")
    assert [gid.data.tobytes() for gid in info.reader_gid_seq] == expected_readers
    assert [gid.data.tobytes() for gid in info.writer_gid_seq] == gids([publisher._writer])
    publisher.close()
    wait_until(lambda: node_infos() and len(infos[-1].node_entities_info_seq[0].writer_gid_seq) == 0)


def test_peers_are_told_the_hash_of_a_type(node, other, wait_until):
    from cyclonedds.qos import Policy

    publisher = node.create_publisher("image", IMAGE_TYPE, IMAGE)
    other.create_subscription("image", IMAGE_TYPE, IMAGE, print)
    wait_until(lambda: publisher.num_subscribers)
    (handle,) = publisher._writer.get_matched_subscriptions()
    qos = publisher._writer.get_matched_subscription_data(handle).qos
    digest = "d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47"
    assert qos[Policy.Userdata].data == f"typehash=RIHS01_{digest};".encode()
