"""Plans that were built on this machine, kept for the next start.

A plan is executable code, bound to one TensorRT version and one kind of GPU. So a plan is used only
if its file belongs to the user who runs this, nobody else can write it, and the sidecar beside it
says that it was built from the same network, by the same TensorRT, for the same GPU, in the same way.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hfnet_ros.errors import EngineError
from hfnet_ros.files.atomic import atomic_file

FORMAT = 1
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MAX_SIDECAR_BYTES = 4 << 20


@dataclass(frozen=True)
class PlanKey:
    """Everything a plan depends on; two equal keys may share a plan.

    Attributes:
        network: name, for people; shapes are part of the ONNX and so of its digest.
        onnx_sha256: of the network before precision was applied.
        tensorrt: full version.
        gpu: name and compute capability.
        machine: operating system and processor, e.g. `Linux-aarch64`.
        options: whatever else the builder was told.
    """

    network: str
    onnx_sha256: str
    tensorrt: str
    gpu: str
    machine: str
    options: str

    @property
    def file_stem(self) -> str:
        """Name of its files: readable first, then unambiguous."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{re.sub(r'[^A-Za-z0-9.-]+', '_', self.network)[:60]}-{digest[:16]}"


@dataclass(frozen=True)
class CachedPlan:
    """What a folder holds of one plan, for people."""

    path: Path
    num_bytes: int
    key: PlanKey
    seconds: float


def default_cache_folder() -> Path:
    """Return the folder for plans of this user."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 (never raises)
    return Path(cache) / "hfnet_ros" / "engines"


class PlanCache:
    """A folder of plans and timing caches."""

    def __init__(self, folder: str = "") -> None:
        """Use a folder; it is made when something is first kept. Empty takes the user's cache."""
        self.folder = Path(folder).expanduser() if folder else default_cache_folder()

    def load(self, key: PlanKey) -> tuple[bytes | None, str]:
        """Return the plan of a key, or None and why there is none that fits.

        Raises:
            EngineError: there is one that somebody else made or could have changed.
        """
        plan_path = self._plan_path(key)
        sidecar = self._read_own(plan_path.with_suffix(".json"))
        if sidecar is None:
            return None, self._why_not_built(key)
        try:
            record = json.loads(sidecar)
            if record["format"] != FORMAT:
                return None, f"the plan's record has format {record['format']}, expected {FORMAT}"
            if record["key"] != asdict(key):
                return None, f"the plan was built otherwise: {_difference(record['key'], asdict(key))}"
            expected = record["plan_sha256"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return None, f"the plan's record is damaged: {error!r}"
        plan = self._read_own(plan_path)
        if plan is None:
            return None, "the plan's file is missing"
        if hashlib.sha256(plan).hexdigest() != expected:
            return None, "the plan's file is not the one that was built: its digest differs"
        return plan, ""

    def store(self, key: PlanKey, plan: bytes, *, seconds: float = 0.0, log: tuple[str, ...] = ()) -> Path:
        """Keep a plan and its record, each in one step.

        Raises:
            EngineError: the folder belongs to somebody else, or cannot be written.
        """
        path = self._plan_path(key)
        record = {
            "format": FORMAT,
            "key": asdict(key),
            "plan_sha256": hashlib.sha256(plan).hexdigest(),
            "plan_bytes": len(plan),
            "build_seconds": round(seconds, 3),
            "log": list(log),
        }
        # Plan first: a record without its plan, or with another's, is noticed by the digest.
        self._write(path, plan)
        self._write(path.with_suffix(".json"), json.dumps(record, indent=1).encode())
        return path

    def load_timing(self, key: PlanKey) -> bytes:
        """Return what was measured by earlier builds of the same TensorRT on the same GPU; may be empty."""
        return self._read_own(self._timing_path(key)) or b""

    def store_timing(self, key: PlanKey, timing: bytes) -> None:
        """Keep what was measured."""
        if timing:
            self._write(self._timing_path(key), timing)

    @contextlib.contextmanager
    def building(self, key: PlanKey) -> Iterator[None]:
        """Let one process at a time build the same plan; the others wait and find it."""
        self._make_folder()
        path = self.folder / f".{key.file_stem}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with contextlib.suppress(OSError):  # a network file system that cannot lock
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def plans(self) -> list[CachedPlan]:
        """Return what the folder holds, by name; what is damaged or somebody else's is left out."""
        found = []
        for path in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []:
            with contextlib.suppress(EngineError, OSError, ValueError, KeyError, TypeError):
                record = json.loads(self._read_own(path) or b"")
                key = PlanKey(**record["key"])
                size = path.with_suffix(".plan").stat().st_size
                found.append(CachedPlan(path.with_suffix(".plan"), size, key, float(record["build_seconds"])))
        return found

    def record(self, key: PlanKey) -> dict[str, Any]:
        """Return the record of a plan: digest, seconds, builder's log.

        Raises:
            EngineError: there is none.
        """
        content = self._read_own(self._plan_path(key).with_suffix(".json"))
        try:
            return dict(json.loads(content or b""))
        except (ValueError, TypeError):
            raise EngineError(
                f"{self.folder}: no plan of '{key.network}'; hfnet-ros engine build makes it"
            ) from None

    def check_folder(self) -> None:
        """Refuse a folder in which somebody else could put plans.

        Raises:
            EngineError: says whose it is or who may write.
        """
        try:
            status = self.folder.stat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise EngineError(f"{self.folder}: cannot be read: {error.strerror}") from error
        _check_owner(self.folder, status)

    def _why_not_built(self, key: PlanKey) -> str:
        for plan in self.plans():
            if plan.key.onnx_sha256 == key.onnx_sha256:
                return f"built otherwise before: {_difference(asdict(plan.key), asdict(key))}"
        return "not built yet on this machine"

    def _plan_path(self, key: PlanKey) -> Path:
        return self.folder / f"{key.file_stem}.plan"

    def _timing_path(self, key: PlanKey) -> Path:
        digest = hashlib.sha256(f"{key.tensorrt}|{key.gpu}|{key.machine}".encode()).hexdigest()[:16]
        return self.folder / f"timing-{digest}.cache"

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EngineError(
                f"{self.folder}: cannot be made: {error.strerror}; name another with inference.engine_cache"
            ) from error
        self.check_folder()

    def _read_own(self, path: Path) -> bytes | None:
        """Return a file's content if it is ours alone; None if there is no file.

        Owner and content are those of the same open file: it cannot be exchanged in between.
        """
        self.check_folder()
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EngineError(
                f"{path}: cannot be opened as a plain file: {error.strerror}; delete it"
            ) from error
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise EngineError(f"{path}: is no plain file; delete it")
            _check_owner(path, status)
            if path.suffix == ".json" and status.st_size > _MAX_SIDECAR_BYTES:
                return b""
            return file.read()

    def _write(self, path: Path, content: bytes) -> None:
        self._make_folder()
        try:
            with atomic_file(path) as temporary:
                temporary.chmod(0o600)
                temporary.write_bytes(content)
            path.chmod(0o600)
        except OSError as error:
            raise EngineError(f"{path}: cannot be written: {error.strerror}") from error


def _check_owner(path: Path, status: os.stat_result) -> None:
    user = os.geteuid()
    if status.st_uid != user:
        raise EngineError(
            f"{path}: belongs to user {status.st_uid}, expected {user}, who runs this: a plan is code, and only "
            "one's own is run; delete it, or name another folder with inference.engine_cache"
        )
    if status.st_mode & _OTHERS_WRITE:
        raise EngineError(
            f"{path}: others may write it (mode {stat.S_IMODE(status.st_mode):o}): a plan is code; "
            f"chmod go-w {path} if you trust what is in it"
        )


def _difference(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    differing = [name for name in expected if found.get(name) != expected[name]]
    return ", ".join(f"{name} is {found.get(name)!r}, expected {expected[name]!r}" for name in differing[:2])
