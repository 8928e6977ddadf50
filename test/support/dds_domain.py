"""The DDS domain of this test process, in which processes of other tests are not heard."""

import os

_WORKERS = 5  # of pytest-xdist in one run; scripts/test starts no more
_worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
_run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()

# Above 101, DDS's ports are among those that Linux lends to other programs.
DOMAIN_ID = 1 + _run % (100 // _WORKERS) * _WORKERS + int(_worker) % _WORKERS
