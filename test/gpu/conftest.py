import numpy as np
import pytest
from host_cuda import HostMemory


@pytest.fixture
def memory():
    """Device memory on the host; everything must have been freed in order."""
    opened = HostMemory()
    yield opened
    opened.close()


@pytest.fixture
def rng():
    return np.random.default_rng(7)
