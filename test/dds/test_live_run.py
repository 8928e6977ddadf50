import contextlib

import pytest
from dds_domain import DOMAIN_ID

from hfnet_ros.errors import HfnetRosError

pytest.importorskip("cyclonedds", reason="wheels of cyclonedds are for x86_64 only")


@pytest.fixture
def new_run(tmp_path):
    from hfnet_ros.dds.live_run import LiveRun

    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("odometry: {source: none}\n")

    def make(map_path):
        bag, log = tmp_path / "none.bag", tmp_path / "node.log"
        return LiveRun(map_path, bag, parameters, "/image", 1.0, DOMAIN_ID, log)

    return make


def test_a_node_that_does_not_start_is_an_error(new_run, tmp_path):
    with pytest.raises(HfnetRosError, match=r"did not start; what it said is in .*node\.log"):
        new_run(tmp_path / "none.map").record()
    assert "no such map" in (tmp_path / "node.log").read_text()


def test_a_bag_that_cannot_be_played_is_an_error(new_run, room_map):
    with pytest.raises(HfnetRosError, match=r"playing the bag failed: .*none\.bag"):
        new_run(room_map).record()


def test_a_node_that_ends_during_the_run_is_an_error(new_run, room_map, monkeypatch):
    """Half of the answers are no result."""
    from hfnet_ros.dds import live_run
    from hfnet_ros.dds.participant import DdsNode

    started, start = [], live_run._process

    @contextlib.contextmanager
    def process(*arguments, **options):
        with start(*arguments, **options) as node:
            started.append(node)
            yield node

    def end_the_node(_play_command):
        with DdsNode("client", domain_id=DOMAIN_ID, loopback=True) as node:
            client = node.create_client("/relocalizer/change_state", "lifecycle_msgs/srv/ChangeState")
            wanted = node.messages.make("lifecycle_msgs/msg/Transition", label="shutdown")
            request = node.messages.make("lifecycle_msgs/srv/ChangeState_Request", transition=wanted)
            assert client.call(request, 60.0).success
        started[0].wait(60.0)

    monkeypatch.setattr(live_run, "_process", process)
    monkeypatch.setattr("hfnet_ros.dds.live_run._run_to_end", end_the_node)
    with pytest.raises(HfnetRosError, match="ended early, with code 0"):
        new_run(room_map).record()
