"""How far can an answer be trusted at a place that no limit has seen? Many scenes, each judged by the others.

    python bench/trust.py --data ../shared/data --scenes-cache /tmp/trust --out docs/notes/trust.md
    python bench/trust.py --data ../shared/data --scenes-cache /tmp/trust --out /tmp/trust.md --write-model

Every scene is mapped, and asked with the acceptance test switched off: its own images, and images that have no place
in the map (photographs, mirrored images, posters of the place, other places, the other half of a building). From
all scenes but those of one place the probability that a pose is wrong is fitted and its limit chosen; then the
localizer is asked again with them at the place left out. The page has the tables, the picture beside it the curves.
`--limit` takes one limit for all, such as the package's, so that only the probability is chosen without the place.
`--write-model` writes the model of all places into hfnet_ros/pose/false_probability_model.py; the default of
verification.max_false_probability is the limit printed beside it.

Features, rendered images, maps and answers stay below --scenes-cache: a second run needs no network. `--rows` takes
the answers that are there and only fits.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import numpy as np
from acceptance.fitting import Calibration, calibrated, held_out_log_odds
from acceptance.gathering import Row, all_scenes, ask, gather, scenes_called, stored
from acceptance.model_file import write_model
from acceptance.page import page
from acceptance.picture import draw_curves
from acceptance.table import Outcomes
from acceptance.workspace import RememberingExtractor, Workspace

from hfnet_ros.config import Config, VerificationConfig
from hfnet_ros.pose import false_probability_model
from hfnet_ros.pose.flatness import FLAT

ROOT = Path(__file__).resolve().parents[1]
MODEL_FILE = ROOT / "hfnet_ros" / "pose" / "false_probability_model.py"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of redkitchen, tower_floors, photos ..."
    )
    parser.add_argument(
        "--scenes-cache", type=Path, required=True, help="folder for all that can be made again"
    )
    parser.add_argument("--out", type=Path, required=True, help="page to write; the picture goes beside it")
    parser.add_argument("--extractor", default="hfnet")
    parser.add_argument("--scenes", nargs="+", default=[scene.name for scene in all_scenes()])
    parser.add_argument("--thin", type=int, default=1, help="ask every n-th image that has no place only")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep-maps", action="store_true", help="take the maps that are there")
    parser.add_argument("--rows", action="store_true", help="take the answers that are there, too")
    parser.add_argument("--write-model", action="store_true")
    parser.add_argument(
        "--limit",
        type=float,
        metavar="P",
        help="judge all places with this limit, not with that chosen without them",
    )
    options = parser.parse_args()
    if options.limit is not None and not 0.0 < options.limit <= 1.0:
        parser.error(f"--limit is {options.limit:g}, expected a probability above 0, at most 1")
    started = time.perf_counter()
    config = Config.from_dict({"extractor": {"name": options.extractor}})
    workspace = Workspace(options.data, options.scenes_cache, config, options.thin, options.keep_maps)
    names = [scene.name for scene in scenes_called(options.scenes)]
    if not options.rows:
        for line in _of_all(options.jobs, partial(gather, workspace, among=names), names):
            print(f"{time.perf_counter() - started:5.0f} s  {line}", flush=True)
    rows = [row for name in names for row in stored(workspace, name)]
    places = sorted({row.place for row in rows})
    folds = {place: calibrated([row for row in rows if row.place != place]) for place in places}
    if options.limit is not None:
        folds = {place: replace(fold, limit=options.limit) for place, fold in folds.items()}
    final = calibrated(rows)
    for place, fold in [*folds.items(), ("none", final)]:
        print(f"left out {place}: limit {fold.limit:g}, least {fold.model.least:.3g}")
    verify = partial(verified, workspace, folds=folds, names=names)
    outcomes = Outcomes(
        rows, [limited(row) for row in rows], list(chain.from_iterable(_of_all(options.jobs, verify, names)))
    )
    origin = _origin(options.extractor, len(rows), time.perf_counter() - started)
    picture = options.out.with_suffix(".png")
    data, log_odds = held_out_log_odds(rows)
    draw_curves(rows, data, 1.0 / (1.0 + np.exp(-log_odds)), final.limit, picture)
    thin = f" --thin {options.thin}" if options.thin > 1 else ""
    target = "--scenes-cache DIR --out docs/notes/trust.md"
    limit = "" if options.limit is None else f" --limit {options.limit:g}"
    command = f"python bench/trust.py --data ../shared/data {target}{thin}{limit} --write-model"
    options.out.write_text(page(outcomes, folds, final, picture.name, command, origin, options.limit))
    if options.write_model:
        write_model(MODEL_FILE, final.model, f"Command: {command}\n\n{origin}")
        print(f"default of verification.max_false_probability: {final.limit:g}")


def _of_all(jobs: int, work: Callable[[str], object], names: Sequence[str]) -> list:
    """Run the work for every scene, in the order given, in as many processes as asked."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return list(pool.map(work, names))


def limited(row: Row, limits: VerificationConfig | None = None) -> Row:
    """Return what the limits beside the probability, those of the defaults unless given, make of a pose."""
    limits, scores = limits or VerificationConfig(), row.scores
    passes = row.is_answered and (
        scores["inliers"] >= limits.min_inliers
        and scores["evidence"] >= limits.min_evidence
        and scores["rival_ratio"] <= limits.max_rival_ratio
        and scores["lead_over_rival"] >= limits.min_lead_over_rival
        and scores["twin_ratio"] <= limits.max_twin_ratio
        and scores["rematch_ratio"] <= limits.max_rematch_ratio
        and scores.get("mirror_ratio", 0.0) <= limits.max_mirror_ratio
        and not (scores.get("flat_share", 0.0) > FLAT and scores["seen_share"] < limits.min_seen_of_flat)
        and scores["sigma_translation_m"] <= limits.max_translation_sigma_m
        and scores["sigma_rotation_deg"] <= limits.max_rotation_sigma_deg
    )
    return row if passes else replace(row, is_answered=False, is_wrong=False)


def verified(
    workspace: Workspace, name: str, folds: dict[str, Calibration], names: Sequence[str]
) -> list[Row]:
    """Ask a scene again, with the probability and the limit that were chosen without its place."""
    scenes = scenes_called(names)
    scene = next(scene for scene in scenes if scene.name == name)
    if not stored(workspace, name):  # it could not be mapped
        return []
    fold = folds[scene.place]
    limits = replace(workspace.config.verification, max_false_probability=fold.limit)
    with mock.patch.object(false_probability_model, "FITTED", fold.model):
        return ask(
            workspace,
            scene,
            scenes,
            replace(workspace.config, verification=limits),
            RememberingExtractor(workspace),
        )


def _origin(extractor: str, num_rows: int, seconds: float) -> str:
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return (
        f"Extractor {extractor}, {num_rows} queries, seed 0, commit {commit or 'unknown'}, "
        f"{seconds / 60.0:.0f} minutes on {_cores()} cores."
    )


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    sys.exit(main())
