"""Do the two solvers of first poses give the same answers, and how long does each take?

    python bench/solvers.py --map kitchen.map --camera camera.yaml \\
        --queries query query.tum 1 --queries hard hard.tum 1 --photos photos 400

Localizes queries with known poses, and photographs that have nothing to do with the map (resized to the camera's
size), with `lo-ransac` (PoseLib) and with `usac` (OpenCV). Then each samples once more all the problems that came
up, for the time of the call alone. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from pathlib import Path

import numpy as np
from asked_images import add_image_options, image_of_size, photo_paths, query_images

from hfnet_ros.cli.opening import open_for_images
from hfnet_ros.config import Config
from hfnet_ros.files.camera_yaml import read_camera_yaml
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.localization.landmark_model import load_scene_model
from hfnet_ros.pose.absolute_pose import lo_ransac, register_pose_method, usac
from hfnet_ros.types import Frame, Localization

SOLVERS = {"lo-ransac": lo_ransac, "usac": usac}
FALSE_M, FALSE_DEG = 0.5, 10.0
CALLS: list[tuple] = []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_image_options(parser)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    sets: list[tuple[str, list[tuple[Path, Rigid3 | None]]]] = [
        (Path(folder).name, [*query_images(folder, poses, every)]) for folder, poses, every in options.queries
    ]
    sets += [
        (Path(folder).name, [(path, None) for path in photo_paths(folder, count)])
        for folder, count in options.photos
    ]
    print(
        f"{'images':12s} {'solver':10s} {'number':>6s} {'localized':>9s} {'false':>5s} {'median m':>9s} {'deg':>6s} "
        f"{'largest evidence':>16s}   apart from lo-ransac, median / largest"
    )
    register_pose_method("noted", _noted)
    for name, images in sets:
        answers = {solver: _localize(options, images, solver) for solver in SOLVERS}
        for solver in SOLVERS:
            _print_answers(name, solver, images, answers)
    _localize(options, [image for _, images in sets for image in images], "noted")
    _print_times(options.repeat)


def _localize(
    options: argparse.Namespace, images: list[tuple[Path, Rigid3 | None]], solver: str
) -> list[Localization]:
    config = Config.from_dict({"inference": {"num_threads": options.threads}})
    config = dataclasses.replace(config, pose=dataclasses.replace(config.pose, method=solver))
    camera, answers = read_camera_yaml(options.camera), []
    model = load_scene_model(options.map)
    with contextlib.closing(open_for_images(model, config, camera, extractor_given=False)) as opened:
        for path, _ in images:
            image = image_of_size(path, camera.size_wh)
            answers.append(opened.localizer.localize(Frame(0, image, camera)))
    return answers


def _print_answers(
    name: str, solver: str, images: list[tuple[Path, Rigid3 | None]], of_solver: dict[str, list[Localization]]
) -> None:
    answers = of_solver[solver]
    errors = np.array(
        [
            _apart(answer.estimate.map_from_camera, truth)
            for answer, (_, truth) in zip(answers, images, strict=True)
            if answer.estimate is not None and truth is not None
        ]
    ).reshape(-1, 2)
    off_map = sum(
        answer.estimate is not None and truth is None
        for answer, (_, truth) in zip(answers, images, strict=True)
    )
    false = off_map + np.count_nonzero((errors[:, 0] > FALSE_M) | (errors[:, 1] > FALSE_DEG))
    evidence = max(answer.evidence.scores.get("evidence", 0.0) for answer in answers)
    both = [
        _apart(one.estimate.map_from_camera, other.estimate.map_from_camera)
        for one, other in zip(answers, of_solver["lo-ransac"], strict=True)
        if one.estimate is not None and other.estimate is not None
    ]
    median = np.median(errors, axis=0) if len(errors) else (np.nan, np.nan)
    apart = np.array(both).reshape(-1, 2)
    told = (
        f"{np.median(apart[:, 0]) * 1e3:.2f} mm {np.median(apart[:, 1]):.3f} deg / "
        f"{apart[:, 0].max() * 1e3:.2f} mm {apart[:, 1].max():.3f} deg"
        if len(apart)
        else "-"
    )
    localized = sum(answer.estimate is not None for answer in answers)
    print(
        f"{name:12s} {solver:10s} {len(answers):6d} {localized:9d} {false:5d} {median[0]:9.4f} {median[1]:6.3f} "
        f"{evidence:16.1f}   {told}"
    )


def _apart(one: Rigid3, other: Rigid3) -> tuple[float, float]:
    return one.translation_to(other), float(np.rad2deg(one.rotation_to(other)))


def _noted(*call):
    """Sample as PoseLib does, and note what was asked."""
    CALLS.append(call)
    return lo_ransac(*call)


def _print_times(repeat: int) -> None:
    print(f"\none call, ms, median of {repeat} runs of each of {len(CALLS)} problems: p50 / p95 / p99")
    for name, solver in SOLVERS.items():
        times = np.empty((len(CALLS), repeat))
        for row, call in enumerate(CALLS):
            for run in range(repeat):
                start = time.perf_counter()
                solver(*call)
                times[row, run] = time.perf_counter() - start
        percentiles = np.percentile(np.median(times, axis=1) * 1e3, [50, 95, 99])
        print(f"{name:10s} {' / '.join(f'{value:.2f}' for value in percentiles)}")


if __name__ == "__main__":
    main()
