"""Images of several cameras in folders, a folder each: `--images left=DIR,right=DIR --rig rig.yaml`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hfnet_ros.cli.bag_keyframes import refuse_bag_options, report_localized
from hfnet_ros.cli.options import tracked
from hfnet_ros.errors import ConfigError
from hfnet_ros.files.camera_mask import CameraMask, masks_of, read_masked
from hfnet_ros.files.images_of_one_time import images_of_one_time
from hfnet_ros.files.posed_images import PosedImage, pair_images_with_poses
from hfnet_ros.files.rig_yaml import read_rig
from hfnet_ros.geometry import Rigid3
from hfnet_ros.types import ImageLocalizer, Query, RigCamera, View

if TYPE_CHECKING:
    from hfnet_ros.config import Config
    from hfnet_ros.evaluation.records import QueryResult
    from hfnet_ros.mapping.sources import PosedImages, UnposedImages

RIG_HELP = (
    "cameras of a robot that has several, their calibrations and mountings (docs/rigs.md); --images is then "
    "NAME=DIR,NAME=DIR and --poses are T_map_rig"
)
# Opens a map for images of a size.
OpenLocalizer = Callable[[tuple[int, int]], AbstractContextManager[ImageLocalizer]]
# Groups are made in the order of stamps: images do not come late.
_SHIFT_NS = 1_000_000_000


@dataclass(frozen=True, eq=False)
class RigImages:
    """What the cameras of a rig saw at one time.

    Attributes:
        stamp_ns: of the first camera that has an image here.
        map_from_rig: pose at that stamp; None where nobody knows it.
        paths: image files by camera, of those that have one.
        poses: map_from_rig by camera at its own stamp, where poses are known.
    """

    stamp_ns: int
    map_from_rig: Rigid3 | None
    paths: Mapping[str, Path]
    poses: Mapping[str, Rigid3]


def given_rig(options: argparse.Namespace) -> dict[str, RigCamera]:
    """Return the rig of --rig.

    Raises:
        CalibrationError: it cannot be read.
        ConfigError: --camera is given, too.
    """
    if options.camera is not None:
        raise ConfigError("--camera is of one camera; the calibrations of a rig are in the file of --rig")
    return read_rig(options.rig)


def named_paths(words: Sequence[str], rig: Mapping[str, RigCamera], option: str) -> list[tuple[str, Path]]:
    """Read NAME=PATH of cameras of a rig.

    Raises:
        ConfigError: a word is of another form or names no camera of the rig.
    """
    found = []
    for word in words:
        name, is_named, path = word.partition("=")
        if not is_named or name not in rig:
            raise ConfigError(
                f"{option}: '{word}' names no camera of the rig, expected NAME=PATH of {', '.join(rig)} (--rig)"
            )
        found.append((name, Path(path)))
    return found


def refuse_beside_rig(options: argparse.Namespace) -> None:
    """Refuse what would be ignored by `map build` with a rig.

    Raises:
        ConfigError: names it.
    """
    from hfnet_ros.cli.keyframes import refuse_without_poses

    if options.bag or options.colmap:
        raise ConfigError("--rig goes with --images NAME=DIR,NAME=DIR, not with --bag or --colmap")
    refuse_bag_options(options)
    if options.poses is None:
        refuse_without_poses(options)


def refuse_names_without_rig(images: Path, named: str = "--images") -> None:
    """Refuse NAME=PATH of several cameras where nobody says what the rig is.

    Raises:
        ConfigError: says what is needed.
    """
    if "=" in str(images) and not images.exists():
        raise ConfigError(
            f"{named} '{images}' names cameras: --rig FILE is needed, which says where they sit"
        )


def read_rig_images(
    options: argparse.Namespace, tolerance_s: float
) -> tuple[dict[str, RigCamera], list[RigImages]]:
    """Return the rig of `options.rig` and what it saw, by time, with the poses of `options.poses`.

    Images of each camera and poses pair as those of one camera do; images of one time are those whose stamps are
    within the tolerance, by the rule of the live node.

    Raises:
        CalibrationError: the rig cannot be read.
        ConfigError: a folder names no camera of it, or one twice; or poses are not named.
        DatasetError: images and poses do not fit.
    """
    if options.poses is None:
        raise ConfigError("--rig needs --poses: where the rig was, T_map_rig")
    rig, folders = _rig_and_folders(options)
    posed = {name: pair_images_with_poses(folder, options.poses) for name, folder in folders.items()}
    return {name: rig[name] for name in posed}, _grouped(posed, tolerance_s)


def _rig_and_folders(options: argparse.Namespace) -> tuple[dict[str, RigCamera], dict[str, Path]]:
    """Return the rig, and the folders with images of some of its cameras."""
    rig = given_rig(options)
    named = named_paths(str(options.images).split(","), rig, "--images")
    if len(dict(named)) != len(named):
        raise ConfigError(f"--images '{options.images}' names a camera twice")
    return rig, dict(named)


def _grouped(posed: Mapping[str, Sequence[PosedImage]], tolerance_s: float) -> list[RigImages]:
    from hfnet_ros.tracking.image_groups import ImageGroup, ImageGroups

    names = list(posed)
    groups = ImageGroups[PosedImage](len(names), tolerance_s, 2.0 * tolerance_s, patience=None)
    images = [(image.stamp_ns, camera, image) for camera, name in enumerate(names) for image in posed[name]]
    earliest_ns = min((stamp_ns for stamp_ns, _, _ in images), default=0)
    found: list[ImageGroup[PosedImage]] = []
    for stamp_ns, camera, image in sorted(images, key=lambda entry: entry[:2]):
        shifted_ns = stamp_ns - earliest_ns + _SHIFT_NS
        found += groups.add(camera, shifted_ns, shifted_ns * 1e-9, image)
    found += groups.take_due(float("inf"))
    return [_of_group(names, group.images) for group in found]


def _of_group(names: Sequence[str], images: Sequence[PosedImage | None]) -> RigImages:
    there = {name: image for name, image in zip(names, images, strict=True) if image is not None}
    first = next(iter(there.values()))
    return RigImages(
        first.stamp_ns,
        first.map_from_camera,
        {name: image.path for name, image in there.items()},
        {name: image.map_from_camera for name, image in there.items()},
    )


def masks_of_rig(config: Config, rig: Mapping[str, RigCamera]) -> dict[str, CameraMask]:
    """Return the masks of a rig's cameras by name, of those that have one; raises as `masks_of`."""
    return masks_of(config.cameras, [*rig, *config.cameras.names.split()])


def rig_keyframes(options: argparse.Namespace, config: Config) -> PosedImages | UnposedImages:
    """Return the keyframes of `map build` with a rig: of each time that is chosen the images of all cameras.

    Without poses images are of one time as by `images_of_one_time`.

    Raises:
        ConfigError: options contradict each other, or as `read_rig_images`.
        DatasetError: images and poses do not fit.
    """
    from hfnet_ros.cli.keyframes import chosen_rows, refuse_two_selections
    from hfnet_ros.mapping.sources import UnposedImages

    tolerance_s = config.cameras.sync_tolerance_s
    if options.poses is None:
        of_rig, folders = _rig_and_folders(options)
        every = 1 if options.every is None else options.every
        return UnposedImages.of_rig(folders, of_rig, every, masks_of_rig(config, of_rig), tolerance_s)
    refuse_two_selections(options)
    if options.sharpest or options.min_overlap is not None:
        raise ConfigError(
            "--sharpest and --min-overlap look at one camera; with --rig take --every or --min-distance"
        )
    rig, groups = read_rig_images(options, tolerance_s)
    rows = chosen_rows(options, [group.map_from_rig for group in groups if group.map_from_rig is not None])
    chosen = [groups[row] for row in rows]
    _tell_missing(rig, chosen, tolerance_s)
    return _keyframes_of(rig, chosen, masks_of_rig(config, rig))


def rig_session(options: argparse.Namespace, config: Config, open_localizer: OpenLocalizer) -> PosedImages:
    """Return the keyframes of `map update` with a rig: those of all cameras, of poses given, or found as a rig.

    Without poses images are of one time as by `images_of_one_time`; those that other cameras contradict are left out.

    Raises:
        ConfigError: as `read_rig_images`.
        DatasetError: images and poses do not fit, or the folders hold different numbers of images.
        MappingError: fewer than two images were found in the map.
    """
    tolerance_s = config.cameras.sync_tolerance_s
    if options.poses is not None:
        rig, groups = read_rig_images(options, tolerance_s)
        _tell_missing(rig, groups[:: options.every], tolerance_s)
        return _keyframes_of(rig, groups[:: options.every], masks_of_rig(config, rig))
    of_file, folders = _rig_and_folders(options)
    rig, masks = {name: of_file[name] for name in folders}, masks_of_rig(config, of_file)
    asked = [
        RigImages(row * _SHIFT_NS, None, dict(zip(rig, paths, strict=True)), {})
        for row, paths in enumerate(zip(*images_of_one_time(folders, tolerance_s).values(), strict=True))
    ][:: options.every]
    found, left_out = [], Counter[str]()
    with open_localizer(next(iter(rig.values())).camera.size_wh) as localizer:
        answers = localize_rig_images(localizer, rig, asked, masks)
        for group, answer in zip(asked, tracked(answers, "localize", len(asked)), strict=True):
            if answer.localization.estimate is not None:
                pose, views = answer.localization.estimate.map_from_camera, answer.localization.views
                # Such a camera is not where the rig's file says, or its image is of another time.
                wrong = {name for name, view in zip(rig, views, strict=False) if view.contradicts}
                there = {name: path for name, path in group.paths.items() if name not in wrong}
                left_out.update(wrong)
                found.append(replace(group, map_from_rig=pose, paths=there, poses=dict.fromkeys(there, pose)))
    report_localized(len(found), len(asked), "--poses", f"times of {len(rig)} cameras")
    for name, count in sorted(left_out.items()):
        print(f"left out: {count} images of '{name}', which the other cameras contradict")
    return _keyframes_of(rig, found, masks)


def _tell_missing(rig: Mapping[str, RigCamera], groups: Sequence[RigImages], tolerance_s: float) -> None:
    """Say which cameras have no image in most of the times chosen, as of other stamps, a slower rate, or an end.

    Raises:
        ConfigError: one has none at all.
    """
    for name in rig:
        num_there = sum(name in group.paths for group in groups)
        if 2 * num_there >= len(groups):
            continue
        told = (
            f"'{name}' has an image in {num_there} of {len(groups)} times that were chosen; images of one time are "
            f"those within {tolerance_s:g} s (cameras.sync_tolerance_s)"
        )
        if not num_there:
            raise ConfigError(
                f"{told}: raise it where cameras are not triggered together, or leave this one out"
            )
        print(f"warning: {told}", file=sys.stderr)


def _keyframes_of(
    rig: Mapping[str, RigCamera], groups: Sequence[RigImages], masks: Mapping[str, CameraMask]
) -> PosedImages:
    """Return the images of all cameras, in the order of time: the map's test of itself takes stretches of it."""
    from hfnet_ros.mapping.sources import PosedImages
    from hfnet_ros.mapping.views import MappingImage

    images, map_from_camera = [], []
    for group in groups:
        for camera_idx, (name, mounted) in enumerate(rig.items()):
            if name in group.paths:
                path, mask = group.paths[name], masks.get(name)
                full_name = f"{name}/{path.name}"
                images.append(MappingImage.of_file(path, full_name, group.stamp_ns, camera_idx, mask))
                map_from_camera.append(group.poses[name] @ mounted.rig_from_camera)
    return PosedImages(images, map_from_camera, [mounted.camera for mounted in rig.values()])


def localize_rig_images(
    localizer: ImageLocalizer,
    rig: Mapping[str, RigCamera],
    asked: Sequence[RigImages],
    masks: Mapping[str, CameraMask],
) -> Iterator[QueryResult]:
    """Localize what a rig saw, one time after the other; results have a picture of all views side by side.

    Raises:
        ImageError: an image cannot be read or is not of its calibration's size.
    """
    from hfnet_ros.evaluation.records import QueryResult
    from hfnet_ros.evaluation.run import readable_name
    from hfnet_ros.report.thumbnails import RIG_SIZE, side_by_side

    for group in asked:
        images = {name: read_masked(path, masks.get(name)) for name, path in group.paths.items()}
        for name, path in group.paths.items():
            rig[name].camera.check_size(images[name].shape, str(path))
        views = tuple(View(rig[name], image) for name, image in images.items())
        answer = localizer.localize(Query(group.stamp_ns, views))
        first = next(iter(group.paths.values()))
        picture = side_by_side(list(images.values()), RIG_SIZE)
        yield QueryResult(
            readable_name(first), first, group.stamp_ns, answer, group.map_from_rig, None, picture
        )


def images_in_turn(words: Sequence[Path], rig: Mapping[str, RigCamera]) -> list[RigImages]:
    """Return the queries of NAME=IMAGE words: one begins where a camera is named that the one before has already.

    Raises:
        ConfigError: a word is of another form, or names no camera of the rig.
    """
    queries: list[dict[str, Path]] = []
    for name, path in named_paths([str(word) for word in words], rig, "with --rig"):
        if not queries or name in queries[-1]:
            queries.append({})
        queries[-1][name] = path
    return [RigImages(index * _SHIFT_NS, None, paths, {}) for index, paths in enumerate(queries)]
