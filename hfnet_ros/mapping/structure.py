"""Structure from matches and given poses, with calibrations and poses that may be put right on the way."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hfnet_ros.config import Config
from hfnet_ros.errors import MappingError
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.pose_readings import Poses
from hfnet_ros.mapping.intrinsics import CALIBRATION_TOLERANCE, IntrinsicsReport, refine_intrinsics
from hfnet_ros.mapping.matches import filter_by_known_poses
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pose_evidence import agreement, evidence_of
from hfnet_ros.mapping.pose_refinement import PoseRefinement, refine_poses
from hfnet_ros.mapping.triangulation import triangulate
from hfnet_ros.mapping.views import PairMatches, Structure, View

_logger = logging.getLogger(__name__)

# Of all matches. Of neighbouring images of RedKitchen, fox and EuRoC with right poses 0.52 to 0.83, with poses shifted
# by one image 0.06 to 0.38, inverted, in another order or of the body frame at most 0.21; but with right poses of
# images that are far apart (every 8th to 48th of four apartments, EuRoC, RedKitchen) only 0.03 to 0.43.
# Of pairs that show the same, near or far apart: right poses 0.69 to 1, wrong ones at most 0.31.
_MIN_AGREEMENT = 0.15
_USUAL_AGREEMENT = 0.5
_MAX_PAIRS_ASKED = 100
# Of the configured error, once poses were adjusted: not as wide as before, when they disagreed.
_REDRAFT_TOLERANCE = 1.5
# Drafts between adjustments are polished up to so many views; of a long walk that takes most of the time
# (docs/notes/mapping.md).
_POLISHED_VIEWS = 500


@dataclass(frozen=True, eq=False)
class SolvedStructure:
    """Structure, and the poses and calibrations it was triangulated with.

    Attributes:
        structure: landmarks and observations.
        views: poses used, in the order given.
        cameras: calibrations used, in the order given.
        reports: what refinement found, for each camera.
        poses: what refinement of the poses came to.
        num_matches: matches that agree with the poses.
    """

    structure: Structure
    views: list[View]
    cameras: list[Camera]
    reports: list[IntrinsicsReport]
    poses: PoseRefinement
    num_matches: int


def solve_structure(
    views: Sequence[View],
    cameras: Sequence[Camera],
    matches: PairMatches,
    config: Config,
    options: BuildOptions,
) -> SolvedStructure:
    """Triangulate with the calibrations and poses that explain the matches best.

    A tolerant pass, if refinement is allowed, judges the calibrations and then, with these, the poses. The final one
    is from the raw matches, so that matches only the refined calibrations and poses explain come in.

    Raises:
        MappingError: nothing can be triangulated.
    """
    is_drafted = options.intrinsics != "off" or options.refine_poses != "off"
    total = 4 if is_drafted else 1
    options.progress("triangulate", 0, total)
    refined, reports = list(cameras), [IntrinsicsReport(False, "refinement is off") for _ in cameras]
    if is_drafted:
        draft = _pass(views, cameras, matches, config, CALIBRATION_TOLERANCE)
        options.progress("triangulate", 1, total)
        refined, reports = refine_intrinsics(draft, views, cameras, options.intrinsics, config.mapping)
        options.progress("triangulate", 2, total)
    max_error_px = config.mapping.max_epipolar_error_px
    agreeing = filter_by_known_poses(matches, views, refined, max_error_px)
    share = _check_agreement(views, refined, matches, agreeing, config, options.is_draft)
    used, report = list(views), PoseRefinement(False, "refinement is off")
    if is_drafted:

        def triangulate_at(moved: Sequence[View]) -> Structure:
            is_short = len(views) <= _POLISHED_VIEWS
            return _pass(moved, refined, matches, config, _REDRAFT_TOLERANCE, is_polished=is_short)

        used, report = refine_poses(draft, views, refined, triangulate_at, options.refine_poses, config)
        options.progress("triangulate", 3, total)
    if report.kept:
        agreeing = filter_by_known_poses(matches, used, refined, max_error_px)
    structure = _triangulate(used, refined, agreeing, config, 1.0)
    options.progress("triangulate", total, total)
    if structure.num_landmarks == 0:
        raise MappingError(
            f"no landmark, though {share}; move the camera sideways while recording (turning gives no depth), or "
            "lower mapping.min_triangulation_angle_deg"
        )
    return SolvedStructure(structure, used, refined, reports, report, _count(agreeing))


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
    is_polished: bool = True,
) -> Structure:
    max_error_px = tolerance * config.mapping.max_epipolar_error_px
    agreeing = filter_by_known_poses(matches, views, cameras, max_error_px)
    return _triangulate(views, cameras, agreeing, config, tolerance, is_polished)


def _triangulate(
    views: Sequence[View],
    cameras: Sequence[Camera],
    agreeing: PairMatches,
    config: Config,
    tolerance: float,
    is_polished: bool = True,
) -> Structure:
    return triangulate(
        views,
        cameras,
        agreeing,
        config.mapping,
        num_threads=config.inference.num_threads,
        seed=config.pose.seed,
        tolerance=tolerance,
        is_polished=is_polished,
    )


def _check_agreement(
    views: Sequence[View],
    cameras: Sequence[Camera],
    matches: PairMatches,
    agreeing: PairMatches,
    config: Config,
    is_draft: bool,
) -> str:
    """Refuse poses that do not belong to the images; even those yield some landmarks by chance.

    Of keyframes that are far apart most matches are wrong, and poses are not to blame: they are judged by the pairs
    that show the same whatever the poses are.

    Returns:
        How many matches agree with the poses, in words.
    """
    share = _count(agreeing) / max(_count(matches), 1)
    max_error_px = config.mapping.max_epipolar_error_px
    found = (
        f"{100 * share:.0f} % of {_count(matches)} matches in {len(matches)} pairs of keyframes agree with the poses "
        f"within {max_error_px:g} px"
    )
    if share >= _USUAL_AGREEMENT:
        return found
    some = dict(list(matches.items())[:: -(-len(matches) // _MAX_PAIRS_ASKED)])
    given = Poses.of([view.map_from_camera for view in views])
    told = evidence_of(views, cameras, some, config.inference.num_threads, config.pose.seed)
    if told.num_pairs and agreement(told, given, max_error_px).mean() >= _USUAL_AGREEMENT:
        return found
    advice = (
        "check that poses are map_from_camera of the optical frame (z forward), pair with the images in order, "
        "and that the calibration is this camera's"
    )
    if not told.num_pairs:
        advice = f"no two of these images show the same: take more images, closer together, or {advice}"
    if share < _MIN_AGREEMENT:
        raise MappingError(f"poses and images do not fit: {found}; {advice}")
    if not is_draft:
        _logger.warning("only %s; %s", found, advice)
    return found


def _count(matches: PairMatches) -> int:
    return sum(map(len, matches.values()))


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
