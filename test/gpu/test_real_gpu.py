"""The kernels on the machine's own GPU, where there is one."""

import numpy as np
import pytest

from hfnet_ros.features import hfnet
from hfnet_ros.gpu.features import DeviceTensor, FeatureKernels, SelectionRule
from hfnet_ros.gpu.features_on_device import DeviceRows
from hfnet_ros.gpu.matching import GpuLandmarks
from hfnet_ros.gpu.module import module_opener
from hfnet_ros.inference.cuda_memory import find_cuda_library, open_cuda_memory
from hfnet_ros.inference.driver import probe_driver

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


def test_descriptors_that_stay_match_as_those_that_were_copied(memory, rng, tmp_path):
    scores = rng.uniform(size=(1, 1, 480, 640)).astype(np.float32) ** 8
    dense = rng.normal(size=(1, 128, 60, 80)).astype(np.float32)
    rule = SelectionRule(4, 3, 0.005, 2048, cubic=False, center_radius=2)
    open_kernels = module_opener(str(tmp_path / "kernels"))
    kernels = FeatureKernels(
        memory,
        put(memory, scores),
        put(memory, dense),
        rule,
        half_descriptors=True,
        open_kernels=open_kernels,
    )
    expected = hfnet.select_keypoints(scores[0, 0], dense[0], rule).descriptors
    noisy = expected + rng.normal(scale=0.02, size=expected.shape)
    landmarks = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    xyz, all_rows = rng.uniform(size=(len(landmarks), 3)), np.arange(len(landmarks))
    for _ in range(2):  # the second time with kernels of the cache
        own = open_cuda_memory()  # and with it a stream of its own
        table = GpuLandmarks(
            own, landmarks, xyz, max_keypoints=2048, max_listed=len(landmarks), open_kernels=open_kernels
        )
        kernels.put()
        memory.synchronize()
        copied, there = kernels.features().descriptors, kernels.on_device
        np.testing.assert_array_equal(kernels.fetch_descriptors(), copied)
        for rows in (None, rng.permutation(len(copied))[:150]):
            sent = copied if rows is None else copied[rows]
            stays = DeviceRows(there.half_descriptors, there.descriptor_size, len(sent), rows)
            options = {"min_similarity": 0.2, "ratio": 0.95, "same_place_m": 0.01}
            found, wanted = (table.match(part, all_rows, **options) for part in (stays, sent))
            assert len(wanted[0]) > 50
            for one, other in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(one, other)
        table.close()
        own.close()
    kernels.close()
