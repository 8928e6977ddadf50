"""Look at every view with every teacher, once, on as many cores as there are."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_ros.config import InferenceConfig
from hfnet_ros.errors import DatasetError
from hfnet_ros.features.keypoints import unit_rows
from hfnet_ros.features.preprocess import mean_gray
from hfnet_ros.features.weights import find_weights
from hfnet_ros.files.atomic import atomic_directory
from hfnet_ros.training.cache import label_cells
from hfnet_ros.training.options import CELL, TrainingOptions
from hfnet_ros.training.teachers import (
    GlobalNetwork,
    GlobalTeacher,
    LocalTeacher,
    XFeatTeacher,
    create_local_teacher,
    fit_projection,
)
from hfnet_ros.training.views import GROUP_SIZE, View, ViewJob, draw_views, training_photos, view_jobs
from hfnet_ros.types import LocalFeatures, Progress

_TEACHER_KEYPOINTS = 1024
_VOCABULARY_VIEWS = 240
_PROJECTION_VIEWS = 4096
_PROJECTION_DESCRIPTORS = 40000


@dataclass(frozen=True, slots=True, eq=False)
class _TaughtView:
    """A view, its keypoints (best first, of the local teacher) and what the global target is made of, as float16."""

    view: View
    best: LocalFeatures
    parts: list[NDArray[np.float16]]


def build_cache(
    folder: Path,
    options: TrainingOptions,
    inference: InferenceConfig,
    progress: Progress,
    *,
    workers: int = 1,
) -> None:
    """Look at every view with every teacher and write what they say.

    Args:
        folder: new folder of the cache.
        options: of the run.
        inference: how teachers run; with several workers each has one thread.
        progress: called with the stage's name, views done, views in all.
        workers: processes; the result does not depend on their number.

    Raises:
        DatasetError: there is nothing to look at.
        WeightsError: a teacher's weights are missing.
    """
    teachers = _Teachers.load(options, inference)
    num_views = _count_views(options)
    if num_views == (0, 0):
        raise DatasetError("nothing to learn from: give data.photos or data.scenes")
    with atomic_directory(folder) as temporary:
        arrays = _create_arrays(temporary, options, num_views)
        raw: list[list[NDArray[np.float16]]] = []
        for row, taught in enumerate(_teach(options, inference, teachers, workers)):
            _write_view(arrays, row, num_views[0], taught)
            raw.append(taught.parts)
            progress("teachers", row + 1, sum(num_views))
        kept = _write_targets(arrays["targets"], raw, options, workers)
        np.save(temporary / "local_projection.npy", _fit_local_projection(arrays, options))
        about = {
            "options": options.to_dict(),
            "views": {"photos": num_views[0], "scenes": num_views[1]},
            "photos": len(training_photos(options.data)),
            "teachers": teachers.names,
            "global_energy_kept": round(kept, 4),
            "keypoints_per_view": round(float(arrays["counts"].mean()), 1),
        }
        for array in arrays.values():
            array.flush()
        (temporary / "about.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Teachers:
    """The local teacher, and what the global target is made of.

    Attributes:
        local: those whose VLADs make it; keypoints and descriptors are of the first one.
        whole: a network that gives it, in the place of VLADs.
    """

    local: tuple[LocalTeacher, ...]
    whole: GlobalNetwork | None

    @classmethod
    def load(cls, options: TrainingOptions, inference: InferenceConfig) -> _Teachers:
        """Load what the options name."""
        asked, first = options.teachers, create_local_teacher(options.teachers, inference)
        if asked.global_weights:
            return cls((first,), GlobalNetwork(Path(asked.global_weights), inference))
        if "vlad-xfeat" in asked.global_parts and not isinstance(first, XFeatTeacher):
            return cls((first, XFeatTeacher(find_weights("xfeat.pt", asked.xfeat_weights), inference)), None)
        return cls((first,), None)

    @property
    def names(self) -> list[str]:
        """Methods and digests of their weights."""
        names = [teacher.name for teacher in self.local]
        return names if self.whole is None else [*names, self.whole.name]


def _count_views(options: TrainingOptions) -> tuple[int, int]:
    photos = len(training_photos(options.data)) * options.data.views_per_photo
    return photos, options.data.scenes * (options.data.views_per_scene // GROUP_SIZE) * GROUP_SIZE


def _teach(
    options: TrainingOptions, inference: InferenceConfig, teachers: _Teachers, workers: int
) -> Iterator[_TaughtView]:
    """Yield all views in their order, each as its teachers see it."""
    jobs = view_jobs(options.data)
    if workers <= 1:
        for job in jobs:
            yield from _teach_job(job, options, teachers)
        return
    # Forking would copy the threads' locks of the network runtime in whatever state they are.
    context = multiprocessing.get_context("spawn")
    one_thread = replace(inference, num_threads=1)
    with ProcessPoolExecutor(workers, context, _start_worker, (options, one_thread)) as pool:
        for taught in pool.map(_work, jobs, chunksize=1):
            yield from taught


_worker: dict[str, Any] = {}  # of a worker process: its options and teachers


def _start_worker(options: TrainingOptions, inference: InferenceConfig) -> None:
    _worker["options"], _worker["teachers"] = options, _Teachers.load(options, inference)


def _work(job: ViewJob) -> list[_TaughtView]:
    return _teach_job(job, _worker["options"], _worker["teachers"])


def _teach_job(job: ViewJob, options: TrainingOptions, teachers: _Teachers) -> list[_TaughtView]:
    taught = []
    for view in draw_views(job, options.data, options.schedule.seed):
        found = [teacher.teach(view.image, _TEACHER_KEYPOINTS) for teacher in teachers.local]
        parts = [part.descriptors for part in found]
        if teachers.whole is not None:
            parts = [teachers.whole.describe(view.image)[None]]
        count = options.data.max_keypoints
        best = LocalFeatures(
            found[0].keypoints[:count], found[0].scores[:count], found[0].descriptors[:count]
        )
        taught.append(_TaughtView(view, best, [part.astype(np.float16) for part in parts]))
    return taught


def _create_arrays(folder: Path, options: TrainingOptions, num_views: tuple[int, int]) -> dict[str, Any]:
    width, height = options.data.view_wh
    views, count = sum(num_views), options.data.max_keypoints
    size = {"alike": 128, "xfeat": 64, "sift": 128}[options.teachers.local]
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "images": ((views, height, width), np.uint8),
        "cells": ((views, height // CELL, width // CELL), np.uint8),
        "points": ((views, count, 2), np.float32),
        "counts": ((views,), np.int32),
        "descriptors": ((views, count, size), np.float16),
        "targets": ((views, options.network.global_size), np.float32),
        "groups": ((views,), np.int32),
        "scenes": ((views,), np.int32),
        "depth": ((num_views[1], height, width), np.float16),
        "poses": ((num_views[1], 4, 4), np.float64),
    }
    return {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
        if np.prod(shape)
        else _save_empty(folder / f"{name}.npy", dtype, shape)
        for name, (shape, dtype) in shapes.items()
    }


class _Empty(np.ndarray[Any, Any]):
    """An array of no elements: such files cannot be mapped for writing."""

    def flush(self) -> None:
        """Nothing to write."""


def _save_empty(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    np.save(path, np.empty(shape, dtype))
    return np.empty(shape, dtype).view(_Empty)


def _write_view(arrays: dict[str, Any], row: int, num_photo_views: int, taught: _TaughtView) -> None:
    """Write all but the global target of one view."""
    view, best = taught.view, taught.best
    found = len(best)
    arrays["images"][row] = np.rint(mean_gray(view.image))
    arrays["cells"][row] = label_cells(best.keypoints, arrays["cells"].shape[1:])
    arrays["points"][row, :found] = best.keypoints
    arrays["counts"][row] = found
    arrays["descriptors"][row, :found] = best.descriptors
    arrays["groups"][row], arrays["scenes"][row] = view.group, view.scene
    if view.depth is not None and view.map_from_camera is not None:
        arrays["depth"][row - num_photo_views] = view.depth
        arrays["poses"][row - num_photo_views] = view.map_from_camera.matrix


def _write_targets(
    targets: NDArray[np.float32],
    raw: Sequence[Sequence[NDArray[np.float16]]],
    options: TrainingOptions,
    workers: int,
) -> float:
    """Learn vocabularies and projection, write the global targets; return the share of energy kept."""
    if options.teachers.global_weights:
        vectors = unit_rows(np.concatenate([parts[0] for parts in raw]).astype(np.float32))
    else:
        sample = raw[:: max(1, len(raw) // _VOCABULARY_VIEWS)]
        teacher = GlobalTeacher.fit(
            list(zip(*sample, strict=True)), options.teachers.vocabulary_size, options.schedule.seed
        )
        with ThreadPoolExecutor(max(1, workers)) as pool:
            vectors = np.stack(list(pool.map(teacher.describe, raw)))
    projection = fit_projection(
        vectors[:: -(-len(vectors) // _PROJECTION_VIEWS)], options.network.global_size
    )
    projected = np.ascontiguousarray(vectors @ projection.T)
    targets[:] = unit_rows(projected)
    return float(np.mean(np.linalg.norm(projected, axis=1) ** 2))


def _fit_local_projection(arrays: dict[str, Any], options: TrainingOptions) -> NDArray[np.float32]:
    counts = arrays["counts"]
    rng = np.random.default_rng(options.schedule.seed)
    views = rng.permutation(len(counts))[: max(1, _PROJECTION_DESCRIPTORS // max(1, int(counts.mean())))]
    found = np.concatenate([arrays["descriptors"][view, : counts[view]] for view in np.sort(views)])
    return fit_projection(found.astype(np.float32), options.network.descriptor_size)
