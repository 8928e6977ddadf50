"""Versions of a query: as it is and, where the camera may have rolled, turned about the optical axis.

A predicted pose says the roll at once, as does the last answer of a stream whose images had to be turned. Without one,
an image that is not localized as it is is described turned by each of eight angles and matched once; only where its
keypoints then look most like the map's, it is searched for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import FeatureExtractor, knows_turned
from hfnet_ros.features.reduction import extract_reduced, reduced_size
from hfnet_ros.features.turning import MAX_ROLL_RAD
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.covariance import largest_sigmas
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.geometry.roll import common_up, roll_against
from hfnet_ros.geometry.rotations import rotations_from_quats
from hfnet_ros.localization.mirrored import mirror_image
from hfnet_ros.localization.timing import StageClock
from hfnet_ros.types import ImageFeatures, PosePrior, Query, View

Likeness = Callable[[Sequence[ImageFeatures], StageClock], float]

_NUM_ANGLES = round(math.pi / MAX_ROLL_RAD)
_STEP_RAD = 2.0 * math.pi / _NUM_ANGLES


@dataclass(frozen=True, eq=False)
class Version:
    """A description of all views of a query.

    Attributes:
        features: by view.
        turn_rad: by how much the first view was turned clockwise.
        num_tried: versions that were looked at to choose this one.
    """

    features: Sequence[ImageFeatures]
    turn_rad: float = 0.0
    num_tried: int = 1


class Versions:
    """Versions of a query, most promising first; the next one is described when it is asked for.

    Attributes:
        sought_roll: the views were described turned by every angle.
    """

    def __init__(self, describe: Callable[[Versions], Iterator[Version]]) -> None:
        """Take what describes them, and notes here how far that went."""
        self.sought_roll = False
        self._describe = describe

    def __iter__(self) -> Iterator[Version]:
        """Go through them."""
        return self._describe(self)


class TurningViews:
    """Describes queries as they are and turned."""

    def __init__(
        self,
        keyframe_poses: NDArray[np.float64],
        map_cameras: Sequence[Camera],
        extractor: FeatureExtractor,
        config: Config,
    ) -> None:
        """Take the poses [F, 7] of a map, read when the first prediction comes, and what describes.

        Args:
            keyframe_poses: map_from_camera: x y z, qx qy qz qw.
            map_cameras: at whose scale images that are much larger are described.
            extractor: the map's.
            config: how many turned versions; whether predictions are believed.
        """
        self._poses, self._map_cameras = keyframe_poses, map_cameras
        self._extractor = extractor
        self._sigmas = config.prior.sigmas
        self._uses_prior = config.prior.enabled
        self._max_turned = 0 if knows_turned(extractor.extractor_id) else config.retrieval.max_turned

    def versions(
        self, query: Query, prior: PosePrior | None, likeness: Likeness, clock: StageClock
    ) -> Versions:
        """Return versions of a query, to go through once.

        Of a rig the first view is turned by an angle, the others as they are mounted beside it, unless a prediction
        says the roll of each.

        Args:
            query: its images, and what its stream knows of their roll.
            prior: where it is expected, if that is known.
            likeness: says how much views as described look like a place of the map.
            clock: takes the time.
        """
        return Versions(partial(self._versions, query, prior, likeness, clock))

    def _versions(
        self,
        query: Query,
        prior: PosePrior | None,
        likeness: Likeness,
        clock: StageClock,
        versions: Versions,
    ) -> Iterator[Version]:
        views = query.views
        is_turnable = self._max_turned > 0 and any(view.features is None for view in views)
        predicted = self._predicted(query, prior) if is_turnable else None
        known = predicted
        if is_turnable and predicted is None and query.rolled_as is not None:
            known = self._rolls(query, query.rolled_as)
        if known is not None and max(map(abs, known)) > MAX_ROLL_RAD:
            yield Version(self._describe(views, known, clock), known[0], 2)
        upright = self._describe(views, self._turns(views, 0.0), clock)
        yield Version(upright)
        has_keypoints = any(len(features.local) for features in upright)
        if is_turnable and predicted is None and has_keypoints and query.seeks_roll:
            versions.sought_roll = True
            yield from self._most_alike(views, upright, likeness, clock)

    def mirrored(
        self, views: Sequence[View], turn_rad: float, clock: StageClock
    ) -> list[ImageFeatures] | None:
        """Describe the images as a mirror shows them, at the angle at which a version of them was looked at.

        Args:
            views: of the query.
            turn_rad: of that version.
            clock: takes the time.

        Returns:
            What is seen by view, in pixels of the mirrored images; None where the images are not there any more.
        """
        if any(view.image is None or view.features is not None for view in views):
            return None
        turned = [-turn for turn in self._turns(views, turn_rad)]
        shown = [replace(view, image=mirror_image(view.image)) for view in views if view.image is not None]
        return self._describe(shown, turned, clock)

    def _predicted(self, query: Query, prior: PosePrior | None) -> list[float] | None:
        """Return the roll of each view; None where no prediction says it well enough."""
        if prior is None or not self._uses_prior:
            return None
        if self._sigmas * largest_sigmas(prior.covariance)[1] > MAX_ROLL_RAD:
            return None
        return self._rolls(query, prior.map_from_camera)

    def _rolls(self, query: Query, map_from_rig: Rigid3) -> list[float]:
        """Return the roll of each view of a rig that is there."""
        cameras = [map_from_rig @ view.calibration.rig_from_camera for view in query.views]
        return [roll_against(camera.rotation, self._up) for camera in cameras]

    def _turns(self, views: Sequence[View], turn_rad: float) -> list[float]:
        """Return the angles, rad, that turn each view upright where the first one is so after a turn by one.

        That the first one looks about level is assumed; of what looks up or down then, nobody knows.
        """
        if len(views) == 1 or self._max_turned == 0:
            return [turn_rad] * len(views)
        cosine, sine = math.cos(turn_rad), math.sin(turn_rad)
        up = views[0].calibration.rig_from_camera.rotation @ np.array([-sine, -cosine, 0.0])
        rolls = [roll_against(view.calibration.rig_from_camera.rotation, up) for view in views[1:]]
        return [turn_rad, *(roll if abs(roll) > 0.5 * MAX_ROLL_RAD else 0.0 for roll in rolls)]

    @cached_property
    def _up(self) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            rotations = rotations_from_quats(np.asarray(self._poses[:, 3:], np.float64))
        # What is none is told of where that keyframe is used.
        return common_up(rotations[np.isfinite(rotations).all(axis=(1, 2))])

    def _most_alike(
        self,
        views: Sequence[View],
        upright: Sequence[ImageFeatures],
        likeness: Likeness,
        clock: StageClock,
    ) -> Iterator[Version]:
        """Yield versions turned by the angles at which the views look most like the map."""
        alike = [likeness(upright, clock)]
        for step in range(1, _NUM_ANGLES):
            turned = self._describe(views, self._turns(views, step * _STEP_RAD), clock)
            alike.append(likeness(turned, clock))
        for turn in _peaks(np.array(alike))[: self._max_turned]:
            yield Version(self._describe(views, self._turns(views, turn), clock), turn, _NUM_ANGLES)

    def _describe(
        self, views: Sequence[View], turns_rad: Sequence[float], clock: StageClock
    ) -> list[ImageFeatures]:
        """Describe views turned; one whose features were given cannot be."""
        described = []
        for view, turn in zip(views, turns_rad, strict=True):
            if view.features is not None:
                described.append(view.features)
                continue
            assert view.image is not None
            with clock.stage("extract"):
                size_wh = reduced_size(view.calibration.camera, self._map_cameras)
                described.append(extract_reduced(self._extractor, view.image, size_wh, turn))
        return described


def _peaks(likeness: NDArray[np.float64]) -> list[float]:
    """Return the angles, rad in (-pi, pi], at which a function of equal steps of a turn peaks, the highest first.

    A parabola through a sample and its neighbours says where between the samples the peak is. Those lower than the
    first sample, and one a quarter of a step from it, are left out: that angle was tried.
    """
    before, after = np.roll(likeness, 1), np.roll(likeness, -1)
    steps = np.flatnonzero((likeness >= before) & (likeness > after) & (likeness >= likeness[0]))
    curvature = before[steps] - 2.0 * likeness[steps] + after[steps]
    offsets = 0.5 * (before[steps] - after[steps]) / curvature
    order = np.argsort(-likeness[steps], kind="stable")
    turns = [math.remainder(turn, 2.0 * math.pi) for turn in ((steps + offsets) * _STEP_RAD)[order]]
    return [turn for turn in turns if abs(turn) > 0.5 * MAX_ROLL_RAD]
