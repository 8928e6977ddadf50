"""How honest is a position whose odometry is wrong? Drives in simulation, fixes as good as they say.

    python bench/odometry_faults.py --seeds 200 201 202 203

A robot drives in bends at 0.6 m/s for a minute and stands now and then. Fixes come at 5 Hz (2 cm, 0.6 deg, and the
map's part that neighbours have in common), none for 4 s of 16. After 8 s odometry is at fault, its noise as configured.
By fault: NEES/6 of the position (1 is honest), mean and part beyond the quantile of 0.1 %, while there are fixes and
while there are none; the largest error, m; and which part of the time without fixes the position is LOST.
"""

from __future__ import annotations

import argparse
import logging

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.geometry.rigid3 import Rigid3, pose_difference
from hfnet_ros.tracking.fix_judge import FixJudge
from hfnet_ros.tracking.gate import systematic_covariance
from hfnet_ros.tracking.motion import BasePose, Moment
from hfnet_ros.tracking.odometry import TransformHistory
from hfnet_ros.types import TrackingState

CONFIG = Config()
FIX = np.diag([0.02] * 3 + [0.01] * 3) ** 2
COMMON = np.sqrt(np.diag(systematic_covariance(CONFIG.gate)))
STEP_S, SPEED_M_S, SECONDS = 0.05, 0.6, 60
QUANTILE = 22.46 / 6.0
# Factors on way and turn.
FAULTS = {
    "none": (1.0, 1.0),
    "way x 0.9": (0.9, 1.0),
    "way x 1.1": (1.1, 1.0),
    "way x 0.8": (0.8, 1.0),
    "way x 1.25": (1.25, 1.0),
    "way x 0.5": (0.5, 1.0),
    "way x 2": (2.0, 1.0),
    "turn x 0.7": (1.0, 0.7),
    "turn x 1.3": (1.0, 1.3),
    "stands still": (0.0, 0.0),
    "slips": None,  # stands still for 1 to 4 s, or does not
}


def main() -> None:
    """Print a table."""
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(4)))
    seeds = parser.parse_args().seeds
    print(
        "| odometry | with fixes: NEES/6, beyond | without: NEES/6, beyond | largest error, m | LOST without |"
    )
    print("|---|---|---|---|---|")
    for name, factors in FAULTS.items():
        rows = np.concatenate([drive(factors, seed) for seed in seeds])
        cells = []
        for is_dark in (False, True):
            known = rows[(rows[:, 0] == is_dark) & np.isfinite(rows[:, 1]), 1]
            cells.append(f"{known.mean():.2f}, {(known > QUANTILE).mean():.3f}")
        lost = np.isnan(rows[rows[:, 0] == 1.0, 1]).mean()
        print(f"| {name} | {cells[0]} | {cells[1]} | {np.nanmax(rows[:, 2]):.2f} | {lost:.2f} |")


def drive(factors: tuple[float, float] | None, seed: int) -> np.ndarray:
    """Return [N, 3] by image after the fault: whether there is no fix, NEES/6 and error, m; NaN where LOST."""
    rng, judge, history = np.random.default_rng(seed), FixJudge(CONFIG), TransformHistory(CONFIG.odometry)
    truth, odom = Rigid3.identity(), Rigid3.from_rotvec([0.0, 0.0, 1.0], [30.0, -20.0, 0.0])
    common, rows = rng.normal(size=6) * COMMON, []
    turn = slip_until_s = 0.0
    slip = (1.0, 1.0)
    for number in range(1, round(SECONDS / STEP_S)):
        now_s = number * STEP_S
        if number % 40 == 1:
            turn = rng.choice([0.0, 0.0, 0.5, -0.5, 0.9, -0.9])
        if now_s >= slip_until_s:
            slip, slip_until_s = ((0.0, 0.0), (1.0, 1.0))[rng.integers(2)], now_s + rng.uniform(1.0, 4.0)
        is_faulty = now_s > 8.0
        way_factor, turn_factor = (factors or slip) if is_faulty else (1.0, 1.0)
        speed = 0.0 if now_s % 30.0 > 25.0 else SPEED_M_S
        way, turned = speed * STEP_S, turn * STEP_S * (speed > 0.0)
        truth = truth @ Rigid3.from_rotvec([0.0, 0.0, turned], [way, 0.0, 0.0])
        told = Rigid3.from_rotvec([0.0, 0.0, turn_factor * turned], [way_factor * way, 0.0, 0.0])
        odom = odom @ disturbed(told, noise_of(told, rng))
        stamp_ns = round((1.0 + now_s) * 1e9)
        history.add(stamp_ns, odom)
        kept = np.exp(-0.5 * way)  # what neighbours have in common changes over 2 m
        common = kept * common + np.sqrt(1.0 - kept**2) * COMMON * rng.normal(size=6)
        if number % 4:
            continue
        moment, is_dark = Moment(stamp_ns, history.last_before(stamp_ns)), now_s % 16.0 > 12.0
        judge.advance(moment)
        if not is_dark:
            error = common + rng.multivariate_normal(np.zeros(6), FIX)
            judge.judge(BasePose(moment, disturbed(truth, error), FIX))
        belief = judge.belief(moment)
        row = [float(is_dark), np.nan, np.nan]
        if belief is not None and judge.state_of(belief.covariance) is not TrackingState.LOST:
            error = pose_difference(truth, belief.map_from_base)
            row[1:] = error @ np.linalg.solve(belief.covariance, error) / 6.0, np.linalg.norm(error[:3])
        if is_faulty:
            rows.append(row)
    return np.array(rows)


def noise_of(step: Rigid3, rng: np.random.Generator) -> np.ndarray:
    """Return [6] what odometry adds to a step."""
    metres, radians = np.linalg.norm(step.translation), np.linalg.norm(step.rotvec)
    moved = CONFIG.odometry.translation_sigma_m * np.sqrt(metres)
    turned = np.deg2rad(CONFIG.odometry.rotation_sigma_deg) * np.sqrt(metres + radians)
    return np.concatenate([rng.normal(0.0, moved, 3), rng.normal(0.0, turned, 3)])


def disturbed(pose: Rigid3, error: np.ndarray) -> Rigid3:
    """Return a pose with an error [6] in it."""
    turn = Rigid3.from_rotvec(error[3:], np.zeros(3))
    return Rigid3(turn.rotation @ pose.rotation, pose.translation + error[:3])


if __name__ == "__main__":
    main()
