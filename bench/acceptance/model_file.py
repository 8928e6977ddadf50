"""Write the fitted model where verification reads it, with what made it."""

from __future__ import annotations

import textwrap
from pathlib import Path

from hfnet_ros.pose.false_probability import FalseProbabilityModel

_DIGITS, _LINE_LENGTH = 4, 110


def write_model(path: Path, model: FalseProbabilityModel, origin: str) -> None:
    """Write a module that holds the model; `origin` are sentences for its docstring."""
    terms = "".join(
        f'        Term("{term.score}", {term.weight:.{_DIGITS}f}, {term.low}, {term.high}, {term.speaks_against}, '
        f"{term.is_logarithmic}),\n"
        for term in model.terms
    )
    said = "\n\n".join(
        textwrap.fill(part, _LINE_LENGTH, break_on_hyphens=False) for part in origin.split("\n\n")
    )
    path.write_text(
        '"""The fitted weights of the probability that a pose is wrong; written by bench/trust.py.\n\n'
        f'{said}\n"""\n\n'
        "from __future__ import annotations\n\n"
        "from hfnet_ros.pose.false_probability import FalseProbabilityModel, Term\n\n"
        "FITTED = FalseProbabilityModel(\n"
        f"    intercept={model.intercept:.{_DIGITS}f},\n"
        f"    terms=(\n{terms}    ),\n"
        f"    least={model.least:.{_DIGITS}f},\n"
        ")\n"
    )
