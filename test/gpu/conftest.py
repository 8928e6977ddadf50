import numpy as np
import pytest
from host_cuda import HostMemory, build_in
from shared_work import run_folder


@pytest.fixture(scope="session", autouse=True)
def kernels_of_all_workers(tmp_path_factory):
    """Let workers take the kernels that another has compiled."""
    build_in(run_folder(tmp_path_factory) / "kernels")


@pytest.fixture
def memory():
    """Device memory on the host; everything must have been freed in order."""
    opened = HostMemory()
    yield opened
    opened.close()


@pytest.fixture
def rng():
    return np.random.default_rng(7)
