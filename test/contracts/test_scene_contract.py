"""What the relocalizer promises holds on a map of a scene-coordinate network, and on one that has landmarks, too."""

import dataclasses

import numpy as np
import pytest
from memorised_scenes import memorised_scene

from hfnet_ros.map.map_io import save_map
from hfnet_ros.map.scene_map import without_landmarks
from hfnet_ros.messages import topics

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", params=["scene", pytest.param("both", marks=pytest.mark.slow)])
def scene_kind(request):
    return request.param


@pytest.fixture(scope="module")
def room_map(apartment, scene_kind, tmp_path_factory):
    """Stands in for the map of landmarks that other contracts are checked on."""
    visual_map = dataclasses.replace(apartment.visual_map, scene=memorised_scene(apartment.visual_map))
    path = tmp_path_factory.mktemp("maps") / f"{scene_kind}.map"
    save_map(without_landmarks(visual_map) if scene_kind == "scene" else visual_map, path)
    return path


def test_every_image_gets_a_status_and_accepted_ones_an_honest_pose(rig, stamp_of):
    rig.localize()
    for _ in range(5):
        rig.step()
    statuses = rig.received[topics.STATUS]
    assert [status.num_processed for status in statuses] == list(range(1, len(statuses) + 1))
    accepted = [stamp_of(status) for status in statuses if status.verdict == "ACCEPTED"]
    rig.wait_for(lambda: len(rig.poses) == len(accepted), "a pose for every accepted fix")
    assert len(accepted) >= 5
    for pose in rig.poses:
        index = (stamp_of(pose) - rig.start_ns) // 200_000_000
        assert rig.error_of(pose, index) < 0.1
        covariance = np.array(pose.pose.covariance).reshape(6, 6)
        assert np.linalg.eigvalsh(covariance).min() > 0.0


def test_the_map_is_announced(rig, scene_kind):
    rig.wait_for(lambda: rig.received[topics.MAP_INFO], "map_info")
    info = rig.received[topics.MAP_INFO][-1]
    assert info.path == str(rig.map_path)
    assert info.num_keyframes > 0
    assert (info.num_landmarks > 0) == (scene_kind == "both")
    assert info.residual_px > 0.0
    rig.wait_for(lambda: rig.received[topics.MAP_POINTS], "the map's points")
    points = rig.received[topics.MAP_POINTS][-1]
    assert points.width == (info.num_landmarks or 25)


def test_a_request_is_answered_after_the_work(rig):
    rig.localize()
    with rig.while_stepping():
        response = rig.call(topics.RELOCALIZE, rig.request("hfnet_ros/srv/Relocalize", timeout=60.0))
    assert response.success, response.message
    assert response.status.outcome == "LOCALIZED"
    assert np.trace(np.array(response.pose.pose.covariance).reshape(6, 6)) > 0.0
