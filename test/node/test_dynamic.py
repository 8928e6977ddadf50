import pytest

from hfnet_ros.config import Config
from hfnet_ros.node.dynamic import changes_that_need_a_restart


def test_nothing_changed_needs_nothing():
    assert changes_that_need_a_restart(Config(), Config()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"gate__probability": 0.99},
        {"staleness__lost_factor": 3.0},
        {"odometry__wait_s": 0.2},
        {"node__mode": "on_demand"},
        {"node__max_rate_hz": 1.0},
        {"node__diagonal_covariance": True},
        {"frames__base_from_camera": "0 0 0 0 0 0 1"},
        {"frames__transform_tolerance_s": 0.2},
    ],
)
def test_some_are_taken_at_once(configured, change):
    assert changes_that_need_a_restart(Config(), configured(**change)) == []


def test_all_others_wait(configured):
    changed = configured(
        odometry__source="tf", node__map="other.map", node__image_transport="compressed",
        frames__publish_tf=True, frames__base_frame="base", extractor__name="sift", gate__probability=0.99,
    )  # fmt: skip
    assert sorted(changes_that_need_a_restart(Config(), changed)) == [
        "extractor.name",
        "frames.base_frame",
        "frames.publish_tf",
        "node.image_transport",
        "node.map",
        "odometry.source",
    ]
