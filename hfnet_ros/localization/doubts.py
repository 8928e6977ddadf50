"""What is doubtful before any image is looked at: the calibration, beside the map's, and the map's scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.plausibility import differs_from
from hfnet_ros.map.visual_map import VisualMap

SCALED_ALONE = "built of images alone and then scaled: its origin and heading are its own"
ARBITRARY_SCALE = (
    "the map was built of images alone: its lengths are no metres and its axes not level; give it a scale by "
    "`hfnet-ros map scale`, or build it with poses"
)


def doubts_about(visual_map: VisualMap, cameras: Sequence[Camera]) -> tuple[str, ...]:
    """Return what a person should know of answers in a map for images of these calibrations; each sentence once."""
    found = [] if not visual_map.has_arbitrary_scale else [ARBITRARY_SCALE]
    for camera in cameras:
        found += [*camera.notes, *_against_the_map(visual_map, camera)]
    return tuple(dict.fromkeys(found))


def _against_the_map(visual_map: VisualMap, camera: Camera) -> Iterator[str]:
    """Yield how a calibration differs from all cameras of its size that the map was taken with."""
    if visual_map.known_camera(camera) is not None:
        return
    of_size = [
        known.given or known.refined
        for known in visual_map.cameras
        if known.refined.size_wh == camera.size_wh
    ]
    differences = [differs_from(camera, known) for known in of_size]
    if differences and all(differences):
        yield differences[0]
