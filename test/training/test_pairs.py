import dataclasses

import numpy as np
import pytest

from hfnet_ros.training.augmentation import draw_homography, draw_turn, spoil, transfer
from hfnet_ros.training.cache import label_cells, open_cache
from hfnet_ros.training.options import NO_KEYPOINT
from hfnet_ros.training.pairs import PairSource
from hfnet_ros.training.teachers import fit_projection
from hfnet_ros.training.views import is_held_out


def test_a_batch_depends_on_seed_and_step_only(tiny_cache, tiny_options):
    source = PairSource(open_cache(tiny_cache), tiny_options.schedule)
    alone = source.draw(3)
    in_order = list(source.batches(2, 5, workers=2))[1]
    np.testing.assert_array_equal(alone.images, in_order.images)
    np.testing.assert_array_equal(alone.points_b, in_order.points_b)
    assert not np.array_equal(alone.images, source.draw(4).images)


def test_scene_points_are_the_same_surface_in_both_views(tiny_cache, tiny_options):
    """Patches around matching points look more alike than patches around shuffled ones."""
    cache = open_cache(tiny_cache)
    source = PairSource(cache, tiny_options.schedule)
    right, wrong = [], []
    for row in range(0, len(cache.images), 3):
        points = np.asarray(cache.points[row, : cache.counts[row]])
        moved, visible = source._project(row, row + 1, points)
        a = cache.images[row][tuple(points[visible].astype(int).T[::-1])].astype(float)
        b = cache.images[row + 1][tuple(np.rint(moved[visible]).astype(int).T[::-1])].astype(float)
        right += np.abs(a - b).tolist()
        wrong += np.abs(a - np.roll(b, 1)).tolist()
    assert len(right) > 30
    assert np.median(right) < 0.6 * np.median(wrong)


def test_hand_computed_labels_best_keypoint_first():
    points = np.array([[9.0, 3.0], [14.0, 7.0], [0.0, 8.0]], np.float32)
    labels = label_cells(points, (2, 2))
    assert labels.tolist() == [[NO_KEYPOINT, 3 * 8 + 1], [0, NO_KEYPOINT]]


def test_points_follow_the_warped_picture():
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(4)
    for _ in range(20):
        homography = draw_homography((160, 128), rng)
        point = np.array([[70.0, 60.0]])
        image = np.zeros((128, 160), np.uint8)
        cv2.circle(image, (70, 60), 4, 255, -1)
        moved = transfer(point, homography)[0]
        warped = cv2.warpPerspective(image, homography, (160, 128)).astype(float)
        if warped.sum() < 1000 or not (10 < moved[0] < 150 and 10 < moved[1] < 118):
            continue
        rows, columns = np.mgrid[:128, :160]
        center = np.array([(warped * columns).sum(), (warped * rows).sum()]) / warped.sum()
        np.testing.assert_allclose(moved, center, atol=0.5)


def test_a_turn_is_about_the_middle_and_keeps_distances():
    rng = np.random.default_rng(0)
    middle, aside = np.array([[79.5, 63.5]]), np.array([[99.5, 63.5]])
    for _ in range(10):
        turn = draw_turn((160, 128), rng)
        np.testing.assert_allclose(transfer(middle, turn), middle, atol=1e-9)
        assert np.linalg.norm(transfer(aside, turn) - middle) == pytest.approx(20.0)


def test_without_turned_views_no_number_is_drawn(tiny_cache, tiny_options):
    """A run of options from before there were turned views sees the pairs that it saw then."""
    schedule = dataclasses.replace(tiny_options.schedule, turned_share=0.0)
    rng, untouched = np.random.default_rng(3), np.random.default_rng(3)
    assert not PairSource(open_cache(tiny_cache), schedule)._is_turned(rng)
    assert rng.bit_generator.state == untouched.bit_generator.state


def test_turned_pairs_still_show_the_same(tiny_cache, tiny_options):
    """With every second view turned, patches around matching points look alike once they are turned back."""
    schedule = dataclasses.replace(tiny_options.schedule, turned_share=1.0, scene_share=1.0)
    source = PairSource(open_cache(tiny_cache), schedule)
    right, wrong = [], []
    for step in range(4):
        batch = source.draw(step)
        count = len(batch.rows)
        for a, b, points_a, points_b, is_match in zip(
            batch.images[:count, 0],
            batch.images[count:, 0],
            batch.points_a,
            batch.points_b,
            batch.is_match,
            strict=True,
        ):
            if np.count_nonzero(is_match) < 8:
                continue
            values_a = a[tuple(np.rint(points_a[is_match]).astype(int).T[::-1])]
            values_b = b[tuple(np.rint(points_b[is_match]).astype(int).T[::-1])]
            right.append(np.corrcoef(values_a, values_b)[0, 1])
            wrong.append(np.corrcoef(values_a, np.roll(values_b, 1))[0, 1])
    assert len(right) >= 4
    assert np.median(right) > np.median(wrong) + 0.2


def test_light_changes_the_picture_but_not_its_kind():
    image = np.random.default_rng(0).integers(0, 256, (64, 96)).astype(np.uint8)
    kept = image.copy()
    spoiled = [spoil(image, np.random.default_rng(seed)) for seed in range(12)]
    np.testing.assert_array_equal(image, kept)
    assert all(each.shape == image.shape and each.min() >= 0 and each.max() <= 255 for each in spoiled)
    assert sum(np.abs(each - image).mean() > 5 for each in spoiled) >= 6


def test_the_projection_keeps_cosines_of_a_subspace():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(20, 5)))[0].T
    vectors = (rng.normal(size=(30, 5)) @ basis).astype(np.float32)
    for few in (vectors, vectors[:12]):
        projection = fit_projection(few, 8)
        assert projection.shape == (8, 20)
        np.testing.assert_allclose((few @ projection.T) @ (few @ projection.T).T, few @ few.T, atol=1e-3)


def test_a_tenth_of_the_photos_is_held_out():
    assert sum(is_held_out(position) for position in range(1000)) == 100
