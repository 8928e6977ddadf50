"""What the relocalizer promises holds on a set of maps, of which some areas are opened and parts are exchanged."""

import shutil

import numpy as np
import pytest

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.map_io import save_map
from hfnet_ros.map.map_set_io import read_map_set
from hfnet_ros.mapping.map_sets import change_set, write_set
from hfnet_ros.messages import topics

MOVED = Rigid3.from_rotvec([0.0, 0.0, 1.0], [90.0, 20.0, 3.0])


@pytest.fixture
def room_map(apartment, tmp_path):
    """The room, and the same room again elsewhere, under two area names; stands in for the map of landmarks."""
    save_map(apartment.visual_map, tmp_path / "room")
    path = tmp_path / "house.set"
    write_set(
        path,
        [("room", tmp_path / "room"), ("twin", tmp_path / "room")],
        {},
        frame_id="map",
        areas={"room": ["ground", "home"], "twin": ["upstairs"]},
        placements={"twin": (MOVED, np.zeros((6, 6)))},
    )
    return path


def test_a_node_answers_in_the_areas_it_is_told(start_rig, stamp_of):
    rig = start_rig(map__areas="home")
    rig.localize()
    for _ in range(5):
        rig.step()
    statuses = rig.received[topics.STATUS]
    accepted = [stamp_of(status) for status in statuses if status.verdict == "ACCEPTED"]
    rig.wait_for(lambda: len(rig.poses) == len(accepted), "a pose for every accepted fix")
    assert len(accepted) >= 5
    for pose in rig.poses:
        index = (stamp_of(pose) - rig.start_ns) // 200_000_000
        assert rig.error_of(pose, index) < 0.1
        assert np.linalg.eigvalsh(np.array(pose.pose.covariance).reshape(6, 6)).min() > 0.0
    info = rig.received[topics.MAP_INFO][-1]
    assert (info.num_keyframes, info.num_landmarks > 0) == (48, True)
    rig.wait_for(lambda: rig.received[topics.MAP_POINTS], "the map's points")


def test_a_node_goes_on_while_sub_maps_are_exchanged_and_names_one_that_is_broken(
    start_rig, room_map, tmp_path
):
    # One is open at a time, so that each is opened again and again: what is open already is not missed.
    rig = start_rig(map__max_open=1)
    rig.send_camera_info()
    rig.send_mounting()
    assert rig.step().outcome == "ILL_CONDITIONED"  # two rooms look the same
    shutil.rmtree(room_map / "maps" / "twin")
    status = rig.step()
    assert status.outcome == "LOCALIZED"
    assert "sub-map 'twin' cannot be used" in status.reason
    change_set(room_map, drop=["twin"], put={"room": tmp_path / "room"})
    status = rig.step()
    assert status.outcome == "LOCALIZED"
    assert "cannot be used" not in status.reason
    infos = rig.received[topics.MAP_INFO]
    rig.wait_for(lambda: len(infos) == 2, "what the set consists of now")
    assert [info.num_keyframes for info in infos] == [48, 24]
    assert infos[1].digest == read_map_set(room_map).digest != infos[0].digest
