"""`demo --cameras N`: a rig's walk rendered, mapped by all its cameras, and a second walk localized by all of them."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from hfnet_ros.cli.options import ProgressBars


def rig_steps(folder: Path, shared: list[str], seed: int, rooms: int, count: int) -> list[list[str]]:
    """Render both walks below a folder, and return the commands that map, draw and score them."""
    scene = folder / "scene"
    names = _generate(scene, seed, rooms, count)

    def recorded(walk: str) -> list[str]:
        folders = ",".join(f"{name}={scene / name / walk / 'images'}" for name in names)
        poses = scene / names[0] / walk / "poses.tum"
        return ["--images", folders, "--rig", str(scene / "rig.yaml"), "--poses", str(poses)]

    built = str(folder / "apartment.map")
    return [
        ["map", "build", *recorded("mapping"), "--out", built, *shared],
        ["map", "view", built, "--out", str(folder / "map.html")],
        ["map", "view", built, "--out", str(folder / "map.png")],
        ["evaluate", "--map", built, *recorded("query"), "--out", str(folder / "report"), *shared],
    ]


def _generate(folder: Path, seed: int, rooms: int, count: int) -> list[str]:
    """Render what each camera sees; an earlier scene in the folder is replaced once the new one is whole."""
    from hfnet_ros.files.atomic import atomic_directory
    from hfnet_ros.files.rig_yaml import write_rig
    from hfnet_ros.scene import (
        QUERY_GAIT,
        Gait,
        build_apartment,
        demo_rig,
        mapping_walk,
        query_walk,
        write_dataset,
    )

    scene, rig = build_apartment(seed, rooms), demo_rig(count)
    # Side cameras see walls from near: as many stops bring as many images as one camera has.
    walks = [
        mapping_walk(scene, Gait(rate_hz=1.0)),
        query_walk(scene, dataclasses.replace(QUERY_GAIT, rate_hz=0.75)),
    ]
    print(
        f"scene: {rooms} rooms, {len(walks[0])} stops to map, {len(walks[1])} to localize, {', '.join(rig)}"
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    bars = ProgressBars()
    with atomic_directory(folder) as temporary:
        for number, (name, mounted) in enumerate(rig.items()):
            mapping, query = (
                [(stamp_ns, pose @ mounted.rig_from_camera) for stamp_ns, pose in walk] for walk in walks
            )
            rendered = partial(_show, bars, name)
            write_dataset(
                temporary / name,
                scene,
                mounted.camera,
                mapping,
                query,
                seed=seed + 100 * number,
                progress=rendered,
            )
        write_rig(temporary / "rig.yaml", rig)
    bars.close()
    return list(rig)


def _show(bars: ProgressBars, name: str, walk: str, done: int, total: int) -> None:
    bars(f"render {name} {walk}", done, total)
