"""Verb `localize`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_ros.cli.opening import open_for_images, query_camera
from hfnet_ros.cli.options import (
    add_answer_frame,
    add_area,
    add_config_options,
    add_mask_option,
    check_file_target,
    new_verb,
    print_doubts,
    read_config,
    tracked,
)
from hfnet_ros.cli.rigs import (
    given_rig,
    images_in_turn,
    localize_rig_images,
    masks_of_rig,
    refuse_names_without_rig,
)
from hfnet_ros.evaluation.records import QueryResult
from hfnet_ros.localization.landmark_model import load_scene_model
from hfnet_ros.types import ViewShare

_LOCALIZE = """hfnet-ros localize --map kitchen.map --camera camera.yaml photo.jpg --out poses.tum
  hfnet-ros localize --map hall.map --rig rig.yaml left=l.png right=r.png"""


def add_verbs(verbs: Any) -> None:
    """Add `localize`."""
    localize = new_verb(verbs, "localize", "find out where images were taken", _LOCALIZE, _localize)
    localize.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files")
    localize.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the poses found, TUM format; the stamp is the position among the images, from 0",
    )
    localize.add_argument("--json", type=Path, metavar="FILE", help="write every answer with all its numbers")
    localize.add_argument("--map", type=Path, required=True, metavar="MAP", help="map to localize in")
    localize.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help="ROS camera calibration YAML (default: the map's own camera)",
    )
    localize.add_argument(
        "--rig",
        type=Path,
        metavar="FILE",
        help="cameras of a rig (docs/rigs.md); images are then NAME=IMAGE, those of one time one after the other",
    )
    add_mask_option(localize)
    add_config_options(localize, extractor=True)
    add_answer_frame(localize)
    add_area(localize)


def _localize(options: argparse.Namespace) -> int:
    from hfnet_ros.evaluation.run import localize_images
    from hfnet_ros.files.atomic import atomic_file
    from hfnet_ros.files.camera_mask import masks_of
    from hfnet_ros.files.tum import StampedPose, write_tum

    for target in (options.out, options.json):
        if target:
            check_file_target(target)
    for image in () if options.rig else options.images:
        refuse_names_without_rig(image, "image")
    config = read_config(options)
    model = load_scene_model(options.map)
    rig = given_rig(options) if options.rig else None
    camera = next(iter(rig.values())).camera if rig else query_camera(options.camera, model.cameras)
    masks = masks_of_rig(config, rig) if rig else masks_of(config.cameras)
    unreadable: list[str] = []
    asked = images_in_turn(options.images, rig) if rig else []
    images = [(path, index * 1_000_000_000, None) for index, path in enumerate(options.images)]
    with closing(open_for_images(model, config, camera, extractor_given=bool(options.extractor))) as opened:
        if rig:
            found = localize_rig_images(opened.localizer, rig, asked, masks)
        else:
            found = localize_images(
                opened.localizer,
                images,
                camera,
                lambda _, error: unreadable.append(str(error)),
                masks.get(""),
            )
        results = list(tracked(found, "localize", len(asked) or len(images)))
    if options.out:
        poses = [
            StampedPose(result.stamp_ns, result.localization.estimate.map_from_camera)
            for result in results
            if result.localization.estimate is not None
        ]
        write_tum(options.out, poses)
    if options.json:
        with atomic_file(options.json) as temporary:
            temporary.write_text(json.dumps([_answer(result) for result in results], indent=1) + "\n")
    for result in results:
        print(_describe(result))
    print_doubts((result.name, result.localization.warnings) for result in results)
    for message in unreadable:
        print(f"hfnet-ros: error: {message}", file=sys.stderr)
    return 1 if unreadable else 0


def _describe(result: QueryResult) -> str:
    answer = result.localization
    milliseconds = answer.timings_s["total"] * 1e3
    if answer.estimate is None:
        return f"{result.name}: {answer.outcome.value}: {answer.evidence.reason} ({milliseconds:.0f} ms)"
    unit = "m" if answer.is_metric else "map units"
    doubt = _shown(answer.evidence.false_probability)
    x, y, z = answer.estimate.map_from_camera.translation
    variances = np.diag(answer.estimate.covariance)
    sigma_m, sigma_deg = np.sqrt(variances[:3].max()), np.rad2deg(np.sqrt(variances[3:].max()))
    return (
        f"{result.name}: LOCALIZED at ({x:.3f}, {y:.3f}, {z:.3f}) {unit}, sigma {sigma_m:.3f} {unit} "
        f"{sigma_deg:.2f} deg, {answer.evidence.num_inliers} inliers, "
        f"wrong with probability {doubt} ({milliseconds:.0f} ms)"
    )


def _shown(probability: float | None) -> str:
    return "unknown" if probability is None else f"{probability:.2g}"


def _view(share: ViewShare) -> dict[str, Any]:
    """Return what a view brought, without the poses that a robot's tracking asks for."""
    names = [field.name for field in dataclasses.fields(share) if field.name not in ("alone", "offset")]
    return {name: getattr(share, name) for name in names}


def _answer(result: QueryResult) -> dict[str, Any]:
    answer = result.localization
    pose = None
    if answer.estimate is not None:
        pose = {
            "translation_m": answer.estimate.map_from_camera.translation.tolist(),
            "quat_xyzw": answer.estimate.map_from_camera.quat_xyzw.tolist(),
            "covariance": answer.estimate.covariance.tolist(),
            "reprojection_rmse_px": answer.estimate.reprojection_rmse_px,
        }
    evidence = answer.evidence
    return {
        "image": str(result.image_path),
        "stamp_ns": answer.stamp_ns,
        "outcome": answer.outcome.value,
        "reason": evidence.reason,
        "is_metric": answer.is_metric,
        "warnings": list(answer.warnings),
        "map_from_camera": pose,
        "keypoints": evidence.num_keypoints,
        "matches": evidence.num_matches,
        "inliers": evidence.num_inliers,
        "matched_by": answer.matched_by,
        "views": [_view(share) for share in answer.views],
        "turn_deg": round(float(np.rad2deg(answer.turn_rad)), 3),
        "false_probability": evidence.false_probability,
        "scores": {name: value if np.isfinite(value) else None for name, value in evidence.scores.items()},
        "timings_ms": {stage: seconds * 1e3 for stage, seconds in answer.timings_s.items()},
    }
