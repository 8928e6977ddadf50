"""Scripts written for former releases still find what they import."""

import hfnet_ros.bags
import hfnet_ros.evaluation.bags


def test_bags_are_found_by_their_former_name():
    for name in hfnet_ros.evaluation.bags.__all__:
        assert getattr(hfnet_ros.evaluation.bags, name) is getattr(hfnet_ros.bags, name)
