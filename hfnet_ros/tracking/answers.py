"""Answers to images: what localization says of one, or why it says nothing."""

from __future__ import annotations

import logging

from hfnet_ros.errors import HfnetRosError
from hfnet_ros.tracking.mailbox import ImageTask, Mailbox
from hfnet_ros.tracking.relocalizer import Relocalizer
from hfnet_ros.types import Answer, ImageCounters, Tracking

_logger = logging.getLogger(__name__)


def answer_image(relocalizer: Relocalizer, mailbox: Mailbox, task: ImageTask) -> Answer:
    """Localize an image taken from a mailbox; whatever goes wrong is an answer, too."""
    job, start_s = task.job, mailbox.now_s()
    frame = relocalization = None
    error, decoded_s, updated_s = "", start_s, start_s
    try:
        frame = job.read()
        decoded_s = updated_s = mailbox.now_s()
        ignore_prior = any(request.ignore_prior for request in task.requests)
        relocalization = relocalizer.update(frame, job.base_from_camera(), ignore_prior=ignore_prior)
        updated_s = mailbox.now_s()
    except HfnetRosError as problem:
        error = str(problem)
    except Exception as problem:
        _logger.exception("an image could not be localized")
        error = f"{type(problem).__name__}: {problem}"
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
    )


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
