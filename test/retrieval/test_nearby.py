"""Keyframes near a predicted pose."""

import numpy as np
import pytest

from hfnet_ros.config import PriorConfig
from hfnet_ros.errors import MapFormatError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.position_grid import PositionGrid
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.retrieval import nearby as nearby_module
from hfnet_ros.retrieval.nearby import NearbyKeyframes
from hfnet_ros.types import PosePrior

CONFIG = PriorConfig(sigmas=3.0, margin_m=2.0, max_angle_deg=60.0, max_radius_m=10.0)


def search(found, descriptor, region, count):
    return found.search_lists(descriptor[None], region, count)[0]


def looking(x, yaw_deg=0.0):
    """A camera at x that looks along +y, turned by a yaw."""
    forward = Rigid3.from_rotvec([-np.pi / 2, 0.0, 0.0], np.zeros(3))
    return Rigid3.from_rotvec([0.0, 0.0, np.deg2rad(yaw_deg)], [x, 0.0, 0.0]) @ forward


def nearby(poses, descriptors=None, config=CONFIG, **kwargs):
    rows = np.array([[*pose.translation, *pose.quat_xyzw] for pose in poses]).reshape(-1, 7)
    if descriptors is None:
        descriptors = np.eye(max(len(rows), 1), dtype=np.float32)[: len(rows)]
    return NearbyKeyframes(rows, UnitVectors.encode(descriptors), config, **kwargs)


def prior(x, sigma_m=0.1, sigma_deg=1.0):
    return PosePrior(looking(x), np.diag([sigma_m**2] * 3 + [np.deg2rad(sigma_deg) ** 2] * 3))


def test_the_radius_is_sigmas_and_a_margin():
    region = nearby([looking(x) for x in range(10)]).region(prior(5.0, sigma_m=0.4))
    assert region.radius_m == pytest.approx(3.2)
    assert region.keyframe_idxs.tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert region.contains(looking(8.1))
    assert not region.contains(looking(8.3))


def test_keyframes_that_look_elsewhere_are_left_out():
    found = nearby([looking(0.0, yaw) for yaw in (0, 50, -50, 70, 180)])
    assert found.region(prior(0.0)).keyframe_idxs.tolist() == [0, 1, 2]
    assert found.region(prior(0.0, sigma_deg=5.0)).keyframe_idxs.tolist() == [0, 1, 2, 3]
    assert found.region(prior(0.0, sigma_deg=60.0)).keyframe_idxs.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("num_keyframes", "sigma_m", "is_region"),
    [(40, 8.0, True), (40, 12.0, False), (60, 12.0, False), (200, 12.0, True), (200, 60.0, False)],
)
def test_a_wide_region_must_leave_most_of_the_map_out(num_keyframes, sigma_m, is_region):
    """Keyframes a metre apart, the robot at the first of them: with 12 m it is within 38 m."""
    found = nearby([looking(x) for x in range(num_keyframes)], config=PriorConfig(max_angle_deg=60.0))
    region = found.region(prior(0.0, sigma_m=sigma_m))
    assert (region is not None) is is_region
    among = np.arange(num_keyframes) < 50
    few = nearby([looking(x) for x in range(num_keyframes)], config=PriorConfig(), among=among)
    assert (few.region(prior(0.0, sigma_m=sigma_m)) is not None) is (sigma_m < 10.0)


def test_a_vague_prior_is_no_region():
    found = nearby([looking(0.0)])
    assert found.region(prior(0.0, sigma_m=2.6)).radius_m == pytest.approx(9.8)
    assert found.region(prior(0.0, sigma_m=2.7)) is None
    assert found.region(prior(0.0, sigma_m=np.inf)) is None


def test_no_keyframe_near_is_no_region():
    assert nearby([looking(0.0)]).region(prior(50.0)) is None
    assert nearby([]).region(prior(0.0)) is None


def test_hits_are_the_most_similar_of_the_region():
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(200, 16)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    found = nearby([looking(0.1 * index) for index in range(200)], descriptors)
    region = found.region(prior(10.0))
    hits = search(found, descriptors[150], region, 5)
    inside = region.keyframe_idxs
    expected = inside[np.argsort(-(descriptors[inside] @ descriptors[150]))][:5]
    assert [hit.keyframe_idx for hit in hits] == expected.tolist()
    assert all(abs(0.1 * hit.keyframe_idx - 10.0) <= region.radius_m for hit in hits)


@pytest.mark.parametrize(
    ("columns", "value", "word"),
    [
        (0, np.nan, "positions"),
        (1, np.inf, "positions"),
        (2, 1e300, "positions"),
        (slice(3, 7), 0.0, "quaternion"),
        (4, np.nan, "quaternion"),
    ],
)
def test_a_pose_that_is_none_is_named(columns, value, word):
    poses = np.array([[*looking(x).translation, *looking(x).quat_xyzw] for x in range(3)])
    poses[1, columns] = value
    found = NearbyKeyframes(poses, UnitVectors.encode(np.eye(3)), CONFIG)
    with pytest.raises(MapFormatError, match=f"keyframe_poses.*{word}.*row 1"):
        found.region(prior(1.0))


def test_where_the_camera_looks_may_be_unknown():
    """A position of GNSS or wifi says nothing of it."""
    found = nearby([looking(0.0, yaw) for yaw in (0, 50, -120, 180)])
    unknown = PosePrior(looking(0.0), np.diag([0.01] * 3 + [np.pi**2] * 3))
    assert found.region(unknown).keyframe_idxs.tolist() == [0, 1, 2, 3]
    at_all = PosePrior(looking(0.0), np.diag([0.01] * 3 + [1e6] * 3))
    assert found.region(at_all).keyframe_idxs.tolist() == [0, 1, 2, 3]


@pytest.fixture
def hall(monkeypatch):
    """500 keyframes in a hall of 20 m, each looking somewhere, of which more than 50 are too many to ask all."""
    monkeypatch.setattr(nearby_module, "_MAX_ASKED", 50)
    rng = np.random.default_rng(3)
    poses = [
        looking(x, yaw) for x, yaw in zip(rng.uniform(0, 20, 500), rng.uniform(-180, 180, 500), strict=True)
    ]
    descriptors = rng.normal(size=(500, 16)).astype(np.float32)
    return poses, descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)


@pytest.mark.parametrize("sigma_deg", [1.0, 180.0])
@pytest.mark.parametrize("by_areas", [False, True])
def test_of_many_keyframes_those_that_look_alike_are_asked(hall, sigma_deg, by_areas, monkeypatch):
    poses, descriptors = hall
    among = np.random.default_rng(4).random(500) < 0.5 if by_areas else None
    many, prior_here = nearby(poses, descriptors, among=among), prior(10.0, sigma_deg=sigma_deg)
    region = many.region(prior_here)
    assert region.keyframe_idxs is None
    monkeypatch.setattr(nearby_module, "_MAX_ASKED", 500)
    few = nearby(poses, descriptors, among=among)
    expected = few.region(prior_here)
    for query in descriptors[:10]:
        found, wanted = search(many, query, region, 5), search(few, query, expected, 5)
        assert [hit.keyframe_idx for hit in found] == [hit.keyframe_idx for hit in wanted]


def test_only_what_looks_alike_is_read_of_many(hall):
    poses, descriptors = hall
    rows = np.array([[*pose.translation, *pose.quat_xyzw] for pose in poses])
    rows[7, 3:] = np.nan
    found = NearbyKeyframes(rows, UnitVectors.encode(descriptors), CONFIG)
    region = found.region(prior(rows[7, 0]))
    with pytest.raises(MapFormatError, match=r"quaternion.*row 7"):
        search(found, descriptors[7], region, 3)


def test_no_keyframe_of_many_that_looks_the_right_way_is_no_hit(hall):
    poses, descriptors = hall
    backwards = [looking(pose.translation[0], 180.0) for pose in poses]
    found = nearby(backwards, descriptors)
    assert search(found, descriptors[0], found.region(prior(10.0)), 5) == []


def test_a_grid_of_the_map_is_taken_and_one_of_other_poses_is_not():
    rows = np.array([[*looking(x).translation, *looking(x).quat_xyzw] for x in range(10)])
    stored, encoded = PositionGrid.of(rows), UnitVectors.encode(np.eye(10))
    assert NearbyKeyframes(rows, encoded, CONFIG, grid=stored)._grid is stored
    moved = rows + np.array([100.0, 0, 0, 0, 0, 0, 0])
    found = NearbyKeyframes(moved, encoded, CONFIG, grid=stored)
    assert found.region(prior(5.0)) is None
    assert found.region(prior(105.0)) is not None


def test_a_position_that_its_grid_does_not_know_is_damage():
    rows = np.array([[*looking(x).translation, *looking(x).quat_xyzw] for x in range(3)])
    grid = PositionGrid.of(rows)
    rows[1, 0] = 50.0
    found = NearbyKeyframes(rows, UnitVectors.encode(np.eye(3)), CONFIG, grid=grid)
    with pytest.raises(MapFormatError, match=r"keyframe_poses.*grid.*row 1"):
        found.region(prior(1.0))
    strange = PositionGrid(rows, grid.cells, grid.offsets, grid.keyframe_idx + 7)
    found = NearbyKeyframes(rows, UnitVectors.encode(np.eye(3)), CONFIG, grid=strange)
    with pytest.raises(MapFormatError, match="grid_keyframe_idx"):
        found.region(prior(1.0))
