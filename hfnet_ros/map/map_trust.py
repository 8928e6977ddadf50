"""How far a map can be trusted: its test of itself, and what queries with known poses say of its covariances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hfnet_ros.geometry.covariance import is_semidefinite

# Times the covariance of reprojection errors, where a map has no test of itself: errors of neighbouring keypoints are
# alike. Measured in six generated apartments, judged on others (docs/notes/evaluation.md).
UNTESTED_REPROJECTION_SCALE = 5.0


@dataclass(frozen=True)
class MapConsistency:
    """How well the map agrees with itself, measured by localizing its keyframes without their own views.

    Attributes:
        residual_px: robust standard deviation of the reprojection error, per axis, at a focal length of 525 px
            and the keyframes' given poses; where poses were refined, at those of the answers.
        translation_m: robust standard deviation of the position difference to the given poses, per axis.
        rotation_rad: robust standard deviation of the orientation difference, per axis.
        num_keyframes: keyframes that could be localized that way; 0 means never measured.
        pose_covariance: 36 numbers, row by row: second moment [6, 6] of (translation, rotation)
            difference in camera axes, outliers clipped; empty when never measured.
        refined_pose_covariance: the same of differences to refined poses; empty where poses were not refined.
        num_asked: keyframes that were held out; 0 in maps of former releases.
        num_elsewhere: keyframes that were localized, but elsewhere; none of them is among `num_keyframes`.
        look_alikes: for each of those x y z where it was put and how far around that holds, m, map frame; and the share
            of wrong answers there: of them and of the map's keyframes there.
        contradicted_share: of a map made of images alone, the share of the pairs of images that agree with each other
            and not with where the others put them: how much of what looks the same here is not. 0 with given poses.
        mirrored_share: of some keyframes, shown to the map as in a mirror, the share that it finds a pose for: how
            much of it looks like itself in a mirror. 0 where that was not tried.
        weighs_depths: whether poses came out better where points weighed by how well their depths are known.
    """

    residual_px: float
    translation_m: float
    rotation_rad: float
    num_keyframes: int
    pose_covariance: tuple[float, ...] = ()
    refined_pose_covariance: tuple[float, ...] = ()
    num_asked: int = 0
    num_elsewhere: int = 0
    look_alikes: tuple[tuple[float, ...], ...] = ()
    contradicted_share: float = 0.0
    mirrored_share: float = 0.0
    weighs_depths: bool = False

    @property
    def elsewhere_share(self) -> float:
        """Return the share of the keyframes held out that were localized elsewhere."""
        return self.num_elsewhere / max(self.num_asked, 1)

    @property
    def measured_residual_px(self) -> float | None:
        """Return `residual_px`; None when never measured."""
        return self.residual_px if self.num_keyframes else None

    @property
    def reprojection_scale(self) -> float:
        """Return the factor on covariances of reprojection errors: 1 where the test says what else poses are off by."""
        return 1.0 if self.num_keyframes else UNTESTED_REPROJECTION_SCALE

    @property
    def vouches(self) -> bool:
        """Tell whether the map is one that answers: that it could localize half of what was held out, at the least."""
        return self.num_keyframes > 0 and 2 * self.num_keyframes >= self.num_asked


@dataclass(frozen=True)
class CovarianceCalibration:
    """What queries with known poses say about the covariance to report in this map.

    A pose gets `reprojection_scale` times the covariance of its reprojection errors, plus
    `pose_covariance`, which then stands in for the self-test's.

    Attributes:
        reprojection_scale: factor above 1 where errors of neighbouring keypoints are alike, so
            that many inliers say less than their number.
        pose_covariance: 36 numbers, row by row: [6, 6] of (translation, rotation) error in
            camera axes.
        num_queries: queries it was fitted to.
        source: where it comes from and what it changed; JSON values only.
    """

    reprojection_scale: float
    pose_covariance: tuple[float, ...]
    num_queries: int
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse numbers that would make a covariance something else."""
        numbers = np.array(self.pose_covariance, np.float64)
        if numbers.shape != (36,) or not np.isfinite(numbers).all():
            raise ValueError(f"pose_covariance has {numbers.shape} numbers, expected 36 finite ones")
        if not is_semidefinite(numbers.reshape(6, 6)):
            raise ValueError("pose_covariance is no covariance: not symmetric or not positive")
        if not (np.isfinite(self.reprojection_scale) and self.reprojection_scale > 0.0):
            raise ValueError(f"reprojection_scale is {self.reprojection_scale}, expected above 0")
