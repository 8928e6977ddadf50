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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hfnet_ros.errors import EngineError
from hfnet_ros.inference.code_folder import CodeFolder, difference, short_digest
from hfnet_ros.inference.tensorrt_library import LIBRARIES, TENSORRT

_PLAN, _KERNELS = "plan", "kernels"


@dataclass(frozen=True)
class PlanKey:
    """Everything a plan depends on; two equal keys may share a plan.

    Attributes:
        network: name, for people; shapes are part of the ONNX and so of its digest.
        onnx_sha256: of the network before precision was applied.
        tensorrt: full version.
        gpu: name and compute capability; the latter alone where any GPU that has it can run the plan.
        machine: operating system and processor, e.g. `Linux-aarch64`.
        options: whatever else the builder was told.
        library: which TensorRT, by the name of its backend.
    """

    network: str
    onnx_sha256: str
    tensorrt: str
    gpu: str
    machine: str
    options: str
    library: str = TENSORRT.backend

    @property
    def suffix(self) -> str:
        """End of its plan's name."""
        return LIBRARIES[self.library].suffix

    @property
    def file_stem(self) -> str:
        """Name of its files: readable first, then unambiguous."""
        return f"{re.sub(r'[^A-Za-z0-9.-]+', '_', self.network)[:60]}-{short_digest(asdict(self))}"


@dataclass(frozen=True)
class CachedPlan:
    """What a folder holds of one plan, for people."""

    path: Path
    num_bytes: int
    key: PlanKey
    seconds: float


class PlanCache:
    """A folder of plans and timing caches."""

    def __init__(self, folder: str = "") -> None:
        """Use a folder; it is made when something is first kept. Empty takes the user's cache."""
        self._code = CodeFolder(folder)

    @property
    def folder(self) -> Path:
        """Where the plans are."""
        return self._code.path

    def load(self, key: PlanKey) -> tuple[bytes | None, str]:
        """Return the plan of a key, or None and why there is none that fits.

        Raises:
            EngineError: there is one that somebody else made or could have changed.
        """
        plan, reason = self._code.load(_file_name(key), asdict(key), _PLAN)
        return plan, reason or ("" if plan is not None else self._why_not_built(key))

    def store(self, key: PlanKey, plan: bytes, *, seconds: float = 0.0, log: tuple[str, ...] = ()) -> Path:
        """Keep a plan and its record, each in one step.

        Raises:
            EngineError: the folder belongs to somebody else, or cannot be written.
        """
        return self._code.store(_file_name(key), asdict(key), _PLAN, plan, seconds=seconds, log=log)

    def load_kernels(self, key: PlanKey, gpu: str) -> bytes:
        """Return what was compiled of a plan for a GPU when it ran before; empty if nothing fits.

        Args:
            key: of the plan.
            gpu: everything that compiled kernels depend on besides: GPU and driver.

        Raises:
            EngineError: there is something that somebody else made or could have changed.
        """
        return self._code.load(_kernels_name(key, gpu), _kernels_key(key, gpu), _KERNELS)[0] or b""

    def store_kernels(self, key: PlanKey, gpu: str, kernels: bytes) -> None:
        """Keep what was compiled of a plan for a GPU, in one step.

        Raises:
            EngineError: the folder belongs to somebody else, or cannot be written.
        """
        self._code.store(_kernels_name(key, gpu), _kernels_key(key, gpu), _KERNELS, kernels)

    def load_timing(self, key: PlanKey) -> bytes:
        """Return what was measured by earlier builds of the same TensorRT on the same GPU; may be empty."""
        return self._code.read_own(self._timing_path(key)) or b""

    def store_timing(self, key: PlanKey, timing: bytes) -> None:
        """Keep what was measured."""
        if timing:
            self._code.write(self._timing_path(key), timing)

    @contextlib.contextmanager
    def building(self, key: PlanKey) -> Iterator[None]:
        """Let one process at a time build the same plan; the others wait and find it."""
        self._code.make()
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
                record = json.loads(self._code.read_own(path) or b"")
                key = PlanKey(**record["key"])
                plan = path.with_suffix(key.suffix)
                found.append(CachedPlan(plan, plan.stat().st_size, key, float(record["build_seconds"])))
        return found

    def record(self, key: PlanKey) -> dict[str, Any]:
        """Return the record of a plan: digest, seconds, builder's log.

        Raises:
            EngineError: there is none.
        """
        content = self._code.read_own((self.folder / _file_name(key)).with_suffix(".json"))
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
        self._code.check()

    @property
    def is_writable(self) -> bool:
        """Tell whether plans can be kept."""
        return self._code.is_writable

    def _why_not_built(self, key: PlanKey) -> str:
        for plan in self.plans():
            if plan.key.onnx_sha256 == key.onnx_sha256:
                return f"built otherwise before: {difference(asdict(plan.key), asdict(key))}"
        return "not built yet on this machine"

    def _timing_path(self, key: PlanKey) -> Path:
        digest = hashlib.sha256(f"{key.tensorrt}|{key.gpu}|{key.machine}".encode()).hexdigest()[:16]
        return self.folder / f"timing-{digest}.cache"


def _file_name(key: PlanKey) -> str:
    return f"{key.file_stem}{key.suffix}"


def _kernels_name(key: PlanKey, gpu: str) -> str:
    return f"{key.file_stem}-{short_digest({'gpu': gpu})[:8]}.kernels"


def _kernels_key(key: PlanKey, gpu: str) -> dict[str, str]:
    return {**asdict(key), "runs_on": gpu}
