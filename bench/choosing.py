"""Choose limits on generated scenes that judge nothing: small maps among storeys that look alike, and flat walls.

    python bench/choosing.py storeys --data ../shared/data --scenes-cache /tmp/trust
    python bench/choosing.py walls --data ../shared/data --scenes-cache /tmp/trust

`storeys`: a building whose storeys have the same shape, and a share of their surfaces painted otherwise; maps of 3 to
20 keyframes of one storey, asked with that one and the others. Printed is, by keyframes, of how many images a pose is
given, for some weights of `self_tested` in the probability that a pose is wrong.

`walls`: flat walls, asked as they are, with pictures exchanged, and as posters elsewhere (which hang in the
photographs of --data). Printed is of how many images a pose is given, for some values of verification.min_seen_of_flat.

Asked as in bench/trust.py, with the acceptance test switched off; the rows are kept below --scenes-cache.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from acceptance.adversaries import posters
from acceptance.flat_walls import wall_scenes
from acceptance.gathering import Row, ask_all, store, stored, without_limits
from acceptance.scenes import Scene
from acceptance.storeys import storey_scenes
from acceptance.workspace import RememberingExtractor, Workspace
from trust import limited

from hfnet_ros.config import Config, VerificationConfig
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.pose import false_probability_model

SELF_TEST_WEIGHTS = (1.0, 2.0, 3.0)
SEEN_OF_FLAT = (0.0, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("storeys", "walls"))
    parser.add_argument("--data", type=Path, required=True, help="folder with photos")
    parser.add_argument(
        "--scenes-cache", type=Path, required=True, help="folder for all that can be made again"
    )
    options = parser.parse_args()
    workspace = Workspace(options.data, options.scenes_cache, Config(), keeps_maps=True)
    scenes = storey_scenes() if options.what == "storeys" else wall_scenes()
    started, rows = time.perf_counter(), list[Row]()
    for scene in scenes:
        if not workspace.rows_path(scene.name).exists():
            store(workspace, scene.name, asked(workspace, scene, options.what == "walls"))
            print(f"{time.perf_counter() - started:5.0f} s  {scene.name}", flush=True)
        rows += stored(workspace, scene.name)
    limits = VerificationConfig()
    if options.what == "storeys":
        for weight in SELF_TEST_WEIGHTS:
            print(f"weight of self_tested {weight:g}")
            for num_mapped in sorted({scene.name[-2:] for scene in scenes}):
                of = [row for row in rows if row.scene.endswith(num_mapped)]
                print(f"  {num_mapped} keyframes: {_given(of, weight, limits)}")
    else:
        for least in SEEN_OF_FLAT:
            print(f"min_seen_of_flat {least:g}: {_given(rows, 1.0, replace(limits, min_seen_of_flat=least))}")


def asked(workspace: Workspace, scene: Scene, with_posters: bool) -> list[Row]:
    """Map a scene, and ask it its own queries, and maybe posters of it, without limits."""
    extractor, path = RememberingExtractor(workspace), workspace.map_path(scene.name)
    if not path.exists():
        save_map(scene.build(workspace, extractor), path)
    visual_map = load_map(path)
    asks = [*scene.asks(workspace, visual_map), *(posters(workspace, scene) if with_posters else [])]
    return ask_all(scene, asks, visual_map, without_limits(workspace.config), extractor)


def _given(rows: Sequence[Row], weight: float, limits: VerificationConfig) -> str:
    """Say by kind of query of how many of the images a pose is given."""
    fitted = false_probability_model.FITTED
    terms = [replace(term, weight=weight) if term.score == "self_tested" else term for term in fitted.terms]
    probability: Callable[[dict[str, float]], float] = replace(fitted, terms=tuple(terms)).probability
    told = []
    for kind in dict.fromkeys(row.kind for row in rows):
        of = [limited(row, limits) for row in rows if row.kind == kind]
        given = [
            row for row in of if row.is_answered and probability(row.scores) <= limits.max_false_probability
        ]
        told.append(f"{kind} {len(given)} of {len(of)}")
    return "; ".join(told)


if __name__ == "__main__":
    main()
