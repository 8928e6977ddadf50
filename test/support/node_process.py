"""The program in a process of its own, which begins where its imports are done already.

Importing what a node needs takes longer than most tests of it. A server imports it once and is copied for
every node. `test/cli/test_run.py` starts the program from nothing.
"""

import importlib.util
import multiprocessing
import os
import pkgutil
import signal
import subprocess
import sys

MAIN = "hfnet_ros.cli.main"
IMPORTED_FIRST = (
    "hfnet_ros.dds.relocalizer_node",
    "hfnet_ros.evaluation.records",
    "hfnet_ros.features.sift",
    "hfnet_ros.node.process_exit",
    "cyclonedds.idl._builder",
    "poselib",
    "rosbags.serde.primitives",
)
# Verbs, and the messages of every distribution: dataclasses, which take most of a second to make.
WHOLE = ("hfnet_ros.cli", "rosbags.typesys.stores")


def modules_of(package):
    """Return the names of a package's modules."""
    folders = importlib.util.find_spec(package).submodule_search_locations
    return [f"{package}.{module.name}" for module in pkgutil.iter_modules(folders)]


class NodeProcess:
    """The few methods of `subprocess.Popen` that tests use, of a copy of the server."""

    def __init__(self, arguments, log, prepare=None):
        """Start it; `prepare` is a function that the copy calls first, to be found by its name."""
        context = multiprocessing.get_context("forkserver")
        whole = [name for package in WHOLE for name in modules_of(package)]
        context.set_forkserver_preload([MAIN, *IMPORTED_FIRST, *whole])
        self._process = context.Process(
            target=run_program, args=(list(arguments), log.name, dict(os.environ), prepare), daemon=True
        )
        self._process.start()

    @property
    def pid(self):
        return self._process.pid

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout_s):
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(f"node {self.pid}", timeout_s)
        return self._process.exitcode

    def send_signal(self, number):
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self):
        self._process.kill()


def run_program(arguments, log_path, environment, prepare):
    """Run the program in this process, with standard error in a file."""
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 2)
    os.close(log)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)

    from hfnet_ros.cli.main import main

    if prepare is not None:
        prepare()
    sys.exit(main(arguments))
