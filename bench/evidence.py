"""What separates right answers from wrong ones and from unrelated photographs?

    python bench/evidence.py --map kitchen.map --camera camera.yaml --out evidence.png \\
        --queries query query.tum 5 --queries hard hard.tum 1 --photos photos 400

Localizes queries with known poses, and photographs that have nothing to do with the map (resized
to the camera's size), with the acceptance test switched off, and draws the histogram of the
evidence for right, wrong and off-map. Prints how many poses the real test would give.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from pathlib import Path

import numpy as np
from asked_images import add_image_options, image_of_size, photo_paths, query_images

from hfnet_ros.cli.opening import open_for_images
from hfnet_ros.config import Config, VerificationConfig
from hfnet_ros.files.camera_yaml import read_camera_yaml
from hfnet_ros.files.images import read_image
from hfnet_ros.localization.landmark_model import load_scene_model
from hfnet_ros.types import Frame, Localization

KINDS = (("right", "#2a9d5c"), ("neither", "#c9a227"), ("wrong", "#c0392b"), ("off-map", "#5b6b7b"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_image_options(parser)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    camera = read_camera_yaml(options.camera)
    everything = np.inf
    open_limits = dataclasses.replace(
        VerificationConfig(),
        max_false_probability=1.0,
        min_evidence=-everything,
        min_inliers=4,
        max_rival_ratio=everything,
        min_lead_over_rival=-everything,
        max_twin_ratio=everything,
        max_rematch_ratio=everything,
        max_translation_sigma_m=everything,
        max_rotation_sigma_deg=everything,
    )
    config = dataclasses.replace(Config(), verification=open_limits)
    model = load_scene_model(options.map)
    found: dict[str, list[Localization]] = {name: [] for name, _ in KINDS}
    with contextlib.closing(open_for_images(model, config, camera, extractor_given=False)) as opened:
        localizer = opened.localizer
        for asked in options.queries:
            for path, truth in query_images(*asked):
                answer = localizer.localize(Frame(0, read_image(path), camera))
                if answer.estimate is not None:
                    pose = answer.estimate.map_from_camera
                    distance = pose.translation_to(truth)
                    angle_deg = np.rad2deg(pose.rotation_to(truth))
                    found[_kind(distance, angle_deg)].append(answer)
        for asked in options.photos:
            for path in photo_paths(*asked):
                image = image_of_size(path, camera.size_wh)
                found["off-map"].append(localizer.localize(Frame(0, image, camera)))
    _print(found, VerificationConfig())
    _draw(found, VerificationConfig().min_evidence, options.out)


def _kind(distance: float, angle_deg: float) -> str:
    if distance > 0.5 or angle_deg > 10.0:
        return "wrong"
    return "right" if distance <= 0.25 and angle_deg <= 5.0 else "neither"


def _print(found: dict[str, list[Localization]], limits: VerificationConfig) -> None:
    print(f"{'':10s} {'answers':>8s} {'accepted':>9s}   evidence min / 5 % / median / 95 % / max")
    for name, answers in found.items():
        values = _evidence(answers)
        accepted = sum(_passes(answer, limits) for answer in answers)
        spread = (
            " / ".join(f"{value:.1f}" for value in np.percentile(values, [0, 5, 50, 95, 100]))
            if len(values)
            else "-"
        )
        print(f"{name:10s} {len(answers):8d} {accepted:9d}   {spread}")


def _evidence(answers: list[Localization]) -> np.ndarray:
    return np.array([answer.evidence.scores.get("evidence", 0.0) for answer in answers])


def _passes(answer: Localization, limits: VerificationConfig) -> bool:
    scores = answer.evidence.scores
    return (
        answer.estimate is not None
        and scores["false_probability"] <= limits.max_false_probability
        and scores["evidence"] >= limits.min_evidence
        and scores["rival_ratio"] <= limits.max_rival_ratio
        and scores["lead_over_rival"] >= limits.min_lead_over_rival
        and scores["twin_ratio"] <= limits.max_twin_ratio
        and scores["rematch_ratio"] <= limits.max_rematch_ratio
        and scores["inliers"] >= limits.min_inliers
        and scores["sigma_translation_m"] <= limits.max_translation_sigma_m
        and scores["sigma_rotation_deg"] <= limits.max_rotation_sigma_deg
    )


def _draw(found: dict[str, list[Localization]], threshold: float, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.2), layout="constrained")
    values = [np.clip(_evidence(found[name]), -5, 120) for name, _ in KINDS]
    labels = [f"{name} ({len(found[name])})" for name, _ in KINDS]
    axes.hist(
        values, bins=np.arange(-5, 122, 2.5), stacked=True, color=[color for _, color in KINDS], label=labels
    )
    axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"needed: {threshold:g}")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_xlabel(
        "evidence: decades by which chance is too unlikely to explain the inliers (120 and more at 120)"
    )
    axes.set_ylabel("images")
    axes.set_title("Best pose of each image, before the acceptance test")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
