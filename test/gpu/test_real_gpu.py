"""The kernels on the machine's own GPU, where there is one."""

import numpy as np
import pytest

from hfnet_ros.features import hfnet
from hfnet_ros.gpu.features import DeviceTensor, FeatureKernels, SelectionRule
from hfnet_ros.gpu.matching import GpuLandmarks
from hfnet_ros.gpu.module import module_opener
from hfnet_ros.inference.cuda_memory import find_cuda_library, open_cuda_memory
from hfnet_ros.inference.driver import probe_driver
from hfnet_ros.matching.mutual_nearest import mutual_nearest

pytestmark = pytest.mark.gpu


@pytest.fixture
def memory():
    report = probe_driver()
    if not report.gpus:
        pytest.skip(f"needs a GPU: {report.reason}")
    if not find_cuda_library():
        pytest.skip("needs pycuda or cuda-bindings")
    opened = open_cuda_memory()
    yield opened
    opened.close()


def put(memory, array):
    host = memory.pinned(array.nbytes)
    host[:] = array.view(np.uint8).ravel()
    address = memory.allocate(array.nbytes)
    memory.copy_to_device(address, host)
    memory.synchronize()
    return DeviceTensor(address, array.shape, array.dtype)


def test_hfnet_is_as_on_the_cpu(memory, rng):
    scores = rng.uniform(size=(1, 1, 480, 640)).astype(np.float32) ** 8
    descriptors = rng.normal(size=(1, 128, 60, 80)).astype(np.float32)
    rule = SelectionRule(4, 3, 0.005, 2048, cubic=False, center_radius=2)
    kernels = FeatureKernels(memory, put(memory, scores), put(memory, descriptors), rule)
    expected = hfnet.select_keypoints(scores[0, 0], descriptors[0], rule)
    for _ in range(3):
        kernels.put()
        memory.synchronize()
        chosen = kernels.features()
        np.testing.assert_array_equal(chosen.scores, expected.scores)
        np.testing.assert_allclose(chosen.keypoints, expected.keypoints, rtol=0, atol=1e-3)
        np.testing.assert_allclose(chosen.descriptors, expected.descriptors, rtol=0, atol=1e-5)
    kernels.close()


def test_matches_are_those_of_the_cpu(memory, rng, tmp_path):
    keypoints = rng.normal(size=(2048, 128))
    keypoints = (keypoints / np.linalg.norm(keypoints, axis=1, keepdims=True)).astype(np.float32)
    noisy = keypoints + rng.normal(scale=0.02, size=keypoints.shape)
    landmarks = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    wanted = set(zip(*(part.tolist() for part in mutual_nearest(keypoints, landmarks, 0.2)[:2]), strict=True))
    found = []
    for _ in range(2):  # the second time with kernels of the cache
        table = GpuLandmarks(
            memory,
            landmarks,
            None,
            max_keypoints=2048,
            max_listed=len(landmarks),
            open_kernels=module_opener(str(tmp_path / "kernels")),
        )
        found.append(table.match(keypoints, np.arange(len(landmarks)), min_similarity=0.2))
        table.close()
    pairs = set(zip(*(part.tolist() for part in found[0][:2]), strict=True))
    assert len(wanted) > 50
    assert len(pairs & wanted) >= 0.99 * len(pairs | wanted)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
