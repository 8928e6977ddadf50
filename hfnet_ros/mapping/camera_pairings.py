"""Whether the images of a rig are of the camera and of the time that their poses say.

Two folders that are exchanged, or one that begins an image later, give every camera a pose that another image was taken
from. No turn of the camera undoes that, though one explains a part of it while a robot turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.pose_readings import Poses
from hfnet_ros.mapping.pose_evidence import PairEvidence, agreement, seen_by
from hfnet_ros.mapping.pose_systematics import rows_later
from hfnet_ros.mapping.turned_cameras import camera_name

IntArray = NDArray[np.int64]

_MAX_ROWS = 3  # images that one camera may be late or early
_MIN_PAIRS = 20  # as for a turned camera


@dataclass(frozen=True, slots=True, eq=False)
class CameraPairing:
    """Other poses of the rig's own for the images of some of its cameras.

    Attributes:
        cameras: two whose images are exchanged, or those whose images are of another time.
        rows: by how many of its images later a camera's pose is; 0 where cameras are exchanged.
        agreement: mean share of the matches explained as given, and with these poses, of the pairs they change.
        pairs: [P] positions of these pairs in the evidence.
    """

    cameras: tuple[int, ...]
    rows: int
    agreement: tuple[float, float]
    pairs: IntArray

    def told(self, names: Sequence[str], camera_idxs: Sequence[int]) -> str:
        """Return what is wrong and what is to be done, by the names of the keyframes [F] and their cameras [F]."""
        said = [camera_name(names[list(camera_idxs).index(idx)], idx) for idx in self.cameras]
        as_given, as_read = (f"{100 * share:.0f} %" for share in self.agreement)
        fits = f"{as_given} of the matches of {len(self.pairs)} pairs of images fit the poses as given"
        if not self.rows:
            return (
                f"the images of {said[0]} and {said[1]} look exchanged: {fits}, {as_read} when "
                "each takes the pose of the other; exchange the folders, topics or mountings"
            )
        when = "later" if self.rows > 0 else "earlier"
        return (
            f"the images of {' and '.join(said)} look paired with poses of another time: {fits}, "
            f"{as_read} when each takes the pose of its camera {abs(self.rows)} keyframes {when}; "
            "look for an image that is missing at its beginning, or correct its stamps"
        )


def find_pairing(
    evidence: PairEvidence,
    given: Poses,
    camera_idxs: Sequence[int],
    cameras: Sequence[Camera],
    stamps_ns: IntArray,
    max_error_px: float,
) -> CameraPairing | None:
    """Return which other poses explain the images of a rig best; None of one camera, or where none can be tried.

    Args:
        evidence: of pairs of keyframes.
        given: their poses.
        camera_idxs: [F] camera of each keyframe.
        cameras: calibrations, by camera: that of the images is exchanged with them.
        stamps_ns: [F] times of exposure.
        max_error_px: up to which a match fits poses.
    """
    of_keyframe, best = np.array(camera_idxs), None
    if len(np.unique(of_keyframe)) < 2:
        return None
    as_given = agreement(evidence, given, max_error_px)
    for changed_cameras, rows, source in _pairings(of_keyframe, stamps_ns):
        changed = np.isin(of_keyframe, changed_cameras)[evidence.pairs].any(axis=1)
        pairs = np.flatnonzero(changed & (source[evidence.pairs] >= 0).all(axis=1))
        if len(pairs) < max(_MIN_PAIRS, 0.5 * np.count_nonzero(changed)):
            continue
        read = Poses(given.rotations[source], given.centers[source])
        before = float(as_given[pairs].mean())
        some = seen_by(evidence.of_pairs(pairs), of_keyframe, of_keyframe[source], cameras)
        after = float(agreement(some, read, max_error_px).mean())
        if best is None or after - before > best.agreement[1] - best.agreement[0]:
            best = CameraPairing(changed_cameras, rows, (before, after), pairs)
    return best


def _pairings(of_keyframe: IntArray, stamps_ns: IntArray) -> Iterator[tuple[tuple[int, ...], int, IntArray]]:
    """Yield cameras, rows, and of each keyframe [F] which one's pose it takes, -1 of none."""
    cameras = np.unique(of_keyframe).tolist()
    taken = {idx: np.flatnonzero(of_keyframe == idx) for idx in cameras}
    taken = {idx: rows[np.argsort(stamps_ns[rows], kind="stable")] for idx, rows in taken.items()}
    everyone = np.arange(len(of_keyframe))
    for first, second in combinations(cameras, 2):
        source = np.where(np.isin(of_keyframe, (first, second)), -1, everyone)
        _, ours, theirs = np.intersect1d(
            stamps_ns[taken[first]], stamps_ns[taken[second]], return_indices=True
        )
        source[taken[first][ours]], source[taken[second][theirs]] = taken[second][theirs], taken[first][ours]
        yield (first, second), 0, source
    for late in (*((idx,) for idx in cameras), tuple(cameras)):
        for rows in (*range(-_MAX_ROWS, 0), *range(1, _MAX_ROWS + 1)):
            source = everyone.copy()
            for idx in late:
                source[taken[idx]] = rows_later(taken[idx], rows)
            yield late, rows, source
