"""What does one camera of three that fails cost, and what remains false?

    python bench/rig_faults.py --cache DIR --seed 22 [--faults none late:0.3 turned:10 black] [--no-odometry]

The rig and apartment of rig.py, asked as a robot asks: what cameras say alone is kept back until others or odometry
have proven them right. Prints for each fault, in each camera in turn, how many poses there are, how many of them are
false, how many were kept back, when the camera had first seen the map with something to compare that with (10 s at the
most before or after), and when it was named. Nothing is asserted.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
from acceptance.workspace import Workspace
from rig import (
    FALSE_DEG,
    FALSE_M,
    FIRST,
    NAMES,
    RATE_HZ,
    asked_rows,
    localizing,
    picture,
    query,
    query_poses,
    rig_parser,
    workspace_of,
)

from hfnet_ros.config import Config
from hfnet_ros.geometry import Rigid3
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.tracking.camera_faults import twist_of
from hfnet_ros.tracking.camera_trust import CameraTrust
from hfnet_ros.tracking.motion import Moment
from hfnet_ros.tracking.odometry import NoOdometry, Odometry, TransformHistory
from hfnet_ros.types import Localization, Query, RigCamera, View, ViewShare

_NS_PER_S = 1_000_000_000
# Odometry that is worse than a good wheel's: lengths off by 2 %, and noise per root of a metre and a radian.
_SCALE, _SIGMA_M, _SIGMA_DEG = 1.02, 0.02, 0.5
# Statements are compared for as long, see camera_trust.
_COMPARED_S = 10.0
# What rig.yaml says wrongly of where a camera sits, per degree and centimetre: [3] turn, [3] shift in its axes.
_MOUNTING_ERRORS = {
    "askew": (np.array([0.0, np.pi / 180.0, 0.0]), np.zeros(3)),
    "shifted": (np.zeros(3), np.array([0.01, 0.0, 0.0])),
}
FAULTS = ("none", "unplugged", "black", "late:0.3", "frozen", "turned:10")


def main() -> None:
    parser = rig_parser(__doc__)
    parser.add_argument(
        "--faults",
        nargs="+",
        default=FAULTS,
        help="late by s, turned by deg, askew by deg or shifted by cm in what rig.yaml says",
    )
    parser.add_argument("--no-odometry", action="store_true")
    options = parser.parse_args()
    workspace = workspace_of(options)
    odometry = NoOdometry() if options.no_odometry else _odometry(options.seed, workspace.config)
    print(
        "| fault | queries | poses | false | kept back | could be told | named: first | times | others named |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with localizing(workspace, options.seed) as localizer:
        for fault in options.faults:
            for faulty, name in enumerate(NAMES if fault != "none" else NAMES[:1]):
                run = _Run(workspace, options.seed, fault, faulty, odometry)
                print(run.row(localizer, fault if fault == "none" else f"{fault}: {name}"), flush=True)


def _odometry(seed: int, config: Config) -> TransformHistory:
    """Return what dead reckoning says of the walk."""
    history = TransformHistory(dataclasses.replace(config.odometry, history_s=1e4))
    poses, rng, pose = query_poses(seed), np.random.default_rng(seed), Rigid3.identity()
    history.add(_stamp_ns(0), pose)
    for row, (before, after) in enumerate(itertools.pairwise(poses), start=1):
        moved = before.inverse() @ after
        length, turn = np.linalg.norm(moved.translation), np.linalg.norm(moved.rotvec)
        drift = rng.normal(0.0, _SIGMA_M * np.sqrt(length), 3)
        swing = rng.normal(0.0, np.deg2rad(_SIGMA_DEG) * np.sqrt(length + turn), 3)
        step = Rigid3.from_rotvec(moved.rotvec, _SCALE * moved.translation + drift)
        pose = pose @ step @ Rigid3.from_rotvec(swing, np.zeros(3))
        history.add(_stamp_ns(row), pose)
    return history


def _stamp_ns(row: int) -> int:
    return _NS_PER_S + round(row * _NS_PER_S / RATE_HZ)


class _Named:
    """When diagnostics named a camera, and since when it could be known."""

    def __init__(self, faulty: str, is_faulty: bool) -> None:
        self._faulty, self._is_faulty = faulty, is_faulty
        self._said: dict[str, int] = {}  # when a camera last said where the rig is
        self._could_tell = self._first = ""
        self._times = self._others = 0

    def add(self, row: int, shares: Mapping[str, ViewShare], is_valid: bool) -> None:
        now = f"{(row - FIRST) / RATE_HZ:.1f} s"
        is_told = is_valid or any(share.alone is not None for share in shares.values())
        said = {name for name, share in shares.items() if share.contradicts or (share.agrees and is_told)}
        before = {name for name, at in self._said.items() if row - at <= _COMPARED_S * RATE_HZ}
        if said and self._faulty in said | before and len(said) + len(before) > 1:
            self._could_tell = self._could_tell or now
        self._said |= dict.fromkeys(said, row)
        named = {name for name, share in shares.items() if share.doubt or share.is_askew}
        if self._is_faulty and self._faulty in named:
            self._first = self._first or now
            self._times += 1
            named.remove(self._faulty)
        self._others += bool(named)

    @property
    def cells(self) -> str:
        return f"{self._could_tell} | {self._first} | {self._times} | {self._others}"


class _Run:
    """One walk with one fault in one camera."""

    def __init__(self, workspace: Workspace, seed: int, fault: str, faulty: int, odometry: Odometry) -> None:
        self._workspace, self._seed, self._faulty, self._odometry = workspace, seed, faulty, odometry
        self._kind, _, size = fault.partition(":")
        self._size = float(size or 0.0)
        self._names = [name for name in NAMES if fault != "unplugged" or name != NAMES[faulty]]
        self._trust = CameraTrust(workspace.config)

    def row(self, localizer: Localizer, label: str) -> str:
        rows = asked_rows(self._workspace, self._seed)
        poses = false = kept = 0
        named = _Named(NAMES[self._faulty], self._kind not in ("none", "unplugged"))
        for row in rows:
            answer = self._ask(localizer, row)
            kept += any(share.alone is not None for share in answer.views)
            named.add(row, dict(zip(self._names, answer.views, strict=True)), answer.is_valid)
            if answer.estimate is not None:
                pose, truth = answer.estimate.map_from_camera, query_poses(self._seed)[row]
                is_far = pose.translation_to(truth) > FALSE_M
                poses += 1
                false += is_far or np.rad2deg(pose.rotation_to(truth)) > FALSE_DEG
        return f"| {label} | {len(rows)} | {poses / len(rows):.0%} | {false} | {kept} | {named.cells} |"

    def _ask(self, localizer: Localizer, row: int) -> Localization:
        stamp_ns = _stamp_ns(row)
        later = self._odometry.last_before(stamp_ns)
        earlier = None if later is None else self._odometry.sample_at(stamp_ns - _NS_PER_S // 10)
        twist = twist_of(earlier, later)
        asked = self._trust.marked(self._query(row), self._names, twist)
        answer = localizer.localize(asked)
        return self._trust.judged(
            answer, asked, self._names, Moment(stamp_ns, later), twist, Rigid3.identity()
        )

    def _query(self, row: int) -> Query:
        """Return the query in which one camera has failed."""
        views = list(query(self._workspace, self._seed, row, (0, 1, 2)).views)
        calibration = views[self._faulty].calibration
        if self._kind in _MOUNTING_ERRORS:
            error = Rigid3.from_rotvec(*(self._size * axis for axis in _MOUNTING_ERRORS[self._kind]))
            said = RigCamera(calibration.camera, calibration.rig_from_camera @ error)
            views[self._faulty] = View(said, views[self._faulty].image)
        elif self._kind == "unplugged":
            del views[self._faulty]
        elif self._kind == "black":
            noise = np.random.default_rng(row).poisson(1.0, (360, 480, 3))
            views[self._faulty] = View(calibration, noise.astype(np.uint8))
        elif self._kind != "none":
            seen_row = FIRST if self._kind == "frozen" else row
            turned_deg = self._size if self._kind == "turned" else 0.0
            if self._kind == "late":
                seen_row = row - round(self._size * RATE_HZ)
            image = picture(self._workspace, self._seed, self._faulty, seen_row, turned_deg)
            views[self._faulty] = View(calibration, image)
        return Query(_stamp_ns(row), tuple(views))


if __name__ == "__main__":
    main()
