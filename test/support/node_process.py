"""The program in a process of its own, which begins where its imports are done already.

Importing what a node needs takes longer than most tests of it. A server imports it once and is copied for
every node. `test/cli/test_run.py` starts the program from nothing.
"""

import multiprocessing
import os
import signal
import subprocess
import sys

MAIN, IMPORTED_FIRST = "hfnet_ros.cli.main", ("hfnet_ros.dds.relocalizer_node", "hfnet_ros.features.sift")


class NodeProcess:
    """The few methods of `subprocess.Popen` that tests use, of a copy of the server."""

    def __init__(self, arguments, log):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([MAIN, *IMPORTED_FIRST])
        self._process = context.Process(
            target=run_program, args=(list(arguments), log.name, dict(os.environ)), daemon=True
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


def run_program(arguments, log_path, environment):
    """Run the program in this process, with standard error in a file."""
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 2)
    os.close(log)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)

    from hfnet_ros.cli.main import main

    sys.exit(main(arguments))
