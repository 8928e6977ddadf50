"""The next image, read and described while the localizing thread works on this one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from hfnet_ros.tracking.mailbox import ImageTask, Mailbox, ReadImages
from hfnet_ros.tracking.reading import read_image
from hfnet_ros.types import CameraView, Frame

_logger = logging.getLogger(__name__)


class FrameDescriber(Protocol):
    """Describes images for a localizer; belongs to the thread that opened it."""

    def describe(self, frame: Frame) -> Frame:
        """Return an image with its features. Raises HfnetRosError."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


OpenDescriber = Callable[[], FrameDescriber]


class Ahead:
    """A thread that takes an image from a mailbox when the localizing thread is at work, reads and describes it.

    The network of its own that this takes is opened when the first image has to wait. What goes wrong is left to the
    localizing thread, which then reads or describes the image itself and says what is wrong.
    """

    def __init__(self, mailbox: Mailbox, open_describer: OpenDescriber) -> None:
        """Start the thread.

        Args:
            mailbox: where images come from; `Mailbox.take` gives them on to the localizing thread.
            open_describer: called in the thread.
        """
        self._mailbox = mailbox
        self._open = open_describer
        self._is_over = False
        # A daemon: a network that hangs must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="hfnet-ahead", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the image it works on, and free its network."""
        self._is_over = True
        self._mailbox.wake()
        self._thread.join()

    def _run(self) -> None:
        try:
            if not self._mailbox.wait_until_behind(lambda: self._is_over):
                return
            describer = self._open()
        except Exception:
            _logger.exception("images are not described ahead, and fewer of them answered")
            return
        try:
            while (task := self._mailbox.take_ahead(lambda: self._is_over)) is not None:
                self._mailbox.give_ahead(replace(task, ahead=self._read(task, describer)))
        finally:
            describer.close()

    def _read(self, task: ImageTask, describer: FrameDescriber) -> ReadImages | None:
        """Return the images of a task with their features, as far as they have some; None where all went wrong."""
        try:
            began_s = self._mailbox.now_s()
            views = tuple(read_image(image) for image in task.job.images)
            read_s = self._mailbox.now_s()
            described = tuple(_described(view, describer) for view in views)
            return ReadImages(described, read_s - began_s, self._mailbox.now_s() - read_s)
        except Exception:
            _logger.exception("an image could not be read ahead")
            return None


def _described(view: CameraView, describer: FrameDescriber) -> CameraView:
    if view.frame is None or view.problem:
        return view
    try:
        return replace(view, frame=describer.describe(view.frame))
    except Exception:
        return view  # the localizing thread describes it, and says what is wrong
