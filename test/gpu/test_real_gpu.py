"""The kernels on the machine's own GPU, where there is one."""

import numpy as np
import pytest

from hfnet_ros.features import hfnet
from hfnet_ros.gpu.features import DeviceTensor, FeatureKernels, SelectionRule
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
    expected = hfnet.select_keypoints(scores[0, 0], descriptors[0], rule.max_keypoints)
    for _ in range(3):
        kernels.put()
        memory.synchronize()
        chosen = kernels.features()
        np.testing.assert_array_equal(chosen.scores, expected.scores)
        np.testing.assert_allclose(chosen.keypoints, expected.keypoints, rtol=0, atol=1e-3)
        np.testing.assert_allclose(chosen.descriptors, expected.descriptors, rtol=0, atol=1e-5)
    kernels.close()
