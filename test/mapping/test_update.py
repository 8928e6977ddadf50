"""A new session in an old map: what is seen again, what is new, what has gone."""

import dataclasses

import numpy as np
import pytest

from hfnet_ros.errors import ExtractorMismatchError, MappingError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.map.given_frame import GivenFrame
from hfnet_ros.map.map_io import save_map, verify_map
from hfnet_ros.map.stored_poses import pose_rows
from hfnet_ros.map.visual_map import MapConsistency
from hfnet_ros.mapping.disagreement import disagreement_of, with_disagreement
from hfnet_ros.mapping.joining import join_maps
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.session_frame import check_session_frame
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.update import update_map

OPTIONS = BuildOptions(intrinsics="off", refine_poses="off")


def second_session(kit, world, gone=(), new_looks=(), seed=9):
    """The world's views again with fresh noise: some points gone, others looking different."""
    again = kit.make_world(num_views=len(world.views), num_points=len(world.points), seed=0)
    rng = np.random.default_rng(seed)
    looks = rng.normal(size=(len(world.points), 32))
    views, seen = [], []
    for view, shown in zip(again.views, again.seen, strict=True):
        kept = ~np.isin(shown, gone)
        descriptors = view.descriptors.copy()
        other = np.isin(shown, new_looks)
        descriptors[other] = looks[shown[other]] / np.linalg.norm(looks[shown[other]], axis=1, keepdims=True)
        keypoints = view.keypoints + 0.2 * rng.normal(size=view.keypoints.shape).astype(np.float32)
        views.append(kit.make_view(keypoints[kept], descriptors[kept], view.camera_idx, view.map_from_camera))
        seen.append(shown[kept])
    return dataclasses.replace(again, views=views, seen=seen)


@pytest.fixture(scope="module")
def world(kit):
    return kit.make_world(num_views=12, num_points=300)


@pytest.fixture(scope="module")
def old(kit, world):
    return kit.build_part(world, slice(0, 12), with_global=False)


def update(kit, session, old, config, poses=None, **options):
    return update_map(
        old,
        PosedImages(kit.make_images(session), poses or kit.poses_of(session), session.cameras),
        kit.make_extractor(session, with_global=False),
        config,
        OPTIONS,
        **options,
    )


def point_of(world, visual_map):
    distance = np.linalg.norm(visual_map.landmark_xyz[:, None] - world.points[None], axis=2)
    return distance.argmin(axis=1)


def test_the_same_things_are_seen_again_and_not_mapped_twice(kit, world, old, config):
    updated, report = update(kit, second_session(kit, world), old, config)
    assert report.num_keyframes == 12
    assert updated.num_keyframes == 24
    assert report.num_seen_again > 0.95 * old.num_landmarks
    assert report.num_new < 0.05 * old.num_landmarks
    assert sum(report.num_dropped.values()) <= 0.01 * old.num_landmarks
    lengths = np.bincount(updated.observation_landmark_idx)
    before = np.bincount(old.observation_landmark_idx)
    assert lengths.mean() > 1.8 * before.mean()


SHIFT = Rigid3.from_rotvec([0.0, 0.0, 0.02], [0.2, -0.1, 0.05])


def in_two_frames(old):
    """The map with poses that were given elsewhere than those it agrees with."""
    poses = [SHIFT @ old.map_from_camera(row) for row in range(old.num_keyframes)]
    return dataclasses.replace(old, given=GivenFrame(pose_rows(poses), np.zeros((len(old.cameras), 3))))


def test_a_session_in_the_given_frame_joins_the_refined_structure(kit, world, old, config):
    session = second_session(kit, world)
    given = [SHIFT @ pose for pose in kit.poses_of(session)]
    updated, report = update(kit, session, in_two_frames(old), config, given)
    assert report.num_seen_again > 0.95 * old.num_landmarks
    np.testing.assert_allclose(updated.given.keyframe_poses[12:], pose_rows(given), atol=1e-9)
    for row, pose in enumerate(kit.poses_of(session), start=12):
        assert updated.map_from_camera(row).translation_to(pose) < 0.01


@pytest.mark.slow
def test_a_pose_of_a_session_that_is_put_right_is_so_in_both_frames(kit, config):
    world = kit.make_world(num_views=24, num_points=600)
    old = kit.build_part(world, slice(0, 24), with_global=False)
    session = second_session(kit, world)
    right = [SHIFT @ pose for pose in kit.poses_of(session)]
    given = list(right)
    given[7] = Rigid3.from_rotvec([0.0, 0.0, 0.0], [0.6, 0.3, 0.0]) @ given[7]
    updated, _ = update(kit, session, in_two_frames(old), config, given)
    assert updated.num_keyframes == 48, "none was left out"
    for row, pose in enumerate(right, start=24):
        assert updated.given_map_from_camera(row).translation_to(pose) < 0.03


def test_what_has_gone_is_dropped_and_what_stays_is_kept(kit, config):
    # Dense, because a landmark is missed only among neighbours that are seen.
    world = kit.make_world(num_views=12, num_points=1500)
    old = kit.build_part(world, slice(0, 12), with_global=False)
    gone = np.arange(0, 1500, 10)
    updated, report = update(kit, second_session(kit, world, gone=gone), old, config)
    left = np.bincount(point_of(world, updated), minlength=1500) > 0
    before = np.bincount(point_of(world, old), minlength=1500) > 0
    assert left[gone].sum() < 0.4 * before[gone].sum()
    stays = np.setdiff1d(np.arange(1500), gone)
    assert left[stays].sum() > 0.97 * before[stays].sum()
    assert report.num_dropped["never seen again"] > 50


def test_a_drive_that_the_map_has_already_is_refused(kit, world, old, config):
    """All its keyframes had been in the map twice."""
    with pytest.raises(MappingError, match=r"12 of 12 images are copies .* of its .* give images of another"):
        update(kit, world, old, config)


def test_copies_of_keyframes_are_left_out_of_a_session_and_told(kit, world, old, config, caplog):
    session = second_session(kit, world)
    session.views[:4] = world.views[:4]
    updated, report = update(kit, session, old, config)
    assert report.num_keyframes == 8
    assert updated.num_keyframes == 20
    assert "4 of 12 images are copies of keyframes of the map" in caplog.text


@pytest.mark.slow
def test_everything_is_kept_if_asked(kit, world, old, config):
    session = second_session(kit, world, gone=np.arange(0, 300, 10))
    updated, report = update(kit, session, old, config, prune=False)
    assert report.num_dropped == {}
    assert updated.num_landmarks == old.num_landmarks + report.num_new


def test_a_new_look_is_added_beside_the_old_one(kit, world, old, config):
    """In other light a landmark's descriptor is another: both are kept, one per look."""
    changed = np.arange(0, 300, 3)
    session = second_session(kit, world, new_looks=changed)
    updated, report = update(kit, session, old, config, prune=False)
    assert report.num_new > 0.7 * np.isin(point_of(world, old), changed).sum()
    np.testing.assert_allclose(
        (updated.landmark_descriptors[: old.num_landmarks] * old.landmark_descriptors[:]).sum(axis=1).min(),
        1.0,
        atol=0.1,
    )


def test_new_keyframes_are_retrieved_with_the_old_vocabulary(kit, world, old, config):
    updated, _ = update(kit, second_session(kit, world), old, config)
    np.testing.assert_array_equal(updated.aggregation["vocabulary"], old.aggregation["vocabulary"])
    similarity = updated.global_descriptors[:] @ updated.global_descriptors[:].T
    np.fill_diagonal(similarity, -1.0)
    assert all(abs(int(similarity[row, 12:].argmax()) - row) <= 1 for row in range(12))


def test_the_old_map_is_untouched_and_the_new_one_sound(kit, world, old, config, tmp_path):
    before = {
        field.name: np.array(getattr(old, field.name), copy=True)
        for field in dataclasses.fields(old)
        if isinstance(getattr(old, field.name), np.ndarray)
    }
    updated, report = update(kit, second_session(kit, world, gone=np.arange(40)), old, config)
    for name, array in before.items():
        np.testing.assert_array_equal(getattr(old, name), array)
    save_map(updated, tmp_path / "new.map")
    assert verify_map(tmp_path / "new.map") == []
    assert updated.build_info["updates"][-1]["num_keyframes"] == report.num_keyframes
    assert len(set(updated.keyframe_names)) == 24


@pytest.mark.slow
def test_two_updates_are_both_remembered(kit, world, old, config):
    once, _ = update(kit, second_session(kit, world), old, config)
    twice, _ = update(kit, second_session(kit, world, seed=10), once, config)
    assert twice.num_keyframes == 36
    assert len(twice.build_info["updates"]) == 2
    assert twice.num_landmarks < 1.1 * old.num_landmarks


def test_a_camera_the_map_knows_is_used_as_refined_there(kit, world, old, config):
    refined = kit.make_camera(focal=262.0)
    pair = dataclasses.replace(old.cameras[0], refined=refined)
    updated, _ = update(kit, second_session(kit, world), dataclasses.replace(old, cameras=(pair,)), config)
    assert len(updated.cameras) == 1
    assert updated.cameras[0].refined is refined


def test_poses_of_another_place_are_refused(kit, world, old, config):
    rng = np.random.default_rng(0)
    poses = [Rigid3.from_rotvec(0.3 * rng.normal(size=3), rng.normal(size=3)) for _ in world.views]
    with pytest.raises(MappingError, match="poses and images do not fit"):
        update(kit, second_session(kit, world), old, config, poses=poses)


def finder(world):
    """Finds each image where it was really taken."""
    poses = dict(enumerate(view.map_from_camera for view in world.views))
    return lambda _features, _camera, stamp_ns: poses[stamp_ns // 1000]


def moved_by(kit, world, part_of_depth, old, scale=1.0):
    depth = float(np.median(old.landmark_distance_ranges[:, 1]))
    shift = np.array([part_of_depth * depth, 0.0, 0.0])
    return [Rigid3(pose.rotation, scale * pose.translation + shift) for pose in kit.poses_of(world)]


@pytest.mark.parametrize(
    ("part_of_depth", "scale", "named"),
    [
        pytest.param(0.2, 1.0, r"translation \(-", marks=pytest.mark.slow),
        (0.0, 1000.0, "positions times 0.001, "),
        (0.2, 0.8, r"times 1\.25"),
    ],
)
def test_a_session_in_another_frame_or_unit_is_refused(kit, world, old, config, part_of_depth, scale, named):
    poses = moved_by(kit, world, part_of_depth, old, scale)
    with pytest.raises(
        MappingError, match=f"in another frame than the map.* 12: 0 where .* 12 where .*{named}"
    ):
        update(kit, second_session(kit, world), old, config, poses=poses, locate=finder(world))


def test_a_session_elsewhere_that_looks_alike_is_told(kit, world, old, config, caplog):
    poses = moved_by(kit, world, 3.0, old)
    updated, _ = update(kit, second_session(kit, world), old, config, poses=poses, locate=finder(world))
    assert updated.num_keyframes == 24
    assert "if they show no other place that looks alike, their poses are of another frame" in caplog.text


@pytest.mark.parametrize("sign", [1.0, pytest.param(-1.0, marks=pytest.mark.slow)])
def test_answers_of_a_session_that_is_off_by_little_say_so(kit, world, old, config, caplog, sign):
    poses = moved_by(kit, world, 0.03 * sign, old)
    alone, _ = update(kit, second_session(kit, world), old, config, poses=poses)
    updated, _ = update(kit, second_session(kit, world), old, config, poses=poses, locate=finder(world))
    off_m = abs(poses[0].translation[0] - world.views[0].map_from_camera.translation[0])
    assert (
        f"12 new images that the map finds are {off_m:.3f} m and 0.00 deg from where their poses say"
        in caplog.text
    )
    scale, added = updated.covariance_model
    assert scale == alone.covariance_model[0]
    grown = added - alone.covariance_model[1]
    np.testing.assert_allclose(grown, np.diag([off_m**2 / 3.0] * 3 + [0.0] * 3), atol=1e-9)


def test_many_sessions_are_off_by_what_the_worst_one_is(old):
    """Their squares had been added up: covariances grew with each session."""
    first, second = np.diag([4e-4] * 3 + [1e-4] * 3), np.diag([1e-4] * 3 + [9e-4] * 3)
    added = with_disagreement(old, first).covariance_model[1] - old.covariance_model[1]
    np.testing.assert_allclose(added, first, atol=1e-12)
    many = old
    for disagreement in (first, second, first, second):
        many = with_disagreement(many, disagreement)
    added = many.covariance_model[1] - old.covariance_model[1]
    np.testing.assert_allclose(added, np.maximum(first, second), atol=1e-12)


@pytest.mark.parametrize("num_tested", [0, 20])
def test_a_merged_map_says_what_the_sessions_of_either_disagree_by(old, num_tested):
    """The mean of two self-tests had been widened by half of what one of the maps said, and forgot to say so."""
    own = 1e-4 * np.eye(6)
    consistency = MapConsistency(1.0, 0.01, 0.001, 20, tuple(own.ravel().tolist()), num_asked=20)
    first = dataclasses.replace(old, consistency=consistency)
    second = first if num_tested else old
    same = np.arange(old.num_landmarks)
    apart = np.diag([4e-4] * 3 + [1e-4] * 3)
    for pair in ((with_disagreement(first, apart), second), (first, with_disagreement(second, apart))):
        merged = join_maps(*pair, same)
        np.testing.assert_allclose(merged.covariance_model[1], own + apart, atol=1e-12)
        np.testing.assert_allclose(disagreement_of(merged), np.diag(apart))
        # What is told again is no more.
        again = with_disagreement(merged, apart).covariance_model[1]
        np.testing.assert_allclose(again, own + apart, atol=1e-12)


def test_a_disagreement_of_refined_poses_may_be_theirs(old, caplog):
    refined = dataclasses.replace(old, given=GivenFrame(old.keyframe_poses, np.zeros((len(old.cameras), 3))))
    off_m = 0.03 * float(np.median(old.landmark_distance_ranges[:, 1]))
    rows = {int(stamp_ns): row for row, stamp_ns in enumerate(old.keyframe_stamps_ns)}

    def locate(_features, _camera, stamp_ns):
        return Rigid3(np.eye(3), np.array([off_m, 0.0, 0.0])) @ old.map_from_camera(rows[stamp_ns])

    for session in (old, refined):
        caplog.clear()
        assert check_session_frame(old, session, locate, "use --align").any()
        assert "use --align" in caplog.text
        assert ("its poses were refined" in caplog.text) == (session is refined)


def test_what_single_poses_are_off_by_is_no_other_frame(kit, world, old, config, caplog):
    rng = np.random.default_rng(0)
    depth = float(np.median(old.landmark_distance_ranges[:, 1]))
    true = dict(enumerate(view.map_from_camera for view in world.views))
    jitter = {row: 0.02 * depth * rng.normal(size=3) for row in true}
    updated, _ = update(
        kit,
        second_session(kit, world),
        old,
        config,
        locate=lambda _features, _camera, stamp_ns: Rigid3(
            true[stamp_ns // 1000].rotation, true[stamp_ns // 1000].translation + jitter[stamp_ns // 1000]
        ),
    )
    assert caplog.text == ""
    assert not updated.covariance_model[1].any()


@pytest.mark.parametrize("found", [pytest.param(12, marks=pytest.mark.slow), 3])
def test_a_session_in_the_frame_of_the_map_is_taken(kit, world, old, config, caplog, found):
    """Also one that goes where the map has been in part only."""
    find = finder(world)
    updated, _ = update(
        kit,
        second_session(kit, world),
        old,
        config,
        locate=lambda *seen: find(*seen) if seen[2] < 1000 * found else None,
    )
    assert updated.num_keyframes == 24
    assert caplog.text == ""


def test_another_extractor_is_refused(kit, world, old, config):
    with pytest.raises(ExtractorMismatchError, match="choose the map's extractor"):
        update(kit, world, dataclasses.replace(old, extractor_id="other-1"), config)
