"""Which images of a folder become keyframes: the options of `map build` that say so."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from hfnet_ros.errors import ConfigError

if TYPE_CHECKING:
    from hfnet_ros.files.camera_mask import CameraMask
    from hfnet_ros.geometry import Rigid3
    from hfnet_ros.geometry.camera import Camera
    from hfnet_ros.mapping.keyframe_stream import PosedImage, SelectionLimits
    from hfnet_ros.mapping.sources import PosedImages, UnposedImages


def add_selection_options(build: argparse.ArgumentParser) -> None:
    """Add the options that select keyframes."""
    build.add_argument("--every", type=int, metavar="N", help="take every N-th image as keyframe")
    build.add_argument("--min-distance", type=float, metavar="M", help="or one after moving this far, m")
    build.add_argument("--min-angle", type=float, metavar="DEG", help="or after turning this far, deg")
    build.add_argument(
        "--min-overlap",
        type=float,
        metavar="SHARE",
        help="or when less than this share of the view is the same",
    )
    build.add_argument(
        "--depth",
        type=float,
        metavar="M",
        help="distance of what is seen, for --min-overlap, m (default: 3)",
    )
    build.add_argument(
        "--sharpest",
        action="store_true",
        help="take the sharpest well exposed image near where --min-distance, --min-angle or --min-overlap ask "
        "for one",
    )


def refuse_beside_colmap(options: argparse.Namespace) -> None:
    """Refuse what would be ignored: a COLMAP model brings its poses and cameras and is taken whole."""
    for name in ("poses", "camera", "every", "min_distance", "min_angle", "min_overlap", "depth"):
        if getattr(options, name) is not None:
            option = "--" + name.replace("_", "-")
            raise ConfigError(f"{option} cannot be combined with --colmap, whose model is taken as it is")
    if options.sharpest:
        raise ConfigError("--sharpest cannot be combined with --colmap, whose model is taken as it is")


def posed_keyframes(options: argparse.Namespace, mask: CameraMask | None) -> PosedImages:
    """Return the keyframes of a folder with a trajectory."""
    from hfnet_ros.files.camera_yaml import read_camera_yaml
    from hfnet_ros.files.posed_images import pair_images_with_poses
    from hfnet_ros.mapping.sources import PosedImages

    posed = pair_images_with_poses(options.images, options.poses)
    refuse_two_selections(options)
    if options.sharpest or options.min_overlap is not None:
        images = PosedImages.of_files(posed, read_camera_yaml(options.camera), mask)
        stream = zip(images.images, images.map_from_camera, strict=True)
        kept = list(selected_from_stream(options, stream, images.cameras))
        return PosedImages([image for image, _ in kept], [pose for _, pose in kept], images.cameras)
    chosen = chosen_rows(options, [image.map_from_camera for image in posed])
    return PosedImages.of_files([posed[index] for index in chosen], read_camera_yaml(options.camera), mask)


def chosen_rows(options: argparse.Namespace, poses: Sequence[Rigid3]) -> list[int]:
    """Return which of some poses become keyframes, by motion or by number."""
    from hfnet_ros.mapping.keyframe_selection import select_by_motion, select_every

    if options.min_distance is not None or options.min_angle is not None:
        return select_by_motion(poses, options.min_distance or 0.0, options.min_angle or 0.0)
    return select_every(len(poses), 1 if options.every is None else options.every)


def refuse_two_selections(options: argparse.Namespace) -> None:
    """Refuse to select by number and by motion; `map update` has not all of these options.

    Raises:
        ConfigError: names the options.
    """
    by_motion = (getattr(options, name, None) for name in ("min_distance", "min_angle", "min_overlap"))
    if options.every is not None and any(limit is not None for limit in by_motion):
        raise ConfigError("--every and --min-distance/--min-angle select keyframes in two ways; give one")


def selected_from_stream(
    options: argparse.Namespace, stream: Iterable[PosedImage], cameras: Sequence[Camera]
) -> Iterator[PosedImage]:
    """Yield the keyframes of images with poses, and print what was left out when all have been seen."""
    from hfnet_ros.mapping.keyframe_stream import KeyframeSelector

    selector = KeyframeSelector(_selection_limits(options), cameras)
    yield from selector.select(stream)
    print(f"keyframes: {selector.report.text()}")


def _selection_limits(options: argparse.Namespace) -> SelectionLimits:
    """Return when a keyframe is due, from the options of `map build`."""
    from hfnet_ros.mapping.keyframe_stream import SelectionLimits

    return SelectionLimits(
        min_distance_m=options.min_distance or 0.0,
        min_angle_deg=options.min_angle or 0.0,
        min_overlap=options.min_overlap or 0.0,
        depth_m=3.0 if options.depth is None else options.depth,
        window=0.3 if options.sharpest else 0.0,
        max_window=12 if options.sharpest else 1,
        min_sharpness=0.5 if options.sharpest else 0.0,
    )


def refuse_without_poses(options: argparse.Namespace) -> None:
    """Refuse what cannot be done without poses.

    Raises:
        ConfigError: names the options.
    """
    if options.min_distance is not None or options.min_angle is not None or options.min_overlap is not None:
        raise ConfigError(
            "--min-distance, --min-angle and --min-overlap need --poses; without poses use --every"
        )
    if options.refine_poses == "on" or options.sharpest:
        raise ConfigError("--refine-poses and --sharpest need --poses")


def unposed_keyframes(options: argparse.Namespace, mask: CameraMask | None) -> UnposedImages:
    """Return the keyframes of a folder without poses."""
    from hfnet_ros.files.camera_yaml import read_camera_yaml
    from hfnet_ros.files.images import list_images
    from hfnet_ros.mapping.keyframe_selection import select_every
    from hfnet_ros.mapping.sources import UnposedImages
    from hfnet_ros.mapping.views import MappingImage

    paths = list_images(options.images)
    chosen = select_every(len(paths), 1 if options.every is None else options.every)
    # Images without poses have no stamps either; their order stands in, one a second.
    images = [
        MappingImage.of_file(paths[index], paths[index].name, index * 1_000_000_000, 0, mask)
        for index in chosen
    ]
    return UnposedImages(images, [read_camera_yaml(options.camera)] if options.camera else None)
