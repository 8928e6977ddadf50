"""One thread for the matrix products of a node, for good."""

from __future__ import annotations

import os

from threadpoolctl import threadpool_limits

_FOR_WHAT_IS_LOADED_LATER = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
)


def limit_blas_threads() -> None:
    """Let linear algebra run in the thread that calls it, from now on and in the whole process.

    OpenBLAS hands even a 6x6 solution to its workers, as numpy has it in Debian and Ubuntu, and they then spin for
    some 50 ms: half a core at five images a second, for microseconds of work.

    Where OpenBLAS is built on OpenMP the limit is that of the calling thread, so that each thread has to call this.
    """
    for name in _FOR_WHAT_IS_LOADED_LATER:
        os.environ[name] = "1"
    threadpool_limits(1, "blas")
