"""What is doubtful about the calibration, beside the map's and by what an image says, and about the map's scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from hfnet_ros.geometry.camera import Camera
from hfnet_ros.geometry.plausibility import differs_from
from hfnet_ros.map.visual_map import VisualMap
from hfnet_ros.pose.verification import FOCAL_SCORES

ARBITRARY_SCALE = (
    "the map was built of images alone: its lengths are no metres and its axes not level; give it a scale by "
    "`hfnet-ros map scale`, or build it with poses"
)

# Of 239 images of right calibrations (RedKitchen, EuRoC, a generated room), which this was chosen by, none is beyond.
_MAX_FOCAL_CHANGE, _SURE_SIGMAS = 0.17, 8.0


def doubts_about(visual_map: VisualMap, cameras: Sequence[Camera]) -> tuple[str, ...]:
    """Return what a person should know of answers in a map for images of these calibrations; each sentence once."""
    found = [] if not visual_map.has_arbitrary_scale else [ARBITRARY_SCALE]
    for camera in cameras:
        found += [*camera.notes, *_against_the_map(visual_map, camera)]
    return tuple(dict.fromkeys(found))


def focal_doubts(scores: Mapping[str, float]) -> tuple[str, ...]:
    """Return whether the matches of an answer say another focal length than the calibration, by its scores."""
    ratio, sigma = (
        scores.get(name, fallback) for name, fallback in zip(FOCAL_SCORES, (1.0, 1.0), strict=True)
    )
    if abs(ratio - 1.0) <= max(_MAX_FOCAL_CHANGE, _SURE_SIGMAS * sigma):
        return ()
    return (
        f"the image fits a {'longer' if ratio > 1.0 else 'shorter'} focal length far better than the calibration's, "
        "and the pose is off by as much: was it cropped, zoomed, resized or taken in another mode of the camera?",
    )


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
