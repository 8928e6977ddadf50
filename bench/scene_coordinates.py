"""What does a scene-coordinate network give, alone and as a guide, beside landmarks?

    export HFNET_ROS_WEIGHTS=weights
    python bench/scene_coordinates.py --data ../shared/data --cache /tmp/scene --sets redkitchen redkitchen-hard \\
        redkitchen-photos euroc-1 walk-3@71 --methods landmarks scene both

Prints a line for each set and method. Maps and networks stay in --cache; --without trains and asks a network from
which one part of the method is left out: conditioned, hierarchical, identity, positions, regression, views.
Queries are never trained on. Times are those of the machine as busy as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path

import numpy as np
from matching import off_by
from scene_sets import asked_of, map_with_scene

from hfnet_ros.config import Config
from hfnet_ros.localization.landmark_model import LandmarkModel
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.types import Frame

_PARTS = ("conditioned", "hierarchical", "identity", "positions", "regression")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of redkitchen, euroc_v101 and photos"
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder for maps; those there are taken")
    parser.add_argument("--sets", nargs="+", required=True)
    parser.add_argument("--methods", nargs="+", default=["landmarks", "scene", "both"])
    parser.add_argument("--extractor", default="hfnet")
    parser.add_argument("--rooms", type=int, default=1)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--without", choices=(*_PARTS, "views"), default="")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    of_scene = {"rooms": options.rooms, "steps": options.steps}
    if options.without == "views":
        of_scene["views"] = 0
    left_out = {options.without: False} if options.without in _PARTS else None
    tag = f"without-{options.without}" if options.without else ""
    print(f"| set | method | queries | 25 cm, 5 deg | median | false | by | p50 ms | p95 ms |\n{'|---' * 9}|")
    for name in options.sets:
        asked = asked_of(name, options.data, options.photos)
        visual_map = map_with_scene(
            name, asked.source, options.cache, options.extractor, of_scene, tag, left_out
        )
        _print_training(name, visual_map)
        for method in options.methods:
            print(_row(name, method, visual_map, asked, tag), flush=True)


def _print_training(name: str, visual_map: VisualMap) -> None:
    assert visual_map.scene is not None
    facts, tested = visual_map.scene.facts, visual_map.scene.consistency
    best = max(facts["curves"], key=lambda entry: entry["near"])
    print(
        f"<!-- {name}: {facts['keyframes']} keyframes trained in {facts['duration_s']} s, {facts['steps']} steps, "
        f"{facts['leaves']} leaves, {len(visual_map.scene.network) / 1e6:.1f} MB; of held-out keypoints "
        f"{best['part']:.2f} in the right part, {best['leaf']:.2f} in the right leaf, {best['median_m']:.3f} m off; "
        f"{tested.num_keyframes} of {tested.num_asked} held-out keyframes, {tested.translation_m:.3f} m, "
        f"{np.rad2deg(tested.rotation_rad):.2f} deg, {tested.residual_px:.1f} px -->",
        flush=True,
    )


def _row(name: str, method: str, visual_map: VisualMap, asked: object, tag: str) -> str:
    model = LandmarkModel(visual_map)
    config = model.configured(Config.from_dict({"localization": {"method": method}}))
    off, milliseconds, by, normalised = [], [], {}, []
    with contextlib.closing(model.open(config, asked.camera.size_wh)) as opened:
        opened.localizer.localize(Frame(0, asked.images[0][0], asked.camera))  # reads the map
        for image, truth in asked.images:
            started = time.perf_counter()
            answer = opened.localizer.localize(Frame(0, image, asked.camera))
            milliseconds.append(1e3 * (time.perf_counter() - started))
            off.append(off_by(answer, truth))
            if answer.estimate is not None:
                by[answer.matched_by] = by.get(answer.matched_by, 0) + 1
            if answer.estimate is not None and truth is not None:
                normalised.append(_squared_error(answer.estimate, truth))
    errors = np.array(off)
    near = (errors[:, 0] <= 0.25) & (errors[:, 1] <= 5.0)
    wrong = (errors[:, 0] > 0.5) | (errors[:, 1] > 10.0)
    answered = errors[np.isfinite(errors[:, 0])]
    median = "-" if not len(answered) else "{:.3f} m, {:.2f} deg".format(*np.median(answered, axis=0))
    nees = f", NEES {np.mean(normalised):.1f}" if normalised else ""
    p50, p95 = np.percentile(milliseconds, [50, 95])
    who = ", ".join(f"{count} {matcher}" for matcher, count in sorted(by.items())) or "-"
    return (
        f"| {name} | {' '.join(filter(None, (method, tag)))} | {len(off)} | {near.mean():.2f} | {median}{nees} | "
        f"{wrong.sum()} | {who} | {p50:.0f} | {p95:.0f} |"
    )


def _squared_error(estimate: object, truth: object) -> float:
    """Return the squared error in the unit that its covariance gives; 6 at the mean where that is right."""
    moved = estimate.map_from_camera
    turn = type(truth)(moved.rotation @ truth.rotation.T, np.zeros(3)).rotvec
    error = np.concatenate([moved.translation - truth.translation, turn])
    return float(error @ np.linalg.solve(estimate.covariance, error))


if __name__ == "__main__":
    main()
