"""Errors far beyond their covariances: of what kind they are called."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from hfnet_ros.evaluation import RunContext, summarize
from hfnet_ros.geometry import Rigid3
from hfnet_ros.geometry.rigid3 import interpolate


def moved(poses):
    """Truth whose positions are off by [N, 3] m."""
    return lambda truth: [
        Rigid3(pose.rotation, pose.translation + shift) for pose, shift in zip(truth, poses, strict=True)
    ]


def noisy(truth):
    return moved(np.random.default_rng(0).normal(0.0, 0.1, (len(truth), 3)))(truth)


def drifting(truth):
    """Truth that turns by 0.3 deg in every metre of its path, as dead reckoning does."""
    found = [truth[0]]
    for before, now in itertools.pairwise(truth):
        step = before.inverse() @ now
        turn = Rigid3.from_rotvec([0.0, 0.0, np.deg2rad(0.3) * np.linalg.norm(step.translation)], np.zeros(3))
        found.append(Rigid3(turn.rotation @ found[-1].rotation, found[-1].translation) @ step)
    return found


def on_a_curved_path(results):
    """The answers that are right, on a path that turns, with errors of a centimetre of which covariances know."""
    curved = []
    for number, result in enumerate(entry for entry in results if entry.localization.estimate is not None):
        estimate, angle = result.localization.estimate, 0.1 * number
        off = result.groundtruth.inverse() @ estimate.map_from_camera
        if np.linalg.norm(off.translation) > 0.3:
            continue
        away = [8.0 * np.sin(angle), 5.0 * np.cos(angle), 0.1 * np.sin(3.0 * angle)]
        truth = Rigid3.from_rotvec([0.0, 0.0, -angle], away) @ Rigid3(
            result.groundtruth.rotation, np.zeros(3)
        )
        pose = truth @ Rigid3.from_rotvec(0.1 * off.rotvec, 0.1 * off.translation)
        estimate = replace(estimate, map_from_camera=pose, covariance=0.01 * estimate.covariance)
        localization = replace(result.localization, estimate=estimate)
        curved.append(replace(result, localization=localization, groundtruth=truth))
    return curved


def warnings(results, change):
    changed = change([result.groundtruth for result in results])
    misread = [replace(result, groundtruth=pose) for result, pose in zip(results, changed, strict=True)]
    return summarize(misread, None, RunContext(groundtruth=[(r.stamp_ns, r.groundtruth) for r in misread]))[
        "warnings"
    ]


def jumping(truth, row, shift_m):
    return moved(np.where(np.arange(len(truth))[:, None] < row, 0.0, [shift_m, 0.0, 0.0]))(truth)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drifting, "errors change slowly along the path"),
        (
            lambda truth: moved(np.random.default_rng(0).normal(0.0, 0.1, (len(truth), 3)))(truth),
            "one image to the next",
        ),
        (lambda truth: jumping(truth, len(truth) // 3, 0.1), "errors jump at"),
        (lambda truth: jumping(truth, 20, 1.0), "errors jump at"),
        (lambda truth: jumping(truth, len(truth) - 20, 1.0), "errors jump at"),
    ],
    ids=["drift", "noise", "small jump", "early jump", "late jump"],
)
def test_the_kind_of_errors_is_named(run_results, change, words):
    """Nothing had been said beside an ANEES of hundreds, or of a jump that the truth is in another frame."""
    found = warnings(on_a_curved_path(run_results), change)
    assert words in found[-1]


def test_the_image_is_named_where_errors_jump(run_results):
    results = on_a_curved_path(run_results)
    found = warnings(results, lambda truth: jumping(truth, 40, 1.0))
    assert f", of {results[40].name}, from" in found[0]


def test_what_a_mounting_explains_is_said_of_it_alone(run_results):
    found = warnings(
        on_a_curved_path(run_results),
        lambda truth: [pose @ Rigid3(np.eye(3), [0.08, 0.0, 0.0]) for pose in truth],
    )
    assert len(found) == 1
    assert "check the mounting" in found[0]


def test_a_late_clock_is_no_mounting(run_results):
    """A camera that drives ahead with a clock that is late had been called mounted behind, too."""
    results = [
        replace(result, stamp_ns=100_000_000 * row)
        for row, result in enumerate(on_a_curved_path(run_results))
    ]
    late = [
        replace(now, groundtruth=interpolate(now.groundtruth, after.groundtruth, 0.5))
        for now, after in itertools.pairwise(results)
    ]
    truth = [(result.stamp_ns, result.groundtruth) for result in late]
    found = summarize(late, None, RunContext(groundtruth=truth))["warnings"]
    assert len(found) == 1
    assert "differ from those of the ground truth by -50 ms" in found[0]


def test_of_honest_covariances_nothing_is_said(run_results):
    assert warnings(on_a_curved_path(run_results), lambda truth: truth) == []
