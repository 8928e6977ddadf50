"""Score a live node by what it publishes while a bag is played to it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_ros.dds import qos
from hfnet_ros.dds.participant import DdsNode
from hfnet_ros.errors import HfnetRosError
from hfnet_ros.evaluation.metrics import STAGES
from hfnet_ros.evaluation.records import QueryResult
from hfnet_ros.geometry import Rigid3
from hfnet_ros.geometry.covariance import change_child_covariance
from hfnet_ros.messages import topics
from hfnet_ros.messages.headers import stamp_from_message
from hfnet_ros.messages.poses import rigid_from_pose
from hfnet_ros.types import (
    Evidence,
    GateDecision,
    Localization,
    Outcome,
    PoseEstimate,
    Relocalization,
    Search,
    TrackingState,
    Verdict,
)

_START_TIMEOUT_S, _SETTLE_S, _STOP_TIMEOUT_S = 60.0, 1.0, 10.0
_LISTEN_TIMEOUT_S = 30.0  # for the node to be discovered, on a machine however busy


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A node and a player, each in a process of its own, on the loopback interface.

    Attributes:
        map_path: map the node loads.
        bag: what is played.
        parameters: file of the node's parameters.
        image_topic: as in the bag.
        rate: times real time; the node runs on the bag's clock.
        domain: DDS domain of the three processes.
        log: file that takes what the node prints.
    """

    map_path: Path
    bag: Path
    parameters: Path
    image_topic: str
    rate: float
    domain: int
    log: Path

    def record(self) -> list[Any]:
        """Run to the end of the bag and return the RelocalizationStatus of every processed image.

        Raises:
            HfnetRosError: node or player ended early.
        """
        recorded = _Recorded()
        with ExitStack() as stack:
            client = stack.enter_context(DdsNode("recorder", domain_id=self.domain, loopback=True))
            client.create_subscription(
                "/relocalizer/status", topics.STATUS.type_name, qos.RELIABLE, recorded.take_status
            )
            client.create_subscription(
                "/relocalizer/map_info", topics.MAP_INFO.type_name, qos.LATCHED, recorded.take_map
            )
            log = stack.enter_context(self.log.open("w", encoding="utf-8"))
            node = stack.enter_context(_process(self.node_command, stderr=log))
            recorded.wait_for_map(node, self.log)
            _run_to_end(self.play_command)
            recorded.wait_until_quiet()
            if node.poll() is not None:
                raise HfnetRosError(
                    f"the live node ended early, with code {node.returncode}; what it said is in {self.log}"
                )
        return recorded.statuses

    @property
    def node_command(self) -> list[str]:
        """Return the arguments of `hfnet-ros` for the node."""
        return [
            *("run", "--map", str(self.map_path), "--params", str(self.parameters), "--use-sim-time"),
            *("--remap", f"image:={self.image_topic}", *self._network()),
        ]

    @property
    def play_command(self) -> list[str]:
        """Return the arguments of `hfnet-ros` for the player."""
        waiting = ("--wait", str(_LISTEN_TIMEOUT_S))
        return ["play", str(self.bag), "--clock", "--rate", str(self.rate), *waiting, *self._network()]

    def _network(self) -> tuple[str, ...]:
        return "--domain", str(self.domain), "--loopback"


class _Recorded:
    """What came from the node."""

    def __init__(self) -> None:
        self.statuses: list[Any] = []
        self._map_announced = threading.Event()
        self._last_s = time.monotonic()

    def take_status(self, message: Any, _received_ns: int) -> None:
        self.statuses.append(message)
        self._last_s = time.monotonic()

    def take_map(self, _message: Any, _received_ns: int) -> None:
        self._map_announced.set()

    def wait_for_map(self, node: subprocess.Popen[bytes], log: Path) -> None:
        """Wait until the node is active, which is when it announces its map."""
        until_s = time.monotonic() + _START_TIMEOUT_S
        while not self._map_announced.wait(0.1):
            if node.poll() is not None or time.monotonic() > until_s:
                raise HfnetRosError(f"the live node did not start; what it said is in {log}")

    def wait_until_quiet(self) -> None:
        """Wait until no answer comes for longer than any took, since one may still be in work."""
        slowest_s = max((float(status.timings.total) for status in self.statuses), default=0.0)
        self._last_s = time.monotonic()
        while time.monotonic() - self._last_s < _SETTLE_S + 2.0 * slowest_s:
            time.sleep(0.05)


@contextmanager
def _process(arguments: Sequence[str], stderr: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run this program with other arguments; it is told to end at the end of the block."""
    process = subprocess.Popen([sys.executable, "-m", "hfnet_ros", *arguments], stderr=stderr)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _run_to_end(arguments: Sequence[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hfnet_ros", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise HfnetRosError(f"playing the bag failed: {done.stderr.strip() or done.stdout.strip()}")


def query_results(
    statuses: Sequence[Any], base_from_camera: Rigid3, truth: Mapping[int, tuple[Path, Rigid3]]
) -> list[QueryResult]:
    """Return what the messages say of each localized or refused image, to be scored like any other run.

    Args:
        statuses: hfnet_ros/RelocalizationStatus.
        base_from_camera: mounting of the camera; the messages hold poses of the base.
        truth: by stamp (ns): file of the image and true map_from_camera.
    """
    results = []
    for status in statuses:
        stamp_ns = stamp_from_message(status.header.stamp)
        known = truth.get(stamp_ns)
        if known is None or status.outcome not in Outcome.__members__:
            continue  # BAD_INPUT is no answer
        if status.outcome == Outcome.LOCALIZED.value and not len(status.fix):
            continue  # nobody knows how the camera is mounted, so that there is no pose of the base
        path, map_from_camera = known
        relocalization = _relocalization(status, stamp_ns, base_from_camera)
        results.append(
            QueryResult(
                path.name, path, stamp_ns, relocalization.localization, map_from_camera, relocalization
            )
        )
    return results


def _relocalization(status: Any, stamp_ns: int, base_from_camera: Rigid3) -> Relocalization:
    estimate = _estimate(status, base_from_camera)
    evidence = Evidence(status.num_keypoints, status.num_matches, status.num_inliers, status.reason)
    seconds = {stage: float(getattr(status.timings, stage)) for stage in STAGES[1:]}
    localization = Localization(
        stamp_ns,
        Outcome(status.outcome),
        estimate,
        None,
        evidence,
        {**seconds, "total": sum(seconds.values())},
        search=Search(status.search),
    )
    decision = GateDecision(Verdict(status.verdict), status.reason) if status.verdict else None
    return Relocalization(
        localization,
        decision,
        None,
        None,
        TrackingState(status.state),
        None,
        relocated=bool(status.relocated),
        age_s=status.age if status.age >= 0.0 else None,
        distance_m=status.distance if status.distance >= 0.0 else None,
    )


def _estimate(status: Any, base_from_camera: Rigid3) -> PoseEstimate | None:
    if not len(status.fix):
        return None
    map_from_base = rigid_from_pose(status.fix[0].pose)
    covariance = np.array(status.fix[0].covariance, np.float64).reshape(6, 6)
    return PoseEstimate(
        map_from_base @ base_from_camera,
        change_child_covariance(covariance, map_from_base, base_from_camera.translation),
        np.ones(status.num_inliers, np.bool_),
        status.reprojection_rmse_px,
    )
