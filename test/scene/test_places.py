from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np
import pytest

from hfnet_ros.scene import (
    Gait,
    Scene,
    StampedPose,
    build_apartment,
    build_corridor,
    build_plane_wall,
    demo_camera,
    mapping_walk,
    query_walk,
    render,
    render_depth,
    walk,
)

SMALL = demo_camera((96, 72))


@pytest.fixture(scope="module")
def apartment() -> Scene:
    return build_apartment(5, num_rooms=2)


@pytest.fixture(scope="module")
def corridor() -> Scene:
    return build_corridor(1)


def eyes(poses: list[StampedPose]) -> np.ndarray:
    return np.array([map_from_camera.translation for _, map_from_camera in poses])


def sampled(poses: list[StampedPose], every: int) -> Iterator[StampedPose]:
    return iter(poses[::every])


def test_the_seed_decides_everything(corridor: Scene) -> None:
    view = corridor.viewpoints["corridor"]
    image = render(corridor, SMALL, view)
    assert np.array_equal(image, render(build_corridor(1), SMALL, view))
    assert not np.array_equal(image, render(build_corridor(2), SMALL, view))


@pytest.mark.slow
def test_boxes_stand_about_and_surfaces_are_repainted_where_asked() -> None:
    def white(_: np.random.Generator, size_wh: tuple[int, int]) -> np.ndarray:
        return np.full((size_wh[1], size_wh[0], 3), 255, np.uint8)

    plain, used = build_apartment(5, 1), build_apartment(5, 1, boxes_per_room=3, repaint=lambda *_: white)
    assert len(used.obstacles) >= 3
    for box in used.obstacles:
        assert any(
            (box.lower >= room.lower - 1e-9).all() and (box.upper <= room.upper + 1e-9).all()
            for room in used.rooms
        )
    colors = [np.ptp(each.texture.astype(int), axis=2).max() for each in used.rectangles]
    assert max(colors) <= 1  # white, lit by a lamp
    assert np.array_equal(plain.rectangles[0].texture, build_apartment(5, 1).rectangles[0].texture)


@pytest.mark.slow
def test_apartment_is_closed_and_rich_in_texture(apartment: Scene) -> None:
    camera, sift = demo_camera(), cv2.SIFT_create()
    poses = mapping_walk(apartment)
    counts = []
    for _, map_from_camera in sampled(poses, 40):
        image = render(apartment, camera, map_from_camera, 2)
        counts.append(len(sift.detect(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), None)))
        assert np.isfinite(render_depth(apartment, camera, map_from_camera)).all()
    assert np.median(counts) > 800
    assert min(counts) > 400


@pytest.mark.parametrize("stroll", [pytest.param(mapping_walk, marks=pytest.mark.slow), query_walk])
def test_walks_stay_in_free_space_and_are_smooth(apartment: Scene, stroll) -> None:
    poses = stroll(apartment)
    steps = pairwise(poses)
    assert apartment.is_free(eyes(poses), 0.25).all()
    assert all(b[0] - a[0] == 200_000_000 for a, b in pairwise(poses))
    assert all(a[1].translation_to(b[1]) < 0.15 and a[1].rotation_to(b[1]) < np.deg2rad(20) for a, b in steps)
    for room in apartment.rooms:
        assert room.contains(eyes(poses)).any()
    depths = [np.nanmin(render_depth(apartment, SMALL, pose)) for _, pose in sampled(poses, 4)]
    assert min(depths) > 0.4


def test_query_walks_beside_the_mapping_walk(apartment: Scene) -> None:
    gaps = np.linalg.norm(eyes(query_walk(apartment))[:, None] - eyes(mapping_walk(apartment))[None], axis=-1)
    nearest = gaps.min(axis=1)
    assert 0.2 < np.median(nearest) < 0.6
    assert nearest.max() < 0.6


def test_camera_frame_is_optical_and_looks_ahead(apartment: Scene) -> None:
    gait = Gait(sway_rad=0.0, nod_rad=0.0, roll_rad=0.0, pitch_rad=0.0)
    start = apartment.rooms[0].center[:2] + np.array([-1.0, -0.9])
    poses = walk(
        apartment, np.array([start, start + np.array([0.5, 0.0]), start + np.array([1.2, 0.0])]), gait
    )
    expected = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    assert np.abs(poses[0][1].rotation - expected).max() < 0.02


def test_a_walk_through_a_wall_is_refused(apartment: Scene) -> None:
    room = apartment.rooms[0].center[:2]
    with pytest.raises(ValueError, match="something solid"):
        walk(apartment, np.array([room + np.array([0.0, 1.2]), room + np.array([0.0, 8.0])]))


def test_corridor_twins_cannot_be_told_apart(corridor: Scene) -> None:
    camera = demo_camera((320, 240))
    twin_a, twin_b = (corridor.viewpoints[name] for name in ("twin_a", "twin_b"))
    difference = np.abs(render(corridor, camera, twin_a).astype(int) - render(corridor, camera, twin_b))
    assert difference.max() <= 2
    assert twin_a.translation_to(twin_b) > 5.0
    assert render(corridor, camera, twin_a).std() > 20.0


def test_the_corridor_outside_the_niches_differs(corridor: Scene) -> None:
    camera, view = demo_camera((160, 120)), corridor.viewpoints["corridor"]
    offset = corridor.viewpoints["twin_b"].translation - corridor.viewpoints["twin_a"].translation
    farther = type(view)(view.rotation, view.translation + offset)
    assert (
        np.abs(render(corridor, camera, view).astype(int) - render(corridor, camera, farther)).mean() > 10.0
    )


@pytest.mark.parametrize("name", ["frontal", "oblique"])
def test_plane_wall_is_nearly_a_plane(name: str) -> None:
    scene, camera = build_plane_wall(0), demo_camera((160, 120))
    view = scene.viewpoints[name]
    depth = render_depth(scene, camera, view)
    rows, columns = np.nonzero(np.isfinite(depth))
    rays = camera.unproject(np.stack([columns, rows], axis=1).astype(float))
    points = view @ (rays / rays[:, 2:] * depth[rows, columns, None])
    on_wall = points[(points[:, 2] > 0.001) & (points[:, 2] < 3.199)]
    assert len(on_wall) > 0.5 * depth.size
    assert 0.005 < np.ptp(on_wall[:, 1]) < 0.05
