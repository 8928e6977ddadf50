import os
import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from hfnet_ros.messages import topics
from hfnet_ros.node.core import RelocalizerNode

# What gate, filter and diagnostics do after an image, and a product large enough for workers in any OpenBLAS.
PROGRAM = """
import sys, time
import numpy as np
from hfnet_ros.node.blas_threads import limit_blas_threads

def after_an_image():
    np.linalg.solve(np.eye(6) + 0.1, np.eye(6))
    np.ones((300, 128)) @ np.ones((128, 300))
    time.sleep(0.1)

def cpu_seconds():
    start = time.process_time()
    for _ in range(5):
        after_an_image()
    return (time.process_time() - start) / 5

after_an_image()
before = cpu_seconds()
limit_blas_threads()
after_an_image()
print(before, cpu_seconds())
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has no workers")
def test_no_worker_spins_after_an_image():
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    before_s, after_s = map(float, done.stdout.split())
    if before_s < 0.01:
        pytest.skip("this numpy has no workers that spin")
    assert after_s < 0.5 * before_s


def test_the_node_limits_its_process_and_the_localizing_thread(start_rig, transport, configured):
    def blas_threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with threadpool_limits(2, "blas"):
        RelocalizerNode(configured(), transport)
        assert blas_threads() == {1}
    rig, seen = start_rig(), []
    rig.watch(topics.STATUS, lambda _: seen.append(blas_threads()))  # called by the localizing thread
    rig.send_mounting()
    rig.send_camera_info()
    rig.step(wait=False)
    rig.wait_for(lambda: seen, "a status")
    assert seen == [{1}]
