"""Scenes without poses, mapped by structure from motion: tower floors, Gardens Point, Sacré-Cœur."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from acceptance.asks import (
    FALSE_DEPTH_FRACTION,
    FALSE_ROTATION_DEG,
    Ask,
    NearOneOf,
    NearTruth,
    always_wrong,
    between,
    median_depth,
)
from acceptance.posed_scenes import files_of
from acceptance.scenes import REFINED, Picture, Scene
from acceptance.workspace import RememberingExtractor, Workspace
from hfnet_ros.errors import MappingError
from hfnet_ros.geometry import Rigid3
from hfnet_ros.map.map_io import load_map, save_map
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.mapping.sources import PosedImages, UnposedImages
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.trust.tested_build import build_map

MAPPED_FLOORS = (5, 6, 8)
ALL_FLOORS = range(3, 14)
MAPPED_EVERY = 4
# Gardens Point: this stretch of the walk is mapped, the rest of it is another part of the campus.
_WALK_FRAMES = 50
_WALK_EVERY = 2
_OTHER_HALF_FROM = 70  # what is ahead of the stretch may be in view from its end
# The walks are synchronised to some two frames; the other side of the path is a few metres away.
_WALK_SLACK_FRAMES = 6
_WALK_ROTATION_DEG = 30.0


def unposed_scenes() -> list[Scene]:
    return [*map(_floor, MAPPED_FLOORS), _gardens(), _sacre_coeur()]


def build_unposed(
    pictures: Sequence[Picture], workspace: Workspace, extractor: RememberingExtractor
) -> VisualMap:
    images = [MappingImage(picture.name, row, 0, picture.read) for row, picture in enumerate(pictures)]
    return build_map(UnposedImages(images), extractor, workspace.config)


def _floor(number: int) -> Scene:
    folder = f"tower_floors/floor{number}"

    def build(workspace: Workspace, extractor: RememberingExtractor) -> VisualMap:
        """Map every fourth frame, or every second one where every fourth does not hang together."""
        frames = files_of(workspace, folder)
        try:
            return build_unposed(frames[::MAPPED_EVERY], workspace, extractor)
        except MappingError:
            return build_unposed(frames[:: MAPPED_EVERY // 2], workspace, extractor)

    def asks(workspace: Workspace, visual_map: VisualMap) -> list[Ask]:
        camera, mapped = visual_map.cameras[0].refined, set(visual_map.keyframe_names)
        left_out = [picture for picture in files_of(workspace, folder) if picture.name not in mapped]
        asked = _asks_between(left_out, visual_map)
        for other in ALL_FLOORS:
            if other != number:
                asked += [
                    Ask(picture.name, "other floor", picture.read, camera, always_wrong, False)
                    for picture in files_of(workspace, f"tower_floors/floor{other}")
                ]
        return asked

    def every_fourth(workspace: Workspace) -> list[Picture]:
        return files_of(workspace, folder)[::MAPPED_EVERY]

    return Scene(f"floor{number}", "tower", build, asks, every_fourth, every_fourth)


def _asks_between(pictures: Sequence[Picture], visual_map: VisualMap) -> list[Ask]:
    """Ask frames of a video that lie between two keyframes of the same take; of others the place is not known."""
    camera, depth = visual_map.cameras[0].refined, median_depth(visual_map)
    takes: dict[str, dict[int, Rigid3]] = {}
    for row, name in enumerate(visual_map.keyframe_names):
        take, frame = _take_and_frame(name)
        takes.setdefault(take, {})[frame] = visual_map.map_from_camera(row)
    asked = []
    for picture in pictures:
        take, frame = _take_and_frame(picture.name)
        keyframes = takes.get(take, {})
        before = max((number for number in keyframes if number < frame), default=None)
        after = min((number for number in keyframes if number > frame), default=None)
        if before is None or after is None or after - before > 2 * MAPPED_EVERY:
            continue
        share = (frame - before) / (after - before)
        judge = between(keyframes[before], keyframes[after], share, depth)
        asked.append(Ask(picture.name, "own", picture.read, camera, judge, True))
    return asked


def _take_and_frame(name: str) -> tuple[str, int]:
    found = re.fullmatch(r"(.*?)(\d+)\.\w+", name)
    assert found is not None, name
    return found[1], int(found[2])


def _gardens() -> Scene:
    def day(workspace: Workspace) -> list[Picture]:
        return files_of(workspace, "gardens_point/day_left")

    def mapped(workspace: Workspace) -> list[Picture]:
        return day(workspace)[:_WALK_FRAMES:_WALK_EVERY]

    def asks(workspace: Workspace, visual_map: VisualMap) -> list[Ask]:
        camera = visual_map.cameras[0].refined
        asked = _asks_between(day(workspace)[1:_WALK_FRAMES:_WALK_EVERY], visual_map)
        for walk in ("day_right", "night_right"):
            pictures = files_of(workspace, f"gardens_point/{walk}")
            for frame, picture in enumerate(pictures[:_WALK_FRAMES]):
                judge = _near_frame(visual_map, frame)
                if judge is not None and frame % 2 == 0:
                    # Frames are synchronised too loosely to promise an answer; a pose elsewhere is wrong.
                    asked.append(Ask(picture.name, walk, picture.read, camera, judge, False))
        for walk in ("day_left", "day_right", "night_right"):
            asked += [
                Ask(f"{walk}/{picture.name}", "other half", picture.read, camera, always_wrong, False)
                for picture in files_of(workspace, f"gardens_point/{walk}")[_OTHER_HALF_FROM::2]
            ]
        return asked

    return Scene(
        "gardens",
        "gardens",
        lambda workspace, extractor: build_unposed(mapped(workspace), workspace, extractor),
        asks,
        lambda workspace: day(workspace)[1:_WALK_FRAMES:_WALK_EVERY],
        mapped,
    )


def _near_frame(visual_map: VisualMap, frame: int) -> NearOneOf | None:
    near = tuple(
        visual_map.map_from_camera(row)
        for row, name in enumerate(visual_map.keyframe_names)
        if abs(_take_and_frame(name)[1] - frame) <= _WALK_SLACK_FRAMES
    )
    translation = 2.0 * FALSE_DEPTH_FRACTION * median_depth(visual_map)
    return NearOneOf(near, translation, _WALK_ROTATION_DEG) if near else None


def _sacre_coeur() -> Scene:
    """Ten photographs by ten cameras: poses and calibrations by all, a map of seven, the rest asked."""

    def whole(workspace: Workspace, extractor: RememberingExtractor | None = None) -> VisualMap:
        path = workspace.map_path("sacre_coeur_all")
        if extractor is not None:
            save_map(build_unposed(files_of(workspace, "sacre_coeur"), workspace, extractor), path)
        return load_map(path)

    def build(workspace: Workspace, extractor: RememberingExtractor) -> VisualMap:
        everything = whole(workspace, extractor)
        rows = [row for row in range(everything.num_keyframes) if row % 3 != 1]
        by_name = {picture.name: picture for picture in files_of(workspace, "sacre_coeur")}
        images = [
            MappingImage(name, position, position, by_name[name].read)
            for position, name in enumerate(everything.keyframe_names[row] for row in rows)
        ]
        cameras = [everything.cameras[everything.keyframe_camera_idx[row]].refined for row in rows]
        poses = [everything.map_from_camera(row) for row in rows]
        return build_map(PosedImages(images, poses, cameras), extractor, workspace.config, REFINED)

    def asks(workspace: Workspace, visual_map: VisualMap) -> list[Ask]:
        everything, depth = whole(workspace), median_depth(visual_map)
        by_name = {picture.name: picture for picture in files_of(workspace, "sacre_coeur")}
        return [
            Ask(
                name,
                "own",
                by_name[name].read,
                everything.cameras[everything.keyframe_camera_idx[row]].refined,
                NearTruth(everything.map_from_camera(row), FALSE_DEPTH_FRACTION * depth, FALSE_ROTATION_DEG),
                True,
            )
            for row, name in enumerate(everything.keyframe_names)
            if row % 3 == 1
        ]

    pictures = partial(files_of, folder="sacre_coeur")
    return Scene("sacre_coeur", "sacre_coeur", build, asks, pictures, pictures)
