"""A set of many maps under a memory limit: queries all over it, while every sub-map is exchanged.

    python bench/map_set.py --map kitchen.map --images query --camera camera.yaml --every 5 --work /tmp/set

Copies a real map to many places: each is moved and turned, its global descriptors are rotated (as in bench/scale.py),
so that it is another place that looks unlike the others. A process of its own, whose memory is limited, asks
for images of tiles at random, with features that were extracted before; another one replaces every sub-map meanwhile,
one after the other, until the last query is answered. Prints what is resident, mapped and open at the beginning, in
the middle and at the end, and what the answers were. `--network` runs the network inside instead, and no limit: what
it maps itself is not ours to count; the resident memory is printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scale import Described, extract, rotation_of

from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.unit_vectors import UnitVectors
from hfnet_ros.map.visual_map import VisualMap

SPACING_M = 100.0
COUNTED = ("queries", "localized", "elsewhere", "warnings", "opened", "set_changes")


def placement_of(tile: int) -> Rigid3:
    """Return set_from_map of a tile."""
    return Rigid3.from_rotvec(
        [0.0, 0.0, 0.7 * tile], [SPACING_M * (tile % 10), SPACING_M * (tile // 10), 0.0]
    )


def turned(base: VisualMap, tile: int, note: str = "") -> VisualMap:
    """Return the map with the head's descriptors of its keyframes rotated, and no others."""
    codes = base.global_descriptors.codes[:, : base.head_size]
    order, signs = rotation_of(tile, codes.shape[1])
    described = UnitVectors(np.ascontiguousarray(codes[:, order] * signs))
    info = {**base.build_info, "note": note}
    return dataclasses.replace(
        base, global_descriptors=described, aggregation={}, search=None, build_info=info
    )


def write_tiles(options: argparse.Namespace) -> Path:
    """Write the set, and for each tile the map that will take its place."""
    from hfnet_ros.mapping.map_sets import write_set

    base = load_map(options.map)
    if not base.has_head:
        sys.exit(
            "the map's extractor has no global head: a VLAD cannot be rotated; take hfnet or xfeat+hfnet"
        )
    paths, placements = [], {}
    for tile in range(options.sub_maps):
        for version in ("old", "new"):
            save_map(turned(base, tile, version), options.work / version / f"tile{tile}")
        paths.append((f"tile{tile}", options.work / "old" / f"tile{tile}"))
        placements[f"tile{tile}"] = placement_of(tile), np.diag([1e-4] * 3 + [1e-6] * 3)
    path = options.work / "tiles.set"
    write_set(path, paths, {}, frame_id="map", placements=placements)
    return path


def swap(path: Path, work: Path, num_sub_maps: int) -> None:
    """Replace one sub-map after the other, again and again, until a file says that it is enough."""
    from hfnet_ros.mapping.map_sets import change_set

    count = 0
    while not (work / "done").exists():
        tile, version = count % num_sub_maps, ("new", "old")[count // num_sub_maps % 2]
        change_set(path, put={f"tile{tile}": work / version / f"tile{tile}"})
        count += 1
        (work / "swapped").write_text(str(count))


class TurnedExtractor:
    """The network, whose global descriptor is rotated as that of the tile asked for."""

    def __init__(self, extractor: Any) -> None:
        self._extractor, self.tile = extractor, 0
        self.extractor_id, self.backend = extractor.extractor_id, extractor.backend

    def extract(self, image: Any) -> Any:
        features = self._extractor.extract(image)
        order, signs = rotation_of(self.tile, len(features.global_descriptor))
        return dataclasses.replace(features, global_descriptor=features.global_descriptor[order] * signs)

    def close(self) -> None:
        self._extractor.close()


def open_and_mapped(path: Path) -> tuple[int, int]:
    """Return how many file descriptors are open, and how many files of a folder are mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    mapped = {line.split(None, 5)[5] for line in lines if str(path) in line}
    return len(list(Path("/proc/self/fd").iterdir())), len(mapped)


def memory_mb(name: str) -> float:
    """Return a line of this process's status: VmRSS (resident), VmHWM (its peak), VmSize (mapped)."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith(name)).split()[1]) / 1e3


def state(path: Path, localizer: Any) -> dict[str, float]:
    """Return what is resident, mapped and open now."""
    descriptors, mapped = open_and_mapped(path)
    return {
        "rss_mb": memory_mb("VmRSS"),
        "peak_mb": memory_mb("VmHWM"),
        "descriptors": descriptors,
        "mapped_files": mapped,
        "open_maps": localizer.num_open,
    }


def measure(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Ask the set in this process."""
    from hfnet_ros.config import Config
    from hfnet_ros.features.extractor import create_extractor, with_extractor_of
    from hfnet_ros.files.camera_yaml import read_camera_yaml
    from hfnet_ros.files.images import list_images, read_image
    from hfnet_ros.localization.map_set_localizer import FollowedSet, SetLocalizer
    from hfnet_ros.map.open_maps import OpenMaps
    from hfnet_ros.types import ImageFeatures, LocalFeatures, PosePrior, Query, RigCamera, View

    camera, following = read_camera_yaml(options.camera), FollowedSet(path)
    config = with_extractor_of(Config(), following.found.extractor_id)
    config = dataclasses.replace(config, map=dataclasses.replace(config.map, max_open=options.max_open))
    opener = OpenMaps(path, config.map.max_open, round(config.map.max_open_mb * 1e6))
    extractor: Any = Described(following.found.extractor_id)
    images = []
    if options.network:
        extractor = TurnedExtractor(create_extractor(config))
        images = [read_image(file) for file in list_images(options.images)[:: options.every]]
    stored = {} if options.network else dict(np.load(options.work / "features.npz"))
    localizer = SetLocalizer(following, extractor, config, opener)
    import cv2  # noqa: F401 (loaded, so that the limit is one of data)
    import poselib  # noqa: F401
    import scipy.spatial  # noqa: F401

    if options.limit_mb:
        limit = int(1e6 * (options.limit_mb + memory_mb("VmSize") - memory_mb("VmRSS")))
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    rng = np.random.default_rng(2)
    numbers = sorted({int(name.split(".")[0]) for name in stored}) or list(range(len(images)))
    times_ms, states, counts = [], [], dict.fromkeys(COUNTED, 0)
    asked, digests = set(), set()
    for query in range(options.queries):
        if query in (options.queries // 50, options.queries // 2):
            states.append(state(path, localizer))
        tile, number = int(rng.integers(options.sub_maps)), numbers[int(rng.integers(len(numbers)))]
        asked.add(tile)
        if options.network:
            extractor.tile = tile
            view = View(RigCamera(camera), images[number])
        else:
            order, signs = rotation_of(tile, len(stored[f"{number}.global"]))
            local = LocalFeatures(
                *(stored[f"{number}.{part}"] for part in ("keypoints", "scores", "descriptors"))
            )
            features = ImageFeatures(local, stored[f"{number}.global"][order] * signs, extractor.extractor_id)
            view = View(RigCamera(camera), None, features)
        prior = None
        if query % 4 == 0:
            prior = PosePrior(placement_of(tile), np.diag([1.0] * 3 + [3.0] * 3))
        start = time.perf_counter()
        answer = localizer.localize(Query(query, (view,)), prior)
        times_ms.append(1e3 * (time.perf_counter() - start))
        digests.add(following.found.digest)
        counts["queries"] += 1
        counts["warnings"] += bool(answer.warnings)
        if answer.estimate is not None:
            counts["localized"] += 1
            at = placement_of(tile).inverse() @ answer.estimate.map_from_camera.translation
            counts["elsewhere"] += bool(np.abs(at[:2]).max() > 0.5 * SPACING_M)
    states.append(state(path, localizer))
    counts["opened"], counts["set_changes"] = opener.num_opened, len(digests) - 1
    localizer.close()
    states.append(state(path, localizer))
    figures = {f"p{share}_ms": float(np.percentile(times_ms, share)) for share in (50, 95, 100)}
    return {**counts, **figures, "tiles_asked": len(asked), "states": states}


def asked_while_swapped(path: Path, options: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Run both processes; return what the asking one says, and how many sub-maps the other one replaced."""
    again = [sys.executable, __file__, *sys.argv[1:], "--set", str(path)]
    (options.work / "done").unlink(missing_ok=True)
    swapping = subprocess.Popen([*again, "--role", "swap"])
    try:
        run = subprocess.run([*again, "--role", "ask"], check=True, stdout=subprocess.PIPE)
    finally:
        (options.work / "done").touch()
        ended = swapping.wait(300)
    if ended:
        sys.exit(f"the process that replaces sub-maps ended with {ended}")
    return json.loads(run.stdout), int((options.work / "swapped").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--map", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--camera", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="folder for the tiles")
    parser.add_argument("--sub-maps", type=int, default=50)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--limit-mb", type=float, default=500.0, help="0 for none")
    parser.add_argument("--max-open", type=int, default=8, help="map.max_open")
    parser.add_argument("--network", action="store_true", help="run the network inside")
    parser.add_argument("--role", choices=("ask", "swap"), help=argparse.SUPPRESS)
    parser.add_argument("--set", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.network:
        options.limit_mb = 0.0
    if options.role == "ask":
        print(json.dumps(measure(options.set, options)))
        return
    if options.role == "swap":
        swap(options.set, options.work, options.sub_maps)
        return
    options.work.mkdir(parents=True, exist_ok=True)
    if not options.network:
        extract(options, options.work / "features.npz")
    path = options.work / "tiles.set"
    if not path.exists():
        path = write_tiles(options)
    found, num_swapped = asked_while_swapped(path, options)
    for row, name in zip(found.pop("states"), ("begin", "middle", "end", "closed"), strict=True):
        print(
            f"{name:7s} {row['rss_mb']:6.0f} MB resident, {row['peak_mb']:6.0f} MB at the most, "
            f"{row['descriptors']:4.0f} descriptors, "
            f"{row['mapped_files']:4.0f} files of the set mapped, {row['open_maps']:3.0f} sub-maps open"
        )
    print(f"{num_swapped} sub-maps replaced meanwhile; {json.dumps(found)}")


if __name__ == "__main__":
    main()
