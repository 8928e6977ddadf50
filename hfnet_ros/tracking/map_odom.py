"""What all accepted fixes and odometry together say: an error-state Kalman filter on SE(3).

The state is map_from_base at the last image, not map_from_odom: odometry's origin may be far from the
robot, where a hundredth of a degree is a metre, while the covariance at the robot is what is known.
Errors are those of `PoseEstimate.covariance`: R = exp(phi) R_true, t = t_true + tau, map axes. Then

    predict   tau' = tau + phi x R d + noise, phi' = phi + noise   (`MotionModel.carry`)
    innovate  nu = (t_fix - t, log(R_fix R^T))                     covariance P + R_fix
    correct   K = P (P + R_fix)^-1, t += (K nu)_t, R = exp((K nu)_r) R, P = (I - K) P (Joseph's form)

Neighbouring fixes err in common, because the map does. That part does not become smaller by looking
again, so it is kept out of P, which is about the independent part only, and added to everything that
leaves the filter: what is published never claims to be better than the map. Nor is P ever smaller than
an eighth of that part in standard deviations: a robot that stands sees the same error in every image, and
a filter that took a thousand of them for as many witnesses would accept what contradicts it a little, as after
a push that odometry did not notice, and never follow. Nor is it smaller than what is not known of where this part of
the map lies (a sub-map's place in its set): in the next part that is another error.

Reference: Sola, Deray, Atchuthan, "A micro Lie theory for state estimation in robotics", 2018.
"""

from __future__ import annotations

import math

import numpy as np

from hfnet_ros.config import GateConfig
from hfnet_ros.geometry.covariance import symmetrize
from hfnet_ros.geometry.rigid3 import Rigid3, interpolate, pose_difference
from hfnet_ros.tracking.gate import FloatArray, systematic_covariance
from hfnet_ros.tracking.motion import BasePose, Moment, MotionModel
from hfnet_ros.types import Belief

# The total becomes less than 1 % larger by it, and what a standing robot sees keeps some weight.
_SHARPEST = 0.125  # standard deviation of the independent part, in those of the common one


class MapOdomFilter:
    """Fuses fixes with odometry; knows nothing of whether a fix may be believed."""

    def __init__(self, config: GateConfig, motion: MotionModel) -> None:
        """Start without a position."""
        self.set_config(config, motion)
        self._state: BasePose | None = None  # at the last fix
        self._latest: BasePose | None = None  # as far as odometry has gone on from there
        self._shown: tuple[int, Rigid3, int] | None = None  # stamp_ns, map_from_odom, run of odometry

    def set_config(self, config: GateConfig, motion: MotionModel) -> None:
        """Use other parameters; the position is kept."""
        self._systematic = systematic_covariance(config)
        self._smoothing_s = config.smoothing_s
        self._motion = motion

    @property
    def is_started(self) -> bool:
        """Tell whether there is a position."""
        return self._state is not None

    def forget(self) -> None:
        """Have no position."""
        self._state = self._latest = self._shown = None

    def start(self, fix: BasePose) -> None:
        """Take a fix as the position, whatever was known before; map_from_odom jumps to it."""
        self._state = BasePose(fix.moment, fix.map_from_base, self._not_too_sharp(fix.covariance, fix.common))
        self._latest = None
        self._shown = _shown(fix, fix.map_from_base)

    def predict(self, moment: Moment) -> BasePose:
        """Return where the robot should be; the covariance is that of the independent part, P."""
        state = self._state
        if state is None:
            raise RuntimeError("the filter has no position to predict from")
        if self._latest is not None and _run(moment) != _run(state.moment):
            state = self._latest
        return state if state.moment is moment else self._motion.carry(state, moment)

    def advance(self, moment: Moment) -> None:
        """Move on to a measured moment, so that nothing is lost of the way until there if odometry begins a new run.

        Otherwise uncertainty counts from the last fix on.
        """
        state = self._state
        if state is None or not (moment.is_measured and state.moment.is_measured):
            return
        if moment.stamp_ns > state.moment.stamp_ns and _run(moment) == _run(state.moment):
            self._latest = self._motion.carry(state, moment)

    def correct(self, fix: BasePose) -> None:
        """Fuse a fix; map_from_odom does not jump but goes on from where it is."""
        predicted = self.predict(fix.moment)
        shown = self._map_from_base_shown(predicted)
        gain = np.linalg.solve(predicted.covariance + fix.covariance, predicted.covariance).T
        step = gain @ pose_difference(predicted.map_from_base, fix.map_from_base)
        turned = Rigid3.from_rotvec(step[3:], np.zeros(3)).rotation @ predicted.map_from_base.rotation
        keep = np.eye(6) - gain
        covariance = keep @ predicted.covariance @ keep.T + gain @ fix.covariance @ gain.T
        moved = Rigid3(turned, predicted.map_from_base.translation + step[:3])
        self._state = BasePose(fix.moment, moved, self._not_too_sharp(symmetrize(covariance), fix.common))
        self._latest = None
        self._shown = _shown(fix, shown)

    def position(self, moment: Moment) -> BasePose:
        """Return where the robot is at a moment; the covariance is that of the whole error."""
        now = self.predict(moment)
        return BasePose(moment, now.map_from_base, symmetrize(now.covariance + self._systematic))

    def belief(self, moment: Moment) -> Belief:
        """Return what is known at a moment."""
        now = self.position(moment)
        map_from_odom = None
        if moment.odometry is not None:
            map_from_odom = self._map_from_base_shown(now) @ moment.odometry.odom_from_base.inverse()
        return Belief(moment.stamp_ns, now.map_from_base, now.covariance, map_from_odom)

    def _not_too_sharp(self, covariance: FloatArray, common: FloatArray | None) -> FloatArray:
        """Return a covariance [6, 6] with what is below the smallest raised to it, in whichever direction."""
        smallest = _SHARPEST**2 * self._systematic
        root = np.linalg.cholesky(smallest if common is None else smallest + common)
        whitened = np.linalg.solve(root, np.linalg.solve(root, covariance).T)
        ratios, directions = np.linalg.eigh(symmetrize(whitened))
        if ratios[0] >= 1.0:
            return covariance
        raised = root @ directions
        return symmetrize((raised * np.maximum(ratios, 1.0)) @ raised.T)

    def _map_from_base_shown(self, now: BasePose) -> Rigid3:
        """Return the robot's pose as the broadcast map_from_odom gives it.

        It approaches the filter's exponentially, and does so at the robot: between two map_from_odom,
        a straight line at odometry's origin would be a detour at the robot.
        """
        odometry = now.moment.odometry
        if self._shown is None or odometry is None or self._shown[2] != odometry.run:
            return now.map_from_base
        if self._smoothing_s <= 0.0:
            return now.map_from_base
        since_s = 1e-9 * max(0, now.moment.stamp_ns - self._shown[0])
        before = self._shown[1] @ odometry.odom_from_base
        return interpolate(before, now.map_from_base, -math.expm1(-since_s / self._smoothing_s))


def _run(moment: Moment) -> int | None:
    return moment.odometry.run if moment.odometry is not None else None


def _shown(fix: BasePose, map_from_base: Rigid3) -> tuple[int, Rigid3, int] | None:
    odometry = fix.moment.odometry
    if odometry is None:
        return None
    return fix.moment.stamp_ns, map_from_base @ odometry.odom_from_base.inverse(), odometry.run
