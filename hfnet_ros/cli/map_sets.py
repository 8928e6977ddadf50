"""Verbs `map set ...` and `map area`: maps that are used as one, and names for parts of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfnet_ros.cli.options import ProgressBars, add_config_options, new_verb, read_config
from hfnet_ros.errors import ConfigError, MapFormatError

if TYPE_CHECKING:
    from hfnet_ros.geometry.rigid3 import Rigid3
    from hfnet_ros.map.map_set import MapSet, Overlap, SubMap

_CREATE = """hfnet-ros map set create house.set floor1.map floor2.map         # built in one frame
  hfnet-ros map set create house.set ground=a.map upper=b.map --align    # each in its own
  hfnet-ros map set create house.set floor1.map floor2.map --area upstairs=floor2"""
_ADD = """hfnet-ros map set add house.set garage garage.map
  hfnet-ros map set add house.set garage garage.map --align"""
_REPLACE = "hfnet-ros map set replace house.set garage garage_new.map     # while nodes use the set"
_AREA = """hfnet-ros map area house.map upstairs --box -20 -20 2.5 20 20 6
  hfnet-ros map area house.set upstairs --maps floor2 attic
  hfnet-ros map area house.map upstairs --remove"""
# Of six directions: overlaps of maps whose poses were given and are good are off by 1.5 (docs/map_sets.md).
_MOST_SIGMAS = 3.0
_ALIGN = "find out where it lies by what it shows of the other maps, instead of taking its frame for theirs"


def add_verbs(maps: Any) -> None:
    """Add `set` and `area` to the verbs of `map`."""
    sets = maps.add_parser("set", help="use several maps as one").add_subparsers(
        dest="set_verb", required=True, metavar="VERB"
    )
    create = new_verb(sets, "create", "make a set of maps", _CREATE, _create)
    create.add_argument("out", type=Path, metavar="OUT", help="folder to write; the maps are copied into it")
    create.add_argument(
        "maps", nargs="+", metavar="MAP", help="map, or NAME=MAP (default: named as its folder)"
    )
    create.add_argument("--align", action="store_true", help=f"{_ALIGN}; the first one gives the frame")
    create.add_argument(
        "--area",
        dest="of_areas",
        action="append",
        default=[],
        metavar="AREA=NAME[,NAME...]",
        help="name an area that these maps are part of; may be repeated",
    )
    create.add_argument(
        "--frame-id", metavar="NAME", help="name of the set's frame (default: that of the first map)"
    )
    add = new_verb(sets, "add", "add a map to a set", _ADD, _put)
    replace = new_verb(sets, "replace", "exchange a map of a set", _REPLACE, _put)
    remove = new_verb(
        sets, "remove", "remove a map from a set", "hfnet-ros map set remove house.set garage", _remove
    )
    info = new_verb(sets, "info", "print what is in a set", "hfnet-ros map set info house.set", _info)
    for parser in (add, replace, remove, info):
        parser.add_argument("set", type=Path, metavar="SET")
    for parser in (add, replace, remove):
        parser.add_argument("name", metavar="NAME", help="of the map in the set")
    for parser in (add, replace):
        parser.add_argument("map", type=Path, metavar="MAP", help="is copied into the set")
        parser.add_argument("--align", action="store_true", help=_ALIGN)
        parser.add_argument(
            "--area",
            dest="of_areas",
            action="append",
            default=[],
            metavar="AREA",
            help="area that it is part of",
        )
    for parser in (create, add, replace):
        add_config_options(parser, extractor=False)
    info.add_argument("--json", action="store_true", help="print JSON")
    area = new_verb(maps, "area", "name an area of a map or set", _AREA, _area)
    area.add_argument("map", type=Path, metavar="MAP")
    area.add_argument(
        "name", metavar="NAME", help="of the area, for --area of localize, evaluate, replay and run"
    )
    what = area.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--box",
        nargs=6,
        type=float,
        metavar=("XMIN", "YMIN", "ZMIN", "XMAX", "YMAX", "ZMAX"),
        help="of a map: a box in its frame, m, of where cameras are (map info: box_m has all of them)",
    )
    what.add_argument(
        "--maps", nargs="+", metavar="SUB_MAP", help="of a set: the sub-maps that are part of it"
    )
    what.add_argument("--remove", action="store_true", help="forget the area")


def _create(options: argparse.Namespace) -> int:
    from hfnet_ros.geometry.rigid3 import Rigid3
    from hfnet_ros.map.map_io import read_map_header
    from hfnet_ros.mapping.map_sets import check_maps, check_set_target, write_set
    from hfnet_ros.mapping.set_alignment import poses_by_overlaps
    from hfnet_ros.mapping.set_overlaps import measure_overlaps

    given = [_named(text) for text in options.maps]
    paths, config = dict(given), read_config(options)
    if len(paths) != len(given):
        raise ConfigError("two maps have the same name; name one otherwise: NAME=MAP")
    areas = _areas_by_map(options.of_areas, paths)
    check_set_target(options.out)
    check_maps(paths)
    headers = {name: read_map_header(path) for name, path in paths.items()}
    first = next(iter(paths))
    if not options.align:
        _refuse_frames(headers)
    unmoved = {name: Rigid3.identity() for name in paths}
    bars = ProgressBars()
    try:
        overlaps = measure_overlaps(paths, config, places=None if options.align else unmoved, progress=bars)
    finally:
        bars.close()
    placements = poses_by_overlaps(list(paths), overlaps, {first: unmoved[first]}) if options.align else None
    frame_id = options.frame_id or str(headers[first]["frame_id"])
    write_set(options.out, given, overlaps, frame_id=frame_id.lstrip("/"), areas=areas, placements=placements)
    _print_set(options.out)
    return 0


def _put(options: argparse.Namespace) -> int:
    from hfnet_ros.map.map_io import read_map_header
    from hfnet_ros.map.map_set_io import read_map_set
    from hfnet_ros.mapping.map_sets import change_set, check_maps
    from hfnet_ros.mapping.set_alignment import poses_by_overlaps
    from hfnet_ros.mapping.set_lock import check_unlocked
    from hfnet_ros.mapping.set_overlaps import measure_overlaps

    config, before = read_config(options), read_map_set(options.set)
    check_unlocked(options.set)
    is_new = options.name not in before.names
    if options.set_verb == "add" and not is_new:
        raise ConfigError(
            f"{options.set}: has a map '{options.name}' already; use `hfnet-ros map set replace`"
        )
    if options.set_verb == "replace":
        before.named(options.name)
    check_maps({options.name: options.map}, before.extractor_id)
    if not options.align:
        others = _in_the_frame_of(options.set, before, options.name)
        others = {f"the set's {name}": header for name, header in others.items()}
        _refuse_frames({str(options.map): read_map_header(options.map), **others})
    problems = {sub_map.name: _unusable(options.set, before, sub_map) for sub_map in before.sub_maps}
    paths = {
        sub_map.name: options.set / sub_map.folder
        for sub_map in before.sub_maps
        if not problems[sub_map.name]
    } | {options.name: options.map}
    places = _places(before, options.name)
    bars = ProgressBars()
    try:
        measured = measure_overlaps(
            paths, config, places=None if options.align else places, changed=[options.name], progress=bars
        )
    finally:
        bars.close()
    for name, problem in problems.items():
        if name not in paths:
            print(f"warning: not compared with '{name}', which cannot be used: {problem}", file=sys.stderr)
    kept = {pair: overlap for pair, overlap in before.overlaps.items() if options.name not in pair}
    placements = None
    if options.align:
        fixed = {name: place for name, place in places.items() if name in paths and name != options.name}
        if not fixed:
            raise ConfigError(
                f"{options.set}: has no other map to align '{options.name}' with; leave --align out"
            )
        placements = {options.name: poses_by_overlaps([options.name], measured, fixed)[options.name]}
    areas = {options.name: options.of_areas} if options.of_areas else None
    change_set(
        options.set,
        put={options.name: options.map},
        areas=areas,
        placements=placements,
        overlaps=kept | measured,
    )
    _print_set(options.set)
    return 0


def _remove(options: argparse.Namespace) -> int:
    from hfnet_ros.mapping.map_sets import change_set

    change_set(options.set, drop=[options.name])
    _print_set(options.set)
    return 0


def _info(options: argparse.Namespace) -> int:
    if options.json:
        from hfnet_ros.localization.map_set_model import SetModel

        model = SetModel.load(options.set)
        print(json.dumps({**model.sizes, "frame_id": model.frame_id, **model.facts}, indent=1))
        return 0
    _print_set(options.set)
    return 0


def _area(options: argparse.Namespace) -> int:
    from hfnet_ros.map.manifest import SET, read_manifest
    from hfnet_ros.map.map_areas import change_area

    if read_manifest(options.map)[0]["kind"] == SET:
        _area_of_set(options)
    elif options.maps:
        raise ConfigError("--maps is for a set of maps; of a map by itself name a box: --box")
    else:
        change_area(options.map, options.name, options.box)
    done = "forgotten" if options.remove else "named"
    print(f"{options.map}: area '{options.name}' {done}")
    return 0


def _area_of_set(options: argparse.Namespace) -> None:
    from hfnet_ros.map.areas import check_area_name
    from hfnet_ros.map.map_set_io import read_map_set
    from hfnet_ros.mapping.map_sets import change_set

    if options.box:
        raise ConfigError("--box is for a map by itself; of a set name the sub-maps: --maps")
    check_area_name(options.name)
    found = read_map_set(options.map)
    members = options.maps or []
    for name in members:
        found.named(name)
    if options.remove and options.name not in found.area_names:
        raise ConfigError(
            f"{options.map}: has no area '{options.name}', it has {', '.join(found.area_names) or 'none'}"
        )
    areas = {
        sub_map.name: [area for area in sub_map.areas if area != options.name]
        + [options.name] * (sub_map.name in members)
        for sub_map in found.sub_maps
    }
    change_set(options.map, areas=areas)


def _unusable(folder: Path, found: MapSet, sub_map: SubMap) -> str:
    """Return why a sub-map cannot be used, as far as its manifest shows, and what to do; "" where it can."""
    from hfnet_ros.map.manifest import read_manifest
    from hfnet_ros.map.map_set_io import mismatch

    try:
        problem = mismatch(found, sub_map, read_manifest(folder / sub_map.folder)[0])
    except MapFormatError as error:
        problem = str(error).split(";")[0]
    return problem and f"{problem}; `hfnet-ros map set replace` or `remove` puts the set right"


def _named(text: str) -> tuple[str, Path]:
    """Return name and path of `NAME=MAP` or `MAP`."""
    name, equals, path = text.partition("=")
    if equals and "/" not in name:
        return name, Path(path)
    folder = Path(text)
    return folder.resolve().name.removesuffix(".map"), folder


def _areas_by_map(given: Sequence[str], paths: Mapping[str, Path]) -> dict[str, list[str]]:
    """Return the areas of each map, of `AREA=NAME,NAME`."""
    areas: dict[str, list[str]] = {}
    for text in given:
        area, equals, members = text.partition("=")
        if not equals:
            raise ConfigError(f"--area is '{text}', expected AREA=NAME[,NAME...]")
        for name in members.split(","):
            if name not in paths:
                raise ConfigError(f"--area {area} names '{name}', the maps are {', '.join(paths)}")
            areas.setdefault(name, []).append(area)
    return areas


def _refuse_frames(headers: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse maps that say themselves that they are not in one frame, by what their manifests say."""
    from hfnet_ros.localization.doubts import SCALED_ALONE

    frames = {name: str(header["frame_id"]) for name, header in headers.items()}
    if len(set(frames.values())) > 1:
        listed = ", ".join(f"{name} in '{frame}'" for name, frame in frames.items())
        raise ConfigError(f"the maps are in different frames ({listed}); find out where they lie by --align")
    estimates = {name: header.get("build_info", {}).get("scale_estimate") for name, header in headers.items()}
    own = [name for name, estimate in estimates.items() if estimate]
    if own and any(estimate != estimates[own[0]] for estimate in estimates.values()):
        raise ConfigError(f"{own[0]} was {SCALED_ALONE}; find out where the maps lie by --align")


def _in_the_frame_of(folder: Path, found: MapSet, name: str) -> dict[str, Mapping[str, Any]]:
    """Return what the maps say of themselves whose frame a map of this name is taken to be in.

    One that takes another one's place lies where that lay; a new one in the frame of the set, as others that were not
    moved.
    """
    from hfnet_ros.map.map_io import read_map_header

    usable = [sub_map for sub_map in found.sub_maps if not _unusable(folder, found, sub_map)]
    replaced = [sub_map for sub_map in usable if sub_map.name == name]
    unmoved = [sub_map for sub_map in usable if sub_map.set_from_map.is_identity and sub_map.name != name]
    return {sub_map.name: read_map_header(folder / sub_map.folder) for sub_map in replaced or unmoved}


def _places(found: MapSet, name: str) -> dict[str, Rigid3]:
    """Return where the maps of a set lie; a new one in the set's frame."""
    from hfnet_ros.geometry.rigid3 import Rigid3

    return {name: Rigid3.identity()} | {sub_map.name: sub_map.set_from_map for sub_map in found.sub_maps}


def _print_set(path: Path) -> None:
    from hfnet_ros.map.map_set_io import read_map_set

    found = read_map_set(path)
    total = sum(sub_map.num_keyframes for sub_map in found.sub_maps)
    print(f"{path}: {len(found.sub_maps)} maps, {total} keyframes, frame '{found.frame_id}'")
    for sub_map in found.sub_maps:
        x, y, z = sub_map.set_from_map.translation
        angle = np.rad2deg(np.linalg.norm(sub_map.set_from_map.rotvec))
        sigma = float(np.sqrt(np.diag(sub_map.covariance)[:3].max()))
        lies = (
            "in the frame of the set"
            if sub_map.set_from_map.is_identity
            else (f"at ({x:.2f}, {y:.2f}, {z:.2f}) m, turned by {angle:.1f} deg, sigma {sigma:.3f} m")
        )
        areas = f"; areas {', '.join(sub_map.areas)}" if sub_map.areas else ""
        print(
            f"  {sub_map.name}: {sub_map.num_keyframes} keyframes, {sub_map.num_landmarks} landmarks, "
            f"{sub_map.bytes / 1e6:.1f} MB, {lies}{areas}"
        )
        problem = _unusable(path, found, sub_map)
        if problem:
            print(f"    cannot be used: {problem}")
    for (first, second), overlap in found.overlaps.items():
        print(f"  {first} and {second} overlap: {_overlap_text(found, first, second, overlap)}")
    alone = [name for name in found.names if not any(name in pair for pair in found.overlaps)]
    if alone and len(found.sub_maps) > 1:
        print(
            f"  {', '.join(alone)}: found in no other map, so nothing but the poses that were given says where this is"
        )


def _overlap_text(found: MapSet, first: str, second: str, overlap: Overlap) -> str:
    """Say how far an overlap says that two maps are from where the set has them, and whether that can be."""
    from hfnet_ros.mapping.set_alignment import sigmas_off

    as_placed = found.named(first).set_from_map.inverse() @ found.named(second).set_from_map
    off = as_placed.inverse() @ overlap.first_from_second
    distance_m, angle_deg = np.linalg.norm(off.translation), np.rad2deg(np.linalg.norm(off.rotvec))
    sigmas = sigmas_off(overlap, as_placed)
    misfit = ""
    if sigmas > _MOST_SIGMAS:
        misfit = (
            f"\n    does not fit: {sigmas:.0f} times what the overlap is uncertain by. Answers in one map are off by "
            "as much from those in the other; if both are right by themselves, place them by --align, else build the "
            "wrong one anew"
        )
    return (
        f"{overlap.num_pairs} keyframes of one found in the other; by these {distance_m:.3f} m and {angle_deg:.2f} deg "
        f"from where the set has them, sigma {np.sqrt(np.diag(overlap.covariance)[:3].max()):.3f} m{misfit}"
    )
