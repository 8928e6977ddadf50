"""Images and odometry in, a position that a robot may use out.

One image at a time: predict, search there first, localize, compare with the prediction, fuse. The live
node, the replay of bags and the tests drive this same object.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import Config
from hfnet_ros.errors import InputError
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.covariance import change_child_covariance, is_valid_covariance
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.camera_faults import twist_of
from hfnet_ros.tracking.camera_trust import CameraTrust
from hfnet_ros.tracking.clocks import ClockComparison
from hfnet_ros.tracking.fix_judge import FixJudge
from hfnet_ros.tracking.image_delay import ImageDelay
from hfnet_ros.tracking.lens_check import LensCheck
from hfnet_ros.tracking.motion import BasePose, Moment, base_pose, motion_between
from hfnet_ros.tracking.mounting_check import MountingCheck
from hfnet_ros.tracking.odometry import Odometry
from hfnet_ros.tracking.odometry_unit import OdometryUnit
from hfnet_ros.tracking.rig_views import RepeatedImages, ask
from hfnet_ros.tracking.roll_memory import RollMemory
from hfnet_ros.types import (
    Belief,
    CameraView,
    Frame,
    GateDecision,
    ImageLocalizer,
    Localization,
    PosePrior,
    Query,
    Relocalization,
    Tracking,
    TrackingState,
    Verdict,
)

FloatArray = NDArray[np.float64]

_NS_PER_S = 1_000_000_000
_TWIST_NS = _NS_PER_S // 10  # over which a velocity is taken
_RESTART_NS = _NS_PER_S  # images dated further back than this are those of a bag that begins again

_NO_SCALE = GateDecision(
    Verdict.NO_SCALE,
    "lengths of the map are no metres; gate.allow_arbitrary_scale takes its unit for one",
)

_logger = logging.getLogger(__name__)


class Relocalizer:
    """Follows a robot through a map.

    `update` belongs to one thread, that of the localizer; everything else may be called from any.
    The same images and odometry in the same order give the same answers, bit by bit.
    """

    def __init__(self, localizer: ImageLocalizer, config: Config, odometry: Odometry) -> None:
        """Start without a position."""
        self._localizer = localizer
        self._odometry = odometry
        self._lock = threading.Lock()  # of all below; never held while an image is localized
        self._config = config
        self._judge = FixJudge(config)
        self._clocks = ClockComparison()
        self._mounting_check = MountingCheck()
        self._lens_check = LensCheck()
        self._delay = ImageDelay(config)
        self._unit = OdometryUnit()
        self._repeated = RepeatedImages()
        self._trust = CameraTrust(config)
        self._rolls = RollMemory(config.retrieval.roll_pause_s)
        self._last_stamp_ns: int | None = None
        self._stray_ns: int | None = None  # of the last image, where it is far from all others and odometry

    def update(
        self, frame: Frame, base_from_camera: Rigid3 | None, *, ignore_prior: bool = False
    ) -> Relocalization:
        """Localize an image and decide what the robot may make of it.

        Args:
            frame: the image; its stamp is the time its pose is valid at.
            base_from_camera: mounting of the camera; None where it is unknown, and nothing is accepted.
            ignore_prior: search the whole map at once.

        Raises:
            ImageError: the image does not have the size of its calibration.
            EngineError: the network failed.
        """
        return self._update(frame, base_from_camera, frame.camera_frame_id, ignore_prior=ignore_prior)

    def update_views(
        self, stamp_ns: int, views: Sequence[CameraView], *, ignore_prior: bool = False
    ) -> tuple[Relocalization, tuple[CameraView, ...]]:
        """Localize images that several cameras took at one time, as `update` does one.

        Args:
            stamp_ns: time the pose shall be valid at.
            views: with mountings at the stamps of their images; one at least has an image.
            ignore_prior: search the whole map at once.

        Returns:
            What the images changed; and the views with their position in the query, or why they are not in it.

        Raises:
            ImageError: an image does not have the size of its calibration.
            EngineError: the network failed.
        """
        newest_ns = max(view.frame.stamp_ns for view in views if view.frame is not None)
        if any(view.frame is not None and view.frame.stamp_ns != stamp_ns for view in views):
            self._odometry.wait_for(newest_ns, self._config.odometry.wait_s)
        asked = ask(stamp_ns, self._repeated.named(views), self._odometry)
        names = [view.camera for view in asked.views if view.view_idx is not None]
        seen = asked.seen
        if isinstance(seen, Query):
            seen = self._trust.marked(seen, names, self._twist(stamp_ns))
        frame_id = seen.camera_frame_id if isinstance(seen, Frame) else self._config.frames.base_frame
        found = self._update(seen, asked.base_from_camera, frame_id, ignore_prior=ignore_prior, names=names)
        return found, asked.views

    def _update(
        self,
        seen: Frame | Query,
        base_from_camera: Rigid3 | None,
        camera_frame: str,
        *,
        ignore_prior: bool,
        names: Sequence[str] = (),
    ) -> Relocalization:
        stamp_ns = seen.stamp_ns
        self._await_odometry_near(stamp_ns)
        with self._lock:
            is_dated = self._believes(stamp_ns)
            ask_prior = is_dated and not ignore_prior
            prior = self._search_prior(stamp_ns, base_from_camera) if ask_prior else None
            wait_s = self._config.odometry.wait_s
        asked = seen if ignore_prior else self._rolls.marked(seen)
        localization = self._localizer.localize(asked, prior)
        self._rolls.note(localization)
        self._odometry.wait_for(stamp_ns, wait_s)
        if names and base_from_camera is not None:
            moment, twist = self._moment(stamp_ns), self._twist(stamp_ns)
            query = Query.of(seen)
            self._trust.trust_odometry(self._judge.excess)
            localization = self._trust.judged(localization, query, names, moment, twist, base_from_camera)
        is_rig = isinstance(seen, Query)
        with self._lock:
            return self._conclude(
                localization,
                base_from_camera,
                camera_frame,
                is_dated=is_dated,
                is_rig=is_rig,
                camera=seen.camera if isinstance(seen, Frame) and not names else None,
            )

    def belief_at(self, stamp_ns: int) -> Belief | None:
        """Return what is known of the position at a time; None while LOST."""
        return self.tracking_at(stamp_ns).belief

    def tracking_at(self, stamp_ns: int) -> Tracking:
        """Return what is known at a time, by odometry as far as there is some, and how good it is.

        Args:
            stamp_ns: the time; 0 for that of the last image.
        """
        with self._lock:
            return self._tracking_at(self._moment(stamp_ns or self._last_stamp_ns or 0))

    def set_initial_pose(self, map_from_base: Rigid3, covariance: FloatArray, stamp_ns: int) -> None:
        """Take a hint where the robot is; it is never a position itself.

        Until a fix is accepted, or the hint has become too vague on the way, images are searched for
        around the hint and not around the prediction, and the hint counts as one fix among those that
        must agree. A fix that agrees with the hint but not with a position in use needs only
        `gate.agreement_fixes` to replace it. The hint is compared in x, y and yaw: people point at plans.

        Args:
            map_from_base: where the robot is said to be.
            covariance: [6, 6] as everywhere, positive definite.
            stamp_ns: when it was valid; 0 for now.

        Raises:
            InputError: a number is not finite or the covariance is none.
        """
        finite = np.isfinite(map_from_base.rotation).all() and np.isfinite(map_from_base.translation).all()
        if not (finite and is_valid_covariance(covariance)):
            raise InputError(
                "the initial pose is not finite, or its covariance not symmetric and positive definite"
            )
        with self._lock:
            moment = self._moment(stamp_ns or self._last_stamp_ns or 0)
            self._judge.take_hint(BasePose(moment, map_from_base, covariance))
        x, y, z = map_from_base.translation
        _logger.info("looking around x %.2f, y %.2f, z %.2f m, as told", x, y, z)

    def reinitialize(self) -> None:
        """Forget the position, all fixes and hints."""
        with self._lock:
            self._forget()

    def replace_map(self, localizer: ImageLocalizer) -> None:
        """Use another map from the next image on; what was known in the old one is forgotten."""
        with self._lock:
            self._localizer = localizer
            self._forget()

    def set_config(self, config: Config) -> None:
        """Use other parameters of odometry, gate and staleness from now on; the position is kept."""
        with self._lock:
            self._config = config
            self._judge.set_config(config)

    def _forget(self) -> None:
        self._judge.forget()
        self._delay.restart()
        self._unit.clear()
        self._mounting_check.clear()
        self._lens_check.clear()
        self._repeated.clear()
        self._trust = CameraTrust(self._config)
        self._rolls = RollMemory(self._config.retrieval.roll_pause_s)

    def _believes(self, stamp_ns: int) -> bool:
        """Take note of the stamp of an image; False where nothing may follow from it: there is none, or it is a stray.

        A stamp far from the last image's and from all odometry is believed when a second one is near it. Where
        stamps go back, as in a bag that begins again, the position is forgotten.
        """
        if stamp_ns <= 0:
            return False
        last_ns, stray_ns, self._stray_ns = self._last_stamp_ns, self._stray_ns, None
        is_first = last_ns is not None and (
            stray_ns is None or abs(stamp_ns - stray_ns) >= abs(stamp_ns - last_ns)
        )
        if last_ns is not None and is_first and self._is_far(stamp_ns, last_ns):
            self._stray_ns = stamp_ns
            return False
        self._last_stamp_ns = stamp_ns
        if last_ns is not None and stamp_ns < last_ns - _RESTART_NS:
            seconds = (last_ns - stamp_ns) / _NS_PER_S
            _logger.warning("image stamps went back by %.1f s: the position is forgotten", seconds)
            self._forget()
        return True

    def _await_odometry_near(self, stamp_ns: int) -> None:
        """Let odometry come near an image after a pause: it may come on another topic a little later."""
        last_ns = self._last_stamp_ns  # which only this thread changes
        if last_ns is not None and stamp_ns > last_ns + _RESTART_NS:
            self._odometry.wait_for(stamp_ns - _RESTART_NS, self._config.odometry.wait_s)

    def _is_far(self, stamp_ns: int, last_ns: int) -> bool:
        """Tell whether a stamp is more than a second from the last image's, and from the odometry there should be."""
        if abs(stamp_ns - last_ns) <= _RESTART_NS or not self._odometry.is_expected:
            return False
        nearest = self._odometry.last_before(stamp_ns + _RESTART_NS)
        return nearest is None or stamp_ns - nearest.stamp_ns > _RESTART_NS

    def _search_prior(self, stamp_ns: int, base_from_camera: Rigid3 | None) -> PosePrior | None:
        if base_from_camera is None or stamp_ns <= 0:
            return None
        expected = self._judge.expect(self._moment(stamp_ns))
        if expected is None:
            return None
        covariance = change_child_covariance(
            expected.covariance, expected.map_from_base, base_from_camera.translation
        )
        return PosePrior(expected.map_from_base @ base_from_camera, covariance)

    def _conclude(
        self,
        localization: Localization,
        base_from_camera: Rigid3 | None,
        camera_frame: str,
        *,
        is_dated: bool,
        is_rig: bool,
        camera: Camera | None,
    ) -> Relocalization:
        """Judge an answer; `camera` is the calibration of the only camera, None where there are several."""
        stamp_ns, estimate = localization.stamp_ns, localization.estimate
        moment = self._moment(stamp_ns)
        if is_dated:
            self._judge.advance(moment)
        fix = decision = None
        relocated = False
        if estimate is not None:
            if camera is not None:
                self._lens_check.note(camera, localization)
                estimate = self._lens_check.widened(estimate)
                localization = replace(localization, estimate=estimate)
            is_usable = localization.is_metric or self._config.gate.allow_arbitrary_scale
            decision = self._refuse(stamp_ns, moment, base_from_camera) if is_usable else _NO_SCALE
            if base_from_camera is not None and self._has_body(camera_frame):
                self._mounting_check.note(moment, localization, base_from_camera, camera_frame, is_rig=is_rig)
            if base_from_camera is not None and is_usable:
                fix = base_pose(moment, estimate, base_from_camera)
            if decision is None and not is_dated:
                decision = GateDecision(Verdict.NO_ODOMETRY, "the stamp is far from the last image's")
            if fix is not None and decision is None:
                if localization.is_metric:
                    self._unit.note(fix)
                # Of several, `CameraTrust` tells which one is late.
                if camera is not None and localization.is_metric:
                    self._delay.note(fix, self._odometry)
                    fix = self._delay.corrected(fix, self._odometry)
                decision, relocated = self._judge.judge(fix)
        tracking = self._tracking_at(moment if is_dated else self._moment(self._last_stamp_ns or 0))
        return Relocalization(
            localization,
            decision,
            fix.map_from_base if fix is not None else None,
            fix.covariance if fix is not None else None,
            tracking.state,
            tracking.belief,
            relocated,
            tracking.age_s,
            tracking.distance_m,
            (
                *localization.warnings,
                *self._mounting_check.doubts(camera_frame),
                *filter(
                    None,
                    (self._lens_check.text, self._delay.text, self._unit.text or self._judge.excess.text),
                ),
            ),
        )

    def _has_body(self, camera_frame: str) -> bool:
        """Tell whether the pose asked for is that of a body, not of an optical frame, which REP-103 names so."""
        base_frame = self._config.frames.base_frame
        return bool(base_frame) and not (base_frame == camera_frame and "optical" in camera_frame)

    def _refuse(self, stamp_ns: int, moment: Moment, base_from_camera: Rigid3 | None) -> GateDecision | None:
        """Return why a fix cannot be judged at all."""
        if base_from_camera is None:
            return GateDecision(Verdict.NO_EXTRINSIC, "the mounting of the camera on the robot is unknown")
        if stamp_ns <= 0:
            return GateDecision(Verdict.NO_ODOMETRY, "the image has no stamp, so that no odometry fits it")
        if self._odometry.is_expected and not moment.is_measured:
            found = self._clocks.explain(stamp_ns, self._odometry)
            return GateDecision(Verdict.NO_ODOMETRY, f"no odometry at the stamp of the image; {found}")
        return None

    def _moment(self, stamp_ns: int) -> Moment:
        return Moment(stamp_ns, self._odometry.last_before(stamp_ns))

    def _twist(self, stamp_ns: int) -> FloatArray:
        """Return the velocity [6] of the robot by the newest odometry that is not after a time."""
        later = self._odometry.last_before(stamp_ns)
        earlier = None if later is None else self._odometry.sample_at(later.stamp_ns - _TWIST_NS)
        return twist_of(earlier, later)

    def _tracking_at(self, moment: Moment) -> Tracking:
        belief, last_fix = self._judge.belief(moment), self._judge.last_fix
        age_s = distance_m = None
        if last_fix is not None:
            age_s = 1e-9 * (moment.stamp_ns - last_fix.stamp_ns)
            distance_m = motion_between(last_fix, moment).distance_m
        if belief is None:
            return Tracking(TrackingState.LOST, None, age_s, distance_m)
        state = self._judge.state_of(belief.covariance)
        kept = None if state is TrackingState.LOST else belief
        return Tracking(state, kept, age_s, distance_m)
