"""Why images were of no use, counted: reasons that differ in their numbers alone are one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hfnet_ros.types import Localization, Relocalization, Verdict

# Of two sub-maps whose names differ in a number, each has its own reason.
_NUMBER = re.compile(r"(?P<kept>sub-map '[^']*')|\d+(\.\d+)?")


@dataclass(slots=True)
class Reasons:
    """Counts reasons by their wording; an example of each is kept."""

    _counts: dict[str, int] = field(default_factory=dict)
    _examples: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> None:
        """Count one.

        Args:
            name: of the image.
            reason: why it was of no use; its own name in there is left away.
        """
        reason = reason.removeprefix(f"image {name}: ")
        key = _NUMBER.sub(lambda found: found["kept"] or "#", reason)
        self._counts[key] = self._counts.get(key, 0) + 1
        self._examples.setdefault(key, (name, reason))

    @property
    def total(self) -> int:
        """Return how many were counted."""
        return sum(self._counts.values())

    def sentences(self, num_images: int, of: str = "images") -> list[str]:
        """Return one sentence for each reason, the commonest first.

        Args:
            num_images: of how many.
            of: what they are.
        """
        ordered = sorted(self._counts.items(), key=lambda counted: -counted[1])
        return [
            f"{count} of {num_images} {of}, the first {name}: {reason}"
            for count, (name, reason) in ((count, self._examples[key]) for key, count in ordered)
        ]


def reason_of(localization: Localization, relocalization: Relocalization | None) -> str:
    """Return why a robot would not use an answer; empty where it would.

    Args:
        localization: the answer.
        relocalization: what the gate made of it; None without a gate.
    """
    if not localization.is_valid:
        return f"{localization.outcome.value}: {localization.evidence.reason or 'no reason given'}"
    decision = None if relocalization is None else relocalization.decision
    if decision is None or decision.verdict is Verdict.ACCEPTED:
        return ""
    return f"{decision.verdict.value}: {decision.reason}"
