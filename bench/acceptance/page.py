"""The words around the tables of bench/trust.py."""

from __future__ import annotations

from acceptance.fitting import Calibration
from acceptance.table import (
    Outcomes,
    answerable_table,
    model_table,
    scene_table,
    unanswerable_table,
)

_INTRODUCTION = """# How far an answer can be trusted

`verification.max_false_probability` is what a user sets: the largest probability that a pose is wrong with which
it is still given. This page says where that probability comes from, and how it does at places that it has never
seen. Written by

```
{command}
```

{origin}

**Wrong** is a pose off by more than 0.5 m or 10 degrees; in a map without scale by more than a sixth of the
distance at which landmarks are seen; for a frame of a video between two keyframes also by more than half of the
way between them; any pose for an image that has no place in the map. *Without the test* is the best pose of
every image, whatever its scores. *Limits alone* are those that stand beside the probability (evidence, lead,
rival, twin, rematch, sigmas), applied to that pose. *Now* is the localizer as it is, with {chosen}
fitted to all places but the one asked: **no row of a table has been seen by the model that judges it.** The
limits beside it have seen RedKitchen and generated apartments. Bounds are one-sided, 95 %, Clopper-Pearson
(with none of n wrong about 3 / n), as if all queries were independent; queries of one scene are not, so that
places count for more than queries.
"""

_MODEL = """## The probability

A logistic regression over what verification measures, each weight of the sign that the score's meaning gives,
each score clamped to the range below. The odds were raised until held-out places vouched for every limit: among
poses with a probability up to p, the upper 95 % bound of the wrong share is below p. The default is the
smallest of a list of limits with which no held-out place whose map could be tested loses more than 3 % of the
poses that are right without any test; it hangs on the worst of them, RedKitchen, whose map disagrees with
itself most. Which scores there are and the ranges to which they are clamped were chosen with all scenes in
view; weights, odds and limits were not.
"""


def page(
    outcomes: Outcomes,
    folds: dict[str, Calibration],
    final: Calibration,
    picture: str,
    command: str,
    origin: str,
    limit: float | None = None,
) -> str:
    """Return the page; `limit` is the one that all places were judged with, None for one chosen without each."""
    chosen = "probability and limit" if limit is None else f"a limit of {limit:g} and the probability"
    parts = [
        _INTRODUCTION.format(command=command, origin=origin, chosen=chosen),
        "## Images of the mapped place",
        *_block(answerable_table(outcomes)),
        "## Images without a place in the map",
        *_block(unanswerable_table(outcomes)),
        "## Scene by scene, limits chosen without it" if limit is None else "## Scene by scene",
        *_block(scene_table(outcomes, folds)),
        f"![right and wrong poses as the limit moves]({picture})\n",
        _MODEL,
        *_block(model_table(final.model)),
        f"Limit chosen with all places: **{final.limit:g}**.",
    ]
    return "\n".join(parts) + "\n"


def _block(lines: list[str]) -> list[str]:
    return ["", *lines, ""]
