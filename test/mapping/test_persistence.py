"""Which landmarks keyframes see, miss, and see through; hand-made walls, then a rendered room."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry import Camera, DistortionModel, Rigid3
from hfnet_ros.map.map_io import save_map, verify_map
from hfnet_ros.map.visual_map import MapCamera, MapConsistency, VisualMap
from hfnet_ros.mapping.persistence import Sightings, count_sightings, is_gone, is_seen_through
from hfnet_ros.mapping.pruning import drop_landmarks, prune_map, prune_unconfirmed

CAMERA = Camera(
    DistortionModel.NONE, (640, 480), np.array([525.0, 525.0]), np.array([319.5, 239.5]), np.zeros(0)
)
NUM_KEYFRAMES = 10
GRID = np.stack(np.meshgrid(np.linspace(-1.5, 1.5, 25), np.linspace(-1.0, 1.0, 19)), -1).reshape(-1, 2)


def make_map(points, seen):
    """Keyframes side by side looking along z; seen[f] are the rows that keyframe f observes."""
    points = np.asarray(points, np.float64)
    poses = [Rigid3(np.eye(3), np.array([0.02 * row, 0.0, 0.0])) for row in range(len(seen))]
    pixels = [CAMERA.project(pose.inverse() @ points[rows]) for pose, rows in zip(poses, seen, strict=True)]
    rows = np.concatenate(seen).astype(np.int32)
    descriptors = np.eye(len(points), 64, dtype=np.float32) + 0.01
    directions = points / np.linalg.norm(points, axis=1, keepdims=True)
    ranges = np.repeat(np.linalg.norm(points, axis=1, keepdims=True), 2, axis=1)
    return VisualMap(
        frame_id="map",
        extractor_id="fake-1",
        cameras=(MapCamera(CAMERA, CAMERA),),
        keyframe_names=tuple(f"{row}.png" for row in range(len(seen))),
        keyframe_stamps_ns=np.arange(len(seen), dtype=np.int64),
        keyframe_camera_idx=np.zeros(len(seen), np.int32),
        keyframe_poses=np.array([[*pose.translation, 0.0, 0.0, 0.0, 1.0] for pose in poses]),
        observation_offsets=np.cumsum([0, *map(len, seen)]).astype(np.int64),
        observation_landmark_idx=rows,
        observation_xy=np.concatenate(pixels).astype(np.float32),
        landmark_xyz=points,
        landmark_descriptors=descriptors,
        landmark_view_directions=directions.astype(np.float32),
        landmark_distance_ranges=ranges.astype(np.float32),
        landmark_colors=np.zeros((len(points), 3), np.uint8),
        global_descriptors=np.ones((len(seen), 1), np.float32),
        consistency=MapConsistency(0.0, 0.0, 0.0, 0),
    )


WALL = np.column_stack([GRID, np.full(len(GRID), 3.0)])
BOX = np.array([[0.02, 0.03, 2.0], [0.1, -0.05, 2.0]])  # stands before the wall at first
BOX_ROWS = np.arange(len(WALL), len(WALL) + len(BOX))


@pytest.fixture
def moved_box():
    """Keyframes 0 to 3 see the box and the wall around it, the others the wall alone."""
    behind = np.linalg.norm(WALL[:, :2], axis=1) < 0.3
    beside = np.flatnonzero(~behind)
    seen = [np.concatenate([beside, BOX_ROWS]) for _ in range(4)]
    seen += [np.arange(len(WALL)) for _ in range(NUM_KEYFRAMES - 4)]
    return make_map(np.concatenate([WALL, BOX]), seen)


def test_rays_pass_through_what_has_gone(moved_box):
    sightings = count_sightings(moved_box)
    assert sightings.observed[BOX_ROWS].tolist() == [4, 4]
    assert sightings.passed[BOX_ROWS].tolist() == [6, 6]
    assert sightings.missed_apart[BOX_ROWS].tolist() == [6, 6]
    assert np.flatnonzero(is_seen_through(sightings)).tolist() == BOX_ROWS.tolist()


def test_what_stands_behind_something_is_not_missed(moved_box):
    """The wall behind the box is hidden from the first keyframes, whose box nobody sees through."""
    hidden = np.flatnonzero(np.linalg.norm(WALL[:, :2], axis=1) < 0.05)
    for_first = count_sightings(moved_box, range(4))
    assert for_first.passed.sum() == 0
    assert for_first.missed[BOX_ROWS].sum() == 0
    assert for_first.observed[hidden].sum() == 0


def test_missed_beside_seen_neighbours_but_not_seen_through():
    seen = [np.arange(len(WALL)), *(np.delete(np.arange(len(WALL)), 237) for _ in range(5))]
    sightings = count_sightings(make_map(WALL, seen))
    assert sightings.observed[237] == 1
    assert sightings.missed[237] == 5
    assert sightings.passed[237] == 0


def test_out_of_view_is_not_missed():
    points = np.concatenate([WALL, [[0.0, 0.0, -3.0], [9.0, 0.0, 3.0]]])
    sightings = count_sightings(make_map(points, [np.arange(len(WALL))] * 6))
    assert sightings.missed[-2:].tolist() == [0, 0]


def tally(observed, missed):
    observed, missed = np.array(observed), np.array(missed)
    nothing = np.zeros(len(observed), np.int64)
    return Sightings(observed, missed, nothing, nothing, nothing)


def test_gone_means_missed_more_often_than_chance_allows():
    # About half of those that look at a landmark see it: missed three times is chance, twelve times not.
    sightings = tally([*[4] * 100, 0, 0, 1], [*[4] * 100, 3, 12, 12])
    assert np.flatnonzero(is_gone(sightings)).tolist() == [101]


def test_nothing_is_gone_where_hardly_anything_is_recognised():
    assert not is_gone(tally([1, 0, 0], [60, 60, 60])).any()


def test_rays_that_pass_now_and_then_are_an_edge_and_no_motion(moved_box):
    """The same rays, but the box is seen again at the end: it was there all the time."""
    seen = [moved_box.landmarks_seen_by(row) for row in range(NUM_KEYFRAMES)]
    seen[-1] = np.concatenate([seen[-1], BOX_ROWS])
    sightings = count_sightings(make_map(moved_box.landmark_xyz, seen))
    assert sightings.passed_between[BOX_ROWS].tolist() == [5, 5]
    assert not is_seen_through(sightings).any()


def test_dropping_landmarks_keeps_the_rest_as_it_was(moved_box, tmp_path):
    dropped = np.zeros(moved_box.num_landmarks, np.bool_)
    dropped[[0, 17, *BOX_ROWS]] = True
    kept = drop_landmarks(moved_box, dropped)
    assert kept.num_landmarks == moved_box.num_landmarks - 4
    old_row = np.flatnonzero(~dropped)
    for row in range(kept.num_keyframes):
        before = moved_box.landmarks_seen_by(row)
        np.testing.assert_array_equal(old_row[kept.landmarks_seen_by(row)], before[~dropped[before]])
    np.testing.assert_array_equal(kept.landmark_xyz, moved_box.landmark_xyz[~dropped])
    save_map(kept, tmp_path / "a.map")
    assert verify_map(tmp_path / "a.map") == []


def test_a_map_of_nothing_is_refused(moved_box):
    with pytest.raises(MappingError, match="all 477 landmarks would be dropped"):
        drop_landmarks(moved_box, np.ones(moved_box.num_landmarks, np.bool_))
    with pytest.raises(MappingError, match="expected 1 or more"):
        prune_map(moved_box, 0)


def test_pruning_says_why(moved_box):
    pruned, reasons = prune_map(moved_box, min_observations=7)
    hidden = int(np.sum(np.linalg.norm(WALL[:, :2], axis=1) < 0.3))
    assert reasons == {"too few observations": hidden + 2, "seen through": 0}
    assert pruned.num_landmarks == len(WALL) - hidden
    assert prune_map(moved_box, 1)[1] == {"too few observations": 0, "seen through": 2}


def test_keyframes_that_see_next_to_nothing_after_it_are_told(caplog):
    points = np.column_stack([GRID, np.full(len(GRID), 3.0)])
    first, second = np.arange(0, 200), np.arange(200, 400)
    visual_map = make_map(points, [first] * 6 + [second] * 2)
    prune_map(visual_map, 2)
    assert not caplog.records
    pruned, _ = prune_map(visual_map, 3)
    assert pruned.num_keyframes == 8
    assert "2 of 8 keyframes see fewer than 30 landmarks now, as 6.png, which sees 0" in caplog.text


def test_only_old_landmarks_are_pruned_by_a_new_session(moved_box):
    """The last five keyframes are new; what only they see stays, whatever the old ones say."""
    order = np.concatenate([BOX_ROWS, np.arange(len(WALL))])
    row = np.empty(len(order), np.int64)
    row[order] = np.arange(len(order))
    seen = [np.sort(row[moved_box.landmarks_seen_by(f)]) for f in range(NUM_KEYFRAMES)]
    reordered = make_map(moved_box.landmark_xyz[order], seen)
    pruned, reasons = prune_unconfirmed(reordered, range(5, 10), num_old_landmarks=2)
    assert reasons == {"seen through": 2, "never seen again": 0}
    assert pruned.num_landmarks == len(WALL)
    untouched, reasons = prune_unconfirmed(reordered, range(0, 4), num_old_landmarks=2)
    assert reasons["seen through"] == 0
    assert untouched.num_landmarks == moved_box.num_landmarks


def test_counting_leaves_the_map_alone(moved_box):
    before = dataclasses.asdict(dataclasses.replace(moved_box, cameras=()))
    count_sightings(moved_box)
    after = dataclasses.asdict(dataclasses.replace(moved_box, cameras=()))
    assert all(np.array_equal(before[name], after[name]) for name in before)
