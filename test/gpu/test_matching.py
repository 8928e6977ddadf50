"""Matching kernels on the CPU, by emulation, held to the matcher that the CPU really uses."""

import functools

import numpy as np
import pytest
from given_place import GivenPlace
from host_cuda import HostMemory, open_host_module

from hfnet_ros.config import MatchingConfig
from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.matching import GpuLandmarks
from hfnet_ros.matching.gpu_matcher import GpuMatcher
from hfnet_ros.matching.landmark_matcher import MutualNearestMatcher
from hfnet_ros.matching.mutual_nearest import mutual_nearest
from hfnet_ros.types import ImageFeatures, LocalFeatures


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def rounded(rows):
    return rows.astype(np.float16).astype(np.float32)


def scene(seed, num_keypoints, num_landmarks, size, noise=0.15):
    """Landmarks [L, D] and keypoints [N, D] of which most see a landmark."""
    rng = np.random.default_rng(seed)
    landmarks = unit(rng.normal(size=(num_landmarks, size)))
    seen = rng.integers(num_landmarks, size=num_keypoints)
    return unit(
        landmarks[seen] + noise * rng.normal(size=(num_keypoints, size)) / np.sqrt(size / 64)
    ), landmarks


@pytest.fixture
def put():
    """Make landmarks on the emulated GPU."""
    made = []

    def make(descriptors, xyz=None, seed=0, max_keypoints=512, max_listed=4096, memory=None):
        memory = memory or HostMemory()
        landmarks = GpuLandmarks(
            memory,
            descriptors,
            xyz,
            max_keypoints=max_keypoints,
            max_listed=max_listed,
            open_kernels=functools.partial(open_host_module, seed=seed),
        )
        made.append((landmarks, memory))
        return landmarks

    yield make
    for landmarks, memory in made:
        landmarks.close()
        memory.close()


def all_rows(descriptors):
    return np.arange(len(descriptors))


@pytest.mark.parametrize(
    ("num_keypoints", "num_landmarks", "size", "seed"),
    [
        pytest.param(100, 300, 64, 0, marks=pytest.mark.slow),
        (257, 131, 64, 1),
        pytest.param(256, 256, 64, 5, marks=pytest.mark.slow),
        (1, 1, 64, 0),
        (3, 700, 64, 6),
        (70, 40, 40, 0),  # padded to 48
        (129, 161, 256, 1),
    ],
)
def test_the_matches_are_exactly_those_of_the_cpu(put, num_keypoints, num_landmarks, size, seed):
    # Numbers that float16 holds, so that both compare the same.
    keypoints, landmarks = map(rounded, scene(seed, num_keypoints, num_landmarks, size))
    expected = mutual_nearest(keypoints, landmarks, -1.0)
    found = put(landmarks, seed=seed).match(keypoints, all_rows(landmarks), min_similarity=-1.0)
    assert len(expected[0]) > 0
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[2], expected[2], atol=1e-6)
    assert [part.dtype for part in found] == [np.int64, np.int64, np.float32]


def test_float16_changes_hardly_any_match(put):
    keypoints, landmarks = scene(2, 400, 600, 64, noise=0.3)
    expected = mutual_nearest(keypoints, landmarks, -1.0)
    found = put(landmarks).match(keypoints, all_rows(landmarks), min_similarity=-1.0)
    pairs = set(zip(*(rows.tolist() for rows in found[:2]), strict=True))
    wanted = set(zip(*(rows.tolist() for rows in expected[:2]), strict=True))
    assert len(wanted) > 200
    assert len(pairs & wanted) >= 0.99 * len(pairs | wanted)


def test_only_listed_landmarks_are_matched_and_in_the_order_of_the_list(put):
    keypoints, landmarks = map(rounded, scene(3, 90, 500, 64))
    rows = np.random.default_rng(0).permutation(500)[:210]
    expected = mutual_nearest(keypoints, landmarks[rows], -1.0)
    found = put(landmarks).match(keypoints, rows, min_similarity=-1.0)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_images_do_not_see_what_was_before_them(put):
    keypoints, landmarks = map(rounded, scene(4, 300, 300, 64))
    table = put(landmarks)
    table.match(keypoints, all_rows(landmarks), min_similarity=-1.0)
    again = table.match(keypoints[10:30], all_rows(landmarks)[:50], min_similarity=-1.0)
    expected = mutual_nearest(keypoints[10:30], landmarks[:50], -1.0)
    for part, wanted in zip(again[:2], expected[:2], strict=True):
        np.testing.assert_array_equal(part, wanted)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_equal_descriptors_the_first_is_taken(put, seed):
    axes = np.eye(64, dtype=np.float32)
    # Landmarks: axis 5, axis 3, axis 9 three hundred times, axis 3 again, axis 7 twice.
    order = np.concatenate([[5, 3], np.full(300, 9), [3, 7, 7]])
    found = put(axes[order], seed=seed).match(axes[[3, 3, 7, 9]], np.arange(len(order)), min_similarity=0.5)
    np.testing.assert_array_equal(found[0], [0, 2, 3])
    np.testing.assert_array_equal(found[1], [1, 303, 2])


@pytest.mark.parametrize("counts", [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_match(put, counts):
    keypoints, landmarks = scene(0, counts[0], 5, 64)
    found = put(landmarks).match(keypoints, np.arange(counts[1]), min_similarity=-1.0)
    assert [len(part) for part in found] == [0, 0, 0]


def test_a_map_without_landmarks_is_no_error(put):
    landmarks = put(np.empty((0, 64), np.float32), np.empty((0, 3)))
    assert len(landmarks.match(np.eye(2, 64, dtype=np.float32), np.arange(0), min_similarity=-1.0)[0]) == 0


def test_similarities_below_the_least_are_dropped(put):
    keypoints, landmarks = map(rounded, scene(5, 80, 80, 64, noise=0.6))
    table = put(landmarks)
    everything = table.match(keypoints, all_rows(landmarks), min_similarity=-1.0)
    least = float(np.median(everything[2]))
    found = table.match(keypoints, all_rows(landmarks), min_similarity=least)
    np.testing.assert_array_equal(found[0], everything[0][everything[2] >= np.float32(least)])


def test_negative_similarities_are_matched_when_nothing_better_is_there(put):
    axes = np.eye(64, dtype=np.float32)
    # Rows beyond the end of a tile count as zeros nowhere.
    found = put(-axes[:1]).match(axes[:1], np.arange(1), min_similarity=-1.0)
    np.testing.assert_array_equal([part[0] for part in found], [0, 0, -1.0])


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_descriptor_that_is_none_disturbs_no_other(put, value):
    keypoints, landmarks = map(rounded, scene(6, 60, 200, 64))
    bad_keypoints, bad_landmarks = [0, 17, 59], [0, 63, 64, 199]
    good_keypoints = np.setdiff1d(np.arange(60), bad_keypoints)
    good_landmarks = np.setdiff1d(np.arange(200), bad_landmarks)
    expected = mutual_nearest(keypoints[good_keypoints], landmarks[good_landmarks], 0.5)
    keypoints[bad_keypoints], landmarks[bad_landmarks] = value, value
    found = put(landmarks).match(keypoints, all_rows(landmarks), min_similarity=0.5)
    np.testing.assert_array_equal(found[0], good_keypoints[expected[0]])
    np.testing.assert_array_equal(found[1], good_landmarks[expected[1]])


def crowded_scene(seed, size=64):
    """Landmarks of which many have copies at the same point and some look-alikes elsewhere."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(60, size))
    copies = first[rng.integers(30, size=200)]
    lookalikes = first[20:40]
    descriptors = unit(
        np.concatenate(
            [
                first,
                copies + 0.02 * rng.normal(size=copies.shape),
                lookalikes + 0.1 * rng.normal(size=(20, size)),
            ]
        )
    )
    points = rng.uniform(0.0, 10.0, (60, 3))
    owners = np.argmax(unit(copies) @ unit(first).T, axis=1)
    xyz = np.concatenate(
        [points, points[owners] + rng.uniform(-0.005, 0.005, (200, 3)), rng.uniform(0.0, 10.0, (20, 3))]
    )
    keypoints = unit(first + 0.15 * rng.normal(size=first.shape))
    return rounded(keypoints), rounded(descriptors), xyz + np.array([500.0, -900.0, 3.0])


def as_features(descriptors):
    points = np.arange(2 * len(descriptors), dtype=np.float32).reshape(-1, 2)
    local = LocalFeatures(points, np.ones(len(descriptors), np.float32), descriptors)
    return ImageFeatures(local, None, "test")


@pytest.mark.parametrize("ratio", [0.8, 0.95, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_ratio_is_that_of_the_cpu_matcher(put, ratio, seed):
    keypoints, descriptors, xyz = crowded_scene(seed)
    order = np.random.default_rng(seed).permutation(len(descriptors))
    config = MatchingConfig(ratio=ratio)
    listed = GivenPlace(order, xyz[order], descriptors[order])
    expected = MutualNearestMatcher(config).match(as_features(keypoints), listed)
    found = GpuMatcher(put(descriptors, xyz, seed=seed), config).match(
        as_features(keypoints), GivenPlace(order, xyz[order], descriptors[:0])
    )
    assert 20 < len(expected) <= len(keypoints)
    assert (len(expected) < 55) == (ratio < 0.9)
    np.testing.assert_array_equal(np.sort(found.keypoint_idxs), np.sort(expected.keypoint_idxs))
    by_keypoint, wanted = np.argsort(found.keypoint_idxs), np.argsort(expected.keypoint_idxs)
    np.testing.assert_array_equal(found.landmark_idxs[by_keypoint], expected.landmark_idxs[wanted])
    np.testing.assert_array_equal(found.points3d[by_keypoint], expected.points3d[wanted])
    assert (np.diff(found.similarity) <= 0).all()


def test_a_copy_is_no_rival_and_a_landmark_elsewhere_is(put):
    axes = np.eye(64, dtype=np.float64)
    keypoint = unit(axes[:1] + 0.3 * axes[1:2])
    landmarks = rounded(unit(np.stack([axes[0], axes[0] + 0.01 * axes[2], axes[0] + 0.62 * axes[1]])))
    xyz = np.array([[1.0, 0.0, 0.0], [1.001, 0.0, 0.0], [4.0, 0.0, 0.0]])

    def matched(rows):
        rows = np.array(rows)
        table = put(landmarks, xyz)
        return len(table.match(keypoint, rows, min_similarity=0.6, ratio=0.9, same_place_m=0.01)[0])

    assert matched([0, 1]) == 1
    assert matched([0, 1, 2]) == 0
    assert matched([0]) == 1


def test_only_as_many_keypoints_as_configured_are_matched(put):
    keypoints, landmarks = scene(8, 100, 100, 64)
    config = MatchingConfig(max_query_keypoints=64)
    found = GpuMatcher(put(landmarks, max_keypoints=64), config).match(
        as_features(keypoints), GivenPlace(all_rows(landmarks), np.zeros((100, 3)), landmarks[:0])
    )
    assert 40 < len(found) <= 64
    assert found.keypoint_idxs.max() < 64


def test_nothing_is_allocated_per_image(put):
    keypoints, landmarks = scene(9, 64, 64, 64)
    memory = HostMemory()
    table = put(landmarks, memory=memory)
    before = memory.num_allocations
    for count in (64, 3, 40):
        table.match(keypoints[:count], all_rows(landmarks)[: count + 1], min_similarity=0.0)
    assert memory.num_allocations == before


def test_more_than_announced_is_an_error(put):
    keypoints, landmarks = scene(10, 20, 30, 64)
    table = put(landmarks, max_keypoints=16, max_listed=20)
    with pytest.raises(EngineError, match=r"20 keypoints .* at most 16"):
        table.match(keypoints, np.arange(5), min_similarity=0.0)
    with pytest.raises(EngineError, match=r"30 landmarks .* at most 20"):
        table.match(keypoints[:4], np.arange(30), min_similarity=0.0)


class FullMemory(HostMemory):
    def free_bytes(self):
        return 300 << 20, 8192 << 20


def test_a_map_that_does_not_fit_says_what_is_needed_and_what_is_there(put):
    # Zeros that take no memory here.
    many = np.broadcast_to(np.float32(0.0), (1_000_000, 64))
    with pytest.raises(EngineError, match=r"1000000 landmarks .* need 122 MiB .* 300 of 8192 MiB .* off"):
        put(many, memory=FullMemory())


def test_descriptors_that_are_too_long_are_left_to_the_cpu(put):
    with pytest.raises(EngineError, match="384 numbers"):
        put(np.zeros((4, 384), np.float32))
