"""Localize a folder of images and keep everything that is needed to score it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hfnet_ros.errors import ImageError
from hfnet_ros.evaluation.records import QueryResult
from hfnet_ros.files.camera_mask import CameraMask, read_masked
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.rigid3 import Rigid3
from hfnet_ros.types import Frame, ImageLocalizer


def localize_images(
    localizer: ImageLocalizer,
    images: Sequence[tuple[Path, int, Rigid3 | None]],
    camera: Camera,
    on_error: Callable[[Path, ImageError], None] | None = None,
    mask: CameraMask | None = None,
) -> Iterator[QueryResult]:
    """Localize images one after the other.

    Args:
        localizer: over the scene.
        images: path, stamp_ns and ground truth (or None) of each.
        camera: calibration of all of them.
        on_error: called with an unreadable image, which is then skipped; without it the error
            ends the run.
        mask: of what the camera carries with it, if it has one.

    Raises:
        ImageError: an image cannot be read or has another size, and `on_error` is not given.
    """
    for path, stamp_ns, groundtruth in images:
        try:
            localization = localizer.localize(Frame(stamp_ns, read_masked(path, mask), camera))
        except ImageError as error:
            named = error if str(path) in str(error) else ImageError(f"{path}: {error}")
            if on_error is None:
                raise named from error
            on_error(path, named)
            continue
        yield QueryResult(readable_name(path), path, stamp_ns, localization, groundtruth)


def readable_name(path: Path) -> str:
    """Return the last part of a path as text; bytes that are no UTF-8, which Linux allows, are escaped."""
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")
