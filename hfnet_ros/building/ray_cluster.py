"""Jobs on a Ray cluster: one of this machine, which is started and ended here, or one that is there already.

Ray only carries jobs and how they ended, a few kilobytes each; what they make goes through the work folder, which all
machines must see. Usage statistics are switched off before Ray is imported, the dashboard is not started, and a cluster
that is started here listens on loopback alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import secrets
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hfnet_ros
from hfnet_ros.building.execution import execute
from hfnet_ros.building.graph import Job, Outcome
from hfnet_ros.config import Config
from hfnet_ros.errors import BuildingError

_logger = logging.getLogger(__name__)

LOCAL = "local"
_INSTALL = "`pip install hfnet_ros[cluster]` brings it"
_CONNECT_S = 5.0
_TOKENS, _TOKEN_FILE = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"), Path("~/.ray/auth_token")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PROBE_S = 120.0
_ASK_EVERY_S, _MAX_SILENT = 2.0, 5
_JOBS_AT_ONCE = 256  # more only wait, and are told to go when something fails
_MEMORY_OF_INPUT, _LEAST_MEMORY = 4, 300 << 20  # a job holds its inputs and about three times as much beside
_GPU_BACKENDS = ("onnxruntime-cuda", "tensorrt", "tensorrt-rtx")


class RayWorkers:
    """Runs jobs on a Ray cluster."""

    num_at_once = _JOBS_AT_ONCE

    def __init__(self, ray: Any, config: Config) -> None:
        """Take a cluster that this process is connected to; see `connected`."""
        self._ray = ray
        self._config = config
        self._remote = ray.remote(max_retries=0)(execute)
        # CPUs and bytes of memory of each, and what it makes.
        self._running: dict[Any, tuple[tuple[float, ...], Path]] = {}
        self._num_short: Counter[Path] = Counter()  # how often memory ran out
        self._largest = _largest_node(ray) or (1.0, float(_LEAST_MEMORY))
        self._head = _host_and_port(ray.get_runtime_context().gcs_address)
        self._num_silent = 0

    def submit(self, job: Job) -> Any:
        """Hand in a job with what it needs: threads, memory, and a GPU where the configuration names one."""
        of_inputs = _MEMORY_OF_INPUT * sum(artefact.bytes for artefact in job.inputs)
        memory = max(_LEAST_MEMORY + of_inputs, self._share_of_memory(job))
        wants_gpu = job.stage.network and self._config.inference.backend in _GPU_BACKENDS
        # More than any machine has would wait forever.
        needed = tuple(
            min(one, most) for one, most in zip((job.num_threads, memory), self._largest, strict=True)
        )
        handle = self._remote.options(
            name=f"{job.stage.name} of {job.of}",
            num_cpus=needed[0],
            memory=needed[1],
            num_gpus=1 if wants_gpu else 0,
        ).remote(job)
        self._running[handle] = needed, job.artefact.path
        return handle

    def _share_of_memory(self, job: Job) -> float:
        """Return what a job asks for that memory was too short for: half a machine, then all of it.

        Started again beside as many others it would only be killed again.
        """
        num_short = self._num_short[job.artefact.path]
        if not num_short:
            return 0.0
        most = _most_memory(self._ray, job.num_threads)
        return most / 2 if num_short == 1 else most

    def wait(self) -> tuple[Any, Outcome]:
        """Wait for one of the jobs; a worker that ended is an outcome.

        Raises:
            BuildingError: the cluster is gone, or something else is wrong with it.
        """
        ray = self._ray
        ready: list[Any] = []
        while not ready:
            ready, _ = ray.wait(list(self._running), num_returns=1, timeout=_ASK_EVERY_S)
            if not ready:
                self._refuse_dead_head()
                # A head that is gone is not asked: Ray would wait for it for a minute, then end this process.
                stranded = None if self._num_silent else self._cancel_stranded()
                if stranded is not None:
                    return stranded, Outcome(killed="no machine of the cluster is as large any more")
        handle = ready[0]
        _, made = self._running.pop(handle)
        outcome = self._outcome_of(handle)
        if outcome.for_memory:
            self._num_short[made] += 1
        return handle, outcome

    def _outcome_of(self, handle: Any) -> Outcome:
        errors = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(handle)
            return outcome
        except errors.OutOfMemoryError as error:
            return Outcome(killed=_first_line(error), for_memory=True)
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError) as error:
            return Outcome(killed=_first_line(error))
        except errors.RayTaskError as error:
            # A mistake in this program, or in what is installed there: its traceback is wanted.
            raise BuildingError(f"a worker failed: {error}") from error
        except errors.RayError as error:
            raise BuildingError(f"the cluster fails: {_first_line(error)}; {_GO_ON}") from error

    def _cancel_stranded(self) -> Any | None:
        """Cancel and return a job that waits for a machine that is gone, larger than any of the others."""
        self._largest = _largest_node(self._ray) or self._largest
        for handle, (needed, _) in self._running.items():
            if any(one > most for one, most in zip(needed, self._largest, strict=True)):
                del self._running[handle]
                self._ray.cancel(handle, force=True)
                return handle
        return None

    def _refuse_dead_head(self) -> None:
        """Notice before Ray does, which ends this process after a minute."""
        self._num_silent = 0 if _listens(*self._head) else self._num_silent + 1
        if self._num_silent >= _MAX_SILENT:
            self._running.clear()
            raise BuildingError(
                f"the head of the cluster at {self._head[0]}:{self._head[1]} is gone; {_GO_ON}"
            )

    def close(self) -> None:
        """Cancel what runs."""
        for handle in self._running:
            self._ray.cancel(handle, force=True)
        self._running.clear()


_GO_ON = "start the same command again when there is a cluster: it goes on where it stopped"


@contextmanager
def connected(address: str, config: Config, work: Path, extractor_id: str) -> Iterator[RayWorkers]:
    """Give workers of a cluster.

    Args:
        address: HOST:PORT of a cluster's head, `auto` for the one that this machine is part of, `local` or a number of
            workers for one of this machine that ends with the context; a job of several threads counts as so many.
        config: parameters.
        work: folder of artefacts, which all machines must see.
        extractor_id: that all machines must have.

    Raises:
        BuildingError: Ray is not installed, there is no cluster, or a machine of it cannot do the work; says why.
    """
    ray = _import_ray()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if address == LOCAL or address.isdigit():
        _start_here(ray, max(1, int(address)) if address.isdigit() else os.cpu_count() or 1)
    else:
        _connect(ray, address)
    for number, handler in handlers.items():
        # Ray's would end this process with a dump of its stack, and nothing cleaned up.
        signal.signal(number, handler)
    try:
        if not (address == LOCAL or address.isdigit()):
            _probe(ray, config, work, extractor_id)
        workers = RayWorkers(ray, config)
        try:
            yield workers
        finally:
            workers.close()
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    """Import Ray, set to be silent and private.

    Raises:
        BuildingError: it is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise BuildingError(f"--cluster needs Ray, which is not installed; {_INSTALL}")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Of a cluster that is named, Ray takes no token by itself; one that asks for none does not mind.
    if any(name in os.environ for name in _TOKENS) or _TOKEN_FILE.expanduser().is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    # Else it asks a port at which something else listens for four minutes.
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


def _stay_on_loopback(ray: Any, is_wanted: bool) -> None:
    """Let Ray take the loopback address, or else the network's, to which it resolves even "127.0.0.1".

    It is what Ray does by itself on systems whose firewall would ask; the variable tells the processes it starts.
    """
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = not is_wanted
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = str(int(not is_wanted))


def _start_here(ray: Any, num_cpus: int) -> None:
    _stay_on_loopback(ray, True)
    try:
        ray.init(
            address=LOCAL,
            num_cpus=num_cpus,
            include_dashboard=False,
            object_store_memory=100 << 20,  # jobs and outcomes only
            log_to_driver=False,
            configure_logging=False,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise BuildingError(f"no cluster can be started on this machine: {_first_line(error)}") from error


def _connect(ray: Any, address: str) -> None:
    if address != "auto":
        host, port = _host_and_port(address)
        _stay_on_loopback(ray, False)
        if host in _LOOPBACK and not _listens(ray.util.get_node_ip_address(), port):
            _stay_on_loopback(ray, True)
        if not _listens(host, port):
            raise BuildingError(f"{_nobody(address)}; {_START}")
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise BuildingError(
            f"{_nobody(address)}: {_first_line(error)}; {_START}. If it asks for a token, {_TOKEN_FILE} must hold it"
        ) from error


_START = (
    "start one with `ray start --head` there and `ray start --address=HOST:PORT` on the other machines "
    "(docs/building.md), or give --cluster local"
)


def _nobody(address: str) -> str:
    return f"no Ray cluster can be reached at '{address}'"


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise BuildingError(
            f"--cluster is '{address}', expected HOST:PORT of a Ray head, auto, local or a number of workers"
        )
    return host.strip("[]"), int(port)


def _listens(host: str, port: int) -> bool:
    """Tell whether anybody does: Ray itself would ask for minutes."""
    try:
        socket.create_connection((host, port), _CONNECT_S).close()
    except (OSError, OverflowError):
        return False
    return True


def _usable_nodes(ray: Any) -> list[dict[str, float]]:
    """Return what the machines offer that take jobs for now."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


def _most_memory(ray: Any, num_cpus: float) -> float:
    """Return the most bytes of memory of a machine that has so many CPUs."""
    return max(
        (node.get("memory", 0.0) for node in _usable_nodes(ray) if node["CPU"] >= num_cpus), default=0.0
    )


def _largest_node(ray: Any) -> tuple[float, float] | None:
    """Return the most CPUs and bytes of memory that a machine offers; None where none takes jobs for now."""
    nodes = _usable_nodes(ray)
    if not nodes:
        return None
    return max(node["CPU"] for node in nodes), max(node.get("memory", 0.0) for node in nodes)


def code_digest() -> str:
    """Return the SHA-256 of this program's sources: a version alone does not tell two checkouts apart."""
    folder, digest = Path(hfnet_ros.__file__).parent, hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _probe(ray: Any, config: Config, work: Path, extractor_id: str) -> None:
    """Ask every machine for its program, its weights and whether it sees the work folder.

    Raises:
        BuildingError: names the machine, what was found and expected.
    """
    token = secrets.token_hex(8)

    # A function of its own is sent as code: it says something even where this program is not installed.
    def ask(node: str, note: str, values: dict[str, Any]) -> dict[str, str]:
        found = {"host": __import__("os").uname().nodename}
        try:
            from hfnet_ros.building.ray_cluster import answer
        except Exception as error:
            return found | {"problem": f"hfnet_ros cannot be imported there: {error!r}"}
        return found | answer(node, note, values)

    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    nodes = [node for node in ray.nodes() if node["Alive"]]
    note = str(work / f".probe-{token}")
    asked = [
        ray.remote(max_retries=0, num_cpus=0)(ask)
        .options(scheduling_strategy=strategy(node["NodeID"], soft=False))
        .remote(node["NodeID"], note, config.to_dict())
        for node in nodes
    ]
    try:
        answers = ray.get(asked, timeout=_PROBE_S)
        for node, said in zip(nodes, answers, strict=True):
            where = f"machine {said['host']} of the cluster"
            if "problem" in said:
                raise BuildingError(f"{where}: {said['problem']}")
            _compare(where, "hfnet_ros", said["version"], hfnet_ros.__version__)
            _compare(where, "source of hfnet_ros", said["code"], code_digest())
            _compare(where, "extractor", said["extractor_id"], extractor_id)
            _refuse_invisible(Path(f"{note}-{node['NodeID']}"), where, work, said)
    except ray.exceptions.RayError as error:
        raise BuildingError(f"a machine of the cluster does not answer: {_first_line(error)}") from error
    finally:
        for file in work.glob(f".probe-{token}*"):
            file.unlink(missing_ok=True)


def answer(node: str, note: str, values: dict[str, Any]) -> dict[str, str]:
    """Say what this machine has, and leave a note in the work folder; runs on a worker."""
    from hfnet_ros.features.extractor import create_mapping_extractor

    try:
        extractor = create_mapping_extractor(Config.from_dict(values))
        extractor_id = extractor.extractor_id
        extractor.close()
    except hfnet_ros.errors.HfnetRosError as error:
        return {"problem": str(error)}
    said = {"version": hfnet_ros.__version__, "code": code_digest(), "extractor_id": extractor_id}
    try:
        Path(f"{note}-{node}").write_text(node)
    except OSError as error:
        said["unwritten"] = error.strerror or str(error)
    return said


def _compare(where: str, what: str, found: str, expected: str) -> None:
    if found != expected:
        raise BuildingError(
            f"{where} has {what} {found[:40]}, expected {expected[:40]} as here: install the same program and weights "
            "on all machines (docs/building.md)"
        )


def _refuse_invisible(note: Path, where: str, work: Path, said: dict[str, str]) -> None:
    if not note.is_file():
        because = said.get("unwritten", "what it wrote there is not seen here")
        raise BuildingError(
            f"{where} does not share the work folder {work} with this one: {because}; give --work a folder that all "
            "machines see under the same name, such as one of NFS"
        )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] if lines else type(error).__name__
