"""Which fixes are believed, and when the former position is given up."""

from __future__ import annotations

import logging

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.geometry.covariance import largest_sigmas
from hfnet_ros.tracking.agreement import Agreement
from hfnet_ros.tracking.gate import PLANAR, Comparison, FloatArray, InnovationGate
from hfnet_ros.tracking.map_odom import MapOdomFilter
from hfnet_ros.tracking.motion import BasePose, Excess, Moment, MotionModel
from hfnet_ros.tracking.odometry_check import OdometryCheck
from hfnet_ros.types import Belief, GateDecision, TrackingState, Verdict

_logger = logging.getLogger(__name__)

# A vaguer hint says where to look, and nothing of whether a fix is right: in a flat each one agrees with it.
_SHARP_HINT_M = 10.0
# Odometry's z points up, and always the same way in the map, wherever the robot is carried; no ramp is that steep.
_TIPPED_RAD = np.deg2rad(45.0)


class FixJudge:
    """The position, the fixes that have not made it one, and the rules between them.

    * No position: `gate.agreement_fixes` fixes must agree (bootstrap), or `gate.recovery_rejections` be of one
      drive that odometry does not tell of, which is wrong then.
    * A position: a fix must pass the gate. Where the position is STALE, nearly everything passes, so
      that the fix must also agree with others, as at the start.
    * `gate.recovery_rejections` rejected fixes that agree, with no accepted one among them: the robot
      was carried away, the position is given up for theirs. So it is where they are of one drive that
      odometry does not tell of, which is wrong then.
    * Where a fix that was believed has odometry's z up in the map, none is believed that tips it over: the image is
      turned, or the camera in its mounting.
    * A position vaguer than `staleness.lost_factor` allows is forgotten.
    """

    def __init__(self, config: Config) -> None:
        """Start without a position."""
        self._hint: BasePose | None = None
        self.last_fix: Moment | None = None
        self._up: FloatArray | None = None
        self._config = config
        self._use_rules()
        self._check = OdometryCheck(config)
        self._filter = MapOdomFilter(config.gate, self._motion)

    def set_config(self, config: Config) -> None:
        """Use other parameters; where they are of the rules here, fixes that were not accepted yet are forgotten."""
        before, self._config = self._config, config
        if _rules(config) == _rules(before):
            return
        self._use_rules()
        self._check.set_config(config)
        self._motion.excess = self._check.excess
        self._filter.set_config(config.gate, self._motion)

    def _use_rules(self) -> None:
        self._motion = MotionModel(self._config.odometry)
        self._gate = InnovationGate(self._config.gate)
        self._agreement = Agreement(self._config, self._gate, self._motion)

    def forget(self) -> None:
        """Have no position, no fixes and no hint."""
        self._filter.forget()
        self._agreement.clear()
        self._check.clear()
        self._motion.excess = self._check.excess
        self._hint = self.last_fix = self._up = None

    def take_hint(self, hint: BasePose) -> None:
        """Look around a pose until a fix is accepted; see `Relocalizer.set_initial_pose`."""
        self._hint = hint

    @property
    def excess(self) -> Excess:
        """Return by how much odometry is off, by the fixes of the last drive."""
        return self._motion.excess

    def expect(self, moment: Moment) -> BasePose | None:
        """Return where the robot is to be looked for first: by a hint, else by the position."""
        if self._hint is not None:
            return self._motion.carry(self._hint, moment)
        if not self._filter.is_started:
            return None
        position = self._filter.position(moment)
        return None if self.state_of(position.covariance) is TrackingState.LOST else position

    def belief(self, moment: Moment) -> Belief | None:
        """Return the position at a moment, however vague."""
        return self._filter.belief(moment) if self._filter.is_started else None

    def state_of(self, covariance: FloatArray) -> TrackingState:
        """Return what a position of this covariance [6, 6] counts as."""
        limits = self._config.staleness
        sigma_m, sigma_rad = largest_sigmas(covariance)
        vague = max(sigma_m / limits.position_sigma_m, np.rad2deg(sigma_rad) / limits.rotation_sigma_deg)
        if not vague <= limits.lost_factor:
            return TrackingState.LOST
        return TrackingState.TRACKING if vague <= 1.0 else TrackingState.STALE

    def advance(self, moment: Moment) -> None:
        """Follow odometry; forget a position that has become worthless, and a hint likewise."""
        self._filter.advance(moment)
        started = self._filter.is_started
        if started and self.state_of(self._filter.position(moment).covariance) is TrackingState.LOST:
            _logger.warning("the position has become too vague and is forgotten")
            self._filter.forget()
        if self._hint is not None:
            sigma_m, _ = largest_sigmas(self._motion.carry(self._hint, moment).covariance)
            if self._config.prior.sigmas * sigma_m > self._config.prior.max_radius_m:
                age_s = 1e-9 * (moment.stamp_ns - self._hint.moment.stamp_ns)
                when = f"{abs(age_s):.1f} s {'before' if age_s >= 0.0 else 'after'} the image"
                _logger.warning(
                    "the initial pose given, stamped %s, has become too vague and is dropped", when
                )
                self._hint = None

    def judge(self, fix: BasePose) -> tuple[GateDecision, bool]:
        """Decide on a fix and use it if it is believed; the flag says that a position was given up."""
        tipped_rad = _angle(self._up, _up_of(fix))
        if tipped_rad > _TIPPED_RAD:
            reason = (
                f"the robot would be tipped over by {np.rad2deg(tipped_rad):.0f} deg, which odometry has not seen; is "
                "the image turned, or the camera in its mounting?"
            )
            return GateDecision(Verdict.REJECTED_INNOVATION, reason), False
        if not self._filter.is_started:
            return self._judge_without_position(fix), False
        predicted = self._filter.predict(fix.moment)
        comparison = self._gate.compare(predicted, fix)
        if not comparison.fits:
            return self._judge_rejected(fix, comparison)
        if self.state_of(self._filter.position(fix.moment).covariance) is not TrackingState.TRACKING:
            needed = self._needed(fix, self._config.gate.agreement_fixes)
            support = self._agreement.weigh(fix, with_accepted=True)
            if not support.is_clear(needed):
                reason = f"the prediction is too vague to prove a fix, and {support.text(needed)}"
                return _decision(Verdict.AWAITING_AGREEMENT, reason, comparison), False
        self._filter.correct(fix)
        self._check.note(fix)
        self._accept(fix)
        return _decision(Verdict.ACCEPTED, comparison.text, comparison), False

    def _judge_without_position(self, fix: BasePose) -> GateDecision:
        needed = self._needed(fix, self._config.gate.agreement_fixes)
        support = self._agreement.weigh(fix, with_accepted=False)
        reason = support.text(needed)
        if support.is_clear(needed):
            self._check.restart(fix)
        else:
            one_drive = self._one_drive(max(needed, self._config.gate.recovery_rejections))
            if not one_drive:
                return GateDecision(Verdict.AWAITING_AGREEMENT, reason)
            reason = f"{reason}; {one_drive}"
            self._check.restart(self._agreement.course[-1])
            self._check.contradict(fix)
        self._filter.start(fix)
        self._accept(fix)
        x, y, z = fix.map_from_base.translation
        _logger.info("position found at x %.2f, y %.2f, z %.2f m: %s", x, y, z, reason)
        return GateDecision(Verdict.ACCEPTED, reason)

    def _judge_rejected(self, fix: BasePose, comparison: Comparison) -> tuple[GateDecision, bool]:
        needed = self._config.gate.recovery_rejections
        if self._fits_hint(fix):
            needed = self._needed(fix, min(needed, self._config.gate.agreement_fixes))
        support = self._agreement.weigh(fix, with_accepted=False)
        reason = f"{comparison.text}; {support.text(needed)} against the position"
        if not support.is_clear(needed):
            one_drive = self._one_drive(self._config.gate.recovery_rejections)
            if not one_drive:
                return _decision(Verdict.REJECTED_INNOVATION, reason, comparison), False
            reason = f"{comparison.text}; {one_drive}"
            self._check.contradict(fix)
        else:
            self._check.restart(fix)
        _logger.warning("the robot is not where it was thought to be; position given up: %s", reason)
        self._filter.start(fix)
        self._accept(fix)
        return _decision(Verdict.ACCEPTED, f"former position given up: {reason}", comparison), True

    def _one_drive(self, needed: int) -> str:
        """Say how many fixes are of one drive that odometry does not tell of; nothing where they are too few.

        By an odometry that stands still or is of another scale no two fixes agree, however right they are.
        """
        course = self._agreement.weigh_course()
        if not course.is_clear(needed):
            return ""
        return f"{course.num_agreeing} fixes in a row are of one drive, but not of the one that odometry tells of"

    def _accept(self, fix: BasePose) -> None:
        up = _up_of(fix)
        if up is not None and up[2] >= np.cos(_TIPPED_RAD):
            self._up = up
        self._agreement.confirm(fix)
        self._motion.excess = self._check.excess
        self.last_fix = fix.moment
        self._hint = None

    def _needed(self, fix: BasePose, fixes: int) -> int:
        """Return how many fixes must agree; a hint that agrees is one of them."""
        return max(1, fixes - 1) if self._fits_hint(fix) else fixes

    def _fits_hint(self, fix: BasePose) -> bool:
        if self._hint is None:
            return False
        hint = self._motion.carry(self._hint, fix.moment)
        if largest_sigmas(hint.covariance)[0] > _SHARP_HINT_M:
            return False
        return self._gate.compare(self._motion.carry(self._hint, fix.moment), fix, PLANAR).fits


def _up_of(fix: BasePose) -> FloatArray | None:
    """Return the z of odometry's frame in the map [3], as a fix has it; None without odometry."""
    odometry = fix.moment.odometry
    return None if odometry is None else fix.map_from_base.rotation @ odometry.odom_from_base.rotation[2]


def _angle(one: FloatArray | None, other: FloatArray | None) -> float:
    if one is None or other is None:
        return 0.0
    return float(np.arccos(np.clip(one @ other, -1.0, 1.0)))


def _rules(config: Config) -> tuple[object, ...]:
    return config.gate, config.odometry, config.staleness


def _decision(verdict: Verdict, reason: str, comparison: Comparison) -> GateDecision:
    return GateDecision(
        verdict,
        reason,
        comparison.mahalanobis_sq,
        comparison.threshold,
        comparison.innovation,
        comparison.dof,
    )
