"""Describes images as a localizer would, in another thread: the next one while this one is searched for.

A search is many small steps of Python, which run on one core; a network leaves that one free. So the next image is
described meanwhile on another core, by one thread of its own network, which wastes none of the time of two.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

from hfnet_ros.config import Config
from hfnet_ros.features.extractor import NetworkExtractor
from hfnet_ros.features.reduction import extract_reduced, reduced_size
from hfnet_ros.geometry.camera import Camera
from hfnet_ros.types import Frame


class Describer:
    """Describes images for a localizer; belongs to the thread that made it."""

    def __init__(self, extractor: NetworkExtractor, map_cameras: Callable[[], Sequence[Camera]]) -> None:
        """Take the extractor, which is owned from now on, and what tells the cameras of the map.

        Args:
            extractor: as the localizer's.
            map_cameras: at whose scale images that are much larger are described.
        """
        self._extractor = extractor
        self._map_cameras = map_cameras

    def describe(self, frame: Frame) -> Frame:
        """Return an image with its features.

        Raises:
            ImageError: it does not have the size of its calibration, or another type or shape.
            EngineError: the network failed.
        """
        frame.camera.check_size(frame.image.shape)
        size_wh = reduced_size(frame.camera, self._map_cameras())
        return dataclasses.replace(frame, features=extract_reduced(self._extractor, frame.image, size_wh))

    def close(self) -> None:
        """Free the network; calling it again does nothing."""
        self._extractor.close()


def describer_opener(
    create: Callable[[Config], NetworkExtractor],
    map_cameras: Callable[[], Sequence[Camera]],
    config: Config,
    backend: str,
) -> Callable[[], Describer] | None:
    """Return what makes a describer beside a localizer; None where nothing is gained by it.

    That is where images are not described on this CPU, or one thread is asked for, or there is one core.

    Args:
        create: makes an extractor like the localizer's.
        map_cameras: of the map, as they are when an image is described.
        config: of the localizer.
        backend: what describes its images.
    """
    threads = config.inference.num_threads
    if "cpu" not in backend.split("-") or threads < 2 or len(os.sched_getaffinity(0)) < 2:
        return None
    alone = dataclasses.replace(config, inference=dataclasses.replace(config.inference, num_threads=1))
    return lambda: Describer(create(alone), map_cameras)
