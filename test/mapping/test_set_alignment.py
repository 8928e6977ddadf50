"""Where overlapping maps lie to each other, how sure that is, and where all maps of a set lie."""

import dataclasses

import numpy as np
import pytest
from generated_maps import CONFIG, build_map

from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.map_set import Overlap
from hfnet_ros.mapping.alignment import Similarity, move_map
from hfnet_ros.mapping.set_alignment import align_overlap, poses_by_overlaps
from hfnet_ros.scene import mapping_walk

ELSEWHERE = Rigid3.from_rotvec([0.3, -0.2, 2.0], [40.0, -15.0, 2.0])


def normalized_error(found, truth, covariance):
    """Return the squared Mahalanobis length of a motion's error over its six degrees of freedom."""
    turned = Rigid3(found.rotation @ truth.rotation.T, np.zeros(3)).rotvec
    off = np.concatenate([found.translation - truth.translation, turned])
    return float(off @ np.linalg.solve(covariance, off)) / 6.0


@pytest.fixture(scope="module")
def halves(apartment):
    poses = [pose for _, pose in mapping_walk(apartment.scene)][::2]
    return build_map(apartment.scene, poses[:11]), build_map(apartment.scene, poses[5:], seed=50)


@pytest.mark.slow
def test_an_overlap_is_found_with_a_covariance_that_is_honest(halves):
    first, second = halves
    second_from_first = ELSEWHERE
    moved = move_map(
        second, Similarity(1.0, second_from_first.rotation, second_from_first.translation), "map"
    )
    overlap = align_overlap(first, moved, CONFIG)
    truth = second_from_first.inverse()
    assert overlap is not None
    assert overlap.num_pairs >= 5
    # At the middle of the cameras; the origin of the second map is far from them.
    middle = moved.keyframe_poses[:, :3].mean(axis=0)
    assert np.linalg.norm(overlap.first_from_second @ middle - truth @ middle) < 0.02
    assert overlap.first_from_second.rotation_to(truth) < 0.01
    assert normalized_error(overlap.first_from_second, truth, overlap.covariance) < 3.0
    assert np.sqrt(np.diag(overlap.covariance)[3:].max()) < 0.02


def test_maps_that_share_nothing_do_not_overlap(halves, plane_wall):
    assert align_overlap(halves[0], plane_wall.visual_map, CONFIG) is None


def test_what_the_maps_say_they_are_off_by_is_not_averaged_away(halves):
    first, second = halves
    doubtful = dataclasses.replace(
        first.consistency, pose_covariance=tuple(np.diag([1e-2] * 3 + [1e-4] * 3).ravel().tolist())
    )
    overlap = align_overlap(dataclasses.replace(first, consistency=doubtful), second, CONFIG)
    assert overlap is not None
    assert np.diag(overlap.covariance)[3:].min() > 0.9e-4


def chain(sigma, noise=None):
    """Four maps in a ring, each overlapping the next; truth and overlaps."""
    truth = {
        name: Rigid3.from_rotvec([0.1 * row, 0.05, 0.6 * row], [8.0 * row, 3.0 * (row % 2), 0.5 * row])
        for row, name in enumerate("abcd")
    }
    overlaps = {}
    for first, second in ("ab", "bc", "cd", "ad"):
        motion = truth[first].inverse() @ truth[second]
        if noise is not None:
            step = noise.normal(scale=sigma)
            motion = Rigid3(
                Rigid3.from_rotvec(step[3:], np.zeros(3)).rotation @ motion.rotation,
                motion.translation + step[:3],
            )
        overlaps[first, second] = Overlap(motion, np.diag(np.square(sigma)), 20, (0.01, 0.001))
    return truth, overlaps


def test_maps_are_placed_by_overlaps_with_honest_covariances():
    sigma, rng = np.array([0.02] * 3 + [0.004] * 3), np.random.default_rng(0)
    errors = []
    for _ in range(40):
        truth, overlaps = chain(sigma, rng)
        placed = poses_by_overlaps(list("abcd"), overlaps, {"a": truth["a"]})
        assert placed["a"][0].translation_to(truth["a"]) == 0.0
        assert not placed["a"][1].any()
        errors += [normalized_error(placed[name][0], truth[name], placed[name][1]) for name in "bcd"]
    # The mean of 40 times chi-square of 18 degrees of freedom, at five standard deviations.
    assert np.mean(errors) == pytest.approx(1.0, abs=5.0 * np.sqrt(2.0 / (18 * 40)) + 0.1)


def test_a_ring_of_exact_overlaps_closes():
    truth, overlaps = chain(np.full(6, 0.01))
    placed = poses_by_overlaps(list("abcd"), overlaps, {"a": truth["a"]})
    for name in "bcd":
        assert placed[name][0].translation_to(truth[name]) < 1e-6


def test_maps_that_hang_together_with_nothing_are_named():
    truth, overlaps = chain(np.full(6, 0.01))
    with pytest.raises(MappingError, match="attic, shed: overlaps with none"):
        poses_by_overlaps(["a", "b", "attic", "c", "d", "shed"], overlaps, {"a": truth["a"]})
