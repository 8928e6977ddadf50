"""Answers to images: what localization says of one, or why it says nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from hfnet_ros.errors import HfnetRosError
from hfnet_ros.tracking.mailbox import CameraImage, ImageTask, Mailbox
from hfnet_ros.tracking.relocalizer import Relocalizer
from hfnet_ros.types import Answer, CameraView, ImageCounters, Tracking

_logger = logging.getLogger(__name__)


def answer_image(relocalizer: Relocalizer, mailbox: Mailbox, task: ImageTask) -> Answer:
    """Localize an image taken from a mailbox, or several of one time; whatever goes wrong is an answer, too."""
    job, start_s = task.job, mailbox.now_s()
    views, relocalization = tuple(_read(image) for image in job.images), None
    decoded_s = updated_s = mailbox.now_s()
    frame, error = next((view.frame for view in views if view.frame is not None), None), _problem(views)
    if frame is not None:
        error = ""
        ignore_prior = any(request.ignore_prior for request in task.requests)
        try:
            views = tuple(map(_mounted, views, job.images))
            if len(views) == 1:
                (view,) = views = (replace(views[0], view_idx=0),)
                relocalization = relocalizer.update(frame, view.base_from_camera, ignore_prior=ignore_prior)
            else:
                relocalization, views = relocalizer.update_views(
                    job.stamp_ns, views, ignore_prior=ignore_prior
                )
            updated_s = mailbox.now_s()
        except Exception as problem:
            error = _sentence(problem)
    localizing_s = relocalization.localization.timings_s.get("total", 0.0) if relocalization else 0.0
    return Answer(
        job.stamp_ns,
        relocalization,
        error,
        frame.camera_frame_id if frame is not None else "",
        wait_s=max(0.0, start_s - job.arrived_s),
        decode_s=decoded_s - start_s,
        gate_s=max(0.0, updated_s - decoded_s - localizing_s),
        total_s=max(0.0, mailbox.now_s() - job.arrived_s),
        counters=mailbox.note_processed(),
        frame=frame,
        tracking=relocalizer.tracking_at(job.stamp_ns) if relocalization is None else None,
        views=views,
    )


def _read(image: CameraImage) -> CameraView:
    if image.read is None:
        return CameraView(image.camera, problem="no image of this time has come", is_missing=True)
    try:
        return CameraView(image.camera, image.read())
    except Exception as problem:
        return CameraView(image.camera, problem=_sentence(problem))


def _mounted(view: CameraView, image: CameraImage) -> CameraView:
    return view if view.frame is None else replace(view, base_from_camera=image.base_from_camera())


def _problem(views: Sequence[CameraView]) -> str:
    """Return why none of the images could be read."""
    return "; ".join(f"{view.camera}: {view.problem}" if view.camera else view.problem for view in views)


def _sentence(problem: Exception) -> str:
    """Return what went wrong; what should not is logged."""
    if isinstance(problem, HfnetRosError):
        return str(problem)
    _logger.error("an image could not be localized", exc_info=problem)
    return f"{type(problem).__name__}: {problem}"


def refused_answer(stamp_ns: int, reason: str, counters: ImageCounters, tracking: Tracking) -> Answer:
    """Return the answer to what cannot be localized now, because the engine is not ready."""
    return Answer(
        stamp_ns,
        None,
        reason,
        "",
        wait_s=0.0,
        decode_s=0.0,
        gate_s=0.0,
        total_s=0.0,
        counters=counters,
        frame=None,
        is_refused=True,
        tracking=tracking,
    )
