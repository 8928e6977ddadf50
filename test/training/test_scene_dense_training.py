"""Training HSCNet: it learns, goes on after a stop with the same numbers, and refuses what cannot be done."""

import dataclasses
import hashlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hfnet_ros.config import SceneConfig  # noqa: E402
from hfnet_ros.errors import ConfigError, MappingError  # noqa: E402
from hfnet_ros.features.scene_dense import DenseNetwork  # noqa: E402
from hfnet_ros.features.sift import SiftExtractor  # noqa: E402
from hfnet_ros.localization.landmark_model import LandmarkModel  # noqa: E402
from hfnet_ros.map.scene_network import IMAGE  # noqa: E402
from hfnet_ros.scene import query_walk, render_depth  # noqa: E402
from hfnet_ros.training import scene_dense, scene_dense_training  # noqa: E402
from hfnet_ros.training.scene_dense import export_dense, sigmas_of, train_dense  # noqa: E402
from hfnet_ros.training.scene_dense_data import example_of, network_size, read_keyframes  # noqa: E402
from hfnet_ros.training.scene_dense_losses import DenseBatch, reprojection_loss  # noqa: E402
from hfnet_ros.training.scene_dense_network import DenseModule, DenseOptions  # noqa: E402
from hfnet_ros.training.scene_dense_training import (  # noqa: E402
    SCHEDULES,
    DenseSchedule,
    DenseTask,
    default_steps,
    fit_dense,
    needed_bytes,
)
from hfnet_ros.training.scene_depth import DepthSource  # noqa: E402
from hfnet_ros.training.scene_labels import make_labels  # noqa: E402
from hfnet_ros.types import ignore_progress  # noqa: E402

pytestmark = pytest.mark.torch

TINY = DenseOptions(
    trunk=(8, 12, 12, 16, 16, 24, 24, 24),
    regressor=32,
    classifier=16,
    deepest=16,
    part_last=16,
    leaf_last=16,
    part_generator=(8, 16),
    leaf_generator=(16, 24),
    long_side=96,
)
SHORT = DenseSchedule(60, 1, 3e-3, True, 0.0, False)


@pytest.fixture(scope="module")
def apartment(detailed_apartment):
    return detailed_apartment


@pytest.fixture(scope="module")
def mapped(apartment):
    visual_map = apartment.visual_map
    poses = [visual_map.map_from_camera(row) for row in range(visual_map.num_keyframes)]
    return visual_map, [apartment.frame(pose).image for pose in poses]


def depths_of(apartment):
    """Return depth images of a camera that is the colour camera."""
    visual_map = apartment.visual_map
    camera = visual_map.cameras[0].refined
    return DepthSource(
        lambda row: render_depth(apartment.scene, camera, visual_map.map_from_camera(row)), camera
    )


@pytest.fixture(scope="module")
def task(mapped):
    visual_map, images = mapped
    size_wh = network_size(visual_map.cameras[0].refined.size_wh, TINY.long_side)
    keyframes = read_keyframes(
        visual_map, range(0, 12, 2), images.__getitem__, size_wh, None, ignore_progress
    )
    labels = make_labels(visual_map.landmark_xyz, 4, 4)
    return DenseTask(keyframes[:5], keyframes[5:], labels, size_wh, True)


def digest(module, task):
    return hashlib.sha256(export_dense(module, task.size_wh)).hexdigest()


@pytest.mark.slow
def test_it_learns_where_cells_are(task):
    known = dataclasses.replace(task, held_out=task.trained)
    _, curves = fit_dense(known, TINY, dataclasses.replace(SHORT, steps=150), 0, ignore_progress)
    assert curves[-1]["loss"] < 0.7 * curves[0]["loss"]
    assert curves[-1]["part"] > max(0.5, curves[0]["part"])
    assert curves[-1]["median_m"] < 0.8 * curves[0]["median_m"]


@pytest.mark.slow
@pytest.mark.parametrize(("half", "threads"), [(False, 1), (True, 2)])
def test_same_seed_same_file(half, threads, task):
    torch.set_num_threads(threads)
    short = dataclasses.replace(SHORT, steps=2, half=half)
    same = [digest(fit_dense(task, TINY, short, seed, ignore_progress)[0], task) for seed in (0, 0, 1)]
    torch.set_num_threads(1)
    assert same[0] == same[1] != same[2]


def test_an_interrupted_training_goes_on_with_the_same_numbers(task, tmp_path, monkeypatch):
    monkeypatch.setattr(scene_dense_training, "_CHECKS", 3)
    short, checkpoint = dataclasses.replace(SHORT, steps=12), tmp_path / "ck" / "dense.pt"
    whole, curves = fit_dense(task, TINY, short, 0, ignore_progress)
    fit_dense(task, TINY, short, 0, ignore_progress, checkpoint, stop_after=8)
    resumed, again = fit_dense(task, TINY, short, 0, ignore_progress, checkpoint)
    assert digest(resumed, task) == digest(whole, task) and again == curves
    other = dataclasses.replace(TINY, classifier=12)
    with pytest.raises(ConfigError, match="of another network"):
        fit_dense(task, other, short, 0, ignore_progress, checkpoint)


def test_training_ends_where_held_out_keyframes_gain_no_more(task, monkeypatch):
    monkeypatch.setattr(scene_dense_training, "_PATIENCE", 2)
    monkeypatch.setattr(scene_dense_training, "_CHECKS", 12)
    unseen = [dataclasses.replace(task.held_out[0], observed_m=-task.held_out[0].observed_m)]
    nothing_new = dataclasses.replace(task, held_out=unseen)
    _, curves = fit_dense(nothing_new, TINY, dataclasses.replace(SHORT, steps=24), 0, ignore_progress)
    assert curves[-1]["step"] == 14


def a_batch(task, count=2):
    found = [example_of(keyframe, task.size_wh, None) for keyframe in task.trained[:count]]
    module = DenseModule(task.labels, TINY)
    return scene_dense_training._seen(module, found, task, False, True)[1], found


def test_reprojection_costs_nothing_on_a_cells_ray_and_draws_back_what_is_behind(task):
    batch, examples = a_batch(task)
    assert isinstance(batch, DenseBatch)
    camera_points = torch.cat([batch.rays, torch.ones_like(batch.rays[:, :1])], dim=1)
    depth = torch.rand(camera_points[:, :1].shape) * 3.0 + 0.5

    def in_map(points):
        turned = torch.einsum("bij,bjhw->bihw", batch.rotations, points)
        return turned + batch.translations[:, :, None, None]

    assert float(reprojection_loss(in_map(camera_points * depth), batch, 0.5)) < 1e-3
    # Ten pixels beside the ray cost less than the limit of fifty at the beginning, and the limit of one at the end.
    beside = camera_points.clone()
    beside[:, 0] += 10.0 / examples[0].focal_px
    costs = [float(reprojection_loss(in_map(beside * depth), batch, share)) for share in (0.0, 1.0)]
    assert costs[0] == pytest.approx(0.02 * 50.0 * np.tanh(10.0 / 50.0), rel=1e-2)
    assert costs[1] == pytest.approx(0.02, rel=1e-2)
    behind = in_map(-camera_points).requires_grad_(True)
    loss = reprojection_loss(behind, batch, 0.5)
    loss.backward()
    moved = behind.detach() - 0.1 * behind.grad / behind.grad.norm(dim=1, keepdim=True)
    assert float(reprojection_loss(moved, batch, 0.5)) < float(loss.detach())


def test_sigmas_never_rise_with_confidence_and_are_those_of_the_errors():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0, 1, 20_000).astype(np.float32)
    true = 0.02 + 0.3 * (1.0 - confidence)
    errors = np.linalg.norm(rng.normal(size=(20_000, 3)) * true[:, None], axis=1)
    levels, sigmas = sigmas_of(confidence, errors)
    assert (np.diff(levels) > 0).all() and (np.diff(sigmas) <= 0).all()
    np.testing.assert_allclose(np.interp([0.3, 0.7, 0.9], levels, sigmas), [0.23, 0.11, 0.05], rtol=0.12)
    assert sigmas_of(confidence[:0], errors[:0])[1].tolist() == [1.0]


def test_a_trained_network_is_measured_kept_and_can_be_asked(mapped, config, apartment):
    visual_map, images = mapped
    config = dataclasses.replace(
        config, scene=SceneConfig(network="dense", classes=4, subclasses=4, steps=40, rooms=1)
    )
    extractor = SiftExtractor(config)
    scene = train_dense(
        visual_map, images.__getitem__, extractor, config, depths=depths_of(apartment), options=TINY
    )
    assert (scene.takes, scene.facts["supervision"]) == (IMAGE, "depth")
    assert scene.facts["steps"] == scene.facts["curves"][-1]["step"] >= 24
    assert (
        scene.consistency.num_asked == scene.facts["held_out"] == len(range(4, visual_map.num_keyframes, 10))
    )
    assert np.linalg.norm(scene.facts["depth_from_color_m"]) < 0.03 and scene.facts["known_cells"] > 0.9
    dense = DenseNetwork(scene, config.inference)
    assert len(dense.predict(images[0])) == 12 * 9 and (np.diff(scene.arrays["confidence_sigmas"]) <= 0).all()
    dense.close()
    # Wherever a map is opened, its extractor brings along what the network says.
    with_scene = dataclasses.replace(visual_map, scene=scene)
    opened = LandmarkModel(with_scene).open(config)
    answer = opened.localizer.localize(apartment.frame(query_walk(apartment.scene)[0][1]))
    assert answer.is_valid and answer.matched_by == "nearest"
    opened.close()
    more = train_dense(visual_map, images.__getitem__, extractor, config, start_from=scene, options=TINY)
    np.testing.assert_array_equal(more.arrays["centers"], scene.arrays["centers"])
    assert more.facts["supervision"] == "landmarks"
    assert more.facts["curves"][0]["loss"] < scene.facts["curves"][0]["loss"]


def test_what_does_not_suffice_is_said(mapped, config, monkeypatch):
    visual_map, images = mapped
    config = dataclasses.replace(config, scene=SceneConfig(network="dense", classes=4, subclasses=4, steps=4))
    extractor = SiftExtractor(config)
    with pytest.raises(ConfigError, match="learns from images, and there are none"):
        train_dense(visual_map, None, extractor, config)
    monkeypatch.setattr(scene_dense, "_available_bytes", lambda: 10_000_000)
    with pytest.raises(MappingError, match=r"needs about .* GB of memory, 0\.0 GB are free here"):
        train_dense(visual_map, images.__getitem__, extractor, config)
    monkeypatch.setattr(scene_dense, "_LEAST_CELLS", 10_000_000)
    with pytest.raises(MappingError, match="10000000 needed to learn from; give depth"):
        train_dense(visual_map, images.__getitem__, extractor, config)


def test_more_keyframes_are_worth_more_steps_up_to_an_hour():
    assert [default_steps(count, 2) for count in (90, 200, 5000)] == [1600, 3200, 8000]


def test_a_step_of_the_full_network_needs_some_gigabytes():
    labels = make_labels(np.random.default_rng(0).uniform(0, 5, (700, 3)), 25, 25)
    full = needed_bytes(DenseModule(labels, DenseOptions()), SCHEDULES["dense-full"].batch, (640, 480))
    assert 2e9 < full < 8e9
