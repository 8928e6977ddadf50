"""Verb `mask`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from hfnet_ros.cli.bag_sources import CAMERA_OPTIONS, add_camera_options, print_notes, refuse_without_bag
from hfnet_ros.cli.options import check_file_target, new_verb, tracked
from hfnet_ros.types import ImageArray

_EXAMPLE = """hfnet-ros mask --images drive --out mask.png --preview preview.png
  hfnet-ros mask --bag robot.bag --image-topic /front/image --out front.png --preview preview.png"""


def add_verbs(verbs: Any) -> None:
    """Add `mask`."""
    mask = new_verb(
        verbs, "mask", "draw a mask of what a camera carries with it, as the robot's own arm", _EXAMPLE, _mask
    )
    images = mask.add_mutually_exclusive_group(required=True)
    images.add_argument("--images", type=Path, metavar="DIR", help="images of a drive, of one camera")
    images.add_argument("--bag", type=Path, metavar="BAG", help="or a recording")
    mask.add_argument("--camera", type=Path, metavar="FILE", help="calibration of a recording that has none")
    mask.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="picture to write (.png): black is left out"
    )
    mask.add_argument(
        "--preview",
        type=Path,
        metavar="FILE",
        help="also write one of the images with what is left out in red (.png)",
    )
    add_camera_options(mask.add_argument_group("with --bag"))


def _mask(options: argparse.Namespace) -> int:
    from hfnet_ros.files.images import write_png
    from hfnet_ros.mapping.carried_mask import draw_mask

    for target in (options.out, options.preview):
        if target is not None:
            check_file_target(target)
    drawn = draw_mask(_images(options))
    if drawn.seen.all():
        print(
            f"nothing stays in place in {drawn.num_views} views: no mask is needed, and {options.out} is not written"
        )
        return 0
    write_png(options.out, drawn.seen.astype("uint8") * 255)
    where = ""
    if options.preview is not None:
        write_png(options.preview, drawn.preview())
        where = f", red in {options.preview}"
    print(
        f"{options.out}: {100 * drawn.hidden_share:.1f} % of the image stays where it is in {drawn.num_views} views "
        f"and is black{where}. Look at it, and correct it in any image editor; then give it to every command by "
        "--mask, and to the node as cameras.masks"
    )
    return 0


def _images(options: argparse.Namespace) -> Iterator[ImageArray]:
    """Yield enough of the images."""
    from hfnet_ros.files.images import list_images, read_image
    from hfnet_ros.mapping.carried_mask import step_between

    if options.images is not None:
        refuse_without_bag(options, "camera", *CAMERA_OPTIONS)
        paths = list_images(options.images)
        paths = paths[:: step_between(len(paths))]
        yield from map(read_image, tracked(paths, "read", len(paths)))
        return
    from hfnet_ros.bags import BagReader, CameraFrames
    from hfnet_ros.files.camera_yaml import read_calibration

    with BagReader(options.bag) as bag:
        camera = None if options.camera is None else read_calibration(options.camera)
        frames = CameraFrames(bag, options.image_topic, options.camera_info_topic, camera)
        read = tracked(frames, "read bag", len(frames))
        for frame in islice(read, 0, None, step_between(len(frames))):
            yield frame.image()
        print_notes(bag)
