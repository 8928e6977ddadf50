"""What is a map held to that is too small to be tested? Maps of a few images of one storey, asked with the others.

    python bench/small_maps.py --data ../shared/data --scenes-cache /tmp/trust --thin 1

Every map is asked with the acceptance test switched off, as bench/trust.py does, and the rows are kept below
--scenes-cache. Printed are, by the number of keyframes, how many right poses and how many of other storeys each of
some rules gives: the limit of the probability for untested maps, and the least number of keyframes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from acceptance import gathering, storeys
from acceptance.workspace import Workspace

from hfnet_ros.config import Config


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scenes-cache", type=Path, required=True)
    parser.add_argument("--rows", action="store_true")
    options = parser.parse_args()
    config = Config.from_dict({"extractor": {"name": "hfnet"}})
    workspace = Workspace(options.data, options.scenes_cache, config, 1, True)
    started = time.perf_counter()
    gathering.adversaries = lambda *_: []
    gathering.scenes_called = lambda names: [s for s in storeys.storey_scenes() if s.name in names]
    for scene in storeys.storey_scenes():
        if workspace.rows_path(scene.name).exists():
            continue
        print(
            f"{time.perf_counter() - started:5.0f} s",
            gathering.gather(workspace, scene.name, [scene.name]),
            flush=True,
        )


if __name__ == "__main__":
    main()
