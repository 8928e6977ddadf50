"""A calibration that was published once, and what is said where nothing comes."""

import pytest
from dds_domain import DOMAIN_ID

from hfnet_ros.messages import topics
from hfnet_ros.messages.camera_info import camera_to_message
from hfnet_ros.messages.headers import header_to_message


@pytest.fixture
def rig_kind():
    pytest.importorskip("cyclonedds", reason="wheels of cyclonedds are for x86_64 only")
    return "dds"


@pytest.fixture
def driver():
    """A camera's driver, in a node of its own."""
    from hfnet_ros.dds.participant import DdsNode

    with DdsNode("driver", domain_id=DOMAIN_ID, loopback=True) as node:
        yield node


def test_a_camera_info_latched_before_the_node_started_is_received(start_rig, driver, room_walk):
    from hfnet_ros.dds.qos import LATCHED

    publisher = driver.create_publisher("/camera_info", topics.CAMERA_INFO.type_name, LATCHED)
    header = header_to_message(driver.messages, 1, "camera_optical")
    publisher.publish(camera_to_message(driver.messages, room_walk.camera, header))
    rig = start_rig()
    rig.localize_without_camera_info()
    # The rig's own publisher of camera_info is volatile, which is no fault either.
    assert "offers less than is asked for" not in rig.log_text()


def test_what_is_missing_is_named_with_who_publishes_and_what_is_beside_it(start_rig, driver):
    from hfnet_ros.dds.qos import RELIABLE

    driver.create_publisher("/image/compressed", topics.COMPRESSED_IMAGE.type_name, RELIABLE)
    rig = start_rig()
    rig.wait_for_diagnostics(
        "images", lambda level, message, values: "/image: 1 publisher (reliable, volatile)" in message
    )
    status = rig.step()
    assert status.outcome == "BAD_INPUT"
    assert "no camera_info has come on /camera_info: 1 publisher (reliable, volatile)" in status.reason
