"""What is made once and used by the tests of all workers of pytest-xdist."""

import fcntl
import os
import pickle
from pathlib import Path

RUN_FOLDER = "HFNET_ROS_TEST_RUN"  # of a test run that a test starts: where the first run keeps what it made


def run_folder(tmp_path_factory):
    """Return the folder of this run, which all workers see."""
    if RUN_FOLDER in os.environ:
        return Path(os.environ[RUN_FOLDER])
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def made_once(tmp_path_factory, name, make):
    """Return the folder that `make` fills: the first worker that needs it does, others wait and take it as it is.

    Args:
        tmp_path_factory: of pytest.
        name: of the folder.
        make: is given the empty folder, which keeps its path.
    """
    root = run_folder(tmp_path_factory)
    folder, is_made = root / f"shared-{name}", root / f"shared-{name}.made"
    with (root / f"shared-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_made.exists():
            # A worker that failed may have left a part of it.
            folder = folder.with_name(f"{folder.name}-{os.getpid()}") if folder.exists() else folder
            folder.mkdir()
            make(folder)
            is_made.write_text(folder.name)
        return root / is_made.read_text()


def made_object(tmp_path_factory, name, make):
    """Return the object that `make` returns, made once for all workers; each has a copy of its own."""

    def save(folder):
        with (folder / "object.pickle").open("wb") as file:
            pickle.dump(make(), file, protocol=pickle.HIGHEST_PROTOCOL)

    with (made_once(tmp_path_factory, name, save) / "object.pickle").open("rb") as file:
        return pickle.load(file)
