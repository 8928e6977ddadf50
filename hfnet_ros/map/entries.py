"""What the manifest of a map of landmarks must list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hfnet_ros.map import array_files, schema
from hfnet_ros.map.manifest import SCENE
from hfnet_ros.map.pixel_positions import LARGEST_STEPS
from hfnet_ros.map.scene_files import scene_entry_problems


def manifest_problems(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a manifest says that cannot be; its digest says only that it is unchanged."""
    version = manifest["format_version"]
    kinds: dict[str, type] = {"frame_id": str, "extractor_id": str, "cameras": list, "consistency": dict}
    kinds |= {"build_info": dict, "arrays": dict}
    if version == 1:
        kinds["keyframe_names"] = list
    else:
        kinds["observation_steps_per_px"] = int
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            yield f"'{key}' is {type(manifest.get(key)).__name__}, expected {kind.__name__}"
            return
    if version != 1:
        steps = manifest["observation_steps_per_px"]
        if isinstance(steps, bool) or not 1 <= steps <= LARGEST_STEPS:
            yield f"'observation_steps_per_px' is {steps!r}, expected 1 to {LARGEST_STEPS}"
    if version == 1 and not all(isinstance(name, str) for name in manifest["keyframe_names"]):
        yield "'keyframe_names' holds something else than text"
    required = schema.REQUIRED[version]
    for name in required:
        if name not in manifest["arrays"]:
            yield f"array '{name}' is not listed, expected {len(required)} arrays"
    for name, entry in manifest["arrays"].items():
        yield from _entry_problems(name, entry, version)
    if manifest["kind"] == SCENE or "scene" in manifest:
        yield from scene_entry_problems(manifest.get("scene"))
    shape = manifest["arrays"].get("landmark_xyz", {}).get("shape")
    if manifest["kind"] == SCENE and shape != [0, 3]:
        yield f"a map of kind '{SCENE}' lists landmarks of shape {shape}, expected none"


def _entry_problems(name: str, entry: Any, version: int) -> Iterator[str]:
    rule = schema.rule_of(name, version)
    if rule is None:
        yield f"array '{name}' is unknown in format version {version}"
        return
    dtype, dimensions = rule
    if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list):
        yield f"array '{name}' is listed without a shape"
        return
    file = array_files.array_file(name)
    if entry.get("file") != file:
        yield f"array '{name}' is listed in file {entry.get('file')!r}, expected '{file}'"
    if entry.get("dtype") != dtype:
        yield f"array '{name}' is listed as {entry.get('dtype')!r}, expected '{dtype}'"
    lengths = [*entry["shape"], entry.get("bytes")]
    if not all(type(length) is int and length >= 0 for length in lengths):
        yield f"array '{name}' is listed with shape {entry['shape']} and {entry.get('bytes')!r} bytes"
    elif len(entry["shape"]) != len(dimensions):
        yield (
            f"array '{name}' is listed with shape {entry['shape']}, expected "
            f"{schema.dimension_text(dimensions)}"
        )
    if not isinstance(entry.get("sha256"), str):
        yield f"array '{name}' is listed without a digest"
