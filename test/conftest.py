"""Fixtures that several folders share, published weights beside the checkout, and which tests run where."""

import gc
import os
from pathlib import Path

import pytest

SHARED_WEIGHTS = Path(__file__).resolve().parents[2] / "shared" / "weights"
if SHARED_WEIGHTS.is_dir():
    os.environ.setdefault("HFNET_ROS_WEIGHTS", str(SHARED_WEIGHTS))

IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if IS_WORKER:  # there is another on the other core; set before numpy is imported, and for what tests start
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    # Where two threads are asked for, one that is ahead sleeps instead of keeping the core from the other worker.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Files of one long test, or that wait for others: at the end one worker would be alone with them.
START_FIRST = ("test_without_wheels.py", "test_distribution.py", "test_workflows.py", "test_ray_cluster.py")

pytest_plugins = [
    "browsers",
    "camera_robots",
    "described_once",
    "generated_maps",
    "live_room",
    "missing_packages",
    "scored_queries",
]


def pytest_addoption(parser):
    """Offer what CI has no time for."""
    parser.addoption("--slow", action="store_true", help="run tests marked slow, too: minutes more")


def pytest_configure(config):
    """Wait for no disk: nobody pulls the plug, and tests that ask whether something is synced count calls."""
    os.fsync = lambda descriptor: None


@pytest.hookimpl(hookwrapper=True)
def pytest_collection(session):
    """Look for no garbage meanwhile, nor among the tests later, an eighth of the time each: all 6,600 stay."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config, items):
    """Skip what is slow; let workers begin with what takes longest, so that none ends alone with it."""
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(
                    pytest.mark.skip(
                        reason="takes minutes, or seconds to say little more; scripts/test --slow runs it"
                    )
                )
    if IS_WORKER:
        items.sort(
            key=lambda item: (item.get_closest_marker("shared") is None, item.path.name not in START_FIRST)
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give a worker whole files: their tests share what they build."""
    from file_scheduling import FileScheduling

    return FileScheduling(config, log)
