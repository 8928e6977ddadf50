"""Which cameras of a rig are believed alone: those of which it is proven that they are where and when they say.

One image cannot tell that its camera was knocked, or that it is late or frozen. Others can: those that see the map at
the same time, those that saw it a moment ago, by odometry, and the camera's own images before, by how odometry says
that the robot moved. Until then what a camera says alone is kept back, and so it is after it contradicted others.
"""

from __future__ import annotations

import dataclasses
import operator
from collections import defaultdict
from collections.abc import Sequence

from hfnet_ros.config import Config
from hfnet_ros.features.preprocess import describe_flatness
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.tracking.camera_faults import (
    Difference,
    FloatArray,
    KnownFaults,
    Statement,
    StatementComparison,
    difference_by_faults,
)
from hfnet_ros.tracking.motion import Excess, Moment, base_pose, motion_between
from hfnet_ros.tracking.view_mountings import ViewMountings
from hfnet_ros.types import ImageArray, Localization, Outcome, Query

# Doubt that a contradiction adds and an agreement takes away. A late camera agrees while the robot stands, a frozen one
# where it stood: what goes on contradicting is believed again only after it agreed many times.
_CONTRADICTION, _AGREEMENT, _MOST = 2, 1, 10
# Statements older than this are not compared; those of one camera not before the robot moved, so that it shows a turn.
_COMPARED_NS = 10_000_000_000
_MOVED_M, _TURNED_RAD = 0.7, 0.5
_SOON_NS = 2_000_000_000  # after which odometry tells hardly less than one time does
# Where nobody else sees the map, and no odometry tells, a camera is believed as one is that is alone on a robot; at
# once where no other one has shown anything for as long. In the dark a blank wall looks like a lens that is covered.
_PATIENCE_NS = 30_000_000_000
# Mountings change over weeks; a rig that walks is half a metre further after that.
_COMPARE_NS = 500_000_000
CONTRADICTED = (
    "contradicts the other cameras, and has not agreed with them often enough since: its image is not of its time, its "
    "mounting or calibration is not what it was, or it looked like another place"
)
UNSEEN = "cannot be checked: it has not seen anything of the map"
UNCOMPARED = (
    "cannot be checked yet: too little that it saw of the map could be compared with what other cameras saw, or with "
    "odometry"
)
HELD = "it alone sees the map, and neither another camera nor odometry has proven yet that it is where it should be"


@dataclasses.dataclass
class _Accusation:
    """Doubt of a camera that others contradicted."""

    accusers: frozenset[str]
    doubt: int


class CameraTrust:
    """Remembers from query to query what cameras said; belongs to one rig."""

    def __init__(self, config: Config) -> None:
        """Know nothing of any camera."""
        self._comparison = StatementComparison(config)
        self._accusations: dict[str, list[_Accusation]] = {}
        self._known: defaultdict[str, KnownFaults] = defaultdict(self._comparison.nothing_known)
        self._last: dict[frozenset[str], Statement] = {}
        self._used: set[tuple[frozenset[str], str]] = set()  # which of the last proved something of whom
        # Of a camera alone: where a way begins that odometry will compare.
        self._begun: dict[str, Statement] = {}
        self._shown_ns: dict[str, int] = {}  # when a camera last gave an image of anything
        # Images of a query between `marked` and `judged`: each is looked at once.
        self._looked_at: list[ImageArray | None] = []
        self._saw_ns: dict[str, int] = {}  # when a camera last saw something of the map
        self._mountings = ViewMountings()
        self._compared_ns = -_COMPARE_NS
        self._held_ns: dict[str, int] = {}  # since when a camera is kept back without an objection

    def trust_odometry(self, excess: Excess) -> None:
        """Compare by odometry that is off by so much from now on."""
        self._comparison.motion.excess = excess

    @property
    def doubted(self) -> frozenset[str]:
        """Names of the cameras that contradicted others, or odometry, and have not agreed often enough since."""
        return frozenset(self._accusations) | self._found

    @property
    def _found(self) -> frozenset[str]:
        return frozenset(name for name, known in self._known.items() if known.found)

    def marked(self, query: Query, names: Sequence[str], twist: FloatArray) -> Query:
        """Return a query whose views of cameras that are not believed alone say so.

        Args:
            query: of some cameras of the rig.
            names: of the cameras, in the order of its views.
            twist: [6] velocity of the robot, m/s and rad/s, in its axes; zero where nobody knows.
        """
        self._note_shown(query, names)
        compares = abs(query.stamp_ns - self._compared_ns) >= _COMPARE_NS
        if compares:
            self._compared_ns = query.stamp_ns
        believed = [self._believes(name, query.stamp_ns, twist) for name in names]
        if all(believed) and not compares:
            return query
        views = tuple(
            view if is_believed else dataclasses.replace(view, is_doubted=True)
            for view, is_believed in zip(query.views, believed, strict=True)
        )
        return dataclasses.replace(query, views=views, compares_views=compares)

    def judged(
        self,
        answer: Localization,
        query: Query,
        names: Sequence[str],
        moment: Moment,
        twist: FloatArray,
        base_from_rig: Rigid3,
    ) -> Localization:
        """Learn from an answer; return it, of a camera that sees the map alone only if it is believed by now.

        Args:
            answer: to the query.
            query: of some cameras of the rig, `marked`.
            names: of these, in the order of its views.
            moment: its time.
            twist: as above.
            base_from_rig: where the frame of the answer is on the robot.
        """
        if len(answer.views) != len(names):
            return answer  # of a localizer that does not say what views brought
        self._note_shown(query, names)
        self._looked_at = []
        contradicting = [name for name, share in zip(names, answer.views, strict=True) if share.contradicts]
        self._saw_ns.update(dict.fromkeys(contradicting, query.stamp_ns))
        # What contradicts a pose that was refused contradicts nothing; of two views that do each other one is wrong.
        agreeing = frozenset(name for name, share in zip(names, answer.views, strict=True) if share.agrees)
        found = self._found.intersection(contradicting)
        most = max((self._doubt(name) for name in contradicting), default=0)
        for name in contradicting:
            if answer.is_valid:
                self._contradict(name, 1, agreeing - {name})
            elif len(contradicting) > 1 and (name in found or (not found and self._doubt(name) == most)):
                # Nobody knows who is right, but who was wrong before.
                self._contradict(name, 2, frozenset(contradicting) - {name})
        estimate = answer.estimate or next((share.alone for share in answer.views if share.alone), None)
        if estimate is None:
            return self._with_doubts(answer, names, twist)
        if answer.is_metric and answer.estimate is not None:
            self._compare_views(answer, query, names, twist)
        seeing = [row for row, share in enumerate(answer.views) if share.agrees]
        statement = Statement(
            frozenset(names[row] for row in seeing), base_pose(moment, estimate, base_from_rig), twist
        )
        self._saw_ns.update(dict.fromkeys(statement.cameras, query.stamp_ns))
        self._learn(statement, is_metric=answer.is_metric)
        self._withdraw()
        if len(seeing) == 1:
            (seer,) = seeing
            name, stamp_ns = names[seer], moment.stamp_ns
            if self._believes(name, stamp_ns, twist):
                answer = _released(answer, seer) if answer.estimate is None else answer
            else:
                self._held_ns.setdefault(name, stamp_ns)
                answer = (
                    answer.kept_back(seer, HELD, f"view {seer}: {HELD}")
                    if answer.estimate is not None
                    else answer
                )
        return self._with_doubts(answer, names, twist)

    def _compare_views(
        self, answer: Localization, query: Query, names: Sequence[str], twist: FloatArray
    ) -> None:
        """Learn of small offsets from what views of one time say."""
        assert answer.estimate is not None
        offsets = {
            name: share.offset for name, share in zip(names, answer.views, strict=True) if share.offset
        }
        centres = {
            name: camera.rig_from_camera.translation
            for name, camera in zip(names, query.cameras, strict=True)
        }
        self._mountings.add(answer.estimate.map_from_camera, twist, offsets, centres)

    def _note_shown(self, query: Query, names: Sequence[str]) -> None:
        images = [view.image for view in query.views]
        if len(images) == len(self._looked_at) and all(map(operator.is_, images, self._looked_at)):
            return
        self._looked_at = images
        for name, view in zip(names, query.views, strict=True):
            if view.image is None or not describe_flatness(view.image):
                self._shown_ns[name] = query.stamp_ns

    def _learn(self, statement: Statement, *, is_metric: bool) -> None:
        """Compare a statement with those before, by odometry if its lengths are metres, and remember it."""
        said = statement.cameras
        if len(said) > 1:
            for name in said:
                self._known[name].add_group(statement)
                self._agree(name)
            self._outvote(said)
        if not is_metric or (len(said) > 1 and not self.doubted.isdisjoint(said)):
            return  # a pose that a doubted camera has pulled at is no witness
        now_ns = statement.pose.moment.stamp_ns
        self._last = {
            cameras: last
            for cameras, last in self._last.items()
            if 0 <= now_ns - last.pose.moment.stamp_ns <= _COMPARED_NS
        }
        for cameras, last in sorted(self._last.items(), key=lambda said: -said[1].pose.moment.stamp_ns):
            if cameras == said or min(len(cameras), len(said)) > 1:
                continue
            wrong = self._compare(last, statement)
            if wrong is statement:
                return
            if wrong is last:
                del self._last[cameras]
        if len(said) == 1:
            self._compare_with_itself(statement)
        self._last[said] = statement
        self._used = {(cameras, name) for cameras, name in self._used if cameras != said}

    def _compare(self, earlier: Statement, later: Statement) -> Statement | None:
        """Learn from two statements; return the one that is wrong, None where there is none or nobody knows which."""
        difference = self._comparison.compare(earlier, later)
        if not difference.fits:
            return self._blame(earlier, later, difference)
        if (
            later.pose.moment.stamp_ns - earlier.pose.moment.stamp_ns <= _SOON_NS
            and later.pose.moment.is_measured
        ):
            self._outvote(earlier.cameras | later.cameras)
        for name in earlier.cameras | later.cameras:
            alone = {name} in (earlier.cameras, later.cameras)
            if alone and (earlier.cameras, name) not in self._used:
                self._used.add((earlier.cameras, name))
                self._note(name, earlier, later, difference)
        return None

    def _blame(self, earlier: Statement, later: Statement, difference: Difference) -> Statement | None:
        ranks = [self._rank(each) for each in (earlier, later)]
        if ranks[0] == ranks[1]:
            for one, other in ((earlier, later), (later, earlier)):
                for name in one.cameras:
                    self._contradict(name, 2, other.cameras - {name})
            return None
        wrong, right = (earlier, later) if ranks[0] < ranks[1] else (later, earlier)
        for name in wrong.cameras:
            self._contradict(name, 1, right.cameras - {name})
            if max(ranks)[1]:  # those who are believed tell by how much
                self._note(name, earlier, later, difference)
        return wrong

    def _compare_with_itself(self, statement: Statement) -> None:
        """Compare what a camera says alone with what it said before the robot moved: a turned one goes astray."""
        (name,) = statement.cameras
        begun = self._begun.get(name)
        if begun is not None and statement.pose.moment.stamp_ns - begun.pose.moment.stamp_ns <= _COMPARED_NS:
            motion = motion_between(begun.pose.moment, statement.pose.moment)
            if (motion.distance_m or 0.0) < _MOVED_M and (motion.turn_rad or 0.0) < _TURNED_RAD:
                return
            self._note(name, begun, statement, self._comparison.compare(begun, statement))
        self._begun[name] = statement

    def _note(self, name: str, earlier: Statement, later: Statement, difference: Difference) -> None:
        faults = difference_by_faults(name, earlier, later)
        stamp_ns = later.pose.moment.stamp_ns
        self._known[name].add(stamp_ns, faults, difference.vector, difference.information)

    def _rank(self, statement: Statement) -> tuple[int, int, int]:
        """Return what decides which of two is wrong: how many say it who are not doubted, and how many are believed."""
        stamp_ns, said = statement.pose.moment.stamp_ns, statement.cameras
        believed = sum(self._believes(name, stamp_ns, statement.twist) for name in said)
        return len(said - self.doubted), believed, -max(self._doubt(name) for name in said)

    def _believes(self, name: str, stamp_ns: int, twist: FloatArray) -> bool:
        others_ns = [shown_ns for other, shown_ns in self._shown_ns.items() if other != name]
        if all(stamp_ns - shown_ns >= _PATIENCE_NS for shown_ns in others_ns):
            return True  # as a camera that is alone on a robot
        if name in self._accusations:
            return False
        if self._known[name].vouch_at(stamp_ns, twist):
            self._held_ns.pop(name, None)
            return True
        is_patient = stamp_ns - self._held_ns.get(name, stamp_ns) >= _PATIENCE_NS
        return is_patient and not self._known[name].found

    def _doubt(self, name: str) -> int:
        return min(sum(each.doubt for each in self._accusations.get(name, ())), _MOST)

    def _contradict(self, name: str, num_sides: int, accusers: frozenset[str]) -> None:
        """Note a contradiction with others, of which one of so many sides is to blame."""
        accusations = self._accusations.setdefault(name, [])
        accusations.append(_Accusation(accusers, _CONTRADICTION // num_sides))
        while sum(each.doubt for each in accusations) > _MOST:
            accusations[0].doubt -= 1
            if accusations[0].doubt == 0:
                del accusations[0]
        if not self._known[name].found:
            self._known[name].forget()
        self._held_ns.pop(name, None)

    def _agree(self, name: str) -> None:
        accusations = self._accusations.get(name)
        if accusations:
            accusations[0].doubt -= _AGREEMENT
            self._keep(name, [each for each in accusations if each.doubt > 0])

    def _outvote(self, agreeing: frozenset[str]) -> None:
        """Turn on a camera what it said against each of those that agree, once two of them do."""
        against = [self._accusations.get(name, []) for name in agreeing]
        accusers = frozenset.intersection(
            *(frozenset().union(*(each.accusers for each in those)) for those in against)
        )
        for accuser in accusers - agreeing:
            for name in agreeing:
                kept = [each for each in self._accusations.get(name, ()) if accuser not in each.accusers]
                self._keep(name, kept)
            self._contradict(accuser, 1, agreeing)

    def _withdraw(self) -> None:
        """Clear whom only those have contradicted of whom it is known by now what is wrong with them."""
        found = self._found
        for name in self._accusations.keys() - found:
            self._keep(name, [each for each in self._accusations[name] if found.isdisjoint(each.accusers)])

    def _keep(self, name: str, accusations: list[_Accusation]) -> None:
        self._accusations.pop(name, None)
        if accusations:
            self._accusations[name] = accusations

    def _with_doubts(self, answer: Localization, names: Sequence[str], twist: FloatArray) -> Localization:
        """Return an answer whose views tell what is known of their cameras."""
        shares = []
        for name, share in zip(names, answer.views, strict=True):
            offset = self._mountings.of(name)
            share = dataclasses.replace(
                share,
                doubt=self._doubt_of(name),
                mounting="" if offset is None else offset.text,
                is_askew=offset is not None and offset.is_askew,
                unproven=self._why_unproven(name, answer.stamp_ns, twist),
            )
            shares.append(share)
        return dataclasses.replace(answer, views=tuple(shares))

    def _why_unproven(self, name: str, stamp_ns: int, twist: FloatArray) -> str:
        if name in self.doubted or self._believes(name, stamp_ns, twist):
            return ""
        saw_ns = self._saw_ns.get(name)
        if saw_ns is None:
            return UNSEEN
        if stamp_ns - saw_ns > _COMPARED_NS:
            return f"{UNSEEN} for {1e-9 * (stamp_ns - saw_ns):.0f} s"
        return UNCOMPARED

    def _doubt_of(self, name: str) -> str:
        found = self._known[name].found
        if name not in self._accusations and not found:
            return ""
        return f"{CONTRADICTED}; by odometry it is {found}" if found else CONTRADICTED


def _released(answer: Localization, seer: int) -> Localization:
    """Return an answer with the pose that was kept back."""
    shares = list(answer.views)
    estimate = shares[seer].alone
    shares[seer] = dataclasses.replace(shares[seer], problem="", alone=None)
    evidence = dataclasses.replace(answer.evidence, reason="")
    return dataclasses.replace(
        answer, outcome=Outcome.LOCALIZED, estimate=estimate, evidence=evidence, views=tuple(shares)
    )
