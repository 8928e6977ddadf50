"""A single fix may be wrong; fixes that agree along the robot's way seldom are.

What this cannot tell: where two places look the same and all fixes name the wrong one, they agree as
well as right ones would, for as long as the robot stays there. Three things keep that out where it can
be kept out: the search near the prediction never sees the other place (`Localizer`), one accepted fix
takes away all that was held against the position (`confirm`), and of two opinions none wins that is not far
more frequent (`Support.is_clear`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hfnet_ros.config import Config
from hfnet_ros.geometry.covariance import largest_sigmas
from hfnet_ros.tracking.gate import InnovationGate
from hfnet_ros.tracking.motion import BasePose, Moment, MotionModel


@dataclass(frozen=True, slots=True)
class Support:
    """What other fixes say to the newest one.

    Attributes:
        num_agreeing: fixes that agree with each other, the newest among them.
        num_rivals: fixes that agree with each other on something else, at the most.
    """

    num_agreeing: int
    num_rivals: int

    def is_clear(self, needed: int) -> bool:
        """Tell whether enough fixes agree: one more for each that says otherwise, and more than twice as many."""
        if needed <= 1:
            return True
        return self.num_agreeing >= needed + self.num_rivals and self.num_agreeing > 2 * self.num_rivals

    def text(self, needed: int) -> str:
        """Return the count in words."""
        rivals = f", {self.num_rivals} on another place" if self.num_rivals else ""
        return f"{self.num_agreeing} of {needed} fixes agree{rivals}"


class Agreement:
    """The last fixes, carried along by odometry so that they can be compared.

    They grow vaguer on the way; one that says no more than a lost position would is dropped. Fixes
    accepted before stand by a newer one only until a position of their age would be STALE: after that
    they say no more than the prediction itself.
    """

    def __init__(self, config: Config, gate: InnovationGate, motion: MotionModel) -> None:
        """Take how many fixes must agree, and when one is too vague to count."""
        limits = config.staleness
        self._lost_sigma_m = limits.position_sigma_m * limits.lost_factor
        self._stale_sigma_m = limits.position_sigma_m
        self._gate = gate
        self._motion = motion
        needed = max(config.gate.agreement_fixes, config.gate.recovery_rejections)
        self._pending: deque[BasePose] = deque(maxlen=2 * needed)
        self._accepted: deque[BasePose] = deque(maxlen=max(1, config.gate.agreement_fixes - 1))

    def clear(self) -> None:
        """Forget all fixes."""
        self._pending.clear()
        self._accepted.clear()

    def confirm(self, fix: BasePose) -> None:
        """Note that a fix was accepted; what was not accepted before it counts no more."""
        self._pending.clear()
        self._accepted.append(fix)

    def weigh(self, fix: BasePose, *, with_accepted: bool) -> Support:
        """Note a fix that is not accepted yet, and count who agrees with it.

        Args:
            fix: newer than all before.
            with_accepted: count the last accepted fixes too, not only those since.
        """
        # The same image twice is one witness.
        others = [other for other in self._pending if other.moment.stamp_ns != fix.moment.stamp_ns]
        others = [other for other in others if self._sigma_m(other, fix.moment) <= self._lost_sigma_m]
        self._pending.clear()
        self._pending.extend([*others, fix])
        if with_accepted:
            fresh = [
                other for other in self._accepted if self._sigma_m(other, fix.moment) <= self._stale_sigma_m
            ]
            others = fresh + others
        return self._supported(*self._split(fix, others))

    def weigh_course(self) -> Support:
        """Count who stands by the newest fix if odometry is wrong: those it was driven to from, one to the next.

        Each must be within reach of the one before by the speed limits alone, and so soon after it that this
        says something: a position carried that far without odometry would not be STALE yet.
        """
        course, left = self._course()
        return self._supported(course, left)

    @property
    def course(self) -> list[BasePose]:
        """Return the fixes of that drive, the newest first."""
        return self._course()[0]

    def _course(self) -> tuple[list[BasePose], list[BasePose]]:
        """Return the fixes of that drive, the newest first, and the others in their order."""
        *others, fix = self._pending
        course: list[BasePose] = [fix]
        left: list[BasePose] = []
        for other in reversed(others):
            if self._leads(other, course[-1]):
                course.append(other)
            else:
                left.append(other)
        return course, left[::-1]

    def _supported(self, agreeing: Sequence[BasePose], left: list[BasePose]) -> Support:
        """Count fixes that agree, and among those left over the most that agree on something else."""
        rivals = 0
        while left:
            newest = left.pop()
            cluster, left = self._split(newest, left)
            rivals = max(rivals, len(cluster))
        return Support(len(agreeing), rivals)

    def _sigma_m(self, fix: BasePose, now: Moment) -> float:
        return largest_sigmas(self._motion.carry(fix, now).covariance)[0]

    def _split(self, newest: BasePose, others: Sequence[BasePose]) -> tuple[list[BasePose], list[BasePose]]:
        """Return those that agree pairwise, `newest` first, and the others in their order."""
        agreeing, left = [newest], []
        for other in reversed(others):
            if all(self._agree(other, member) for member in agreeing):
                agreeing.append(other)
            else:
                left.append(other)
        return agreeing, left[::-1]

    def _leads(self, earlier: BasePose, later: BasePose) -> bool:
        unmeasured = replace(earlier, moment=Moment(earlier.moment.stamp_ns, None))
        is_sharp = self._sigma_m(unmeasured, later.moment) <= self._stale_sigma_m
        return is_sharp and self._motion.reaches(earlier, later)

    def _agree(self, earlier: BasePose, later: BasePose) -> bool:
        return self._gate.compare(self._motion.carry(earlier, later.moment), later).fits
