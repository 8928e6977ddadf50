"""Structure from matches and fixed poses, with calibrations that may be put right on the way."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hfnet_ros.config import Config
from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.mapping.intrinsics import CALIBRATION_TOLERANCE, IntrinsicsReport, refine_intrinsics
from hfnet_ros.mapping.matches import filter_by_known_poses
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.triangulation import triangulate
from hfnet_ros.mapping.views import PairMatches, Structure, View

_logger = logging.getLogger(__name__)

# Measured on RedKitchen and fox: right poses 0.83 and 0.76, poses shifted by one image 0.37,
# inverted, in another order or of the body frame 0.08 to 0.13.
_MIN_AGREEMENT = 0.15
_USUAL_AGREEMENT = 0.5


@dataclass(frozen=True, eq=False)
class SolvedStructure:
    """Structure and the calibrations it was triangulated with.

    Attributes:
        structure: landmarks and observations.
        cameras: calibrations used, in the order given.
        reports: what refinement found, for each camera.
        num_matches: matches that agree with the poses.
    """

    structure: Structure
    cameras: list[Camera]
    reports: list[IntrinsicsReport]
    num_matches: int


def solve_structure(
    views: Sequence[View],
    cameras: Sequence[Camera],
    matches: PairMatches,
    config: Config,
    options: BuildOptions,
) -> SolvedStructure:
    """Triangulate with the calibrations that explain the matches best.

    Two passes, if refinement is allowed: a tolerant one to judge the calibrations, and the
    final one from the raw matches, so that matches only the refined calibrations explain
    come in.

    Raises:
        MappingError: nothing can be triangulated.
    """
    total = 1 if options.intrinsics == "off" else 3
    options.progress("triangulate", 0, total)
    refined, reports = list(cameras), [IntrinsicsReport(False, "refinement is off") for _ in cameras]
    if options.intrinsics != "off":
        draft, _ = _pass(views, cameras, matches, config, CALIBRATION_TOLERANCE)
        options.progress("triangulate", 1, total)
        refined, reports = refine_intrinsics(draft, views, cameras, options.intrinsics, config.mapping)
        options.progress("triangulate", 2, total)
    structure, num_matches = _pass(views, refined, matches, config, 1.0)
    options.progress("triangulate", total, total)
    _check_agreement(matches, num_matches, structure, config)
    return SolvedStructure(structure, refined, reports, num_matches)


def report_intrinsics(given: Sequence[Camera], solved: SolvedStructure) -> list[dict[str, Any]]:
    """Return for each camera what was given, what is used and why, as JSON values."""
    return [
        {
            "kept": report.kept,
            "reason": report.reason,
            "given": _numbers(before),
            "used": _numbers(after),
            "error_given_px": _rounded(report.error_given_px),
            "error_refined_px": _rounded(report.error_refined_px),
        }
        for before, after, report in zip(given, solved.cameras, solved.reports, strict=True)
    ]


def _pass(
    views: Sequence[View],
    cameras: Sequence[Camera],
    matches: PairMatches,
    config: Config,
    tolerance: float,
) -> tuple[Structure, int]:
    max_error_px = tolerance * config.mapping.max_epipolar_error_px
    agreeing = filter_by_known_poses(matches, views, cameras, max_error_px)
    structure = triangulate(
        views,
        cameras,
        agreeing,
        config.mapping,
        num_threads=config.inference.num_threads,
        seed=config.pose.seed,
        tolerance=tolerance,
    )
    return structure, sum(map(len, agreeing.values()))


def _check_agreement(matches: PairMatches, num_agreeing: int, structure: Structure, config: Config) -> None:
    """Refuse poses that do not belong to the images; even those yield some landmarks by chance."""
    num_matches = sum(map(len, matches.values()))
    share = num_agreeing / max(num_matches, 1)
    found = (
        f"{100 * share:.0f} % of {num_matches} matches in {len(matches)} pairs of keyframes agree with the poses "
        f"within {config.mapping.max_epipolar_error_px:g} px"
    )
    advice = (
        "check that poses are map_from_camera of the optical frame (z forward), pair with the images in order, "
        "and that the calibration is this camera's"
    )
    if share < _MIN_AGREEMENT:
        raise MappingError(f"poses and images do not fit: {found}; {advice}")
    if structure.num_landmarks == 0:
        raise MappingError(
            f"no landmark, though {found}; move the camera sideways while recording (turning gives no depth), or "
            "lower mapping.min_triangulation_angle_deg"
        )
    if share < _USUAL_AGREEMENT:
        _logger.warning("only %s; %s", found, advice)


def _numbers(camera: Camera) -> dict[str, Any]:
    return {
        "model": camera.model.value,
        "focal": [round(value, 3) for value in camera.focal.tolist()],
        "center": [round(value, 3) for value in camera.center.tolist()],
        "distortion": [round(value, 6) for value in camera.distortion.tolist()],
    }


def _rounded(value: float) -> float | None:
    """Return a JSON number; NaN, which JSON lacks, becomes None."""
    return round(value, 4) if value == value else None
