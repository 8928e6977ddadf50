"""Retrieval kernels on the CPU, by emulation, held to the index that the CPU really uses."""

import functools

import numpy as np
import pytest
from host_cuda import HostMemory, open_host_module

from hfnet_ros.errors import EngineError
from hfnet_ros.gpu.retrieval import GpuKeyframes
from hfnet_ros.retrieval.descriptor_index import ExactIndex
from hfnet_ros.retrieval.gpu_index import GpuIndex


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def put():
    """Make an index on the emulated GPU."""
    made = []

    def make(descriptors, max_found=32, seed=0, memory=None):
        memory = memory or HostMemory()
        keyframes = GpuKeyframes(
            memory,
            descriptors,
            max_found=max_found,
            open_kernels=functools.partial(open_host_module, seed=seed),
        )
        made.append((keyframes, memory))
        return GpuIndex(keyframes, lambda: ExactIndex(descriptors))

    yield make
    for keyframes, memory in made:
        keyframes.close()
        memory.close()


@pytest.mark.parametrize(
    ("num_keyframes", "size", "count", "seed"),
    [
        (1, 8, 1, 0),
        (200, 32, 15, 1),
        (9, 20, 32, 2),  # padded, and more wanted than there are
        (1025, 256, 25, 3),  # a second block of one
        (5000, 8, 512, 1),  # four rounds of sorting
    ],
)
def test_hits_are_those_of_the_cpu(put, num_keyframes, size, count, seed):
    rng = np.random.default_rng(seed)
    database = unit(rng.normal(size=(num_keyframes, size))).astype(np.float16).astype(np.float32)
    query = unit(rng.normal(size=(1, size)))[0]
    expected = ExactIndex(database).search(query, count)
    found = put(database, max_found=count, seed=seed).search(query, count)
    np.testing.assert_allclose(
        [hit.similarity for hit in found], [hit.similarity for hit in expected], atol=1e-6
    )
    assert [hit.keyframe_idx for hit in found] == [hit.keyframe_idx for hit in expected]
    assert (type(found[0].keyframe_idx), type(found[0].similarity)) == (int, float)


def test_float16_keeps_the_order_of_what_differs(put):
    rng = np.random.default_rng(4)
    database, query = unit(rng.normal(size=(300, 1024))), unit(rng.normal(size=(1, 1024)))[0]
    expected, found = ExactIndex(database).search(query, 25), put(database).search(query, 25)
    for hit, wanted in zip(found, expected, strict=True):
        assert hit.similarity == pytest.approx(wanted.similarity, abs=2e-4)
    assert len({hit.keyframe_idx for hit in found} & {hit.keyframe_idx for hit in expected}) >= 24


def test_ties_are_broken_by_keyframe_order(put):
    same = np.tile(np.eye(1, 8, dtype=np.float32), (1500, 1))
    assert [hit.keyframe_idx for hit in put(same).search(same[0], 5)] == [0, 1, 2, 3, 4]


def test_negative_similarities_and_zeros_are_ordered(put):
    axis = np.eye(1, 8, dtype=np.float32)
    found = put(np.concatenate([-axis, 0 * axis, axis, -0.5 * axis, -0.0 * axis])).search(axis[0], 5)
    assert [hit.keyframe_idx for hit in found] == [2, 1, 4, 3, 0]
    assert [hit.similarity for hit in found] == [1.0, 0.0, 0.0, -0.5, -1.0]


def test_a_descriptor_that_is_none_comes_last(put):
    axis = np.eye(1, 8, dtype=np.float32)
    found = put(np.concatenate([np.nan * axis, -axis, axis])).search(axis[0], 3)
    assert [hit.keyframe_idx for hit in found] == [2, 1, 0]
    assert np.isnan(found[2].similarity)


def test_an_empty_map_has_no_hits(put):
    assert put(np.empty((0, 8), np.float32)).search(np.zeros(8, np.float32), 5) == []


def test_images_do_not_see_what_was_before_them(put):
    database = unit(np.random.default_rng(5).normal(size=(50, 20)))
    index = put(database)
    for row in (3, 40):
        assert index.search(database[row], 3)[0].keyframe_idx == row


def test_some_are_searched_where_the_gpu_is_not(put):
    index = put(np.eye(4, 8, dtype=np.float32))
    among = np.array([False, True, True, False])
    hits = index.search(unit(np.array([[9.0, 1, 2, 3, 0, 0, 0, 0]]))[0], 3, among)
    assert [hit.keyframe_idx for hit in hits] == [2, 1]


def test_more_than_announced_is_an_error(put):
    index = put(np.eye(4, 8, dtype=np.float32), max_found=3)
    with pytest.raises(EngineError, match="4 keyframes are wanted, at most 3"):
        index.search(np.zeros(8, np.float32), 4)
    with pytest.raises(EngineError, match="513"):
        put(np.eye(4, 8, dtype=np.float32), max_found=513)


class FullMemory(HostMemory):
    def free_bytes(self):
        return 260 << 20, 8192 << 20


def test_keyframes_that_do_not_fit_are_an_error(put):
    with pytest.raises(EngineError, match=r"20000 keyframes .* MiB"):
        put(np.broadcast_to(np.float32(0.0), (20000, 1024)), memory=FullMemory())
