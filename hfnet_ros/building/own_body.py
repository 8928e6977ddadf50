"""What cameras carry with them, as the robot's own body, is left out of maps that are built in tasks, too.

A task for each camera finds it in images from all over the path, as `without_carried` does. Where there is something,
batches of described images are written once more, with what mapping uses of them; all that comes later reads these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.building.artefacts import Arrays
from hfnet_ros.building.graph import Graph, Job, Stage, Task
from hfnet_ros.building.jobs import config_of, keyframes_of
from hfnet_ros.building.keyframe_files import leaving_out, read_features
from hfnet_ros.mapping.carried import carried_among, places_looked_at, rows_not_carried, tell_carried
from hfnet_ros.mapping.views import MappingImage
from hfnet_ros.types import LocalFeatures

CARRIED = Stage("carried", 1, ("mapping",))
WITHOUT_CARRIED = Stage("without carried", 1, ("mapping",))

# The batches that images are in, and the parameters that say where.
Located = Callable[[NDArray[np.int64]], tuple[tuple[Task, ...], dict[str, Any]]]


def batches_without_carried(
    graph: Graph,
    images: Sequence[MappingImage],
    batches: Sequence[Task],
    num_in_batch: int,
    located: Located,
) -> list[Task]:
    """Return the batches, those anew whose images show what their camera carries; warns where that is much.

    Args:
        graph: runs tasks.
        images: all of them.
        batches: described images, in order.
        num_in_batch: images in each, but for the last.
        located: says where images are.

    Raises:
        BuildingError: a task failed.
    """
    camera_of = np.array([image.camera_idx for image in images], np.int64)
    cameras = np.unique(camera_of).tolist()
    tasks = []
    for camera in cameras:
        rows = np.flatnonzero(camera_of == camera)
        places = places_looked_at(len(rows))
        inputs, described = located(rows[places])
        of = f"camera of {images[rows[0]].name}"
        tasks.append(Task(CARRIED, of, {**described, "places": places, "num_images": len(rows)}, inputs))
    carrying = {}
    for camera, task, arrays in zip(cameras, tasks, graph.read(tasks), strict=True):
        if len(arrays["keypoints"]):
            carrying[camera] = task
            name = images[int(np.flatnonzero(camera_of == camera)[0])].name
            tell_carried(name, float(arrays["share"]))
    anew = list(batches)
    for number, batch in enumerate(batches):
        shown = camera_of[number * num_in_batch : (number + 1) * num_in_batch].tolist()
        found = sorted(set(shown) & set(carrying))
        if found:
            places = [found.index(camera) if camera in found else -1 for camera in shown]
            inputs = (batch, *(carrying[camera] for camera in found))
            anew[number] = Task(WITHOUT_CARRIED, batch.of, {"carried_idxs": places}, inputs)
    graph.finish(anew)
    return anew


def find_carried(job: Job) -> Arrays:
    """Find what a camera carries: keypoints [N, 2], scores and descriptors, and what `share` of all in its images."""
    keyframes = keyframes_of(job, config_of(job))
    looked_at = {
        place: keyframe.features for place, keyframe in zip(job.parameters["places"], keyframes, strict=True)
    }
    carried = carried_among(looked_at, job.parameters["num_images"])
    if carried is None:
        return {"keypoints": np.empty((0, 2), np.float32)}
    num_all = sum(len(features.local) for features in looked_at.values())
    num_own = sum(len(rows_not_carried(features, carried)) for features in looked_at.values())
    return {
        "keypoints": carried.keypoints,
        "scores": carried.scores,
        "descriptors": carried.descriptors,
        "share": np.array(1.0 - num_own / max(num_all, 1)),
    }


def leave_out_carried(job: Job) -> Arrays:
    """Say of a batch what mapping uses of it: arrays of `keyframe_files`."""
    batch, rows = job.inputs[0], range(len(job.parameters["carried_idxs"]))
    carried = [
        LocalFeatures(arrays["keypoints"], arrays["scores"], arrays["descriptors"])
        for arrays in (artefact.read_arrays() for artefact in job.inputs[1:])
    ]
    described = read_features(batch, rows, config_of(job).mapping.max_keypoints)
    used = {
        row: rows_not_carried(described[row][1], carried[idx])
        for row, idx in enumerate(job.parameters["carried_idxs"])
        if idx >= 0
    }
    return leaving_out(batch.read_arrays(), used)
