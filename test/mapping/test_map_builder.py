"""The whole way from images with poses to a map, and all the ways it can fail."""

import json
import logging
import tempfile
from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.errors import DatasetError, ImageError, MappingError
from hfnet_ros.features import aggregation
from hfnet_ros.geometry import Rigid3
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.sources import PosedImages
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.trust.tested_build import build_map

# The world's poses are exact, and tests of its parts test refinement and the map's own test.
KEEP = BuildOptions(intrinsics="off", refine_poses="off", self_test=False)
DRAFT = replace(KEEP, is_draft=True)


def _build(kit, world, config, options=KEEP, poses=None, images=None, **extractor):
    return build_map(
        PosedImages(images or kit.make_images(world), poses or kit.poses_of(world), world.cameras),
        kit.make_extractor(world, **extractor),
        config,
        options,
    )


@pytest.fixture
def world(kit):
    return kit.make_world(num_views=8, num_points=300)


def test_map_holds_what_was_seen(kit, world, config):
    built = _build(kit, world, config, replace(KEEP, frame_id="warehouse"))
    assert (built.frame_id, built.extractor_id) == ("warehouse", "synthetic-1")
    assert built.num_keyframes == 8
    assert built.num_landmarks > 200
    assert built.keyframe_names[3] == "003.png"
    assert built.keyframe_stamps_ns.tolist() == [1000 * number for number in range(8)]
    assert built.cameras[0].given is world.cameras[0]
    nearest = np.linalg.norm(built.landmark_xyz[:, None] - world.points[None], axis=2).min(axis=1)
    assert np.median(nearest) < 0.02
    np.testing.assert_array_equal(
        built.landmark_colors, np.broadcast_to([30, 20, 10], built.landmark_colors.shape)
    )


def test_observations_project_where_they_were_seen(kit, world, config):
    built = _build(kit, world, config)
    for number in range(built.num_keyframes):
        rows = built.landmarks_seen_by(number)
        assert (np.diff(rows) > 0).all(), "each landmark once, in order"
        points = built.map_from_camera(number).inverse() @ built.landmark_xyz[rows]
        seen = built.observation_xy[built.observation_offsets[number] : built.observation_offsets[number + 1]]
        assert np.linalg.norm(world.cameras[0].project(points) - seen, axis=1).max() < 2.0
    assert built.observation_offsets[-1] == built.num_observations


def test_landmarks_are_summarised_over_their_observers(kit, world, config):
    built = _build(kit, world, config)
    centers = built.keyframe_poses[:, :3]
    observers = built.visibility.tocsc()[:, 5].nonzero()[0]
    rays = built.landmark_xyz[5] - centers[observers]
    distances = np.linalg.norm(rays, axis=1)
    np.testing.assert_allclose(
        built.landmark_distance_ranges[5], [distances.min(), distances.max()], rtol=1e-5
    )
    direction = (rays / distances[:, None]).mean(axis=0)
    np.testing.assert_allclose(
        built.landmark_view_directions[5], direction / np.linalg.norm(direction), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.norm(built.landmark_descriptors, axis=1), 1.0, atol=1e-5)
    # The mean over observers is closer to what a new observer sees than a single observation.
    view, seen = world.views[0], world.seen[0]
    truth = np.linalg.norm(built.landmark_xyz[:, None] - world.points[seen][None], axis=2)
    nearest, known = truth.argmin(axis=1), truth.min(axis=1) < 0.02
    similarity = (built.landmark_descriptors * view.descriptors[nearest]).sum(axis=1)[known]
    assert np.median(similarity) > 0.75


def test_global_descriptors_come_from_the_network_or_are_learned(kit, world, config):
    alone = replace(config, retrieval=replace(config.retrieval, second_list=False))
    given = _build(kit, world, alone)
    assert given.aggregation == {}
    assert given.global_descriptors.shape == (8, 2)
    assert given.head_size == 2
    both = _build(kit, world, config)
    assert both.global_descriptors.shape == (8, 2 + len(both.aggregation["projection"]))
    assert both.head_size == 2
    # The head's part is what the network said, and half of the whole.
    np.testing.assert_allclose(
        both.global_descriptors[:][:, :2] * np.sqrt(2.0), given.global_descriptors[:], atol=0.02
    )
    learned = _build(kit, world, config, with_global=False)
    assert set(learned.aggregation) == {"vocabulary", "projection"}
    np.testing.assert_allclose(np.linalg.norm(learned.global_descriptors, axis=1), 1.0, atol=1e-5)


@pytest.fixture
def fitted(monkeypatch):
    """How many images each aggregation was learned of."""
    counts, fit = [], aggregation.fit_aggregation

    def counting(images, *arguments):
        counts.append(len(images))
        return fit(images, *arguments)

    monkeypatch.setattr(aggregation, "fit_aggregation", counting)
    return counts


def test_what_was_learned_to_check_poses_is_not_learned_again(kit, world, config, fitted):
    checked = _build(kit, world, config, with_global=False)
    assert fitted == [8]
    unchecked = replace(config, mapping=replace(config.mapping, check_poses=False))
    alone = _build(kit, world, unchecked, with_global=False)
    assert fitted == [8, 8]
    for name, values in alone.aggregation.items():
        np.testing.assert_array_equal(checked.aggregation[name], values)
    np.testing.assert_array_equal(checked.global_descriptors[:], alone.global_descriptors[:])


def test_it_is_learned_again_without_a_keyframe_that_sees_nothing(kit, world, config, fitted):
    stranger = kit.make_world(num_views=8, num_points=300, seed=5).views[4]
    world.views[4] = kit.make_view(
        stranger.keypoints, stranger.descriptors, 0, world.views[4].map_from_camera
    )
    _build(kit, world, config, with_global=False)
    assert fitted == [8, 7]


def test_build_info_is_json_and_says_what_happened(kit, world, config):
    info = _build(kit, world, config).build_info
    assert json.loads(json.dumps(info, allow_nan=False)) == info
    assert info["method"] == "given poses"
    assert sum(info["track_lengths"].values()) > 200
    assert info["left_out"] == 0


def test_landmarks_that_are_seen_through_are_dropped_only_if_asked(kit, world, config):
    assert "landmarks_seen_through" not in _build(kit, world, config).build_info
    options = replace(KEEP, drop_moved=True)
    assert _build(kit, world, config, options).build_info["landmarks_seen_through"] < 10


def test_progress_reaches_the_end_of_every_stage(kit, world, config):
    calls = []
    _build(kit, world, config, BuildOptions(progress=lambda *call: calls.append(call)))
    last = {stage: (done, total) for stage, done, total in calls}
    stages = [stage for stage in last if not stage.startswith("self-test")]
    assert stages == ["check", "extract", "match", "check poses", "triangulate", "mirror test"]
    assert all(done == total for done, total in last.values())


def test_a_keyframe_that_sees_nothing_is_left_out(kit, world, config, caplog):
    stranger = kit.make_world(num_views=8, num_points=300, seed=5).views[4]
    world.views[4] = kit.make_view(
        stranger.keypoints, stranger.descriptors, 0, world.views[4].map_from_camera
    )
    with caplog.at_level(logging.WARNING):
        built = _build(kit, world, config)
    assert built.num_keyframes == 7
    assert "004.png" not in built.keyframe_names
    assert built.build_info["left_out"] == 1
    assert "1 of 8 keyframes see no landmark and are left out: 004.png" in caplog.text
    assert built.visibility.shape == (7, built.num_landmarks)
    assert (np.diff(built.observation_offsets) > 0).all()


def test_one_keyframe_is_too_few(kit, world, config):
    with pytest.raises(MappingError, match="found 1 keyframes, expected at least 2"):
        _build(kit, world, config, images=kit.make_images(world)[:1], poses=kit.poses_of(world)[:1])


def test_counts_must_agree(kit, world, config):
    with pytest.raises(DatasetError, match="8 images but 7 poses"):
        _build(kit, world, config, poses=kit.poses_of(world)[:7])
    images = kit.make_images(world)
    images[2] = MappingImage("odd.png", 0, 1, images[2].read)
    with pytest.raises(DatasetError, match=r"odd.png is of camera 1, but only 1"):
        _build(kit, world, config, images=images)


def test_a_broken_image_is_named_before_any_extraction(kit, world, config):
    def fail():
        raise ImageError("cannot be decoded")

    stages = []
    images = kit.make_images(world)
    images[6] = MappingImage("broken.png", 6, 0, fail)
    with pytest.raises(ImageError, match=r"broken.png: cannot be decoded"):
        _build(
            kit, world, config, BuildOptions(progress=lambda stage, *_: stages.append(stage)), images=images
        )
    assert set(stages) == {"check"}


def test_an_image_of_another_size_is_named(kit, world, config):
    images = kit.make_images(world)
    images[6] = MappingImage("small.png", 6, 0, lambda: np.zeros((120, 160, 3), np.uint8))
    with pytest.raises(
        ImageError, match=r"small.png: the image is 160x120 px, expected the calibration's 320x240"
    ):
        _build(kit, world, config, images=images)


def test_poses_of_other_images_are_refused(kit, world, config):
    rng = np.random.default_rng(0)
    poses = [Rigid3.from_rotvec(0.3 * rng.normal(size=3), rng.normal(size=3)) for _ in world.views]
    with pytest.raises(MappingError, match="poses and images do not fit"):
        _build(kit, world, config, poses=poses)
    unchecked = replace(config, mapping=replace(config.mapping, check_poses=False))
    with pytest.raises(MappingError, match=r"poses and images do not fit: \d+ % of \d+ matches"):
        _build(kit, world, unchecked, poses=poses)


def test_poses_shifted_by_one_image_draw_a_warning_if_not_checked(kit, world, config, caplog):
    poses = kit.poses_of(world)
    shifted = [*poses[1:], poses[-1] @ Rigid3.from_rotvec([0, 0, 0], [0.2, 0, 0])]
    unchecked = replace(config, mapping=replace(config.mapping, check_poses=False))
    with caplog.at_level(logging.WARNING):
        _build(kit, world, config)
        assert caplog.text == ""
        _build(kit, world, unchecked, poses=shifted)
    assert "matches in" in caplog.text
    assert "pair with the images in order" in caplog.text
    with pytest.raises(MappingError, match="apart in time"):
        _build(kit, world, config, poses=shifted)


def with_clutter(kit, world, pool_of):
    """Show in each view four times as many things that look the same, but lie elsewhere, in all views of a pool."""
    rng = np.random.default_rng(3)
    for number, view in enumerate(world.views):
        looks = np.random.default_rng([4, pool_of(number)]).normal(size=(4 * len(view.keypoints), 32))
        looks /= np.linalg.norm(looks, axis=1, keepdims=True)
        pixels = rng.uniform([0.0, 0.0], [319.0, 239.0], (len(looks), 2))
        world.views[number] = kit.make_view(
            np.concatenate([view.keypoints, pixels]),
            np.concatenate([view.descriptors, looks]),
            view.camera_idx,
            view.map_from_camera,
        )


@pytest.mark.parametrize("is_checked", [True, False])
def test_right_poses_are_believed_though_most_matches_are_wrong(kit, world, config, caplog, is_checked):
    config = replace(config, mapping=replace(config.mapping, check_poses=is_checked))
    with_clutter(kit, world, lambda number: number % 2)
    with caplog.at_level(logging.WARNING):
        _build(kit, world, config)
    assert caplog.text == ""
    with pytest.raises(MappingError, match="images"):
        _build(kit, world, config, poses=[pose.inverse() for pose in kit.poses_of(world)][::-1])


def test_where_no_two_images_show_the_same_it_is_said(kit, world, config, caplog):
    with_clutter(kit, world, lambda _: 0)
    with caplog.at_level(logging.WARNING):
        _build(kit, world, config)
    assert "no two of these images show the same: take more images, closer together, or check" in caplog.text


def test_nothing_is_said_of_a_draft(kit, world, config, caplog):
    with_clutter(kit, world, lambda _: 0)
    world.views[3] = kit.make_view(np.zeros((0, 2)), np.zeros((0, 32)), 0, world.views[3].map_from_camera)
    for options, said in ((KEEP, ["no two of these images", "keyframes see no landmark"]), (DRAFT, [])):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            _build(kit, world, config, options)
        assert len(caplog.records) == len(said)
        assert all(text in caplog.text for text in said)


def test_turning_on_the_spot_gives_no_depth(kit, world, config):
    camera = world.cameras[0]
    for number in range(8):
        pose = Rigid3.from_rotvec([0.0, 0.02 * number, 0.0], np.zeros(3))
        pixels = camera.project(pose.inverse() @ world.points)
        shown = np.flatnonzero(((pixels >= 0) & (pixels <= [319, 239])).all(axis=1))
        looks = np.random.default_rng(1).normal(size=(len(world.points), 32))
        descriptors = (looks / np.linalg.norm(looks, axis=1, keepdims=True)).astype(np.float32)
        world.views[number] = kit.make_view(pixels[shown], descriptors[shown], 0, pose)
    with pytest.raises(MappingError, match="move the camera sideways"):
        _build(kit, world, config)


def test_views_in_opposite_directions_have_no_pairs(kit, world, config):
    poses = [Rigid3.from_rotvec([0.0, np.pi * number, 0.0], np.zeros(3)) for number in range(2)]
    with pytest.raises(MappingError, match=r"none of 2 keyframes looks the same way"):
        _build(kit, world, config, images=kit.make_images(world)[:2], poses=poses)


@pytest.mark.parametrize("stage", ["extract", "match", "triangulate"])
def test_an_interrupt_passes_and_leaves_nothing(kit, world, config, monkeypatch, tmp_path, stage):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def interrupt(now, done, total):
        if now == stage and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _build(kit, world, config, BuildOptions(progress=interrupt))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("scale", "is_doubted"), [(1.0, False), (1000.0, True)])
def test_positions_in_millimetres_are_noticed(kit, config, caplog, scale, is_doubted):
    world = kit.make_world(num_views=8, num_points=300, scale=scale)
    source = PosedImages(kit.make_images(world), kit.poses_of(world), world.cameras)
    build_map(source, kit.make_extractor(world), config, BuildOptions(self_test=False))
    assert ("are the given positions in metres? Multiply those in millimetres" in caplog.text) == is_doubted
