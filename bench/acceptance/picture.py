"""Right poses and wrong ones as the limit moves, one line a scene."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from acceptance.fitting import Judged
from acceptance.gathering import Row


def draw_curves(rows: Sequence[Row], data: Judged, probability: np.ndarray, limit: float, path: Path) -> None:
    """Draw for every scene the poses lost and the wrong poses given against the limit.

    Args:
        rows: asked without limits.
        data: those of them that the probability is known for.
        probability: [N] by a model that has not seen the row's place.
        limit: the default.
        path: of the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharex=True)
    limits = np.geomspace(float(probability.min()), 1.0, 200)
    colors = matplotlib.colormaps["tab20"].colors
    for number, scene in enumerate(dict.fromkeys(row.scene for row in data.rows)):
        drawn = {"label": scene, "color": colors[number % len(colors)]}
        here = np.array([row.scene == scene for row in data.rows])
        good, bad = probability[here & ~data.is_wrong], probability[here & data.is_wrong]
        num_asked = sum(row.scene == scene and row.is_answerable for row in rows)
        if num_asked:
            left.plot(limits, [(good <= limit).sum() / num_asked for limit in limits], **drawn)
        right.plot(limits, [(bad <= limit).sum() for limit in limits], **drawn)
    for axes in (left, right):
        axes.axvline(limit, color="black", linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.set_xlabel("max_false_probability")
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("right poses / answerable queries")
    right.set_ylabel("wrong poses given")
    right.set_yscale("symlog", linthresh=1)
    right.set_ylim(bottom=0.0)
    right.legend(frameon=False, fontsize=7, ncol=2, loc="upper left")
    figure.savefig(path, dpi=110)
