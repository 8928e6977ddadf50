"""Verb `map build`; the others of `map` are in the `map_*` beside this and in `scene_maps`."""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfnet_ros.cli import graph_build, map_changes, map_info, map_scale, map_sets, map_update, scene_maps
from hfnet_ros.cli.bag_keyframes import add_bag_options, open_keyframes, refuse_bag_options
from hfnet_ros.cli.keyframes import (
    add_selection_options,
    posed_keyframes,
    refuse_beside_colmap,
    refuse_without_poses,
    unposed_keyframes,
)
from hfnet_ros.cli.options import (
    ProgressBars,
    add_config_options,
    add_mask_option,
    new_verb,
    print_doubts,
    read_config,
)
from hfnet_ros.cli.rigs import RIG_HELP, refuse_beside_rig, refuse_names_without_rig, rig_keyframes
from hfnet_ros.cli.scene_training import network_text, refuse_depth, with_training_options
from hfnet_ros.config import PAIR_MATCHER_NAMES, Config
from hfnet_ros.errors import ConfigError
from hfnet_ros.map.map_trust import UNTESTED_REPROJECTION_SCALE
from hfnet_ros.map.visual_map import VisualMap

if TYPE_CHECKING:
    from hfnet_ros.mapping.sources import ColmapModel, PosedImages, UnposedImages

_FAULTS_SHOWN = 5
_BUILD = """hfnet-ros map build --images map --poses map.tum --camera camera.yaml --out kitchen.map
  hfnet-ros map build --bag robot.bag --pose-topic /ground_truth/pose --every 5 --out kitchen.map
  hfnet-ros map build --images photos --out fountain.map               # no poses: structure from motion
  hfnet-ros map build --colmap sparse/0 --images photos --out fountain.map
  hfnet-ros map build --images left=left,right=right --rig rig.yaml --poses rig.tum --out hall.map
  hfnet-ros map build --images left=left,right=right --rig rig.yaml --out hall.map    # no poses: metres by the rig
  hfnet-ros map build --images city --poses city.tum --camera camera.yaml --sub-maps 40 --cluster head:6379 --out SET"""


def add_verbs(verbs: Any) -> None:
    """Add the verbs of `map`."""
    maps = verbs.add_parser("map", help="build, check and look at maps").add_subparsers(
        dest="map_verb", required=True, metavar="VERB"
    )
    _add_build(new_verb(maps, "build", "build a map from images", _BUILD, _build))
    map_info.add_verbs(maps)
    map_changes.add_verbs(maps)
    map_update.add_verb(maps)
    map_scale.add_verb(maps)
    map_sets.add_verbs(maps)
    scene_maps.add_verb(maps)


def _add_build(build: argparse.ArgumentParser) -> None:
    images = build.add_mutually_exclusive_group(required=True)
    images.add_argument("--images", type=Path, metavar="DIR", help="images; of a rig NAME=DIR,NAME=DIR")
    images.add_argument("--bag", type=Path, metavar="BAG", help="or a recording; see docs/replay.md")
    build.add_argument("--poses", type=Path, metavar="FILE", help="their poses T_map_camera, TUM format")
    build.add_argument(
        "--camera", type=Path, metavar="FILE", help="ROS camera calibration YAML (default of a bag: its own)"
    )
    build.add_argument("--rig", type=Path, metavar="FILE", help=RIG_HELP)
    build.add_argument("--colmap", type=Path, metavar="DIR", help="COLMAP model with poses and cameras")
    build.add_argument("--out", type=Path, required=True, metavar="MAP", help="map to write")
    add_mask_option(build)
    add_selection_options(build)
    refinement: dict[str, Any] = {
        "nargs": "?",
        "const": "on",
        "default": "auto",
        "choices": ("auto", "on", "off"),
    }
    build.add_argument(
        "--refine-poses",
        **refinement,
        help="make the given poses agree with each other, and decide among these; answers stay in the frame of the "
        "given ones. auto keeps them only if they lower the error of held-out landmarks (default: auto)",
    )
    build.add_argument(
        "--drop-moved",
        action="store_true",
        help="drop landmarks that most keyframes see through, as on things that moved meanwhile",
    )
    build.add_argument(
        "--refine-intrinsics",
        **refinement,
        help="estimate focal length and distortion anew from the map's images; auto keeps them only if they "
        "lower the error on held-out images (default: auto)",
    )
    build.add_argument(
        "--no-self-test", action="store_true", help="do not measure how far the map can be trusted"
    )
    build.add_argument(
        "--frame-id", default="map", metavar="NAME", help="name of the map's frame (default: map)"
    )
    build.add_argument(
        "--matcher",
        choices=PAIR_MATCHER_NAMES,
        help=f"what matches keyframes with each other (default: {Config().mapping.matcher}; docs/notes/matching.md)",
    )
    build.add_argument(
        "--keep-observations",
        action="store_true",
        help="store what each keyframe saw, some 90 KB each: images can then be matched with keyframes "
        "(matching.method learned or auto)",
    )
    graph_build.add_graph_options(build)
    scene_maps.add_kind_option(build)
    add_config_options(build, extractor=True)
    add_bag_options(build, "(or --poses)")


def _build(options: argparse.Namespace) -> int:
    from hfnet_ros.features.extractor import create_mapping_extractor
    from hfnet_ros.map.map_io import check_map_target, save_map
    from hfnet_ros.mapping.options import BuildOptions
    from hfnet_ros.mapping.pair_matcher import check_pair_matcher
    from hfnet_ros.trust.tested_build import build_map

    started = time.perf_counter()
    _refuse_contradictions(options)
    if graph_build.is_wanted(options):
        graph_build.check_graph_target(options)
    else:
        check_map_target(options.out)
    config = with_training_options(read_config(options), options)
    refuse_depth(options, config)
    extractor = create_mapping_extractor(config)
    bars, pixels = ProgressBars(), ExitStack()
    wishes = BuildOptions(
        frame_id=options.frame_id.lstrip("/"),
        intrinsics=options.refine_intrinsics,
        refine_poses=options.refine_poses,
        drop_moved=options.drop_moved,
        # Without landmarks it is the network that is tested.
        self_test=not options.no_self_test and options.kind != "scene",
        progress=bars,
    )
    try:
        # Before a bag is read or a network is trained.
        check_pair_matcher(config, extractor.extractor_id)
        source, network = _source(options, config, pixels), None
        if graph_build.is_wanted(options):
            if graph_build.build_in_tasks(options, config, source, extractor, wishes):
                _print_made(options.out, time.perf_counter() - started)
            return 0
        if options.kind == "landmarks":
            visual_map = build_map(source, extractor, config, wishes)
        else:
            network = scene_maps.NetworkBuild(options, config, source, extractor)
            built_from = network.source
            visual_map = network.finish(lambda: build_map(built_from, extractor, config, wishes), bars)
    finally:
        pixels.close()
        bars.close()
        extractor.close()
    save_map(visual_map, options.out)
    if network is not None:
        network.remove()
    _print_built(visual_map, options.out, time.perf_counter() - started)
    return 0


def _refuse_contradictions(options: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything is loaded."""
    scene_maps.refuse_kind(options)
    graph_build.refuse_graph(options)
    if options.rig:
        refuse_beside_rig(options)
        return
    if options.bag:
        if options.colmap:
            raise ConfigError("--colmap needs --images: the photographs of the model")
        return
    refuse_bag_options(options)
    refuse_names_without_rig(options.images)
    if options.colmap:
        refuse_beside_colmap(options)
    elif not options.poses:
        refuse_without_poses(options)
    elif not options.camera:
        raise ConfigError("--poses needs --camera: the calibration the images were taken with")


def _source(
    options: argparse.Namespace, config: Config, pixels: ExitStack
) -> PosedImages | ColmapModel | UnposedImages:
    """Return the images of a bag, a COLMAP model or a folder; pixels of a bag last as long as the stack."""
    from hfnet_ros.files.camera_mask import masks_of
    from hfnet_ros.mapping.sources import ColmapModel

    if options.bag:
        return pixels.enter_context(open_keyframes(options, config))
    if options.colmap:
        return ColmapModel(options.colmap, options.images, masks_of(config.cameras).get(""))
    if options.rig:
        return rig_keyframes(options, config)
    mask = masks_of(config.cameras).get("")
    return posed_keyframes(options, mask) if options.poses else unposed_keyframes(options, mask)


def _print_made(path: Path, seconds: float) -> None:
    """Print what a build in tasks wrote: a map, or the maps of a set."""
    from hfnet_ros.map.manifest import SET, read_manifest
    from hfnet_ros.map.map_io import load_map

    if read_manifest(path)[0]["kind"] != SET:
        _print_built(load_map(path), path, seconds)
        return
    from hfnet_ros.map.map_set_io import read_map_set

    found = read_map_set(path)
    for sub_map in found.sub_maps:
        _, tested, asked, elsewhere = sub_map.self_test
        print(
            f"  {sub_map.name}: {sub_map.num_keyframes} keyframes, {sub_map.num_landmarks} landmarks; self-test: "
            f"{tested} of {asked} held-out keyframes localized, {elsewhere} elsewhere"
        )
    print(f"{path}: set of {len(found.sub_maps)} maps, built in {seconds:.0f} s")


def _print_built(visual_map: VisualMap, path: Path, seconds: float) -> None:
    print(
        f"{path}: {visual_map.num_keyframes} keyframes, {visual_map.num_landmarks} landmarks, "
        f"{visual_map.num_observations} observations, built in {seconds:.0f} s"
    )
    if num_standing := visual_map.build_info.get("num_standing", 0):
        print(
            f"left out: {num_standing} images that show what an earlier one does: of a camera that stood still or "
            "hung, or given twice"
        )
    print_doubts(
        (
            (f"camera {row}", pair.given.notes)
            for row, pair in enumerate(visual_map.cameras)
            if pair.given is not None
        ),
        "cameras",
    )
    map_scale.print_scale(visual_map)
    for report in visual_map.build_info.get("intrinsics", []):
        print(f"lens: {_lens_text(report)}")
    faults = visual_map.build_info.get("pose_faults", {}).get("keyframes", [])
    if faults:
        print(f"wrong poses: {_faults_text(faults)}")
    poses = visual_map.build_info.get("poses")
    if poses:
        moved = (
            f"; moved by {poses['median_moved_m']:.3f} m and {poses['median_moved_deg']:.2f} deg at the median, "
            f"{poses['max_moved_m']:.3f} m and {poses['max_moved_deg']:.2f} deg at the most"
        )
        print(
            f"poses: {'refined' if poses['kept'] else 'as given'} ({poses['reason']}){moved * poses['kept']}"
        )
    if visual_map.scene is not None:
        print(f"scene network: {network_text(visual_map.scene)}")
    if not visual_map.num_landmarks:
        return
    consistency = visual_map.consistency
    if consistency.contradicted_share > 0.0:
        print(
            f"look-alikes: {100 * consistency.contradicted_share:.0f} % of the pairs of images that see the same "
            "disagree with where the others put them: no answer is given a smaller probability of being wrong. Poses "
            "given with the images tell places that look alike apart"
        )
    if consistency.mirrored_share > 0.0:
        print(
            f"symmetric: {100 * consistency.mirrored_share:.0f} % of its keyframes are found in it when they are "
            "mirrored: each answer is compared with that to the mirrored image, which takes as long again"
        )
    if consistency.num_elsewhere:
        print(
            f"look-alikes: {consistency.num_elsewhere} of {consistency.num_asked} held-out keyframes were localized "
            "elsewhere; answers there are given a probability of being wrong of "
            f"{max(row[4] for row in consistency.look_alikes):.2f} at the most"
        )
    if consistency.num_keyframes:
        unit = "map units" if visual_map.has_arbitrary_scale else "m"
        of_asked = f" of {consistency.num_asked}" if consistency.num_asked else ""
        print(
            f"self-test: {consistency.num_keyframes}{of_asked} held-out keyframes localized; against their given poses "
            f"{consistency.translation_m:.3f} {unit} and {np.rad2deg(consistency.rotation_rad):.2f} deg per axis, "
            f"{consistency.residual_px:.1f} px; this is added to every covariance"
            + ("; landmarks weigh by how well their depths are known" if consistency.weighs_depths else "")
        )
        if not consistency.vouches:
            print("less than half of them: answers are doubted as those of a map that could not be tested")
    else:
        print(
            "self-test: none (switched off, or too few keyframes could be held out and localized): covariances are "
            f"{UNTESTED_REPROJECTION_SCALE:g} times what the noise of keypoints gives, as other maps need"
        )


def _faults_text(faults: list[dict[str, Any]]) -> str:
    """Name the worst keyframes first: those that could not be put right, then by how far they were off."""
    worst = sorted(faults, key=lambda fault: -fault.get("distance_m", np.inf))
    left_out = sum(fault["remedy"] == "left out" for fault in faults)
    shown = [
        f"{fault['name']} ({fault['fault']}"
        + (
            f", {fault['distance_m']:.2f} m and {fault['angle_deg']:.1f} deg off"
            if "angle_deg" in fault
            else ""
        )
        + ")"
        for fault in worst[:_FAULTS_SHOWN]
    ]
    more = f" and {len(faults) - len(shown)} more" if len(faults) > len(shown) else ""
    return f"{len(faults) - left_out} corrected, {left_out} left out: {', '.join(shown)}{more}"


def _lens_text(report: dict[str, Any]) -> str:
    used = report["used"]
    focal = ", ".join(f"{value:.1f}" for value in used["focal"])
    distortion = ", ".join(f"{value:.3f}" for value in used["distortion"])
    verdict = "refined" if report["kept"] else "as given"
    return f"{verdict} ({report['reason']}): focal ({focal}) px, distortion ({distortion})"
