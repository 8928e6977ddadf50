"""The hybrid scene network: what it is shown, that it learns, and that a robot runs what was trained."""

import dataclasses
import hashlib

import numpy as np
import pytest
from scipy.spatial import cKDTree

torch = pytest.importorskip("torch")

from hfnet_ros.config import Config, InferenceConfig, SceneConfig  # noqa: E402
from hfnet_ros.errors import MappingError  # noqa: E402
from hfnet_ros.features.scene_hybrid import HybridNetwork  # noqa: E402
from hfnet_ros.features.sift import SiftExtractor  # noqa: E402
from hfnet_ros.localization.localizer import Localizer  # noqa: E402
from hfnet_ros.map.scene_network import FEATURES, SceneNetwork  # noqa: E402
from hfnet_ros.map.scene_points import ScenePoints  # noqa: E402
from hfnet_ros.map.visual_map import MapConsistency  # noqa: E402
from hfnet_ros.scene import query_walk  # noqa: E402
from hfnet_ros.training import scene_hybrid_training  # noqa: E402
from hfnet_ros.training.scene_export import export_hybrid  # noqa: E402
from hfnet_ros.training.scene_hybrid_network import ExportedHybrid, HybridModule, HybridOptions  # noqa: E402
from hfnet_ros.training.scene_hybrid_training import HybridTask, train_hybrid  # noqa: E402
from hfnet_ros.training.scene_labels import make_labels  # noqa: E402
from hfnet_ros.training.scene_samples import Samples, samples_of_images, samples_of_observations  # noqa: E402
from hfnet_ros.training.scene_training import held_out_rows, train_scene  # noqa: E402
from hfnet_ros.types import ImageFeatures, LocalFeatures, ignore_progress  # noqa: E402

pytestmark = pytest.mark.torch

SIZE, KEYFRAMES = 16, 3
SMALL = HybridOptions(width=32)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, [5, 4, 2.5], (300, 3)).astype(np.float32)
    descriptors = unit(rng.normal(size=(300, SIZE)))

    def samples(seed, count):
        rng = np.random.default_rng(seed)
        landmarks = rng.integers(300, size=count)
        noisy = unit(descriptors[landmarks] + 0.03 * rng.normal(size=(count, SIZE)))
        shows = rng.random(count) < 0.9
        noisy[~shows] = unit(rng.normal(size=((~shows).sum(), SIZE)))
        return Samples(
            noisy.astype(np.float16),
            rng.uniform(-1, 1, (count, 2)).astype(np.float32),
            rng.integers(KEYFRAMES, size=count),
            np.where(shows, landmarks, -1),
        )

    neighbors = [np.setdiff1d(np.arange(KEYFRAMES), [row]) for row in range(KEYFRAMES)]
    return HybridTask(samples(1, 4000), samples(2, 400), make_labels(points, 5, 4), points, neighbors, SIZE)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(scene_hybrid_training, "BATCH", 256)
    monkeypatch.setattr(scene_hybrid_training, "_NEGATIVES", 32)


def digest(module):
    return hashlib.sha256(export_hybrid(module, SIZE)).hexdigest()


@pytest.mark.slow
def test_it_learns_where_landmarks_are(task, monkeypatch):
    monkeypatch.setattr(scene_hybrid_training, "_PATIENCE", 99)
    _, curves = train_hybrid(task, dataclasses.replace(SMALL, width=64), 225, 0, ignore_progress)
    assert curves[-1]["near"] > 0.7 > 0.5 > curves[0]["near"] and curves[-1]["median_m"] < 0.4
    assert curves[-1]["part"] > 0.9 and [entry["step"] for entry in curves] == [*range(11, 221, 11), 225]


def test_same_seed_same_file(task):
    same = [digest(train_hybrid(task, SMALL, 8, seed, ignore_progress)[0]) for seed in (0, 0, 1)]
    assert same[0] == same[1] != same[2]


def test_same_file_by_several_threads(task):
    """Gradients of what is looked up are summed in one order, whoever of the threads is first."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        options = dataclasses.replace(SMALL, width=128)
        files = {digest(train_hybrid(task, options, 3, 0, ignore_progress)[0]) for _ in range(2)}
    finally:
        torch.set_num_threads(before)
    assert len(files) == 1


@pytest.mark.slow
def test_an_interrupted_training_goes_on_with_the_same_numbers(task, tmp_path, monkeypatch):
    monkeypatch.setattr(scene_hybrid_training, "_PATIENCE", 99)
    whole, curves = train_hybrid(task, SMALL, 40, 0, ignore_progress)
    checkpoint = tmp_path / "hybrid.pt"

    class InterruptedRunError(Exception):
        pass

    def stop(_, done, __):
        if done == 25:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        train_hybrid(task, SMALL, 40, 0, stop, checkpoint)
    resumed, again = train_hybrid(task, SMALL, 40, 0, ignore_progress, checkpoint)
    assert digest(resumed) == digest(whole) and again == curves


def test_training_ends_where_held_out_keyframes_gain_no_more(task):
    nothing_new = dataclasses.replace(
        task, held_out=dataclasses.replace(task.held_out, landmarks=np.full(len(task.held_out), -1))
    )
    _, curves = train_hybrid(nothing_new, SMALL, 200, 0, ignore_progress)
    assert curves[-1]["step"] == 70


@pytest.mark.parametrize("left_out", ["conditioned", "hierarchical", "identity", "positions", "regression"])
def test_what_is_left_out_changes_nothing_any_more(task, left_out):
    module = HybridModule(
        SIZE, KEYFRAMES, task.labels, dataclasses.replace(SMALL, **{left_out: False})
    ).eval()
    asked = {
        "descriptors": torch.randn(9, SIZE),
        "positions": torch.randn(9, 2),
        "identity": module.identities()[:1],
    }
    points = ExportedHybrid(module)(*asked.values())[0]
    if left_out == "identity":
        assert torch.count_nonzero(asked["identity"]) == 0
    elif left_out == "positions":
        other = ExportedHybrid(module)(*(asked | {"positions": torch.randn(9, 2)}).values())[0]
        torch.testing.assert_close(points, other)
    elif left_out == "regression":
        leaves = ExportedHybrid(module)(*asked.values())[3]
        torch.testing.assert_close(points, torch.from_numpy(task.labels.centers)[leaves])
    elif left_out == "conditioned":
        assert torch.count_nonzero(module.part_table()) == torch.count_nonzero(module.leaf_table()) == 0
    else:
        low, high = task.labels.centers.min(axis=0), task.labels.centers.max(axis=0)
        spread = (points.detach().numpy() - (low + high) / 2) / (high - low)
        assert np.abs(spread).max() < 20 and not np.isin(points.detach().numpy(), task.labels.centers).any()


def test_a_robot_runs_what_was_trained(task):
    torch.manual_seed(0)
    module = HybridModule(SIZE, KEYFRAMES, task.labels, SMALL).eval()
    identities = module.identities().detach().numpy()
    arrays = {**task.labels.arrays(), "identities": identities}
    scene = SceneNetwork(FEATURES, export_hybrid(module, SIZE), arrays, {}, MapConsistency(0.0, 0.0, 0.0, 0))
    rng = np.random.default_rng(0)
    local = LocalFeatures(
        rng.uniform(0, 400, (50, 2)).astype(np.float32),
        np.ones(50, np.float32),
        unit(rng.normal(size=(50, SIZE))),
    )
    features = ImageFeatures(local, None, "toy", (640, 480))
    network = HybridNetwork(scene, InferenceConfig(backend="onnxruntime"))
    found = network.predict(features, 1)
    network.close()
    from hfnet_ros.features.scene_hybrid import normalised_positions

    shown = (local.descriptors, normalised_positions(features), identities[1:2])
    # Conditions by one-hot labels, as in training, instead of tables.
    tables = (module.part_table(), module.leaf_table())
    points, sigmas, leaves = (
        getattr(module(*map(torch.from_numpy, shown), tables), name).detach().numpy()
        for name in ("points", "sigmas", "leaf")
    )
    np.testing.assert_allclose(found.points3d, points, atol=1e-4)
    np.testing.assert_allclose(found.sigmas_m, sigmas, atol=1e-5)
    assert found.leaves.tolist() == module.leaf_idxs[torch.from_numpy(leaves)].tolist()
    assert ((found.confidence > 0) & (found.confidence < 1)).all()


@pytest.fixture(scope="module")
def mapped(apartment):
    """A map, and what its keyframes look like."""
    visual_map = apartment.visual_map
    images = [
        apartment.frame(visual_map.map_from_camera(row)).image for row in range(visual_map.num_keyframes)
    ]
    return visual_map, images


def shown(mapped, views, config, seed=0):
    """What the first keyframes show."""
    visual_map, images = mapped
    extractor = SiftExtractor(config)
    turns = np.zeros(len(images))
    return samples_of_images(
        visual_map,
        range(5),
        images.__getitem__,
        extractor,
        views,
        turns,
        seed,
        700,
        ignore_progress,
    )


def test_altered_views_show_the_same_landmarks(mapped, config):
    plain, altered = shown(mapped, 0, config), shown(mapped, 2, config)
    visual_map = mapped[0]
    for samples, least in ((plain, 0.8), (altered, 0.6)):
        shows = samples.landmarks >= 0
        likeness = np.einsum(
            "nd,nd->n",
            samples.descriptors[shows].astype(np.float32),
            visual_map.landmark_descriptors[samples.landmarks[shows]],
        )
        assert np.median(likeness) > least
    assert (altered.landmarks >= 0).sum() > 1.5 * (plain.landmarks >= 0).sum()
    again = shown(mapped, 2, config)
    assert again.descriptors.tobytes() == altered.descriptors.tobytes()


def test_images_of_another_place_are_noticed(mapped, config):
    visual_map, images = mapped
    black = [np.zeros_like(image) for image in images]
    asked = dataclasses.replace(config, scene=SceneConfig(views=1))
    with pytest.raises(MappingError, match=r"keypoints show a landmark, 2000 needed.*are these the images"):
        train_scene(visual_map, black.__getitem__, SiftExtractor(config), asked)


def test_without_images_a_map_must_have_kept_what_was_seen(mapped):
    with pytest.raises(MappingError, match="give --images, or build the map with --keep-observations"):
        samples_of_observations(mapped[0], [0, 1])


def test_a_map_of_few_keyframes_is_refused(mapped, config):
    visual_map, images = mapped
    few = dataclasses.replace(
        visual_map,
        keyframe_names=list(visual_map.keyframe_names)[:9],
        keyframe_stamps_ns=visual_map.keyframe_stamps_ns[:9],
        keyframe_camera_idx=visual_map.keyframe_camera_idx[:9],
        keyframe_poses=visual_map.keyframe_poses[:9],
        observation_offsets=visual_map.observation_offsets[:10],
        global_descriptors=visual_map.global_descriptors.chosen(np.arange(9)),
        search=None,
    )
    with pytest.raises(MappingError, match="9 keyframes, 10 needed"):
        train_scene(few, images.__getitem__, SiftExtractor(config), config)


@pytest.mark.slow
def test_a_trained_network_is_measured_and_can_be_asked(mapped, config, apartment):
    visual_map, images = mapped
    asked = dataclasses.replace(config, scene=SceneConfig(classes=6, subclasses=6, views=1, steps=60))
    scene = train_scene(visual_map, images.__getitem__, SiftExtractor(config), asked)
    held_out = held_out_rows(visual_map.num_keyframes)
    assert scene.facts["held_out"] == len(held_out) == scene.consistency.num_asked
    assert scene.arrays["identities"].shape[0] == visual_map.num_keyframes
    assert scene.facts["curves"][-1]["near"] > 0.15
    kept = ScenePoints.of(scene.arrays)
    assert len(kept.descriptors) == len(kept.leaves) == len(kept.xyz) <= 36 * 64
    distance, _ = cKDTree(visual_map.landmark_xyz).query(kept.xyz)
    assert distance.max() < 1e-5 and np.bincount(kept.leaves).max() <= 64 and np.diff(kept.leaves).min() == 0
    both = Localizer(
        dataclasses.replace(visual_map, scene=scene), SiftExtractor(config), dataclasses.replace(config)
    )
    answer = both.localize(apartment.frame(query_walk(apartment.scene)[0][1]))
    assert answer.is_valid and answer.matched_by == "nearest"
    both.close()
    # Going on trains the same leaves further.
    more = train_scene(visual_map, images.__getitem__, SiftExtractor(config), asked, start_from=scene)
    np.testing.assert_array_equal(more.arrays["centers"], scene.arrays["centers"])
    assert more.facts["curves"][0]["near"] > scene.facts["curves"][0]["near"]


def test_rooms_have_leaves_of_their_own(mapped, config):
    from hfnet_ros.training.scene_map_labels import labels_of_landmarks

    asked = dataclasses.replace(Config(), scene=SceneConfig(rooms=3, classes=4, subclasses=3))
    labels = labels_of_landmarks(mapped[0], asked)
    assert labels.num_parts == 12 and len(labels.centers) == 36
    rooms = labels.part_centers.reshape(3, 4, 3)
    spread = rooms.std(axis=1).max()
    assert np.linalg.norm(np.diff(rooms.mean(axis=1), axis=0), axis=1).min() > spread
