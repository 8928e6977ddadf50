"""What refining the poses of a long map costs, and whether it drifts.

    python bench/long_map.py --keyframes 2000 --work /tmp/long_map

Renders a walk through a row of generated rooms, describes its images once (kept in --work), makes its poses noisy (each
by itself) and lets them drift (a random walk), builds the map and prints seconds by stage, the memory of the process,
and how far given and refined poses are from the true ones: over the whole walk, and from one keyframe to the tenth
after it. Asserts nothing.
"""

from __future__ import annotations

import argparse
import pickle
import resource
import time
from pathlib import Path

import numpy as np

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import create_extractor
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.mapping import structure
from hfnet_ros.mapping.describe import describe_images
from hfnet_ros.mapping.map_builder import build_untested_map
from hfnet_ros.mapping.options import BuildOptions
from hfnet_ros.mapping.views import Keyframe, MappingImage
from hfnet_ros.scene import SensorModel, build_apartment, demo_camera, mapping_walk, render

KEYFRAMES_PER_ROOM = 80
APART = 10
CAMERA = demo_camera()


def described(count: int, config: Config, work: Path) -> tuple[list[Keyframe], list[Rigid3]]:
    """Return keyframes of a walk and their true poses; rendered and described on the first call."""
    kept = work / f"keyframes_{count}.pickle"  # our own file, of this very program
    if kept.exists():
        return pickle.loads(kept.read_bytes())
    scene = build_apartment(0, -(-count // KEYFRAMES_PER_ROOM))
    poses = [pose for _, pose in mapping_walk(scene)][:count]
    sensor = SensorModel()
    images = [
        MappingImage(
            f"{row:05d}.png",
            row * 200_000_000,
            0,
            lambda row=row, pose=pose: sensor.expose(
                render(scene, CAMERA, pose, 2), np.random.default_rng(row)
            ),
        )
        for row, pose in enumerate(poses)
    ]
    extractor = create_extractor(config)
    found = describe_images(
        images,
        extractor,
        config.mapping.max_keypoints,
        lambda _, done, total: print(f"\r{done}/{total}", end=""),
    )
    extractor.close()
    keyframes = [
        Keyframe(MappingImage(k.image.name, k.image.stamp_ns, 0, None), k.extracted, k.features, k.colors)
        for k in found
    ]
    work.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(pickle.dumps((keyframes, poses)))
    return keyframes, poses


def disturbed(poses: list[Rigid3], rng: np.random.Generator) -> list[Rigid3]:
    """Return poses with noise of 1 cm and 0.3 deg, and a random walk of 1 mm and 0.01 deg a keyframe."""
    drift, given = Rigid3.identity(), []
    for pose in poses:
        drift = drift @ Rigid3.from_rotvec(np.radians(0.01) * rng.normal(size=3), 0.001 * rng.normal(size=3))
        noise = Rigid3.from_rotvec(np.radians(0.3) * rng.normal(size=3), 0.01 * rng.normal(size=3))
        given.append(
            Rigid3(np.eye(3), drift.translation) @ pose @ Rigid3(drift.rotation, np.zeros(3)) @ noise
        )
    return given


def error_text(poses: list[Rigid3], truth: list[Rigid3]) -> str:
    """Return root mean squares: over the whole, and over ten keyframes."""
    whole = [pose.translation_to(true) for pose, true in zip(poses, truth, strict=True)]
    turns = [np.degrees(pose.rotation_to(true)) for pose, true in zip(poses, truth, strict=True)]
    steps = [
        (poses[row].inverse() @ poses[row + APART]).translation_to(truth[row].inverse() @ truth[row + APART])
        for row in range(len(poses) - APART)
    ]
    root = [float(np.sqrt(np.mean(np.square(values)))) for values in (whole, turns, steps)]
    return f"{100 * root[0]:.2f} cm, {root[1]:.3f} deg, over {APART} keyframes {100 * root[2]:.2f} cm"


def main() -> None:
    """Build and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keyframes", type=int, default=2000)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is described once")
    options = parser.parse_args()
    config = Config()
    keyframes, truth = described(options.keyframes, config, options.work)
    given = disturbed(truth, np.random.default_rng(1))
    refine, spent = structure.refine_poses, [0.0]

    def timed(*arguments: object) -> object:
        started = time.perf_counter()
        try:
            return refine(*arguments)
        finally:
            spent[0] += time.perf_counter() - started

    structure.refine_poses = timed
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    built = build_untested_map(keyframes, given, [CAMERA], config, BuildOptions(refine_poses="auto"))
    total = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\n{built.num_keyframes} keyframes, {built.num_landmarks} landmarks, {built.num_observations} observations; "
        f"{built.build_info['poses']['reason']}"
    )
    print(
        f"built in {total:.0f} s, of which refining poses {spent[0]:.0f} s; {before_mb:.0f} MB before, "
        f"{peak_mb:.0f} MB at most"
    )
    by_name = {keyframe.image.name: row for row, keyframe in enumerate(keyframes)}
    rows = [by_name[name] for name in built.keyframe_names]
    print(f"given:   {error_text([given[row] for row in rows], [truth[row] for row in rows])}")
    refined = [built.map_from_camera(row) for row in range(built.num_keyframes)]
    print(f"refined: {error_text(refined, [truth[row] for row in rows])}")


if __name__ == "__main__":
    main()
