"""The page that bench/trust.py writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from acceptance.fitting import BASE_RATE, Calibration
from acceptance.gathering import Row
from hfnet_ros.evaluation.false_fix_curve import rate_upper_bound
from hfnet_ros.pose.false_probability import FalseProbabilityModel

OWN_KINDS = ("own", "hard", "boxes moved", "walls repainted")


@dataclass(frozen=True)
class Outcomes:
    """The same queries without the acceptance test, with the limits alone, and with all of it; [N] each."""

    without: list[Row]
    limited: list[Row]
    verified: list[Row]

    def chosen(self, keep: Callable[[Row], bool]) -> Outcomes:
        rows = zip(self.without, self.limited, self.verified, strict=True)
        kept = [row for row in rows if keep(row[0])]
        return Outcomes([row[0] for row in kept], [row[1] for row in kept], [row[2] for row in kept])


def num_right(rows: Sequence[Row]) -> int:
    return sum(row.is_answered and not row.is_wrong for row in rows)


def num_false(rows: Sequence[Row]) -> int:
    return sum(row.is_wrong for row in rows)


def bound(rows: Sequence[Row]) -> str:
    """Return the upper 95 % bound of the rate of wrong poses."""
    most = rate_upper_bound(num_false(rows), len(rows))
    return "" if most is None else f"{100.0 * most:.2g} %"


def answerable_table(outcomes: Outcomes) -> list[str]:
    lines = [
        "| scene | queries | right without the test | limits alone | now | loss, points | false without | limits "
        "| now | upper 95 % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups = list(dict.fromkeys((row.scene, row.kind) for row in outcomes.without if row.is_answerable))
    for scene, kind in groups:
        of = outcomes.chosen(
            lambda row, s=scene, k=kind: (row.scene, row.kind) == (s, k) and row.is_answerable
        )
        lines.append(_answerable_line(scene if kind == "own" else f"{scene}, {kind}", of))
    lines.append(_answerable_line("**all**", outcomes.chosen(lambda row: row.is_answerable)))
    return lines


def _answerable_line(name: str, of: Outcomes) -> str:
    right = [num_right(rows) for rows in (of.without, of.limited, of.verified)]
    false = [num_false(rows) for rows in (of.without, of.limited, of.verified)]
    loss = 100.0 * (right[0] - right[2]) / len(of.without)
    return (
        f"| {name} | {len(of.without)} | {right[0]} | {right[1]} | {right[2]} | {loss:+.1f} | {false[0]} | {false[1]} "
        f"| {false[2]} | {bound(of.verified)} |"
    )


def unanswerable_table(outcomes: Outcomes) -> list[str]:
    lines = [
        "| images | maps | queries | poses without the test | false without | limits alone | now | upper 95 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    kinds = dict.fromkeys(row.kind for row in outcomes.without if not row.is_answerable)
    lines += [_unanswerable_line(kind, outcomes.chosen(lambda row, k=kind: row.kind == k)) for kind in kinds]
    lines.append(_unanswerable_line("**all**", outcomes.chosen(lambda row: not row.is_answerable)))
    return lines


def _unanswerable_line(name: str, of: Outcomes) -> str:
    return (
        f"| {name} | {len({row.scene for row in of.without})} | {len(of.without)} "
        f"| {sum(row.is_answered for row in of.without)} | {num_false(of.without)} | {num_false(of.limited)} "
        f"| {num_false(of.verified)} | {bound(of.verified)} |"
    )


def scene_table(outcomes: Outcomes, folds: dict[str, Calibration]) -> list[str]:
    """One line for each scene: how the limit it is judged with does on all that it was asked."""
    lines = [
        "| scene | left out with | limit | queries without a place | false | upper 95 % |"
        " answerable | right | false |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for scene, place in dict.fromkeys((row.scene, row.place) for row in outcomes.without):
        of = outcomes.chosen(lambda row, s=scene: row.scene == s)
        nowhere = [row for row in of.verified if not row.is_answerable]
        own = [row for row in of.verified if row.is_answerable]
        lines.append(
            f"| {scene} | {place} | {folds[place].limit:.2g} | {len(nowhere)} | {num_false(nowhere)} "
            f"| {bound(nowhere)} | {len(own)} | {num_right(own)} | {num_false(own)} |"
        )
    return lines


def model_table(model: FalseProbabilityModel) -> list[str]:
    lines = ["| score | range | log odds over the range |", "|---|---|---|"]
    for term in model.terms:
        worst = term.low if not term.speaks_against else term.high
        lines.append(f"| `{term.score}` | {term.low:g} to {term.high:g} | {term.log_odds(worst):.2f} |")
    lines += ["", f"All at their best: log odds {model.intercept:.2f}; never less than {model.least:.2g}."]
    lines += [
        f"Base rate: {BASE_RATE:.0%} of best poses are wrong, each place and kind of query counting alike."
    ]
    return lines
