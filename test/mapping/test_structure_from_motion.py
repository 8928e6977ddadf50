"""Poses from synthetic images alone, up to the similarity nobody can know."""

from types import SimpleNamespace

import numpy as np
import pycolmap
import pytest

from hfnet_ros.errors import MappingError
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.sources import UnposedImages
from hfnet_ros.mapping.structure_from_motion import (
    RecoveredMotion,
    _contradicted_share,
    _largest_sound,
    _usable_images,
)
from hfnet_ros.trust.tested_build import build_map


def _aligned_errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return distances after the best similarity (Umeyama 1991)."""
    found, truth = found - found.mean(axis=0), truth - truth.mean(axis=0)
    u, scales, vt = np.linalg.svd(truth.T @ found)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (scales * signs).sum() / (found**2).sum()
    return np.linalg.norm(scale * found @ (u * signs @ vt).T - truth, axis=1)


def _build(kit, world, cameras, config):
    source = UnposedImages(kit.make_images(world), cameras)
    return build_map(source, kit.make_extractor(world), config, BuildOptions(self_test=False))


@pytest.mark.parametrize("calibrated", [pytest.param(True, marks=pytest.mark.slow), False])
def test_synthetic_images_find_their_places(kit, config, calibrated):
    world = kit.make_world([kit.make_camera(focal=330.0)], num_views=10, num_points=400)
    built = _build(kit, world, world.cameras if calibrated else None, config)
    assert built.num_keyframes == 10
    assert built.build_info["scale"] == "arbitrary"
    truth = np.array([view.map_from_camera.translation for view in world.views])
    limit = 0.01 if calibrated else 0.05
    assert np.median(_aligned_errors(built.keyframe_poses[:, :3], truth)) < limit
    camera = built.cameras[0]
    if calibrated:
        assert camera.given is world.cameras[0]
        np.testing.assert_allclose(camera.refined.focal, 330.0)
    else:
        assert camera.given is None
        np.testing.assert_allclose(camera.refined.focal, 330.0, rtol=0.05)


def test_an_image_of_elsewhere_stays_out(kit, config, caplog):
    world = kit.make_world(num_views=8, num_points=300)
    elsewhere = kit.make_world(num_views=8, num_points=300, seed=9)
    world.views[3] = elsewhere.views[3]
    built = _build(kit, world, world.cameras, config)
    assert "003.png" not in built.keyframe_names
    assert built.num_keyframes == 7
    assert built.build_info["num_registered"] == 7
    assert "003.png" in caplog.text


def test_images_without_anything_in_common_are_refused(kit, config):
    worlds = [kit.make_world(num_views=4, num_points=200, seed=seed) for seed in range(4)]
    world = worlds[0]
    world.views = [worlds[number].views[number] for number in range(4)]
    with pytest.raises(MappingError, match="no two of 4 images could be put into relation"):
        _build(kit, world, world.cameras, config)


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_camera_that_only_turned_is_refused(kit, config, calibrated):
    world = kit.make_world(num_views=8, num_points=400, is_moved=False)
    with pytest.raises(
        MappingError, match=r"only turned: a rotation alone explains (9\d|100) % .* turning gives no depth"
    ):
        _build(kit, world, world.cameras if calibrated else None, config)


def test_the_largest_model_that_agrees_with_its_images_is_taken(kit, config, caplog):
    world = kit.make_world(num_views=6, num_points=300)
    keyframes = [
        SimpleNamespace(features=view.features, image=SimpleNamespace(name=f"{idx}.png", camera_idx=0))
        for idx, view in enumerate(world.views)
    ]

    def model(rows, poses):
        """A model of some of the images, with all that any two of them see in common."""
        matches = {}
        for a, first in enumerate(rows):
            for b, second in enumerate(rows[a + 1 :], a + 1):
                _, of_a, of_b = np.intersect1d(world.seen[first], world.seen[second], return_indices=True)
                matches[a, b] = np.column_stack([of_a, of_b])
        given = [world.views[row].map_from_camera for row in poses]
        return RecoveredMotion(rows, given, [0] * len(rows), world.cameras, [None], matches)

    wrong, right = model([0, 1, 2, 3], [2, 0, 3, 1]), model([3, 4, 5], [3, 4, 5])
    assert _largest_sound([wrong, right], keyframes, config) is right
    # Six pairs of the wrong model and three of the right one; poses swapped around explain none of the six.
    assert _contradicted_share([wrong, right], keyframes, config) == pytest.approx(6 / 9)
    assert _contradicted_share([right], keyframes, config) == 0.0
    assert (
        "3 of 6 images do not join the largest sound one of 2 models (of 4, 3 images): 0.png" in caplog.text
    )
    with pytest.raises(MappingError, match=r"images contradict the 1 model \(of 4 images\).*overlap by half"):
        _largest_sound([wrong], keyframes, config)


def test_images_without_keypoints_are_refused(kit, config):
    world = kit.make_world(num_views=3, num_points=50)
    world.views = [
        kit.make_view(view.keypoints[:0], view.descriptors[:0], 0, view.map_from_camera)
        for view in world.views
    ]
    images, extractor = kit.make_images(world), kit.make_extractor(world, with_global=False)
    with pytest.raises(MappingError, match="no keypoint in any of 3 images"):
        build_map(UnposedImages(images), extractor, config)


def test_images_whose_estimated_lens_cannot_exist_are_left_out():
    def image_and_camera(number, focal):
        params = [focal, 320.0, 240.0, 0.0]
        camera = pycolmap.Camera(
            model="SIMPLE_RADIAL", width=640, height=480, params=params, camera_id=number
        )
        return SimpleNamespace(camera_id=number), camera

    made = {
        number: image_and_camera(number, focal) for number, focal in [(1, 500.0), (2, -83591.5), (3, 700.0)]
    }
    model = SimpleNamespace(
        reg_image_ids=lambda: list(made),
        images={number: image for number, (image, _) in made.items()},
        cameras={number: camera for number, (_, camera) in made.items()},
    )
    assert _usable_images(model, False) == [1, 3]
    assert _usable_images(model, True) == [1, 2, 3]
