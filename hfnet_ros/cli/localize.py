"""Verbs `localize` and `evaluate`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import hfnet_ros
from hfnet_ros.cli.options import (
    add_config_options,
    check_file_target,
    check_folder_target,
    new_verb,
    read_config,
    tracked,
)
from hfnet_ros.config import Config
from hfnet_ros.errors import ConfigError, DatasetError, ImageError
from hfnet_ros.evaluation.records import QueryResult, RunContext, RunIdentity, describe_machine
from hfnet_ros.features.extractor import FeatureExtractor, create_extractor, with_extractor_of
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.localization.localizer import Localizer
from hfnet_ros.map.map_io import load_map
from hfnet_ros.map.visual_map import VisualMap

_LOCALIZE = "hfnet-ros localize --map kitchen.map --camera camera.yaml photo.jpg --out poses.tum"
_EVALUATE = (
    "hfnet-ros evaluate --map kitchen.map --images query --poses query.tum --camera camera.yaml --out report"
)


def add_verbs(verbs: Any) -> None:
    """Add `localize` and `evaluate`."""
    localize = new_verb(verbs, "localize", "find out where images were taken", _LOCALIZE, _localize)
    localize.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files")
    localize.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the poses found, TUM format; the stamp is the position among the images, from 0",
    )
    localize.add_argument("--json", type=Path, metavar="FILE", help="write every answer with all its numbers")
    evaluate = new_verb(verbs, "evaluate", "score localization against known poses", _EVALUATE, _evaluate)
    evaluate.add_argument("--images", type=Path, required=True, metavar="DIR", help="query images")
    evaluate.add_argument(
        "--poses", type=Path, required=True, metavar="FILE", help="their true poses, TUM format"
    )
    evaluate.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th image only")
    evaluate.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for report and results"
    )
    evaluate.add_argument(
        "--rerun", type=Path, metavar="FILE", help="also write a recording for the Rerun viewer (.rrd)"
    )
    for parser in (localize, evaluate):
        parser.add_argument("--map", type=Path, required=True, metavar="MAP", help="map to localize in")
        parser.add_argument(
            "--camera",
            type=Path,
            metavar="FILE",
            help="ROS camera calibration YAML (default: the map's own camera)",
        )
        add_config_options(parser, extractor=True)


def open_localizer(
    map_path: Path, config: Config, *, extractor_given: bool
) -> tuple[VisualMap, FeatureExtractor, Localizer]:
    """Load a map and an extractor that fits it: the one asked for, else the map's own."""
    visual_map = load_map(map_path)
    if not extractor_given:
        config = with_extractor_of(config, visual_map.extractor_id)
    extractor = create_extractor(config)
    return visual_map, extractor, Localizer(visual_map, extractor, config)


def query_camera(path: Path | None, visual_map: VisualMap) -> Camera:
    """Return the calibration of a file, or the map's camera where no file is named."""
    from hfnet_ros.files.camera_yaml import read_camera_yaml

    if path is not None:
        return read_camera_yaml(path)
    if len(visual_map.cameras) != 1:
        raise ConfigError(
            f"the map was taken with {len(visual_map.cameras)} cameras; name the calibration with --camera"
        )
    return visual_map.cameras[0].refined


def _localize(options: argparse.Namespace) -> int:
    from hfnet_ros.evaluation.run import localize_images
    from hfnet_ros.files.atomic import atomic_file
    from hfnet_ros.files.tum import StampedPose, write_tum

    for target in (options.out, options.json):
        if target:
            check_file_target(target)
    config = read_config(options)
    visual_map, extractor, localizer = open_localizer(
        options.map, config, extractor_given=bool(options.extractor)
    )
    camera = query_camera(options.camera, visual_map)
    unreadable: list[str] = []

    def note(path: Path, error: ImageError) -> None:
        unreadable.append(str(error) if str(path) in str(error) else f"{path}: {error}")

    images = [(path, index * 1_000_000_000, None) for index, path in enumerate(options.images)]
    results = list(tracked(localize_images(localizer, images, camera, note), "localize", len(images)))
    extractor.close()
    for result in results:
        print(_describe(result))
    if options.out:
        found = [
            StampedPose(result.stamp_ns, result.localization.estimate.map_from_camera)
            for result in results
            if result.localization.estimate is not None
        ]
        write_tum(options.out, found)
    if options.json:
        with atomic_file(options.json) as temporary:
            temporary.write_text(json.dumps([_answer(result) for result in results], indent=1) + "\n")
    for message in unreadable:
        print(f"hfnet-ros: error: {message}", file=sys.stderr)
    return 1 if unreadable else 0


def _describe(result: QueryResult) -> str:
    answer = result.localization
    milliseconds = answer.timings_s["total"] * 1e3
    if answer.estimate is None:
        return f"{result.name}: {answer.outcome.value}: {answer.evidence.reason} ({milliseconds:.0f} ms)"
    x, y, z = answer.estimate.map_from_camera.translation
    variances = np.diag(answer.estimate.covariance)
    sigma_m, sigma_deg = np.sqrt(variances[:3].max()), np.rad2deg(np.sqrt(variances[3:].max()))
    return (
        f"{result.name}: LOCALIZED at ({x:.3f}, {y:.3f}, {z:.3f}) m, sigma {sigma_m:.3f} m {sigma_deg:.2f} deg, "
        f"{answer.evidence.num_inliers} inliers ({milliseconds:.0f} ms)"
    )


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
        "map_from_camera": pose,
        "keypoints": evidence.num_keypoints,
        "matches": evidence.num_matches,
        "inliers": evidence.num_inliers,
        "scores": {name: value if np.isfinite(value) else None for name, value in evidence.scores.items()},
        "timings_ms": {stage: seconds * 1e3 for stage, seconds in answer.timings_s.items()},
    }


def _evaluate(options: argparse.Namespace) -> int:
    from hfnet_ros.evaluation.report import write_report
    from hfnet_ros.evaluation.rerun_file import load_rerun, write_rerun
    from hfnet_ros.evaluation.run import localize_images
    from hfnet_ros.evaluation.summary import summarize
    from hfnet_ros.evaluation.writers import write_run
    from hfnet_ros.files.posed_images import pair_images_with_poses

    if options.every < 1:
        raise DatasetError(f"--every is {options.every}, expected 1 or more")
    check_folder_target(options.out)
    if options.rerun:
        load_rerun()
        check_file_target(options.rerun)
    recorded = pair_images_with_poses(options.images, options.poses)
    posed = recorded[:: options.every]
    config = read_config(options)
    visual_map, extractor, localizer = open_localizer(
        options.map, config, extractor_given=bool(options.extractor)
    )
    camera = query_camera(options.camera, visual_map)
    images = [(image.path, image.stamp_ns, image.map_from_camera) for image in posed]
    results = list(tracked(localize_images(localizer, images, camera), "evaluate", len(images)))
    identity = identify_run(visual_map, options.map, extractor.extractor_id, extractor.backend, config)
    extractor.close()
    context = RunContext(
        keyframe_names=visual_map.keyframe_names,
        keyframe_poses=visual_map.keyframe_poses,
        groundtruth=[(image.stamp_ns, image.map_from_camera) for image in recorded],
    )
    summary = summarize(results, identity, context)
    options.out.mkdir(parents=True, exist_ok=True)
    write_run(options.out, results, summary, context)
    write_report(
        options.out / "report.html",
        results,
        summary,
        visual_map.landmark_xyz,
        visual_map.keyframe_poses[:, :3],
        context,
    )
    if options.rerun:
        write_rerun(options.rerun, results, visual_map.landmark_xyz, visual_map.landmark_colors, context)
    print_summary(summary, results)
    print(f"report: {options.out / 'report.html'}")
    return 0


def identify_run(
    visual_map: VisualMap, map_path: Path, extractor_id: str, backend: str, config: Config
) -> RunIdentity:
    """Return what produced the results of a run."""
    return RunIdentity(
        map=describe_map(visual_map, map_path),
        extractor_id=extractor_id,
        backend=backend,
        config=dataclasses.asdict(with_extractor_of(config, visual_map.extractor_id)),
        version=hfnet_ros.__version__,
        commit=_commit(),
        machine=describe_machine(),
    )


def describe_map(visual_map: VisualMap, path: Path) -> dict[str, Any]:
    """Return what a report says about the map of a run."""
    from hfnet_ros.evaluation.run import readable_name

    return {
        "name": readable_name(path.resolve()),
        "keyframes": visual_map.num_keyframes,
        "landmarks": visual_map.num_landmarks,
        "self_test": dataclasses.asdict(visual_map.consistency),
        **visual_map.build_info,
    }


def print_summary(summary: dict[str, Any], results: Sequence[QueryResult]) -> None:
    """Print the figures a person asks for first."""
    latency = summary["latency_ms"]["total"]

    def figure(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    print(f"queries              {summary['queries']}")
    print(f"localized            {summary['localized']}")
    print(f"false fixes          {figure(summary['false_fixes'], 'd')}")
    for threshold, share in summary["recall"].items():
        print(f"recall {threshold:13s} {figure(share, '.2f')}")
    print(
        f"median error         {figure(summary['median_translation_m'], '.3f')} m, "
        f"{figure(summary['median_rotation_deg'], '.2f')} deg"
    )
    print(f"ANEES                {figure(summary['anees'], '.2f')}")
    print(
        f"latency p50/p95/p99  {figure(latency['p50'], '.0f')} / {figure(latency['p95'], '.0f')} / "
        f"{figure(latency['p99'], '.0f')} ms"
    )
    refused = {
        outcome: count for outcome, count in summary["outcomes"].items() if count and outcome != "LOCALIZED"
    }
    for warning in summary["warnings"]:
        print(f"warning              {warning}")
    if refused and results:
        print("not localized        " + ", ".join(f"{outcome} {count}" for outcome, count in refused.items()))


def _commit() -> str:
    """Return the commit of a source checkout, empty elsewhere."""
    folder = Path(hfnet_ros.__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()
