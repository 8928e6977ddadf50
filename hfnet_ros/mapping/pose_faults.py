"""Hold given poses against the images before a map is made of them.

What is wrong with all poses alike (their convention, the frame or the time they are of) and where
the path slips cannot be mended without knowing what was meant: the map is refused, with what was
found. Single keyframes are placed by the others, or left out.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import PoseFaultError
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.pose_readings import Poses
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping.camera_offsets import find_camera_offsets, turned
from hfnet_ros.mapping.camera_pairings import find_pairing
from hfnet_ros.mapping.keyframe_faults import PAIR_DISAGREES, PlacementCheck
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.pair_matcher import PairMatcher
from hfnet_ros.mapping.pose_calibrations import refuse_calibration
from hfnet_ros.mapping.pose_conventions import best_reading
from hfnet_ros.mapping.pose_evidence import (
    SOUND,
    PairEvidence,
    agreement,
    choose_check_pairs,
    contradicted_places,
    gather_evidence,
    wanted_share,
)
from hfnet_ros.mapping.pose_fault_texts import (
    drift_text,
    fault_entry,
    fault_text,
    jump_text,
    lookalike_keyframe_text,
    lookalike_text,
    names_of,
    slip_text,
)
from hfnet_ros.mapping.pose_systematics import estimate_mounting_offset, estimate_time_offset
from hfnet_ros.mapping.turned_cameras import camera_name
from hfnet_ros.mapping.views import Keyframe, PairMatches, View, among

_logger = logging.getLogger(__name__)

_MIN_PAIRS = 5
# Of each keyframe four others on the mean must tell; with fewer a good one is left out (EuRoC, every 4th or 5th image).
_MIN_PAIRS_PER_KEYFRAME = 2.0
_MIN_READING_GAIN = 0.3
_MIN_MOUNTING_ANGLE = np.radians(3.0)
_MIN_TIME_ROWS = 0.2
_MAX_WRONG_SHARE = 0.3
_MIN_PAIRS_ACROSS = 2  # one may be of two things that look alike
_ORDER_REMEDY = "check the source of the poses, and that they pair with the images in order"


@dataclass(frozen=True, slots=True, eq=False)
class CheckedPoses:
    """What is left to build from.

    Attributes:
        kept: positions of the keyframes that stay, ascending.
        map_from_camera: poses of all keyframes, some put right.
        report: what was found, as JSON values.
    """

    kept: list[int]
    map_from_camera: list[Rigid3]
    report: dict[str, Any]

    @property
    def has_faults(self) -> bool:
        """Tell whether anything was put right or left out."""
        mountings = self.report.get("mountings", [])
        return bool(self.report["keyframes"]) or any(entry["corrected"] for entry in mountings)

    def among_kept(self, matches: PairMatches) -> PairMatches:
        """Return the matches between keyframes that stay, by their new positions."""
        return among(matches, self.kept)


def check_poses(
    keyframes: Sequence[Keyframe],
    views: Sequence[View],
    cameras: Sequence[Camera],
    matches: PairMatches,
    global_descriptors: NDArray[np.float32],
    matcher: PairMatcher,
    config: Config,
    options: BuildOptions,
) -> CheckedPoses:
    """Find keyframes with wrong poses and put them right or leave them out.

    Args:
        keyframes: names and stamps, in the order they were taken.
        views: their features and given poses.
        cameras: calibrations, by the views' `camera_idx`.
        matches: of the pairs that the poses chose.
        global_descriptors: [F, G] float32 unit norm, to find partners by.
        matcher: for pairs beside these.
        config: parameters.
        options: progress.

    Raises:
        PoseFaultError: all poses, a whole part of the path or too many keyframes are wrong.
    """
    given = [view.map_from_camera for view in views]
    pairs = choose_check_pairs([view.camera_idx for view in views], global_descriptors, matches)
    num_threads, seed = config.inference.num_threads, config.pose.seed
    evidence, known = gather_evidence(
        views, cameras, pairs, matches, matcher, num_threads, seed, options.progress
    )
    stamps_ns = np.array([keyframe.image.stamp_ns for keyframe in keyframes], np.int64)
    normalized = [cameras[view.camera_idx].undistort(view.keypoints) for view in views]
    names = [keyframe.image.name for keyframe in keyframes]
    camera_idxs = [view.camera_idx for view in views]
    max_error_px = config.mapping.max_epipolar_error_px
    refuse_calibration(evidence, Poses.of(given), camera_idxs, cameras, stamps_ns, names, max_error_px)
    _refuse_pairing(evidence, given, camera_idxs, cameras, stamps_ns, names, max_error_px)
    given, mountings = _with_cameras_turned(evidence, given, camera_idxs, names, config)
    checked = judge_poses(evidence, known, normalized, given, stamps_ns, names, config)
    return CheckedPoses(checked.kept, checked.map_from_camera, {**checked.report, "mountings": mountings})


def _refuse_pairing(
    evidence: PairEvidence,
    given: Sequence[Rigid3],
    camera_idxs: Sequence[int],
    cameras: Sequence[Camera],
    stamps_ns: NDArray[np.int64],
    names: Sequence[str],
    max_error_px: float,
) -> None:
    """Refuse a rig whose images all fit once some cameras take other poses of its, better than turned cameras do.

    Raises:
        PoseFaultError: names the cameras.
    """
    found = find_pairing(evidence, Poses.of(given), camera_idxs, cameras, stamps_ns, max_error_px)
    if found is None or found.agreement[0] >= SOUND:
        return
    turned_given = list(given)
    for offset in find_camera_offsets(evidence, Poses.of(given), camera_idxs, max_error_px):
        if offset.is_sure:
            turned_given = turned(turned_given, camera_idxs, offset)
    as_turned = agreement(evidence.of_pairs(found.pairs), Poses.of(turned_given), max_error_px).mean()
    before, after = found.agreement
    if after >= max(wanted_share(before), as_turned):
        raise PoseFaultError(found.told(names, camera_idxs), "cameras", amount=found.rows)


def _with_cameras_turned(
    evidence: PairEvidence,
    given: list[Rigid3],
    camera_idxs: Sequence[int],
    names: Sequence[str],
    config: Config,
) -> tuple[list[Rigid3], list[dict[str, Any]]]:
    """Turn the poses of cameras that are mounted otherwise than the poses say, and say which; one camera has none."""
    mountings = []
    for offset in find_camera_offsets(
        evidence, Poses.of(given), camera_idxs, config.mapping.max_epipolar_error_px
    ):
        name = camera_name(names[list(camera_idxs).index(offset.camera_idx)], offset.camera_idx)
        mountings.append(
            {
                "camera": name,
                "turned_deg": np.degrees(offset.rotvec).round(3).tolist(),
                "sigma_deg": round(float(np.degrees(offset.sigma_rad)), 3),
                "num_pairs": offset.num_pairs,
                "agreement": [round(share, 3) for share in offset.agreement],
                "corrected": offset.is_sure,
            }
        )
        if offset.is_sure:
            given = turned(given, camera_idxs, offset)
            _logger.warning(
                "%s is mounted %.2f deg (+- %.2f) otherwise than the poses say: the map turns it by %s deg about x, y, "
                "z of its optical frame, by which %.0f instead of %.0f %% of its matches with others fit; correct "
                "the calibration of its mounting",
                name,
                np.degrees(offset.angle_rad),
                np.degrees(offset.sigma_rad),
                np.degrees(offset.rotvec).round(2).tolist(),
                100.0 * offset.agreement[1],
                100.0 * offset.agreement[0],
            )
    return given, mountings


def judge_poses(
    evidence: PairEvidence,
    matches: PairMatches,
    normalized: Sequence[NDArray[np.float64]],
    given: Sequence[Rigid3],
    stamps_ns: NDArray[np.int64],
    names: Sequence[str],
    config: Config,
) -> CheckedPoses:
    """Judge poses by what the images say; `check_poses` once the images are matched.

    Args:
        evidence: of pairs of keyframes.
        matches: keypoint rows of at least these pairs.
        normalized: [N, 2] normalised image coordinates of each keyframe's keypoints.
        given: poses, map_from_camera.
        stamps_ns: [F] times of exposure.
        names: of the images.
        config: parameters.

    Raises:
        PoseFaultError: see `check_poses`.
    """
    report: dict[str, Any] = {"num_pairs": evidence.num_pairs, "keyframes": []}
    if evidence.num_pairs < _MIN_PAIRS:
        return CheckedPoses(list(range(len(given))), list(given), report)
    max_error_px, seed = config.mapping.max_epipolar_error_px, config.pose.seed
    share = float(agreement(evidence, Poses.of(given), max_error_px).mean())
    report["agreement"] = round(share, 3)
    if share < SOUND:
        _refuse_systematic(evidence, Poses.of(given), share, stamps_ns, max_error_px)
    if evidence.num_pairs < _MIN_PAIRS_PER_KEYFRAME * len(given):
        _refuse_most(evidence, Poses.of(given), names, max_error_px)
        return CheckedPoses(list(range(len(given))), list(given), report)
    found, slips = PlacementCheck(normalized, given, evidence, matches, max_error_px, seed).find()
    faults = [fault for fault in found if not fault.is_lookalike]
    sure = [slip for slip in slips if not (slip.may_be_lookalikes or slip.may_be_drift)]
    if sure:
        raise PoseFaultError(slip_text(sure, names), "slip", [slip.keyframe for slip in sure])
    report["drifts"] = [drift_text(slip, names) for slip in slips if slip.may_be_drift]
    report["look_alikes"] = [
        *[lookalike_text(slip, names) for slip in slips if slip.may_be_lookalikes],
        *[lookalike_keyframe_text(fault, given, names) for fault in found if fault.is_lookalike],
    ]
    if not found and not slips:  # few pairs that hold two parts of the path together place nothing
        agrees = agreement(evidence, Poses.of(given), 2.0 * max_error_px) >= PAIR_DISAGREES
        places = contradicted_places(evidence.pairs, agrees, _MIN_PAIRS_ACROSS)
        report["look_alikes"] += [jump_text(place, num_pairs, names) for place, num_pairs in places]
    for text in [*report["drifts"], *report["look_alikes"]]:
        _logger.warning("%s", text)
    if len(faults) > _MAX_WRONG_SHARE * len(given):
        raise PoseFaultError(
            f"poses and images do not fit: those of {len(faults)} of {len(given)} keyframes are wrong: "
            f"{names_of([fault.keyframe for fault in faults], names)}; {_ORDER_REMEDY}",
            "keyframes",
            [fault.keyframe for fault in faults],
        )
    poses = list(given)
    for fault in faults:
        if fault.placed is not None:
            poses[fault.keyframe] = fault.placed
        _logger.warning("%s", fault_text(fault, given, names))
    report["keyframes"] = [fault_entry(fault, given, names) for fault in faults]
    left_out = {fault.keyframe for fault in faults if fault.placed is None}
    return CheckedPoses([row for row in range(len(given)) if row not in left_out], poses, report)


def _refuse_systematic(
    evidence: PairEvidence, given: Poses, share: float, stamps_ns: NDArray[np.int64], max_error_px: float
) -> None:
    """Refuse poses that all fit once one thing is changed.

    Raises:
        PoseFaultError: names that thing.
    """
    few = evidence.thinned(max_pairs=80, max_matches=40)
    found = (
        f"{100 * share:.0f} % of the matches of {evidence.num_pairs} pairs of images fit the poses as given"
    )
    # Hundreds are tried, and where most matches fit none can explain enough more.
    reading = best_reading(few, given, max_error_px) if share + _MIN_READING_GAIN <= 1.0 else None
    mounting = estimate_mounting_offset(evidence, given, max_error_px)
    time = estimate_time_offset(few, given, stamps_ns, max_error_px)
    wanted = wanted_share(share)
    time_share = time.agreement if time is not None and abs(time.rows) >= _MIN_TIME_ROWS else 0.0
    turn = float(np.linalg.norm(mounting.given_from_camera.rotvec))
    mounting_share = mounting.agreement if turn > _MIN_MOUNTING_ANGLE else 0.0
    if reading is not None and reading.agreement >= max(
        share + _MIN_READING_GAIN, time_share - 0.1, mounting_share - 0.1
    ):
        raise PoseFaultError(
            f"the given poses look {reading.name}: {found}, {100 * reading.agreement:.0f} % when they are read so; "
            f"{reading.remedy}",
            "convention",
        )
    if time is not None and time_share >= max(wanted, mounting_share):
        raise PoseFaultError(
            f"poses and images are apart in time: {found}, {100 * time.agreement:.0f} % when each image takes the "
            f"pose of {abs(time.seconds):.3f} s ({abs(time.rows):.1f} keyframes) "
            f"{'later' if time.rows > 0 else 'earlier'}; {'add' if time.rows > 0 else 'subtract'} that "
            f"{'to' if time.rows > 0 else 'from'} the images' stamps before poses are looked up, or look for an image "
            "or a pose that is missing at the beginning",
            "time",
            amount=time.rows,
        )
    if mounting_share >= wanted:
        offset = mounting.given_from_camera
        numbers = ", ".join(f"{value:.4f}" for value in offset.quat_xyzw)
        lever = ", ".join(f"{value:.3f}" for value in offset.translation)
        raise PoseFaultError(
            f"the given poses are not the camera's: {found}, {100 * mounting.agreement:.0f} % after a constant turn of "
            f"{np.degrees(turn):.1f} deg; compose each with given_from_camera = translation ({lever}) m, "
            f"quaternion x y z w ({numbers}), or correct the extrinsic calibration they were made with",
            "mounting",
            amount=float(np.degrees(turn)),
        )


def _refuse_most(evidence: PairEvidence, given: Poses, names: Sequence[str], max_error_px: float) -> None:
    """Refuse poses of which most contradict the images, where too few pairs tell to say which is wrong.

    Raises:
        PoseFaultError: most keyframes disagree with most of those they share matches with.
    """
    ends = evidence.pairs.ravel()
    disagrees = np.repeat(agreement(evidence, given, 2.0 * max_error_px) < PAIR_DISAGREES, 2)
    num_pairs = np.bincount(ends, minlength=len(names))
    wrong = np.flatnonzero(np.bincount(ends[disagrees], minlength=len(names)) > 0.5 * num_pairs)
    if len(wrong) > 0.5 * len(names):
        raise PoseFaultError(
            f"poses and images do not fit: those of {len(wrong)} of {len(names)} keyframes contradict what they share "
            f"with others: {names_of(wrong.tolist(), names)}; {_ORDER_REMEDY}",
            "keyframes",
            wrong.tolist(),
        )
