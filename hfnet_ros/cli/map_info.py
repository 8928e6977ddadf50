"""Verbs `map info`, `map verify` and `map view`: what is in a map."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from hfnet_ros.cli.options import check_file_target, new_verb
from hfnet_ros.errors import ConfigError
from hfnet_ros.localization.scene_model import SceneModel, training_curves
from hfnet_ros.map.areas import extent_of
from hfnet_ros.map.manifest import LANDMARKS, SET
from hfnet_ros.map.scene_network import SceneNetwork
from hfnet_ros.map.visual_map import MapConsistency, VisualMap

_EXTENT_PERCENTILES = (2.0, 98.0)
_BOX_MARGIN_M = 1.0  # robots are found beside the keyframes, too
_NUM_WORST = 3  # keyframes that are named
_SHOWN_DIGITS = 4
_SHOWN_DECIMALS = 2  # at least: coordinates far from the origin stay what they are
_NAME_WIDTH = 22
_TEXT_WIDTH = 110
_SHOWN = ("keyframes", "landmarks", "extractor", "extent_m", "track_length_mean")


def add_verbs(maps: Any) -> None:
    """Add the verbs that look at a map to those of `map`."""
    info = new_verb(maps, "info", "print what is in a map", "hfnet-ros map info kitchen.map", _info)
    info.add_argument("--json", action="store_true", help="print JSON")
    verify = new_verb(
        maps, "verify", "check a map for damage", "hfnet-ros map verify kitchen.map && echo sound", _verify
    )
    view = new_verb(maps, "view", "draw a map", "hfnet-ros map view kitchen.map --out map.html", _view)
    view.add_argument(
        "--out", type=Path, metavar="FILE", help=".html to turn about, .png to print (default: MAP.html)"
    )
    for parser in (info, verify, view):
        parser.add_argument("map", type=Path, metavar="MAP")


def _info(options: argparse.Namespace) -> int:
    from hfnet_ros.localization.landmark_model import load_scene_model

    facts = _facts(load_scene_model(options.map), options.map)
    if options.json:
        print(json.dumps(facts, indent=1))
        return 0
    if "scene_network" in facts:
        del facts["scene_network"]["curves"]
    for name, value in facts.items():
        print("\n".join(_lines(name, _readable(value))))
    return 0


def _lines(name: str, value: Any) -> list[str]:
    """Return one fact in a line, or what it consists of in lines of YAML below its name."""
    if value and isinstance(value, dict):
        parts: list[Any] = [{part: of_it} for part, of_it in value.items()]
    elif value and isinstance(value, list) and isinstance(value[0], dict):
        parts = [[of_it] for of_it in value]
    else:
        return [f"{name:{_NAME_WIDTH}s} {value}"]
    return [name, *(f"  {line}" for part in parts for line in _yaml(part).splitlines())]


def _yaml(part: Any) -> str:
    """Return YAML with lists of numbers in one line, but no braces around a single fact."""
    is_plain = isinstance(part, dict) and not any(isinstance(of_it, (dict, list)) for of_it in part.values())
    style = False if is_plain else None
    return yaml.safe_dump(
        part, sort_keys=False, default_flow_style=style, allow_unicode=True, width=_TEXT_WIDTH
    )


def _readable(value: Any) -> Any:
    """Return facts with the digits that someone reads, and in the types that YAML has."""
    if isinstance(value, float):
        has_more_digits = abs(value) >= 10 ** (_SHOWN_DIGITS - _SHOWN_DECIMALS)
        return round(value, _SHOWN_DECIMALS) if has_more_digits else float(f"{value:.{_SHOWN_DIGITS}g}")
    if isinstance(value, Mapping):
        return {name: _readable(part) for name, part in value.items()}
    return [_readable(part) for part in value] if isinstance(value, (list, tuple)) else value


def _facts(model: SceneModel, path: Path) -> dict[str, Any]:
    from hfnet_ros.localization.landmark_model import LandmarkModel

    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    about: dict[str, Any] = {"map": str(path), "kind": model.kind}
    if not isinstance(model, LandmarkModel):
        about |= {**model.sizes, "frame_id": model.frame_id, "extractor": model.extractor_id}
        about |= {"extent_m": _sides(model.extent), "bytes": size}
        return about | (dict(model.facts) if model.kind == SET else {"build": dict(model.facts)})
    visual_map = model.visual_map
    about |= {"frame_id": visual_map.frame_id, "extractor": visual_map.extractor_id}
    about |= {"keyframes": visual_map.num_keyframes}
    has_landmarks = model.kind == LANDMARKS
    if has_landmarks:
        about |= {"landmarks": visual_map.num_landmarks, "observations": visual_map.num_observations}
    about |= {"retrieval": _retrieval_text(visual_map), "cameras": len(visual_map.cameras)}
    # The few landmarks seen through windows or mirrors would make every map huge.
    points = visual_map.landmark_xyz if visual_map.num_landmarks else visual_map.keyframe_poses[:, :3]
    extent = np.percentile(points, _EXTENT_PERCENTILES, axis=0)
    about |= {"extent_m": _sides(extent), "box_m": _box(visual_map, extent)}
    if has_landmarks:
        lengths = np.bincount(visual_map.observation_landmark_idx, minlength=max(visual_map.num_landmarks, 1))
        about["track_length_mean"] = round(float(lengths.mean()), 2)
        about["track_length_p95"] = int(np.percentile(lengths, 95))
    about |= _given_against_refined(visual_map)
    if visual_map.areas:
        about["areas"] = {name: list(box) for name, box in visual_map.areas.items()}
    about |= {"bytes": size, "bytes_per_keyframe": round(size / visual_map.num_keyframes)}
    if has_landmarks:
        about["self_test"] = _figures(visual_map.consistency)
    if visual_map.scene is not None:
        about["scene_network"] = _network_facts(visual_map.scene)
    calibration = visual_map.calibration
    about["calibration"] = None if calibration is None else dataclasses.asdict(calibration)
    return about | {"build": dict(visual_map.build_info)}


def _sides(extent: NDArray[np.float64]) -> list[float]:
    """Return how long the box of smallest and largest coordinates [2, 3] is along each axis."""
    return list(np.round(extent[1] - extent[0], 3).tolist())


def _box(visual_map: VisualMap, extent: NDArray[np.float64]) -> list[float]:
    """Return a box for `map area --box` that leaves out no keyframe, and few answers.

    An area is of positions of cameras, which may all lie outside of the landmarks that they look at.

    Args:
        visual_map: where the area shall be.
        extent: [2, 3] smallest and largest coordinates of its landmarks, m.
    """
    low, high = extent_of(visual_map.given_poses)
    low, high = np.minimum(low, extent[0]) - _BOX_MARGIN_M, np.maximum(high, extent[1]) + _BOX_MARGIN_M
    return list(np.round(np.concatenate([low, high]), 2).tolist())


def _figures(consistency: MapConsistency) -> dict[str, Any]:
    """Return a self-test without its long lists of numbers."""
    figures = dataclasses.asdict(consistency)
    for numbers in ("pose_covariance", "refined_pose_covariance", "look_alikes"):
        del figures[numbers]
    return figures


def _network_facts(scene: SceneNetwork) -> dict[str, Any]:
    """Return what a scene-coordinate network is, how it was trained and how good it is."""
    about = {"takes": scene.takes, "leaves": scene.num_leaves, "network_bytes": len(scene.network)}
    curves = scene.facts.get("curves", [])
    return {**about, **scene.facts, "self_test": _figures(scene.consistency), "curves": curves}


def _given_against_refined(visual_map: VisualMap) -> dict[str, Any]:
    """Return how far the given poses are from those that agree with each other; nothing where they are one."""
    if visual_map.given is None:
        return {}
    moves = visual_map.moved_by_refinement() * [1.0, 180.0 / np.pi]
    worst = np.argsort(-moves[:, 0], kind="stable")[:_NUM_WORST].tolist()
    return {
        "given_against_refined": {
            "median": _move_text(np.median(moves, axis=0)),
            "largest": _move_text(moves.max(axis=0)),
            "worst": [f"{visual_map.keyframe_names[row]}: {_move_text(moves[row])}" for row in worst],
            "lever_arms_m": np.round(visual_map.given.lever_arms_m, 3).tolist(),
        }
    }


def _move_text(move: NDArray[np.float64]) -> str:
    return f"{move[0]:.3f} m, {move[1]:.2f} deg"


def _retrieval_text(visual_map: VisualMap) -> str:
    size = visual_map.global_descriptors.shape[1]
    if not visual_map.aggregation:
        return f"global descriptor of the network, {size} dimensions"
    words = len(visual_map.aggregation["vocabulary"])
    vlad = f"VLAD over the keypoints, {words} words learned from this map, {size - visual_map.head_size} dimensions"
    if visual_map.has_head:
        return f"global descriptor of the network, {visual_map.head_size} dimensions, and {vlad}"
    return vlad


def _verify(options: argparse.Namespace) -> int:
    from hfnet_ros.errors import MapFormatError
    from hfnet_ros.map.map_set_io import verify_any

    problems = verify_any(options.map)
    if problems:
        raise MapFormatError("; ".join(problems))
    print(f"{options.map}: sound")
    return 0


def _view(options: argparse.Namespace) -> int:
    from hfnet_ros.evaluation.run import readable_name
    from hfnet_ros.localization.landmark_model import load_scene_model
    from hfnet_ros.report.map_view import map_view_html
    from hfnet_ros.report.pictures import map_picture

    folder = options.map.resolve()  # `.` has no name
    target = options.out or folder.with_name(folder.name + ".html")
    suffix = target.suffix.lower()
    if suffix not in (".html", ".png"):
        raise ConfigError(f"--out is '{target}', expected a file ending in .html or .png")
    check_file_target(target)
    model = load_scene_model(options.map)
    facts = _facts(model, options.map)
    shown = {name: facts[name] for name in _SHOWN if name in facts}
    if "scene_network" in facts:
        shown["leaves"] = facts["scene_network"]["leaves"]
    if suffix == ".html":
        map_view_html(target, model.points, readable_name(folder), shown, training_curves(model))
    else:
        map_picture(target, model.points, readable_name(folder), shown)
    print(f"{target}")
    return 0
